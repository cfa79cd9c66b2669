//! The inside of a string at memory speed: how far it needs no attention. Pure.

/// Looked at together, with the place of the first that is special.
const WORD: usize = 16;
/// Looked at together, only for whether one is special.
const BLOCK: usize = 64;

/// A quote, a backslash or a control character.
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// How many bytes from the start need no attention inside a string.
pub(super) fn plain_prefix(text: &[u8]) -> usize {
    let mut rest = text;
    let passed = |rest: &[u8]| text.len() - rest.len();
    // Most strings end within the first word or two.
    for _ in 0..2 {
        let Some((word, more)) = rest.split_first_chunk() else { break };
        match first_special(word) {
            WORD => rest = more,
            found => return passed(rest) + found,
        }
    }
    // The fold has no early exit, so that it becomes vector instructions.
    while let Some((block, more)) = rest.split_first_chunk::<BLOCK>() {
        if block.iter().fold(false, |found, byte| found | is_special(*byte)) {
            break;
        }
        rest = more;
    }
    while let Some((word, more)) = rest.split_first_chunk() {
        match first_special(word) {
            WORD => rest = more,
            found => return passed(rest) + found,
        }
    }
    passed(rest) + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len())
}

/// The place of the first special byte; `WORD` if there is none. Without a branch, so that it becomes vector instructions.
#[inline(always)]
pub(super) fn first_special(word: &[u8; WORD]) -> usize {
    let mut marks = [0; WORD];
    for (mark, byte) in marks.iter_mut().zip(word) {
        *mark = if is_special(*byte) { u8::MAX } else { 0 };
    }
    u128::from_le_bytes(marks).trailing_zeros() as usize / 8
}
