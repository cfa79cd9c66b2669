//! The framer against a split at every LF.

use super::input::Input;
use crate::child::framer::Framer;

/// However the text is cut into chunks, the lines are those of a plain split, in order, and each that is too long is lost once,
/// when it becomes too long. Nothing of a line that is too long is held.
pub fn framer(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let max = input.below(80);
    let cuts: Vec<usize> = input.piece().iter().map(|cut| usize::from(*cut)).collect();
    let text = input.rest();
    // A line that is lost is `None`.
    let mut expected: Vec<Option<&[u8]>> =
        text.split(|byte| *byte == b'\n').map(|line| (line.len() <= max).then_some(line)).collect();
    let tail = text.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    if tail.len() <= max {
        expected.pop(); // it has no end yet
    }
    let (mut framer, mut got, mut given) = (Framer::new(max), Vec::new(), 0);
    let mut cuts = cuts.into_iter().chain(std::iter::once(text.len()));
    while given < text.len() {
        let end = text.len().min(given + cuts.next().unwrap_or(text.len()));
        let chunk = &text[given..end];
        let fed = framer.feed(chunk);
        got.extend(fed.lost_before.then_some(None));
        for line in fed.lines() {
            let is_held = !chunk.as_ptr_range().contains(&line.as_ptr()) && !line.is_empty();
            assert!(!is_held || line.len() <= max, "{} bytes were held, {max} are allowed", line.len());
            // A line that is too long within one chunk is for the reader of lines to refuse.
            got.push((line.len() <= max).then(|| line.to_vec()));
        }
        got.extend(fed.lost_after.then_some(None));
        given = end;
        let arriving = text[..given].rsplit(|byte| *byte == b'\n').next().unwrap_or_default().len();
        assert_eq!(framer.has_partial(), 0 < arriving && arriving <= max, "{arriving} bytes of a line have come");
        let complete = text[..given].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(got.len(), complete + usize::from(arriving > max), "lost lines are told at once, and once");
    }
    let got: Vec<Option<&[u8]>> = got.iter().map(Option::as_deref).collect();
    assert_eq!(got, expected);
}
