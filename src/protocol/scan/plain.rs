//! The inside of a string at memory speed: how far it needs no attention. Pure.

/// How many bytes from the start need no attention inside a string: no quote, no backslash, no control character.
pub(super) fn plain_prefix(text: &[u8]) -> usize {
    const BLOCK: usize = 32;
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    let mut at = 0;
    // Most strings end within the first few words.
    while let Some((word, _)) = text.get(at..).and_then(|rest| rest.split_first_chunk()).filter(|_| at < BLOCK) {
        match first_special(u64::from_le_bytes(*word)) {
            8 => at += 8,
            found => return at + found,
        }
    }
    // The fold has no early exit, so that it becomes vector instructions.
    while let Some(block) = text.get(at..at + BLOCK) {
        if block.iter().fold(false, |found, byte| found | special(byte)) {
            break;
        }
        at += BLOCK;
    }
    at + text[at..].iter().position(special).unwrap_or(text.len() - at)
}

/// The place of the first byte, from the lowest, that is a quote, a backslash or a control character; 8 if there is none.
pub(super) fn first_special(word: u64) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let quotes = zeros(word ^ (ONES * u64::from(b'"')));
    let backslashes = zeros(word ^ (ONES * u64::from(b'\\')));
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    // A borrow can mark only bytes above one that is rightly marked.
    let marks = (quotes | backslashes | controls) & (ONES << 7);
    marks.trailing_zeros() as usize / 8
}
