//! Small texts that we hand to a client and want back unchanged, such as the `requestState` of a question. Sealed, so that a
//! client can neither read nor make one. Says nothing about age or reuse: whoever seals puts that inside.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

/// The key of this process, and what makes its nonces.
///
/// 2026-07-28, Multi Round-Trip Requests, Server Requirements (Basic Workflow): a state that comes back is the client's
/// word. Its integrity must be protected, and what fails the check refused.
pub(crate) struct Seal {
    cipher: XChaCha20Poly1305,
    /// Says which key closed a text, so that one of another key is refused before anything is deciphered.
    key_id: [u8; KEY_ID],
    /// First part of every nonce: random, so that replicas with the same key never share one.
    nonce_prefix: [u8; NONCE_PREFIX],
    /// Second part: the texts closed so far, so that no two of this process share one.
    closed: AtomicU64,
    replica: u64,
    /// What every text begins with: of which replica it is, for those that look for it, and the layout.
    mark: String,
}

impl Seal {
    /// A key of this process, from the system's randomness.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(crate) fn random(replica: Option<&str>) -> Result<Seal, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Seal::with_key(key, replica)
    }

    fn with_key(key: [u8; 32], name: Option<&str>) -> Result<Seal, getrandom::Error> {
        let mut nonce_prefix = [0; NONCE_PREFIX];
        getrandom::fill(&mut nonce_prefix)?;
        let mut replica = [0; 8];
        getrandom::fill(&mut replica)?;
        let [a, b, c, d, ..] = digest(&[&key]);
        Ok(Seal {
            cipher: XChaCha20Poly1305::new(&key.into()),
            key_id: [a, b, c, d],
            nonce_prefix,
            closed: AtomicU64::new(0),
            replica: u64::from_ne_bytes(replica),
            mark: name.map_or_else(|| VERSION.to_owned(), |name| format!("{name}-{VERSION}")),
        })
    }

    /// Tells this process from others with the same key. Random.
    pub(crate) fn replica(&self) -> u64 {
        self.replica
    }

    /// The replica's name and `-`, if it has one, `g1.` and base64url without padding of: key id, nonce, ciphertext with its tag. Opens only with the same `context`.
    pub(crate) fn close(&self, context: &[u8], plain: &[u8]) -> String {
        let mut nonce = [0; NONCE];
        let (prefix, count) = nonce.split_at_mut(NONCE_PREFIX);
        prefix.copy_from_slice(&self.nonce_prefix);
        count.copy_from_slice(&self.closed.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let payload = Payload { msg: plain, aad: &self.bound_to(context) };
        let text = self.cipher.encrypt(&XNonce::from(nonce), payload).expect("a text in memory is below the cipher's 256 GiB");
        let mut sealed = self.mark.clone();
        URL_SAFE_NO_PAD.encode_string([&self.key_id[..], &nonce, &text].concat(), &mut sealed);
        sealed
    }

    /// `None` for anything but a text that `close` made with this key and context: one byte more, less or other is enough.
    pub(crate) fn open(&self, context: &[u8], sealed: &str) -> Option<Vec<u8>> {
        // The engine takes neither padding nor trailing bits, so a text has one spelling only.
        let packed = URL_SAFE_NO_PAD.decode(sealed.strip_prefix(&*self.mark)?).ok()?;
        let (key_id, rest) = packed.split_first_chunk::<KEY_ID>()?;
        let (nonce, text) = rest.split_first_chunk::<NONCE>()?;
        if *key_id != self.key_id {
            return None;
        }
        self.cipher.decrypt(&XNonce::from(*nonce), Payload { msg: text, aad: &self.bound_to(context) }).ok()
    }

    /// What is authenticated but not kept. The first two have fixed lengths, so the boundaries are clear.
    fn bound_to(&self, context: &[u8]) -> Vec<u8> {
        [VERSION.as_bytes(), &self.key_id, context].concat()
    }
}

