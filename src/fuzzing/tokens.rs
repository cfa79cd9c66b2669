//! Files of tokens, and the token that a request gives.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::input::Input;
use crate::auth::{Given, Tokens, credentials, is_same};
use crate::principal::Principal;

/// Tokens are found in a file in whatever spelling, and nothing else is; a file of any text that is good has the principals that
/// a plain reading of it has; header fields give the token that they spell, and any other fields none that is not in them.
pub fn tokens(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    spelled(&mut input);
    given(&mut input);
    given_anything(&mut input);
    anything(input.rest());
}

/// A file to look up in, to measure how long that takes.
pub struct Lookup(Tokens);

impl Lookup {
    /// Of these tokens, each somebody else's.
    pub fn of(tokens: &[Vec<u8>]) -> Lookup {
        let names: Vec<String> = (0..tokens.len()).map(|at| format!("n{at}")).collect();
        let tokens: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(tokens.iter().map(Vec::as_slice)).collect();
        Lookup(Tokens::parse(Tokens::lines(&tokens).join("\n").as_bytes()).expect("a good file"))
    }

    /// Whether it is anybody's.
    #[inline(never)]
    pub fn has(&self, given: &[u8]) -> bool {
        self.0.find(given).is_some()
    }

    /// Whether it is the one that was given before.
    #[inline(never)]
    pub fn is_again(before: &[u8], given: &[u8]) -> bool {
        is_same(before, given)
    }
}

fn spelled(input: &mut Input<'_>) {
    const NAMES: [&str; 6] = ["alice", "bob", "c@example.com", "Key", "-", "x.y_z-9"];
    const SPACES: [&str; 4] = [" ", "\t", "  \t", "     "];
    const ENDS: [&str; 6] = ["\n", "\r\n", " \n", "\t\r\n", "\n\n", "\n # mcpgw_ key\n\n"];
    let mut tokens: Vec<(&str, &[u8])> = Vec::new();
    for _ in 0..input.below(5) {
        let (name, token) = (input.pick(&NAMES).unwrap_or("a"), input.piece());
        if !tokens.iter().any(|(_, other)| *other == token) {
            tokens.push((name, token));
        }
    }
    let mut text = String::new();
    for line in Tokens::lines(&tokens) {
        let line = if input.flag() { line } else { cased(&line, input) };
        let before = input.pick(&["", " ", "\t", "#\n"]).unwrap_or_default();
        text.extend([before, &line.replace(' ', input.pick(&SPACES).unwrap_or(" ")), input.pick(&ENDS).unwrap_or("\n")]);
    }
    let file = Tokens::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text:?} is good"));
    for (name, token) in &tokens {
        let principal = Principal::Token((*name).into());
        assert!(file.has(&principal), "{name} of {text:?}");
        assert_eq!(file.find(token), Some(&principal).filter(|_| token.len() <= 512), "{name} of {text:?}");
    }
    let other = input.piece();
    let expected = tokens.iter().find(|(_, token)| *token == other && other.len() <= 512).map(|(name, _)| *name);
    assert_eq!(file.find(other).map(Principal::name), expected);
    for (_, token) in &tokens {
        assert_eq!(is_same(token, other), *token == other);
    }
}

/// With its digits in the other case: the name, and `key`, keep theirs.
fn cased(line: &str, input: &mut Input<'_>) -> String {
    let (name, hex) = line.split_once(' ').expect("a name and digits");
    let bits = input.number();
    let case = |(at, digit): (usize, char)| if bits >> (at % 64) & 1 == 1 { digit.to_ascii_uppercase() } else { digit };
    format!("{name} {}", hex.chars().enumerate().map(case).collect::<String>())
}

fn given(input: &mut Input<'_>) {
    let (has_bearer, has_key) = (input.flag(), input.flag());
    let scheme = input.pick(&["Bearer ", "bearer ", "BEARER   ", "bEaReR  "]).unwrap_or("Bearer ");
    let token = input.piece();
    let mut fields = HeaderMap::new();
    let Ok(bearer) = HeaderValue::from_bytes(&[scheme.as_bytes(), token].concat()) else { return };
    let Ok(key) = HeaderValue::from_bytes(token) else { return };
    if token.is_empty() || token.trim_ascii() != token {
        return;
    }
    if has_bearer {
        fields.append(AUTHORIZATION, bearer);
    }
    if has_key {
        fields.append(X_API_KEY, key);
    }
    let expected = if has_bearer || has_key { Given::Token(token) } else { Given::None };
    assert_eq!(credentials(&fields), expected, "{fields:?}");
    for name in [AUTHORIZATION, X_API_KEY] {
        if let Some(value) = fields.get(&name).cloned() {
            let mut twice = fields.clone();
            twice.append(name, value);
            assert_eq!(credentials(&twice), Given::Bad, "{twice:?}");
        }
    }
}

fn given_anything(input: &mut Input<'_>) {
    let mut fields = HeaderMap::new();
    for name in [AUTHORIZATION, X_API_KEY] {
        for _ in 0..input.below(3) {
            fields.extend(HeaderValue::from_bytes(input.piece()).ok().map(|value| (name.clone(), value)));
        }
    }
    match credentials(&fields) {
        Given::None => assert!(fields.is_empty()),
        Given::Bad => assert!(!fields.is_empty()),
        Given::Token(token) => {
            let is_bearer = |value: &HeaderValue| {
                let rest = value.as_bytes().split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
                rest.is_some_and(|(_, rest)| rest.trim_ascii() == token)
            };
            let (bearer, key) = (fields.get(AUTHORIZATION), fields.get(X_API_KEY));
            assert!(bearer.is_some_and(is_bearer) || key.is_some_and(|key| key == token), "{fields:?}");
            assert!(!token.is_empty() && fields.keys_len() == fields.len(), "{fields:?}");
        }
    }
}

fn anything(text: &[u8]) {
    for text in [text, &[KEY_LINE, text].concat()] {
        let Some(file) = Tokens::parse(text) else { continue };
        let mut count = 0;
        for line in text.split(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(line);
            let words: Vec<&str> = line.trim_end_matches('\r').split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            match words[..] {
                [] | ["key", _] => {}
                [first, ..] if first.starts_with('#') => {}
                [name, _] => {
                    count += 1;
                    assert!(file.has(&Principal::Token(name.into())), "{name} of {line:?}");
                }
                _ => panic!("{line:?} says nothing"),
            }
        }
        assert_eq!(format!("{file:?}").matches("Token(").count(), count);
        assert!(!file.has(&Principal::Token("key".into())) && !file.has(&Principal::Token("anonymous".into())));
    }
}

const KEY_LINE: &[u8] = b"key 0101010101010101010101010101010101010101010101010101010101010101\n";
const AUTHORIZATION: HeaderName = http::header::AUTHORIZATION;
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
