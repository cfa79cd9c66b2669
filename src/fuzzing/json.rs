//! JSON as `serde_json` reads it: the reference for our own scanner. Values are its raw values; the members of an object are
//! walked here, because it keeps only one of two that have the same name.

use std::ops::Range;

use serde_json::value::RawValue;

/// Deepest nesting that we pass on, told once more.
pub(super) const DEPTH: usize = 128;

/// A member of an object.
pub(super) struct Member<'a> {
    /// `None` for a name that stands for no text: half a surrogate pair.
    pub(super) name: Option<String>,
    pub(super) token: &'a [u8],
    pub(super) value: &'a [u8],
}

/// The one value of a text, without the white space around it.
pub(super) fn value(text: &[u8]) -> Option<&[u8]> {
    let value: &RawValue = serde_json::from_slice(text).ok()?;
    Some(value.get().as_bytes())
}

/// How deep a JSON text is nested.
pub(super) fn depth(json: &[u8]) -> usize {
    let (mut open, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => open += 1,
            b'}' | b']' if !quoted => open -= 1,
            _ => {}
        }
        deepest = deepest.max(open);
    }
    deepest
}

/// The elements of a JSON array.
pub(super) fn elements(array: &[u8]) -> Vec<&[u8]> {
    let elements: Vec<&RawValue> = serde_json::from_slice(array).expect("an array");
    elements.into_iter().map(|element| element.get().as_bytes()).collect()
}

/// The members of a JSON object, in order.
pub(super) fn members(object: &[u8]) -> Vec<Member<'_>> {
    let mut found = Vec::new();
    let mut at = after(object, 0, b'{');
    while object[blank(object, at)] != b'}' {
        let token = next(object, &mut at);
        at = after(object, at, b':');
        let value = next(object, &mut at);
        found.push(Member { name: serde_json::from_slice(token).ok(), token, value });
        if object[blank(object, at)] == b',' {
            at = after(object, at, b',');
        }
    }
    found
}

/// The last member of that name.
pub(super) fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    if !object.starts_with(b"{") {
        return None;
    }
    members(object).into_iter().rev().find(|member| member.name.as_deref() == Some(name)).map(|member| member.value)
}

/// Where a part of a text stands in it.
pub(super) fn range(text: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    start..start + part.len()
}

fn blank(text: &[u8], at: usize) -> usize {
    at + text[at..].iter().take_while(|byte| b" \t\r\n".contains(byte)).count()
}

fn after(text: &[u8], at: usize, byte: u8) -> usize {
    let at = blank(text, at);
    assert_eq!(text[at], byte, "a JSON object");
    at + 1
}

/// The value that begins after `at`, which moves behind it.
fn next<'a>(text: &'a [u8], at: &mut usize) -> &'a [u8] {
    let mut values = serde_json::Deserializer::from_slice(&text[*at..]).into_iter::<&RawValue>();
    let value = values.next().and_then(Result::ok).expect("a value").get().as_bytes();
    *at += values.byte_offset();
    value
}
