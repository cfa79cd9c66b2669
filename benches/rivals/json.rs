//! As much JSON as a fast child and a checking client need: a member of an object, the first element of an array. Both read
//! messages that are JSON for sure, so what is not gives nonsense, but no panic.

use memchr::memchr2;

/// The value of this member of an object, as it is written.
pub(crate) fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    value(at_member(object, name)?).map(|(found, _)| found)
}

/// What begins with the value of this member. Where that ends is not looked for, since it may be far away.
pub(crate) fn at_member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut rest = after(object, b'{')?;
    loop {
        let (key, tail) = value(rest)?;
        let tail = after(tail, b':')?;
        if text(key) == Some(name.as_bytes()) {
            return Some(trimmed(tail));
        }
        rest = after(value(tail)?.1, b',')?;
    }
}

/// What begins with the first element of an array.
pub(crate) fn at_first(array: &[u8]) -> Option<&[u8]> {
    after(array, b'[').map(trimmed)
}

/// A string that needs no escapes.
pub(crate) fn text(string: &[u8]) -> Option<&[u8]> {
    string.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

fn after(bytes: &[u8], mark: u8) -> Option<&[u8]> {
    trimmed(bytes).strip_prefix(&[mark])
}

/// A value and what follows it.
fn value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = trimmed(bytes);
    let length = match bytes.first()? {
        b'"' => string(bytes)?,
        b'{' | b'[' => nested(bytes)?,
        _ => {
            bytes.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')).unwrap_or(bytes.len())
        }
    };
    Some(bytes.split_at(length))
}

/// The length of a string with its quotes.
fn string(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The length of an object or an array with its brackets.
fn nested(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += string(&bytes[at..])?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}
