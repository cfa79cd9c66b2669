//! The inside of a string at memory speed: how far it needs no attention. Pure.

/// So many bytes are looked at one by one: most strings are shorter, and a processor that guesses their ends waits for nothing.
const FIRST: usize = 16;
/// So many words are looked at for the place of what needs attention, before whole blocks are.
const WORDS: usize = 8;
/// Looked at together, only for whether one needs attention.
const BLOCK: usize = 64;

/// A quote, a backslash or a control character.
const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The same, looked up.
static SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = is_special(byte as u8);
        byte += 1;
    }
    table
};

/// How many bytes from the start need no attention inside a string.
#[inline(always)]
pub(super) fn plain_prefix(text: &[u8]) -> usize {
    let Some((first, rest)) = text.split_first_chunk::<FIRST>() else { return bytewise(text) };
    match first.iter().position(|byte| SPECIAL[usize::from(*byte)]) {
        Some(found) => found,
        None => FIRST + long(rest),
    }
}

#[inline(never)]
fn long(text: &[u8]) -> usize {
    let mut rest = text;
    let passed = |rest: &[u8]| text.len() - rest.len();
    for words in [WORDS, usize::MAX] {
        for _ in 0..words {
            let Some((word, more)) = rest.split_first_chunk() else { break };
            match first_special(u64::from_le_bytes(*word)) {
                8 => rest = more,
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
    }
    passed(rest) + bytewise(rest)
}

fn bytewise(text: &[u8]) -> usize {
    text.iter().position(|byte| is_special(*byte)).unwrap_or(text.len())
}

/// The place of the first byte, from the lowest, that is special; 8 if there is none.
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
