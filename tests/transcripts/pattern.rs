//! The texts of a transcript: what `$name` and `<<0d>>` stand for, when something is sent and when something is expected.

use std::collections::HashMap;

/// What was captured so far, by name without the `$`.
#[derive(Default)]
pub(crate) struct Captures(HashMap<String, Vec<u8>>);

/// A piece of a text.
enum Piece {
    Literal(Vec<u8>),
    /// To be captured; `_` is not kept.
    Unknown(String),
}

impl Captures {
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    pub(crate) fn set(&mut self, name: &str, value: &[u8]) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// The bytes that a text stands for.
    pub(crate) fn fill(&self, text: &str) -> Result<Vec<u8>, String> {
        let mut filled = Vec::new();
        for piece in self.pieces(text)? {
            match piece {
                Piece::Literal(bytes) => filled.extend_from_slice(&bytes),
                Piece::Unknown(name) => return Err(format!("${name} was not captured before")),
            }
        }
        Ok(filled)
    }

    /// Whether these are the bytes that a text stands for; what it captures is kept then.
    pub(crate) fn expect(&mut self, text: &str, got: &[u8]) -> Result<(), String> {
        let mismatch =
            || format!("  expected: {}\n  got:      {}", text.replace('\n', "\n            "), String::from_utf8_lossy(got));
        let mut found: Vec<(String, &[u8])> = Vec::new();
        let mut rest = got;
        let mut pieces = self.pieces(text)?.into_iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Literal(bytes) => rest = rest.strip_prefix(bytes.as_slice()).ok_or_else(mismatch)?,
                Piece::Unknown(name) => {
                    let end = match pieces.peek() {
                        Some(Piece::Literal(next)) => rest.windows(next.len()).position(|window| window == next),
                        Some(Piece::Unknown(_)) => return Err("two captures need something between them".to_owned()),
                        None => Some(rest.len()),
                    };
                    let (value, after) = rest.split_at(end.filter(|end| *end > 0 || name == "_").ok_or_else(mismatch)?);
                    if name != "_" && found.iter().any(|(other, before)| *other == name && *before != value) {
                        return Err(mismatch());
                    }
                    found.push((name, value));
                    rest = after;
                }
            }
        }
        if !rest.is_empty() {
            return Err(mismatch());
        }
        for (name, value) in found.into_iter().filter(|(name, _)| name != "_") {
            self.set(&name, value);
        }
        Ok(())
    }

    fn pieces(&self, text: &str) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '<']) {
            literal.extend_from_slice(&rest.as_bytes()[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$$") {
                literal.push(b'$');
                rest = after;
            } else if let Some((bytes, after)) = rest.strip_prefix("<<").and_then(|after| after.split_once(">>")) {
                literal.extend(raw_bytes(bytes)?);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('<') {
                literal.push(b'<');
                rest = after;
            } else {
                let end = rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(rest.len(), |end| end + 1);
                let name = &rest[1..end];
                match self.get(name) {
                    Some(value) => literal.extend_from_slice(value),
                    None => {
                        if !literal.is_empty() {
                            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                        }
                        pieces.push(Piece::Unknown(name.to_owned()));
                    }
                }
                rest = &rest[end..];
            }
        }
        literal.extend_from_slice(rest.as_bytes());
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(pieces)
    }
}

/// `0d 0a` is two bytes, `78 * 300` three hundred.
fn raw_bytes(text: &str) -> Result<Vec<u8>, String> {
    let (text, times) = text.split_once('*').unwrap_or((text, "1"));
    let wrong = || format!("<<{text}>> is not bytes in hexadecimal");
    let bytes: Option<Vec<u8>> = text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    Ok(bytes.ok_or_else(wrong)?.repeat(times.trim().parse().map_err(|_| wrong())?))
}
