//! A digest that two JSON texts share if every parser reads them alike, as [`canonical`](super::canonical) has it, without
//! writing one spelling: what a `requestState` is bound to may be large, and is not copied.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use super::scan::{Fault, Scanner, Value};
use super::splice;

/// Of texts that are there or not, under a label. White space, the order of an object's members and the escapes of strings do not
/// matter; everything else does.
pub(crate) fn fingerprint(label: &str, texts: &[Option<&[u8]>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((label.len() as u64).to_be_bytes());
    hash.update(label);
    for text in texts {
        // No JSON begins like these.
        match text {
            None => hash.update(b"."),
            Some(text) => feed(text, &mut hash),
        }
    }
    hash.finalize().into()
}

fn feed(text: &[u8], hash: &mut Sha256) {
    let before = hash.clone();
    let mut scanner = Scanner::new(text);
    if value(&mut scanner, text, 0, hash).and_then(|()| scanner.end()).is_err() {
        *hash = before;
        hash.update(b"?");
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.update(b";"); // where a number ends
}

/// The value of a member, which waits until all are sorted.
enum Member<'a> {
    Token(&'a [u8]),
    Container([u8; 32]),
}

/// Feeds the value that begins here, `depth` containers deep. The scanner refuses what is deeper than `MAX_DEPTH`.
fn value(scanner: &mut Scanner<'_>, text: &[u8], depth: usize, hash: &mut Sha256) -> Result<(), Fault> {
    match scanner.peek()? {
        Value::Object => object(scanner, text, depth, hash)?,
        Value::Array => {
            hash.update(b"[");
            scanner.array(depth, |scanner| {
                value(scanner, text, depth + 1, hash)?;
                hash.update(b",");
                Ok(())
            })?;
            hash.update(b"]");
        }
        _ => token(scanner.value(depth)?.1.of(text), hash),
    }
    Ok(())
}

fn object(scanner: &mut Scanner<'_>, text: &[u8], depth: usize, hash: &mut Sha256) -> Result<(), Fault> {
    let mut members: Vec<(Cow<'_, [u8]>, Member<'_>)> = Vec::new();
    scanner.object(depth, |scanner, name| {
        let member = match scanner.peek()? {
            Value::Object | Value::Array => {
                let mut inner = Sha256::new();
                value(scanner, text, depth + 1, &mut inner)?;
                Member::Container(inner.finalize().into())
            }
            _ => Member::Token(scanner.value(depth + 1)?.1.of(text)),
        };
        members.push((splice::canonical(name.token.of(text)), member));
        Ok(())
    })?;
    members.sort_by(|(one, _), (other, _)| one.cmp(other)); // stable: one name's members stay in order
    hash.update(b"{");
    for (name, member) in members {
        hash.update(&name);
        match member {
            Member::Token(text) => token(text, hash),
            Member::Container(digest) => hash.update([&b"#"[..], &digest].concat()),
        }
    }
    hash.update(b"}");
    Ok(())
}

/// A string with its escapes undone, but for those that keep it apart from what follows; anything else as written.
fn token(token: &[u8], hash: &mut Sha256) {
    let mut rest = token;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        hash.update(&rest[..at]);
        rest = escape(&rest[at + 1..], hash);
    }
    hash.update(rest);
}

/// Feeds what an escape stands for, and gives what is behind it.
fn escape<'a>(text: &'a [u8], hash: &mut Sha256) -> &'a [u8] {
    let Some((kind, rest)) = text.split_first() else { return text };
    let short: &[u8] = match kind {
        b'"' => b"\\\"",
        b'\\' => b"\\\\",
        b'b' => b"\x08",
        b'f' => b"\x0c",
        b'n' => b"\n",
        b'r' => b"\r",
        b't' => b"\t",
        b'u' => return unicode(rest, hash),
        _ => b"/",
    };
    hash.update(short);
    rest
}

/// The same behind `\u`; half a pair that stands alone stays an escape.
fn unicode<'a>(text: &'a [u8], hash: &mut Sha256) -> &'a [u8] {
    let Some(first) = unit(text) else { return text };
    let rest = &text[4..];
    let second = rest.strip_prefix(b"\\u").and_then(unit);
    let pair = [first, second.unwrap_or_default()];
    let units = if (0xd800..0xdc00).contains(&first) { &pair[..] } else { &pair[..1] };
    match char::decode_utf16(units.iter().copied()).next() {
        Some(Ok(character @ ('"' | '\\'))) => hash.update([b'\\', character as u8]),
        Some(Ok(character)) => hash.update(character.encode_utf8(&mut [0; 4])),
        _ => {
            hash.update(format!("\\u{first:04x}"));
            return rest;
        }
    }
    if units.len() == 2 { &rest[6..] } else { rest }
}

fn unit(digits: &[u8]) -> Option<u16> {
    u16::from_str_radix(std::str::from_utf8(digits.get(..4)?).ok()?, 16).ok()
}
