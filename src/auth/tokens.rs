//! The tokens that a server takes, and whose each is. Read from a file once; looked up without telling by the time it takes how
//! near a guess is: no branch and no address depends on what is secret.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::Secret;
use super::file::{self, Contents, TokensFault};
use crate::principal::Principal;

/// Nothing longer is a token: what one look-up costs has a bound.
const LONGEST: usize = 512;

#[derive(Debug)]
pub(crate) struct Tokens {
    key: Key,
    /// Of every token, in the order of the file.
    hashes: Secret<Vec<Words>>,
    /// Whose they are, in the same order.
    principals: Vec<Principal>,
    /// Each once, so that equal names are one principal.
    names: HashSet<Arc<str>>,
}

impl Tokens {
    /// # Errors
    /// Everything that is wrong with the file.
    pub(crate) fn read(path: &Path) -> Result<Tokens, TokensFault> {
        file::read(path).map(|(key, contents)| Tokens::new(&key, contents))
    }

    pub(super) fn new(key: &Secret<[u8; 32]>, contents: Contents) -> Tokens {
        let (mut names, mut hashes, mut principals) = (HashSet::new(), Vec::new(), Vec::new());
        for entry in contents.entries {
            let name: Arc<str> = entry.name.into();
            let name = names.get(&name).cloned().unwrap_or(name);
            names.insert(Arc::clone(&name));
            hashes.push(words(entry.hash.reveal()));
            principals.push(Principal::Token(name));
        }
        Tokens { key: Key::new(key), hashes: Secret::new(hashes), principals, names }
    }

    /// What a text says that is in no file.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn parse(text: &[u8]) -> Option<Tokens> {
        let (key, contents) = file::parse(text).ok()?.whole().ok()?;
        Some(Tokens::new(&key, contents))
    }

    /// The lines of a file that has these names and tokens, with a key that is always the same.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn lines(tokens: &[(&str, &[u8])]) -> Vec<String> {
        let key = Secret::new([1; 32]);
        let line = |(name, token): &(&str, &[u8])| format!("{name} {}", file::hex(&Key::new(&key).hash(token)));
        std::iter::once(format!("key {}", file::hex(key.reveal()))).chain(tokens.iter().map(line)).collect()
    }

    /// Whose token it is. Takes equally long for every token of the file and for every other of the same length.
    pub(crate) fn find(&self, given: &[u8]) -> Option<&Principal> {
        if given.len() > LONGEST {
            return None;
        }
        let hash = words(&self.key.hash(given));
        let mut found = self.principals.len() as u64;
        for (at, own) in (0_u64..).zip(self.hashes.reveal()) {
            let differences = own.iter().zip(&hash).fold(0, |bits, (one, other)| bits | (one ^ other));
            found.conditional_assign(&at, differences.ct_eq(&0));
        }
        self.principals.get(found as usize)
    }

    /// Whether the file has a token of that principal. It never has one of `anonymous`, or of a certificate's.
    pub(crate) fn has(&self, principal: &Principal) -> bool {
        match principal {
            Principal::Token(name) => self.names.contains(name),
            Principal::Anonymous | Principal::Certificate(_) => false,
        }
    }
}

/// Whether two tokens are the same. Takes equally long wherever they differ. For a token that was found before: a connection may
/// carry the requests of several clients.
pub(crate) fn is_same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    // By words, since each request of a connection is compared with the one before.
    let (words, rest) = one.as_chunks::<8>();
    let (other_words, other_rest) = other.as_chunks::<8>();
    let pairs = words.iter().zip(other_words);
    let differences = pairs.fold(0, |bits, (one, other)| bits | (u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other)));
    let differences = rest.iter().zip(other_rest).fold(differences, |bits, (one, other)| bits | u64::from(one ^ other));
    differences.ct_eq(&0).into()
}

/// What hashes the tokens of one file: HMAC-SHA256, with what depends on the key only computed once.
#[derive(Debug)]
pub(super) struct Key(Secret<Hmac<Sha256>>);

impl Key {
    pub(super) fn new(key: &Secret<[u8; 32]>) -> Key {
        Key(Secret::new(Hmac::new_from_slice(key.reveal()).expect("a key may have any length")))
    }

