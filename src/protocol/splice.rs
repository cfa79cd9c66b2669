//! What is exchanged in a message as it passes: ids and progress tokens, private ones toward the child and the client's own
//! on the way back. Every other byte stays. Used by `session::router`.

use std::borrow::Cow;

use std::ops::Range;

use bytes::Bytes;
use memchr::{memchr2, memchr2_iter};

use super::pieces::Pieces;
use super::scan::Span;

/// A stretch of at least this size that stays as it is is not copied.
pub(crate) const LARGE: usize = 64 << 10;

/// A message with some bytes exchanged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Spliced {
    Whole(Vec<u8>),
    Around(Around),
}

/// A large message with some bytes exchanged: most of it is still where it was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Around {
    pub(crate) head: Vec<u8>,
    /// What stands between, in the message that was given.
    pub(crate) kept: Range<usize>,
    pub(crate) tail: Vec<u8>,
}

/// The same as [`splice`], but the largest stretch that stays as it is is not copied if it is large.
pub(crate) fn pass(text: &[u8], edits: &mut [(Span, &[u8])], end: &[u8]) -> Spliced {
    if text.len() < LARGE {
        return Spliced::Whole(splice(text, edits, end));
    }
    edits.sort_unstable_by_key(|(span, _)| span.range().start);
    let body = text.len() - text.trim_ascii_start().len()..text.trim_ascii_end().len();
    let starts = [body.start].into_iter().chain(edits.iter().map(|(span, _)| span.range().end));
    let ends = edits.iter().map(|(span, _)| span.range().start).chain([body.end]);
    let kept = starts.zip(ends).map(|(start, end)| start..end).max_by_key(Range::len).unwrap_or_default();
    if kept.len() < LARGE || memchr2(b'\r', b'\n', &text[kept.clone()]).is_some() {
        return Spliced::Whole(splice(text, edits, end));
    }
    let (before, behind) = edits.split_at_mut(edits.partition_point(|(span, _)| span.range().end <= kept.start));
    let mut head = exchange(text, body.start..kept.start, before);
    let mut tail = exchange(text, kept.end..body.end, behind);
    break_no_lines(&mut head);
    break_no_lines(&mut tail);
    tail.extend_from_slice(end);
    Spliced::Around(Around { head, kept, tail })
}

/// The same with what is put together of stretches of the text itself.
pub(crate) fn compose<'a>(text: &'a [u8], mut edits: Vec<(Span, Pieces<'a>)>, end: &[u8]) -> Spliced {
    edits.sort_unstable_by_key(|(span, _)| span.range().start);
    let mut out = Pieces::with_room(text.len() + 64);
    let mut at = text.len() - text.trim_ascii_start().len();
    for (span, new) in edits {
        out.keep(&text[at..span.range().start]);
        out.append(new);
        at = span.range().end;
    }
    out.keep(&text[at..text.trim_ascii_end().len()]);
    out.line(text, end)
}

impl Spliced {
    /// The message in one piece.
    pub(crate) fn joined(self, text: &[u8]) -> Vec<u8> {
        match self {
            Spliced::Whole(whole) => whole,
            Spliced::Around(around) => around.joined(text),
        }
    }

    /// The message in the place of the text that was given, where there is room for it and nobody else holds that.
    pub(crate) fn in_place(self, text: Bytes) -> Bytes {
        let Around { head, kept, tail } = match self {
            Spliced::Whole(whole) => return whole.into(),
            Spliced::Around(around) => around,
        };
        let (start, end) = (kept.start.checked_sub(head.len()), kept.end + tail.len());
        let fits = start.filter(|_| end <= text.len());
        match (fits, text.try_into_mut()) {
            (Some(start), Ok(mut text)) => {
                text[start..kept.start].copy_from_slice(&head);
                text[kept.end..end].copy_from_slice(&tail);
                text.freeze().slice(start..end)
            }
            (None, Ok(text)) => Around { head, kept, tail }.joined(&text).into(),
            (_, Err(text)) => Around { head, kept, tail }.joined(&text).into(),
        }
    }

