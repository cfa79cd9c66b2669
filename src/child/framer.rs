//! Cuts what a child writes into lines. Pure. Never holds more than the longest line allowed.

use std::mem;
use std::ops::Range;

use bytes::Bytes;
use memchr::{memchr, memrchr};

/// Room before a line that does not arrive whole, for an id that is longer than the one it replaces.
const ROOM: usize = 64;

/// Up to this size the room for a line doubles as it arrives; then there is room for the longest.
const GROWS: usize = 1 << 20;

/// Collects the pieces of a line that does not arrive whole.
pub(crate) struct Framer {
    /// With room before it, if it is not empty.
    partial: Vec<u8>,
    /// The line that is arriving is too long: everything up to its end is thrown away.
    discards: bool,
    max: usize,
}

/// The lines that one chunk completed.
pub(crate) struct Fed<'a> {
    /// The line that began in an earlier chunk.
    first: Option<LongLine>,
    /// Whole lines.
    rest: &'a [u8],
    /// A line before these turned out too long, and is thrown away.
    pub(crate) lost_before: bool,
    /// The same, behind them.
    pub(crate) lost_after: bool,
}

impl Framer {
    pub(crate) fn new(max: usize) -> Self {
        Framer { partial: Vec::new(), discards: false, max }
    }

    pub(crate) fn feed<'a>(&mut self, chunk: &'a [u8]) -> Fed<'a> {
        let mut fed = Fed { first: None, rest: &[], lost_before: false, lost_after: false };
        let mut chunk = chunk;
        if self.discards || !self.partial.is_empty() {
            let Some(end) = memchr(b'\n', chunk) else {
                fed.lost_before = !self.keep(chunk);
                return fed;
            };
            fed.lost_before = !self.keep(&chunk[..end]);
            if !mem::take(&mut self.discards) {
                fed.first = Some(LongLine(mem::take(&mut self.partial)));
            }
            chunk = &chunk[end + 1..];
        }
        let (rest, tail) = chunk.split_at(memrchr(b'\n', chunk).map_or(0, |end| end + 1));
        fed.rest = rest;
        fed.lost_after = !self.keep(tail);
        fed
    }

    /// What was written before the child ended without ending its line.
    pub(crate) fn has_partial(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Says whether the line that is arriving is still short enough; a line is given up once.
    fn keep(&mut self, piece: &[u8]) -> bool {
        if self.discards {
            return true;
        }
        if piece.is_empty() {
            return true;
        }
        if self.partial.is_empty() {
            self.partial.resize(ROOM, 0);
        }
        if self.partial.len() - ROOM + piece.len() > self.max {
            self.discards = true;
            self.partial = Vec::new();
            return false;
        }
        if self.partial.len() > GROWS {
            // Room that is not used yet costs nothing, and what is there need not be moved again.
            self.partial.reserve_exact(self.max + ROOM + 1 - self.partial.len());
        }
        self.partial.extend_from_slice(piece);
        true
    }
}

/// A line that came in pieces.
pub(crate) struct LongLine(Vec<u8>);

impl LongLine {
    /// The line, without its LF.
    pub(crate) fn text(&self) -> &[u8] {
        &self.0[ROOM..]
    }

    /// A part of it with other bytes around: it stays where it is, if there is room for what stands before it.
    pub(crate) fn around(self, head: &[u8], kept: Range<usize>, tail: &[u8]) -> Bytes {
        let LongLine(mut bytes) = self;
        let begin = ROOM + kept.start;
        bytes.truncate(ROOM + kept.end);
        bytes.extend_from_slice(tail);
        match begin.checked_sub(head.len()) {
            Some(start) => {
                bytes[start..begin].copy_from_slice(head);
                Bytes::from(bytes).slice(start..)
            }
            None => [head, &bytes[begin..]].concat().into(),
        }
    }
}

impl Fed<'_> {
    /// The line that began in an earlier chunk, to be routed before the others, if it is as long as that.
    pub(crate) fn take_first(&mut self, at_least: usize) -> Option<LongLine> {
        self.first.take_if(|line| line.text().len() >= at_least)
    }

    /// Each line, without its LF.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let rest = self.rest.strip_suffix(b"\n").map(|rest| rest.split(|byte| *byte == b'\n'));
        self.first.as_ref().map(LongLine::text).into_iter().chain(rest.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_arrive(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("no LF", |byte| *byte != b'\n'), 0..30), 0..12),
            cuts in prop::collection::vec(1_usize..20, 1..40),
        ) {
            let max = 20;
            let text: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
            let mut framer = Framer::new(max);
            let (mut got, mut too_long, mut rest) = (Vec::new(), 0, text.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                let fed = framer.feed(chunk);
                // A long line within one chunk is for the reader of lines to refuse.
                too_long += usize::from(fed.lost_before) + usize::from(fed.lost_after) + fed.lines().filter(|line| line.len() > max).count();
                got.extend(fed.lines().filter(|line| line.len() <= max).map(<[u8]>::to_vec));
                rest = after;
            }
            prop_assert_eq!(too_long, lines.iter().filter(|line| line.len() > max).count());
            prop_assert_eq!(got, lines.into_iter().filter(|line| line.len() <= max).collect::<Vec<_>>());
            prop_assert!(!framer.has_partial());
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut framer = Framer::new(100);
        let mut too_long = 0;
        for _ in 0..1000 {
            let fed = framer.feed(&[b'x'; 64]);
            too_long += usize::from(fed.lost_before) + usize::from(fed.lost_after);
            assert!(framer.partial.capacity() <= 128);
        }
        assert_eq!(too_long, 1);
        let fed = framer.feed(b"x\nnext\n");
        assert_eq!(fed.lines().collect::<Vec<_>>(), [b"next"]);
    }

    fn long_line(text: &[u8]) -> LongLine {
        let mut framer = Framer::new(1 << 20);
        assert!(framer.feed(&text[..1]).first.is_none());
        framer.feed(&[&text[1..], b"\n"].concat()).take_first(text.len()).expect("it came in pieces")
    }

    #[test]
    fn a_part_of_a_long_line_stays_where_it_is_if_there_is_room_before_it() {
        let line = long_line(b"{\"id\":1,\"result\":{}}");
        let at = line.text()[7..].as_ptr();
        let with_longer_id = line.around(&[b'7'; ROOM + 7], 7..18, b"]");
        assert_eq!(with_longer_id, [&[b'7'; ROOM + 7], &b",\"result\":{"[..], b"]"].concat());
        assert_eq!(with_longer_id[ROOM + 7..].as_ptr(), at, "it was moved");
        assert_eq!(long_line(b"{\"id\":1}").around(&[b'7'; 200], 7..8, b"")[199..], *b"7}", "there is no room for that");
        assert_eq!(long_line(b"{\"id\":1}").around(b"", 0..8, b""), "{\"id\":1}");
    }

    #[test]
    fn a_line_that_is_not_long_stays_with_the_others() {
        let mut framer = Framer::new(1 << 20);
        assert!(framer.feed(b"abc").take_first(0).is_none());
        let mut fed = framer.feed(b"d\ne\n");
        assert!(fed.take_first(5).is_none());
        assert_eq!(fed.lines().collect::<Vec<_>>(), [&b"abcd"[..], b"e"]);
        assert!(fed.take_first(4).is_some());
        assert_eq!(fed.lines().collect::<Vec<_>>(), [b"e"]);
    }
}
