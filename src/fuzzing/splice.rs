//! Exchanging ids and tokens in messages.

use super::input::Input;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::scan::Span;
use crate::protocol::splice::{canonical, private_number, splice as exchange};

/// Only the spans change: what stands between them keeps its bytes, but for CR and LF, which become spaces, and white space
/// around the message, which goes. A message has the new ids and tokens, and its own again once they are put back.
pub fn splice(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.byte();
    let (first, second) = (input.number(), input.number());
    let text = &*super::envelope::text(input.rest());
    let new = [first.to_string(), format!("\"{second:x}\"")];
    numbers(text, first);
    let Ok(envelope) = jsonrpc::read(text) else {
        assert_eq!(exchange(text, &mut [], b"\n"), plain(text, &[], b"\n"));
        return;
    };
    let spans = spans(&envelope);
    let chosen = spans.iter().enumerate().filter(|(at, _)| choice >> at & 1 == 1);
    let mut edits: Vec<(Span, &[u8])> = chosen.map(|(at, (_, span))| (*span, new[at % 2].as_bytes())).collect();
    let old: Vec<(usize, Vec<u8>)> = spans.iter().map(|(place, span)| (*place, span.of(text).to_vec())).collect();
    let given: Vec<(Span, Vec<u8>)> = edits.iter().map(|(span, new)| (*span, new.to_vec())).collect();
    if choice & 0x80 != 0 {
        edits.reverse(); // their order does not matter
    }
    let line = exchange(text, &mut edits, b"\n");
    assert_eq!(line, plain(text, &given, b"\n"));
    let (end, line) = line.split_last().expect("a line");
    assert!(*end == b'\n' && !line.iter().any(|byte| b"\r\n".contains(byte)), "it is one line");
    let again = jsonrpc::read(line).expect("still a message");
    assert_eq!(again.kind, envelope.kind);
    assert_eq!(again.method_token(line), envelope.method_token(text));
    for (place, span) in self::spans(&again) {
        let at = spans.iter().position(|(other, _)| *other == place).expect("it stood there before");
        let expected = if choice >> at & 1 == 1 { new[at % 2].as_bytes() } else { spans[at].1.of(text) };
        assert_eq!(span.of(line), expected);
    }
    let back = self::spans(&again);
    assert_eq!(back.len(), old.len(), "nothing else was found or lost");
    let mut edits: Vec<(Span, &[u8])> = back.iter().zip(&old).map(|((_, span), (_, old))| (*span, old.as_slice())).collect();
    assert_eq!(exchange(line, &mut edits, b""), plain(text, &[], b""), "there and back is the same message");
}

/// What may be exchanged, with a number for each kind of place.
fn spans(envelope: &Envelope) -> Vec<(usize, Span)> {
    let all = [envelope.id, envelope.asked_token, envelope.about_token, envelope.about_request, envelope.about_subscription];
    all.into_iter().enumerate().filter_map(|(place, span)| Some((place, span?))).collect()
}

/// The same, byte by byte.
fn plain(text: &[u8], edits: &[(Span, Vec<u8>)], end: &[u8]) -> Vec<u8> {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace();
    let first = text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len());
    let last = text.iter().rposition(|byte| !is_blank(byte)).map_or(first, |last| last + 1);
    let mut out = Vec::new();
    for (at, byte) in text.iter().enumerate().take(last).skip(first) {
        if let Some((_, new)) = edits.iter().find(|(span, _)| span.range().start == at) {
            out.extend_from_slice(new);
        }
        if !edits.iter().any(|(span, _)| span.range().contains(&at)) {
            out.push(if b"\r\n".contains(byte) { b' ' } else { *byte });
        }
    }
    out.extend_from_slice(end);
    out
}

/// Only our own spelling of a number is one of ours; equal strings have one canonical form.
fn numbers(text: &[u8], number: u64) {
    assert_eq!(private_number(number.to_string().as_bytes()), Some(number));
    let token = super::json::value(text).filter(|token| *token == text);
    if let Some(number) = token.and_then(private_number) {
        assert_eq!(number.to_string().as_bytes(), text);
    }
    if let Ok(text) = serde_json::from_slice::<String>(text) {
        let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        let plain = serde_json::Value::from(text).to_string();
        assert_eq!(canonical(format!("\"{escaped}\"").as_bytes()), canonical(plain.as_bytes()));
    }
}