    pub(super) fn hash(&self, token: &[u8]) -> [u8; 32] {
        self.0.reveal().clone().chain_update(token).finalize().into_bytes().into()
    }
}

/// A hash as it is compared.
type Words = [u64; 4];

fn words(hash: &[u8; 32]) -> Words {
    let (eights, _) = hash.as_chunks::<8>();
    std::array::from_fn(|at| u64::from_ne_bytes(eights[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(tokens: &[(&str, &str)]) -> Tokens {
        let tokens: Vec<(&str, &[u8])> = tokens.iter().map(|(name, token)| (*name, token.as_bytes())).collect();
        Tokens::parse(Tokens::lines(&tokens).join("\n").as_bytes()).expect("a good file")
    }

    #[test]
    fn the_hash_is_hmac_sha256() {
        // RFC 4231, test case 2, with the key made 32 bytes long by zeros, which HMAC adds by itself.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let hash = Key::new(&Secret::new(key)).hash(b"what do ya want for nothing?");
        assert_eq!(hash[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
        assert_eq!(hash[24..], [0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43]);
    }

    #[test]
    fn a_token_is_found_wherever_it_stands_and_no_other_is() {
        let names = ["alice", "bob", "c@example.com"];
        let tokens = tokens(&names.map(|name| (name, name)));
        for name in names {
            assert_eq!(tokens.find(name.as_bytes()), Some(&Principal::named(name)));
            let upper = name.to_uppercase();
            let longer = format!("{name}{name}");
            for other in [&name[1..], &name[..2], &upper, &longer, ""] {
                assert_eq!(tokens.find(other.as_bytes()), None, "{other}");
            }
        }
    }

    #[test]
    fn tokens_with_one_name_are_one_principals() {
        let tokens = tokens(&[("alice", "old"), ("bob", "his"), ("alice", "new")]);
        let (old, new) = (tokens.find(b"old").expect("found"), tokens.find(b"new").expect("found"));
        assert_eq!((old, old.tag()), (new, new.tag()));
        assert_ne!(tokens.find(b"his"), Some(old));
    }

    #[test]
    fn a_file_without_tokens_lets_nobody_in() {
        let tokens = tokens(&[]);
        assert!(tokens.find(b"").is_none() && tokens.find(b"x").is_none());
        assert!(!tokens.has(&Principal::named("alice")));
    }

    #[test]
    fn nothing_longer_than_512_bytes_is_a_token() {
        let (longest, longer) = ("x".repeat(512), "x".repeat(513));
        let tokens = tokens(&[("alice", &longest), ("bob", &longer)]);
        assert!(tokens.find(longest.as_bytes()).is_some() && tokens.find(longer.as_bytes()).is_none());
    }

    #[test]
    fn a_file_has_only_those_principals_whose_tokens_it_has() {
        let tokens = tokens(&[("alice", "hers")]);
        assert!(tokens.has(&Principal::named("alice")));
        let certificate = Principal::Certificate("alice".into());
        for other in [Principal::named("bob"), Principal::named(""), Principal::Anonymous, certificate] {
            assert!(!tokens.has(&other), "{other:?}");
        }
    }

    #[test]
    fn what_is_printed_of_tokens_has_neither_key_nor_hash() {
        let all = tokens(&[("alice", "hers")]);
        let (printed, long) = (format!("{all:?}"), format!("{all:#?}"));
        assert!(printed.contains("alice") && printed.matches("Secret(..)").count() == 2, "{printed}");
        let first = all.hashes.reveal()[0][0];
        for told in [&first.to_string(), &format!("{first:x}"), "[1, 1", "0101", "hers"] {
            assert!(!printed.contains(told) && !long.contains(told), "{printed}");
        }
    }

    #[test]
    fn tokens_are_the_same_if_every_byte_is() {
        for (one, other, is) in [("", "", true), ("a", "", false), ("ab", "ab", true), ("ab", "aB", false), ("ab", "abc", false)]
        {
            assert_eq!(is_same(one.as_bytes(), other.as_bytes()), is, "{one} {other}");
        }
    }
}
