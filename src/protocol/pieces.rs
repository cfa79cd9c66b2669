//! A text put together of new bytes and of stretches of another: only small ones are copied before it has to be one.

use std::ops::Range;

use memchr::memchr2;

use super::splice::{Around, LARGE, Spliced, break_no_lines};

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pieces<'a> {
    /// Bytes, and the large stretch behind them.
    parts: Vec<(Vec<u8>, &'a [u8])>,
    last: Vec<u8>,
}

impl<'a> Pieces<'a> {
    /// With room for small ones of that size in all.
    pub(crate) fn with_room(size: usize) -> Pieces<'a> {
        Pieces { parts: Vec::new(), last: Vec::with_capacity(size.min(LARGE)) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.last.is_empty()
    }

    /// Appends a copy.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
    }

    /// Appends a stretch; one that is large stays where it is.
    pub(crate) fn keep(&mut self, stretch: &'a [u8]) {
        if stretch.len() < LARGE {
            self.add(stretch);
        } else {
            self.parts.push((std::mem::take(&mut self.last), stretch));
        }
    }

    pub(crate) fn append(&mut self, other: Pieces<'a>) {
        for (new, kept) in other.parts {
            self.add(&new);
            self.keep(kept);
        }
        self.add(&other.last);
    }

    /// A JSON array of these elements.
    pub(crate) fn array(elements: impl IntoIterator<Item = Pieces<'a>>) -> Pieces<'a> {
        let mut out = Pieces::from(b"[".to_vec());
        for (at, element) in elements.into_iter().enumerate() {
            out.add(if at > 0 { b"," } else { b"" });
            out.append(element);
        }
        out.add(b"]");
        out
    }

    /// All in one.
    pub(crate) fn joined(self) -> Vec<u8> {
        if self.parts.is_empty() {
            return self.last;
        }
        let parts = self.parts.iter().flat_map(|(new, kept)| [new.as_slice(), kept]);
        parts.chain([self.last.as_slice()]).collect::<Vec<&[u8]>>().concat()
    }

    /// One line, of which the largest stretch stays in `text`, where it was taken from, if it is most of that: whoever keeps a
    /// stretch keeps the whole text. Raw CR and LF, which can only be white
    /// space between tokens, become spaces. `end` is appended.
    pub(crate) fn line(self, text: &[u8], end: &[u8]) -> Spliced {
        let largest = (0..self.parts.len()).max_by_key(|at| self.parts[*at].1.len());
        let kept = largest.and_then(|at| Some((at, place(text, self.parts[at].1)?)));
        let kept = kept.filter(|(_, range)| range.len() >= text.len() / 2);
        let kept = kept.filter(|(_, range)| memchr2(b'\r', b'\n', &text[range.clone()]).is_none());
        let Some((at, kept)) = kept else {
            let mut whole = self.joined();
            break_no_lines(&mut whole);
            whole.extend_from_slice(end);
            return Spliced::Whole(whole);
        };
        let Pieces { mut parts, last } = self;
        let behind = parts.split_off(at + 1);
        let mut tail = Pieces { parts: behind, last }.joined();
        let (new, _) = parts.pop().unwrap_or_default();
        let mut head = Pieces { parts, last: new }.joined();
        break_no_lines(&mut head);
        break_no_lines(&mut tail);
        tail.extend_from_slice(end);
        Spliced::Around(Around { head, kept, tail })
    }
}

impl<'a> From<&'a [u8]> for Pieces<'a> {
    fn from(stretch: &'a [u8]) -> Self {
        let mut pieces = Pieces::default();
        pieces.keep(stretch);
        pieces
    }
}

impl From<Vec<u8>> for Pieces<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Pieces { parts: Vec::new(), last: bytes }
    }
}

/// Where a slice of the text stands in it; `None` if it is another's.
fn place(text: &[u8], slice: &[u8]) -> Option<Range<usize>> {
    let start = (slice.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let range = start..start + slice.len();
    (range.end <= text.len()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_line_is_what_was_put_together(
            stretches in prop::collection::vec((0_usize..300_000, prop_oneof![0_usize..100, 0_usize..200_000], "[a-z\n]{0,9}"), 0..6),
            breaks in prop::collection::vec(0_usize..300_000, 0..2),
        ) {
            let mut text: Vec<u8> = (0..300_000_u32).map(|at| b'a' + (at % 26) as u8).collect();
            breaks.into_iter().for_each(|at| text[at] = b'\n');
            let text = Bytes::from(text);
            let (mut pieces, mut expected) = (Pieces::with_room(9), Vec::new());
            for (at, (start, length, new)) in stretches.iter().enumerate() {
                let stretch = &text[*start..text.len().min(start + length)];
                let mut inner = Pieces::default();
                inner.add(new.as_bytes());
                inner.keep(stretch);
                if at % 2 == 0 { pieces.append(inner) } else { pieces.add(&inner.joined()) }
                expected.extend_from_slice(new.as_bytes());
                expected.extend_from_slice(stretch);
            }
            prop_assert_eq!(pieces.is_empty(), expected.is_empty());
            let is_large = stretches.iter().step_by(2).any(|(start, length, _)| text.len().min(start + length) - start >= LARGE);
            let line = pieces.line(&text, b"!");
            prop_assert!(is_large || matches!(line, Spliced::Whole(_)));
            let mut expected: Vec<u8> = expected.into_iter().map(|byte| if byte == b'\n' { b' ' } else { byte }).collect();
            expected.push(b'!');
            prop_assert_eq!(line.joined(&text), expected);
        }
    }

    #[test]
    fn a_small_part_of_a_text_does_not_keep_all_of_it() {
        let text = vec![b'a'; 4 * LARGE];
        for (length, stays) in [(LARGE, false), (2 * LARGE, true)] {
            let line = Pieces::from(&text[..length]).line(&text, b"");
            assert_eq!(matches!(line, Spliced::Around(_)), stays);
        }
    }

    #[test]
    fn what_is_of_another_text_is_copied() {
        let (text, other) = (vec![b'a'; LARGE], vec![b'b'; LARGE]);
        let mut pieces = Pieces::default();
        pieces.keep(&other);
        assert_eq!(pieces.line(&text, b""), Spliced::Whole(other));
    }
}
