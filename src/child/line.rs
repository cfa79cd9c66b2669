//! One line on its way to a child: mostly one piece; of a large message the middle is still where it came.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    head: Vec<u8>,
    kept: Bytes,
    tail: Vec<u8>,
    /// So much of it has been written.
    written: usize,
}

impl Line {
    /// What is still to be written.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.kept.len() + self.tail.len() - self.written
    }

    /// The same, if it is in one piece.
    pub(super) fn only(&self) -> Option<&[u8]> {
        (self.kept.is_empty() && self.tail.is_empty()).then(|| &self.head[self.written..])
    }

    pub(super) fn slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        let mut skip = self.written;
        [&self.head[..], &self.kept, &self.tail].into_iter().filter_map(move |part| {
            let rest = &part[skip.min(part.len())..];
            skip = skip.saturating_sub(part.len());
            (!rest.is_empty()).then(|| IoSlice::new(rest))
        })
    }
}

#[cfg(test)]
impl Line {
    /// What is still to be written, in one piece.
    pub(crate) fn rest(&self) -> Vec<u8> {
        [&self.head[..], &self.kept, &self.tail].concat()[self.written..].to_vec()
    }
}

/// So many bytes were written; what is left keeps its order.
pub(super) fn advance(lines: &mut VecDeque<Line>, mut count: usize) {
    while let Some(line) = lines.front_mut() {
        if count < line.len() {
            line.written += count;
            return;
        }
        count -= line.len();
        lines.pop_front();
    }
}

impl From<Vec<u8>> for Line {
    fn from(line: Vec<u8>) -> Line {
        Line { head: line, ..Line::default() }
    }
}

/// In three pieces.
impl From<(Vec<u8>, Bytes, Vec<u8>)> for Line {
    fn from((head, kept, tail): (Vec<u8>, Bytes, Vec<u8>)) -> Line {
        Line { head, kept, tail, written: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_and_what_is_left_are_all_in_order(
            lines in prop::collection::vec((".{1,9}", ".{0,9}", ".{0,9}"), 1..6),
            counts in prop::collection::vec(1_usize..40, 0..40),
        ) {
            let all: String = lines.iter().map(|(a, b, c)| format!("{a}{b}{c}")).collect();
            let mut left: VecDeque<Line> =
                lines.into_iter().map(|(a, b, c)| (a.into_bytes(), Bytes::from(b), c.into_bytes()).into()).collect();
            let mut at = 0;
            for count in counts {
                let count = count.min(all.len() - at);
                advance(&mut left, count);
                at += count;
                let slices: Vec<u8> = left.iter().flat_map(Line::slices).flat_map(|slice| slice.to_vec()).collect();
                prop_assert_eq!(&slices, &all.as_bytes()[at..]);
                prop_assert_eq!(left.iter().map(Line::len).sum::<usize>(), all.len() - at);
                prop_assert_eq!(left.iter().flat_map(Line::rest).collect::<Vec<u8>>(), slices);
            }
        }
    }
}