/// SHA-256 over the parts, each behind its length: `["ab", "c"]` and `["a", "bc"]` differ.
pub(crate) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Goes before every sealed text; another layout gets another number.
const VERSION: &str = "g1.";
const KEY_ID: usize = 4;
const NONCE_PREFIX: usize = 16;
const NONCE: usize = NONCE_PREFIX + 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn seal() -> Seal {
        Seal::random(None).expect("random bytes")
    }

    #[test]
    fn the_layout_is_fixed() {
        // Made by Python: HChaCha20 by hand, then ChaCha20Poly1305 of the `cryptography` package.
        let known = "g1.EQhcmCEiIyQlJicoKSorLC0uLzAAAAAAAAAAB93KqoUMncLuZ7G03rwiWrnxFjDCrgklodOejVE";
        let key: [u8; 32] = std::array::from_fn(|at| at as u8 + 1);
        let seal = Seal {
            nonce_prefix: std::array::from_fn(|at| at as u8 + 0x21),
            closed: AtomicU64::new(7),
            ..Seal::with_key(key, None).expect("random bytes")
        };
        assert_eq!(seal.close(b"server", b"a plain text"), known);
        assert_eq!(seal.open(b"server", known).as_deref(), Some(&b"a plain text"[..]));
    }

    #[test]
    fn a_digest_counts_the_boundaries_of_its_parts() {
        let lists: [&[&[u8]]; 6] = [&[], &[b""], &[b"", b""], &[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"]];
        let digests: HashSet<[u8; 32]> = lists.into_iter().map(digest).collect();
        assert_eq!(digests.len(), lists.len());
        // SHA-256 of nothing (FIPS 180-4, example values).
        assert_eq!(digest(&[])[..4], [0xe3, 0xb0, 0xc4, 0x42]);
    }

    #[test]
    fn no_two_texts_share_a_nonce() {
        let (seal, mut sealed) = (seal(), HashSet::new());
        for _ in 0..1000 {
            assert!(sealed.insert(seal.close(b"", b"the same")));
        }
    }

    #[test]
    fn replicas_with_one_key_open_each_others_texts_and_are_told_apart() {
        let (one, other) =
            (Seal::with_key([7; 32], None).expect("random bytes"), Seal::with_key([7; 32], None).expect("random bytes"));
        assert_ne!(one.replica(), other.replica());
        assert_eq!(other.open(b"s", &one.close(b"s", b"text")).as_deref(), Some(&b"text"[..]));
    }

    #[test]
    fn a_text_says_which_replica_made_it_and_is_good_there_only() {
        let (a, b) = (
            Seal::with_key([7; 32], Some("a")).expect("random bytes"),
            Seal::with_key([7; 32], Some("b")).expect("random bytes"),
        );
        let sealed = a.close(b"s", b"text");
        assert!(sealed.starts_with("a-g1."));
        assert_eq!(a.open(b"s", &sealed).as_deref(), Some(&b"text"[..]));
        assert_eq!((b.open(b"s", &sealed), b.open(b"s", &sealed.replacen('a', "b", 1)).is_some()), (None, true));
    }

    #[test]
    fn one_text_has_one_spelling() {
        let seal = seal();
        for length in 0..4 {
            let sealed = seal.close(b"", &vec![0; length]);
            for other in [
                format!("{sealed}="),
                format!("{sealed}=="),
                format!(" {sealed}"),
                format!("{sealed}\n"),
                sealed.replacen("g1.", "G1.", 1),
                sealed.replacen("g1.", "g1..", 1),
                sealed.replacen("g1.", "", 1),
                format!("{sealed}{sealed}"),
                format!("{sealed}AAAA"),
            ] {
                assert_eq!(seal.open(b"", &other), None, "{other}");
            }
            // The last character of a group that is not full has bits that stand for nothing.
            let (start, last) = sealed.split_at(sealed.len() - 1);
            let spellings = ('!'..='~').filter(|other| seal.open(b"", &format!("{start}{other}")).is_some());
            assert_eq!(spellings.collect::<String>(), last);
        }
        for text in ["", "g1.", "g1.AAAA", "g1.AAAAAA", "junk"] {
            assert_eq!(seal.open(b"", text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))] // each tries every place and every bit

        #[test]
        fn what_was_closed_opens(context: Vec<u8>, plain: Vec<u8>) {
            let seal = seal();
            prop_assert_eq!(seal.open(&context, &seal.close(&context, &plain)), Some(plain));
        }

        #[test]
        fn nothing_else_opens(context: Vec<u8>, plain: Vec<u8>, other: Vec<u8>, byte in 0..=127_u8) {
            let seal = seal();
            let sealed = seal.close(&context, &plain);
            if other != context {
                prop_assert_eq!(seal.open(&other, &sealed), None);
            }
            prop_assert_eq!(super::tests::seal().open(&context, &sealed), None);
            for at in 0..sealed.len() {
                prop_assert_eq!(seal.open(&context, &sealed[..at]), None);
                prop_assert_eq!(seal.open(&context, &sealed[at + 1..]), None);
                for bit in 0..7 {
                    let mut changed = sealed.clone().into_bytes();
                    changed[at] ^= 1 << bit;
                    prop_assert_eq!(seal.open(&context, &String::from_utf8(changed).expect("ASCII")), None);
                }
            }
            for at in 0..=sealed.len() {
                let mut longer = sealed.clone();
                longer.insert(at, char::from(byte));
                prop_assert_eq!(seal.open(&context, &longer), None);
            }
        }

        #[test]
        fn any_text_ends_in_an_answer(text: String) {
            prop_assert_eq!(seal().open(b"", &text), None);
            prop_assert_eq!(seal().open(b"", &format!("g1.{text}")), None);
        }
    }
}