    /// The message in three pieces, of which the second is a part of the one that was given.
    pub(crate) fn parts(self, text: &Bytes) -> (Vec<u8>, Bytes, Vec<u8>) {
        match self {
            Spliced::Whole(whole) => (whole, Bytes::new(), Vec::new()),
            Spliced::Around(Around { head, kept, tail }) => (head, text.slice(kept), tail),
        }
    }
}

impl Around {
    pub(crate) fn joined(self, text: &[u8]) -> Vec<u8> {
        [&self.head, &text[self.kept], &self.tail].concat()
    }
}

/// The message with each span replaced, white space around it gone, and every raw CR or LF (which can only be white space
/// between tokens) a space, so that it is one line of stdio and one `data:` field of SSE. `end` is appended.
pub(crate) fn splice(text: &[u8], edits: &mut [(Span, &[u8])], end: &[u8]) -> Vec<u8> {
    edits.sort_unstable_by_key(|(span, _)| span.range().start);
    let start = text.len() - text.trim_ascii_start().len();
    let mut out = exchange(text, start..start + text.trim_ascii().len(), edits);
    break_no_lines(&mut out);
    out.extend_from_slice(end);
    out
}

/// A range of the text with each span in it replaced; there is room for a byte more.
fn exchange(text: &[u8], range: Range<usize>, edits: &[(Span, &[u8])]) -> Vec<u8> {
    let grown: usize = edits.iter().map(|(_, new)| new.len()).sum();
    let mut out = Vec::with_capacity(range.len() + grown + 1);
    let mut at = range.start;
    for (span, new) in edits {
        out.extend_from_slice(&text[at..span.range().start]);
        out.extend_from_slice(new);
        at = span.range().end;
    }
    out.extend_from_slice(&text[at..range.end]);
    out
}

pub(super) fn break_no_lines(text: &mut [u8]) {
    if memchr2(b'\r', b'\n', text).is_some() {
        let breaks: Vec<usize> = memchr2_iter(b'\r', b'\n', text).collect();
        breaks.into_iter().for_each(|at| text[at] = b' ');
    }
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_not_copied_is_the_same(
            edges in prop::collection::vec((0_usize..200_000, 0_usize..40, "[0-9]{0,50}"), 0..4),
            length in prop_oneof![0_usize..70_000, 60_000_usize..200_000],
            breaks in prop::collection::vec(0_usize..200_000, 0..2),
            space in 0_usize..4,
        ) {
            let mut text = vec![b'x'; length];
            breaks.iter().filter(|at| **at < length).for_each(|at| text[*at] = b'\n');
            text.splice(..0, vec![b' '; space]);
            text.extend(vec![b'\n'; space]);
            let (mut edits, mut free) = (Vec::new(), space);
            for (skip, width, new) in &edges {
                let start = free + skip;
                if start + width <= space + length {
                    edits.push((Span::new(start..start + width), new.as_bytes()));
                    free = start + width;
                }
            }
            let expected = splice(&text, &mut edits.clone(), b"\n");
            let given = pass(&text, &mut edits, b"\n");
            if let Spliced::Around(around) = &given {
                prop_assert!(around.kept.len() >= LARGE);
            }
            let (head, kept, tail) = pass(&text, &mut edits, b"\n").parts(&text.clone().into());
            prop_assert_eq!(&[head, kept.to_vec(), tail].concat(), &expected);
            // In the place of the text, which may be somebody else's too.
            let (own, shared) = (Bytes::from(text.clone()), Bytes::from(text.clone()));
            prop_assert_eq!(&pass(&text, &mut edits, b"\n").in_place(own), &expected);
            prop_assert_eq!(&pass(&text, &mut edits, b"\n").in_place(shared.clone()), &expected);
            prop_assert_eq!(&shared, &text);
            prop_assert_eq!(given.joined(&text), expected);
        }
    }
}
