//! Header values that repeat the body: their Base64, and when they are equal.

use super::input::Input;
use super::json;
use crate::protocol::mirror::{Numbers, decode, equals};

/// Every text can be sent in Base64 and comes back as it was; what is accepted has one spelling; a value equals the JSON strings
/// that stand for it, and no others.
pub fn mirror(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (text, other) = (String::from_utf8_lossy(input.piece()).into_owned(), input.rest());
    let decoded = decode(encoded(&text).as_bytes()).map(std::borrow::Cow::into_owned);
    assert_eq!(decoded.as_ref(), Some(&text), "there and back");
    let near = [b"=?base64?", other, b"?="].concat();
    for value in [bytes, other, &near] {
        let own = value.strip_prefix(b"=?base64?").and_then(|rest| rest.strip_suffix(b"?="));
        match decode(value) {
            Some(decoded) if own.is_some() => assert_eq!(encoded(&decoded).as_bytes(), value, "Base64 has one spelling"),
            Some(decoded) => {
                let trimmed = std::str::from_utf8(value).expect("UTF-8").trim_matches([' ', '\t']);
                let is_marked = trimmed.starts_with("=?base64?") && trimmed.ends_with("?=") && trimmed.len() > 10;
                assert_eq!(if is_marked { encoded(&decoded) } else { decoded.into_owned() }, trimmed);
                assert!(trimmed.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')), "only what a header field may have");
            }
            None => {
                let is_plain = own.is_none() && value.iter().all(|byte| matches!(byte, b'!'..=b'~'));
                assert!(!is_plain, "visible ASCII is itself");
            }
        }
    }
    let token = serde_json::Value::from(text.as_str()).to_string();
    assert!(equals(&text, token.as_bytes(), Numbers::AsWritten) && equals(&text, token.as_bytes(), Numbers::ByValue));
    if let Some(token) = json::value(other) {
        let same = match token[0] {
            b'"' => serde_json::from_slice::<String>(token).is_ok_and(|token| token == text),
            _ => token == text.as_bytes(),
        };
        assert_eq!(equals(&text, token, Numbers::AsWritten), same);
    }
}

/// Numbers are equal where their decimal digits are, written out in full; nothing but numbers is compared so.
pub fn numbers(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (one, other) = (input.piece(), input.rest());
    compare(one, other);
    // What is near it, and what may be equal to that.
    let with = |end: &[u8]| [one, end].concat();
    for near in [[b"-", one].concat(), with(b"0"), with(b".0"), with(b"e1"), with(b"E-0")] {
        compare(one, &near);
        compare(&with(b"0"), &near);
    }
}

fn compare(one: &[u8], other: &[u8]) {
    let Ok(text) = std::str::from_utf8(one) else { return };
    let is_equal = equals(text, other, Numbers::ByValue);
    let (Some(one_out), Some(other_out)) = (written_out(one), written_out(other)) else {
        let is_string = other.starts_with(b"\"");
        assert!(!is_equal || one == other || is_string, "no numbers: {text}");
        return;
    };
    assert!(equals(text, one, Numbers::ByValue), "{text} is itself");
    if let (Out::Digits(one_out), Out::Digits(other_out)) = (one_out, other_out) {
        assert_eq!(is_equal, one_out == other_out, "{text} and {}", String::from_utf8_lossy(other));
        assert_eq!(equals(text, other, Numbers::AsWritten), one == other);
        let back = std::str::from_utf8(other).expect("a number");
        assert_eq!(equals(back, one, Numbers::ByValue), is_equal, "either way round");
    }
}

enum Out {
    /// Sign, digits before the point without zeros in front, digits behind it without zeros at the end.
    Digits((bool, String, String)),
    TooLong,
}

/// `None` for what is no number of JSON.
fn written_out(text: &[u8]) -> Option<Out> {
    let number = json::value(text).filter(|value| *value == text && matches!(value[0], b'-' | b'0'..=b'9'))?;
    let number = std::str::from_utf8(number).ok()?.to_ascii_lowercase();
    let (mantissa, exponent) = number.split_once('e').unwrap_or((&number, "0"));
    let exponent: i64 = match exponent.parse() {
        Ok(exponent) if (-2000..=2000).contains(&exponent) => exponent,
        _ => return Some(Out::TooLong),
    };
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (mut whole, mut fraction) = (whole.to_owned(), fraction.to_owned());
    for _ in 0..exponent {
        // The point moves to the right…
        let first = if fraction.is_empty() { '0' } else { fraction.remove(0) };
        whole.push(first);
    }
    for _ in exponent..0 {
        // …or to the left.
        fraction.insert(0, whole.pop().unwrap_or('0'));
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let is_zero = whole.is_empty() && fraction.is_empty();
    Some(Out::Digits((sign && !is_zero, whole.to_owned(), fraction.to_owned())))
}

/// A text in Base64 (RFC 4648, 4) between its markers.
fn encoded(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = "=?base64?".to_owned();
    for group in text.as_bytes().chunks(3) {
        let bits = group.iter().enumerate().fold(0_u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let sextet = (bits >> (18 - 6 * at) & 63) as usize;
            out.push(if at <= group.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    out.push_str("?=");
    out
}
