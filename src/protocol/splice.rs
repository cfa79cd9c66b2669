//! What is exchanged in a message as it passes: ids and progress tokens, private ones toward the child and the client's own
//! on the way back. Every other byte stays. Used by `session::router`.

use std::borrow::Cow;

use memchr::memchr2_iter;

use super::scan::Span;

/// The message with each span replaced, white space around it gone, and every raw CR or LF (which can only be white space
/// between tokens) a space, so that it is one line of stdio and one `data:` field of SSE. `end` is appended.
pub(crate) fn splice(text: &[u8], edits: &mut [(Span, &[u8])], end: &[u8]) -> Vec<u8> {
    edits.sort_unstable_by_key(|(span, _)| span.start);
    let body = text.trim_ascii();
    let start = text.len() - text.trim_ascii_start().len();
    let grown: usize = edits.iter().map(|(_, new)| new.len()).sum();
    let mut out = Vec::with_capacity(body.len() + grown + end.len());
    let mut at = start;
    for (span, new) in edits.iter() {
        out.extend_from_slice(&text[at..span.start]);
        out.extend_from_slice(new);
        at = span.end;
    }
    out.extend_from_slice(&text[at..start + body.len()]);
    let breaks: Vec<usize> = memchr2_iter(b'\r', b'\n', &out).collect();
    for at in breaks {
        out[at] = b' ';
    }
    out.extend_from_slice(end);
    out
}

/// An id or token in the one form that two equal ones share: strings with their escapes undone, numbers as written.
pub(crate) fn canonical(token: &[u8]) -> Cow<'_, [u8]> {
    if !token.contains(&b'\\') {
        return Cow::Borrowed(token);
    }
    // A lone surrogate does not decode; then only the same spelling is equal.
    match serde_json::from_slice::<String>(token) {
        Ok(text) => Cow::Owned(serde_json::Value::String(text).to_string().into_bytes()),
        Err(_) => Cow::Borrowed(token),
    }
}

/// The private number that we gave, if the token is one: digits as we write them, nothing else.
pub(crate) fn private_number(token: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(token).ok()?;
    let number = text.parse().ok()?;
    (text.starts_with(|first: char| first.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::jsonrpc::read;
    use proptest::prelude::*;

    #[test]
    fn white_space_breaks_become_spaces_and_nothing_else_changes() {
        let text = "\r\n{\"jsonrpc\":\"2.0\",\r\n\t\"id\": 1 ,\"method\":\"m\",\"x\":\"\u{2028}\\r\\n\u{85}\"}\r";
        let id = read(text.as_bytes()).expect("a message").id.expect("an id");
        assert_eq!(
            String::from_utf8(splice(text.as_bytes(), &mut [(id, b"\"new\"")], b"\n")).expect("UTF-8"),
            "{\"jsonrpc\":\"2.0\",  \t\"id\": \"new\" ,\"method\":\"m\",\"x\":\"\u{2028}\\r\\n\u{85}\"}\n"
        );
    }

    #[test]
    fn equal_ids_have_one_canonical_form() {
        assert_eq!(canonical(br#""\u0061""#), canonical(br#""a""#));
        assert_ne!(canonical(b"1"), canonical(br#""1""#));
        assert_eq!(canonical(br#""\ud800""#).as_ref(), br#""\ud800""#);
    }

    #[test]
    fn only_our_own_spelling_is_a_private_number() {
        assert_eq!(private_number(b"17"), Some(17));
        for token in ["+17", "017", "00", "17.0", "\"17\"", "-1", "", "99999999999999999999"] {
            assert_eq!(private_number(token.as_bytes()), None, "{token}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]

        #[test]
        fn an_exchange_of_the_id_and_back_gives_the_same_bytes(
            id in prop_oneof![Just("9007199254740993".to_owned()), "\"[a-z\\\\u00e9]{0,9}\"".prop_filter("JSON", |id| serde_json::from_str::<String>(id).is_ok())],
            params in prop_oneof![
                Just("{\"n\":[1e400,-0,1.0,123456789012345678901234567890,\"\\ud800\"],\"n\":2}"),
                Just("{ \"z\" : {} , \"a\":\"\u{2029}\" }"),
                Just("{\"_meta\":{\"k\":1,\"progressToken\":\"tok\"}}"),
            ],
            id_last: bool,
        ) {
            let text = if id_last {
                format!("{{\"method\":\"m\",\"params\":{params},\"jsonrpc\":\"2.0\",\"id\":{id}}}")
            } else {
                format!("{{\"id\":{id},\"jsonrpc\":\"2.0\",\"method\":\"m\",\"params\":{params}}}")
            };
            let read_once = read(text.as_bytes()).expect("a message");
            let mut edits = vec![(read_once.id.expect("an id"), &b"42"[..])];
            edits.extend(read_once.asked_token.map(|span| (span, &b"42"[..])));
            let spliced = splice(text.as_bytes(), &mut edits, b"");
            let read_again = read(&spliced).expect("a message");
            let mut edits = vec![(read_again.id.expect("an id"), id.as_bytes())];
            edits.extend(read_again.asked_token.map(|span| (span, &b"\"tok\""[..])));
            prop_assert_eq!(splice(&spliced, &mut edits, b""), text.into_bytes());
        }
    }
}
