//! Whether a header says what the body says. 2026-07-28 mirrors values of the body in headers, for those who route by them; who
//! reads both must refuse a message in which they differ. Used by `http::check` for `Mcp-Name`, by `tool_headers` for
//! `Mcp-Param-*`. Numbers are compared as they are written, never through floats.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};

use super::scan::{Scanner, Value};
use super::splice;

/// What counts as equal to a number of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// The same characters.
    AsWritten,
    /// The same number: `42`, `42.0` and `4.2e1` are one (2026-07-28, Streamable HTTP, Server Validation: of integers).
    ByValue,
}

/// The text that a field value stands for: white space around it gone, `=?base64?…?=` decoded. `None` for what no client may
/// send: a character outside visible ASCII, space and tab; Base64 that is not canonical; bytes that are not UTF-8.
///
/// 2026-07-28, Streamable HTTP, Value Encoding: the markers are case-sensitive, and a value with one of them only is itself.
pub(crate) fn decode(value: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']); // RFC 9110, 5.5
    if !text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return None;
    }
    let Some(encoded) = text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(text));
    };
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok().map(Cow::Owned)
}

/// Whether a decoded text is what the JSON token stands for: a string with its escapes undone, or a literal or number as it
/// is written. A string with a lone surrogate equals no text.
pub(crate) fn equals(text: &str, token: &[u8], numbers: Numbers) -> bool {
    if token.starts_with(b"\"") {
        return *splice::canonical(token) == *serde_json::Value::from(text).to_string().as_bytes();
    }
    text.as_bytes() == token
        || numbers == Numbers::ByValue && decimal(token).is_some_and(|number| decimal(text.as_bytes()) == Some(number))
}

/// The header must stand once, and say what the token of the body says.
///
/// # Errors
/// The message of a `HeaderMismatch` error (2026-07-28, Streamable HTTP, Server Validation). It shows no more than the first
/// 40 characters of either value.
pub(crate) fn agree(headers: &HeaderMap, name: &HeaderName, token: &[u8], numbers: Numbers) -> Result<(), String> {
    let mut lines = headers.get_all(name).iter();
    let body = String::from_utf8_lossy(token);
    let Some(line) = lines.next() else {
        return Err(format!("Header mismatch: {name} is missing, the body says {}", excerpt(&body)));
    };
    // Some read the first of two lines, some the last.
    if lines.next().is_some() {
        return Err(format!("Header mismatch: {name} stands twice"));
    }
    let Some(text) = decode(line.as_bytes()) else {
        return Err(format!(
            "Header mismatch: {name} is neither visible ASCII nor =?base64?...?= around canonical Base64 of UTF-8"
        ));
    };
    if !equals(&text, token, numbers) {
        return Err(format!("Header mismatch: {name} says '{}', the body says {}", excerpt(&text), excerpt(&body)));
    }
    Ok(())
}

/// Sign, digits without zeros at either end, power of ten. `None` if the text is no JSON number, or its exponent is beyond `i64`.
fn decimal(text: &[u8]) -> Option<(bool, String, i64)> {
    let mut scanner = Scanner::new(text);
    let (Value::Integer | Value::Decimal, token) = scanner.value(0).ok()? else { return None };
    if token.of(text) != text {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0').trim_end_matches('0');
    if digits.is_empty() {
        return Some((false, String::new(), 0)); // -0 and 0e5 are 0
    }
    let last_zeros = all.len() - all.trim_end_matches('0').len();
    let shift = i64::try_from(last_zeros).ok()? - i64::try_from(fraction.len()).ok()?;
    Some((is_negative, digits.to_owned(), exponent.parse::<i64>().ok()?.checked_add(shift)?))
}

fn excerpt(text: &str) -> Cow<'_, str> {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    #[test]
    fn a_value_is_decoded_as_the_specification_shows() {
        for (value, text) in [
            ("us-west1", Some("us-west1")),
            ("=?base64?SGVsbG8sIOS4lueVjA==?=", Some("Hello, 世界")),
            ("=?base64?IHBhZGRlZCA=?=", Some(" padded ")),
            ("=?base64?bGluZTEKbGluZTI=?=", Some("line1\nline2")),
            ("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", Some("=?base64?literal?=")),
            ("", Some("")),
            ("=?base64??=", Some("")),
            (" \t us\twest \t", Some("us\twest")),
            (" =?base64?SGVsbG8=?= ", Some("Hello")),
            // One marker only, or another spelling of it: the value itself.
            ("SGVsbG8=", Some("SGVsbG8=")),
            ("=?base64?SGVsbG8=", Some("=?base64?SGVsbG8=")),
            ("SGVsbG8=?=", Some("SGVsbG8=?=")),
            ("=?Base64?SGVsbG8=?=", Some("=?Base64?SGVsbG8=?=")),
            ("=?base64?=", Some("=?base64?=")),
            // Base64 that is not canonical: padding missing, too long or alone, other characters, bits for nothing, URL-safe.
            ("=?base64?SGVsbG8?=", None),
            ("=?base64?SGVsbG8==?=", None),
            ("=?base64?=?=", None),
            ("=?base64?SGVs!!!bG8=?=", None),
            ("=?base64?SGVs bG8=?=", None),
            ("=?base64?SGVsbG9=?=", None),
            ("=?base64?Pz8_?=", None),
            ("=?base64?/w==?=", None), // not UTF-8
            ("Zürich", None),
            ("a\nb", None),
            ("\u{c}a", None),
            ("a\u{7f}", None),
        ] {
            assert_eq!(decode(value.as_bytes()).as_deref(), text, "{value:?}");
        }
        assert_eq!(decode(b"\xff"), None);
    }

    #[test]
    fn a_text_equals_what_the_token_stands_for() {
        for (text, token, equal) in [
            ("us-west1", r#""us-west1""#, true),
            ("us-west1", r#""us-\u0077est1""#, true),
            ("a\"/\\\n😀", r#""a\"\/\\\u000a\ud83d\ude00""#, true),
            ("", r#""""#, true),
            ("US-WEST1", r#""us-west1""#, false),
            ("\u{fffd}", r#""\ud800""#, false),
            ("\\ud800", r#""\ud800""#, false),
            ("42", r#""42""#, true),
            ("42.0", r#""42""#, false),
            ("true", "true", true),
            ("True", "true", false),
            ("1", "true", false),
            ("42", "42", true),
            ("42.0", "42", false),
        ] {
            assert_eq!(equals(text, token.as_bytes(), Numbers::AsWritten), equal, "{text} {token}");
        }
    }

    #[test]
    fn integers_are_compared_as_exact_numbers() {
        let numbers = [
            &["42", "42.0", "42.000", "4.2e1", "4.2E+1", "420e-1", "0.042e3"][..],
            &["-42", "-42.0", "-4.2e1"],
            &["0", "-0", "0.0", "0e7", "-0.00E-3"],
            &["9007199254740993", "9007199254740993.0", "9.007199254740993e15"],
            &["9007199254740992"],
            &["100", "1e2", "1.00e2"],
            &["10"],
            &["1e400", "10e399"],
            &["1e99999999999999999999999"],
            &["42.5", "4.25e1"],
        ];
        for (at, one) in numbers.iter().enumerate().flat_map(|(at, same)| same.iter().map(move |one| (at, one))) {
            for (of, other) in numbers.iter().enumerate().flat_map(|(of, same)| same.iter().map(move |other| (of, other))) {
                assert_eq!(equals(one, other.as_bytes(), Numbers::ByValue), at == of, "{one} {other}");
            }
        }
        for text in ["", "042", "+42", "42.", ".42e2", "0x2a", " 42", "42 ", "4 2", "\"42\"", "42\n", "forty-two"] {
            assert!(!equals(text, b"42", Numbers::ByValue), "{text}");
        }
        assert!(!equals("42.0", br#""42""#, Numbers::ByValue));
    }

    #[test]
    fn a_header_stands_once_and_says_what_the_body_says() {
        let name = HeaderName::from_static("mcp-name");
        let token = r#""gr\u00fc\u00df""#.as_bytes();
        for (lines, fault) in [
            (&["=?base64?Z3LDvMOf?="][..], None),
            (&[], Some(r#"Header mismatch: mcp-name is missing, the body says "gr\u00fc\u00df""#)),
            (&["=?base64?Z3LDvMOf?=", "=?base64?Z3LDvMOf?="], Some("Header mismatch: mcp-name stands twice")),
            (
                &["GRÜẞ"],
                Some("Header mismatch: mcp-name is neither visible ASCII nor =?base64?...?= around canonical Base64 of UTF-8"),
            ),
            (&["gruss"], Some(r#"Header mismatch: mcp-name says 'gruss', the body says "gr\u00fc\u00df""#)),
        ] {
            let values =
                lines.iter().map(|line| (name.clone(), HeaderValue::from_bytes(line.as_bytes()).expect("a field value")));
            let said = agree(&values.collect(), &name, token, Numbers::AsWritten);
            assert_eq!(said.err().as_deref(), fault, "{lines:?}");
        }
    }

    #[test]
    fn a_message_shows_the_beginning_of_long_values_only() {
        let headers =
            HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_str(&"h".repeat(1000)).expect("a field value"))]);
        let token = format!("\"{}\"", "ü".repeat(1000));
        let message = agree(&headers, &http::header::HOST, token.as_bytes(), Numbers::AsWritten).expect_err("they differ");
        let shown = message.chars().filter(|character| matches!(character, 'h' | 'ü')).count();
        assert!((40..100).contains(&shown), "{message}");
    }

    proptest! {
        #[test]
        fn every_text_can_be_mirrored(text: String) {
            let token = serde_json::Value::from(text.as_str()).to_string();
            let encoded = format!("=?base64?{}?=", STANDARD.encode(&text));
            let decoded = decode(encoded.as_bytes());
            prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
            prop_assert!(equals(&text, token.as_bytes(), Numbers::AsWritten));
        }

        #[test]
        fn another_text_never_passes(one in "[a\\\\\"é ]{0,4}", other in "[a\\\\\"é ]{0,4}") {
            let token = serde_json::Value::from(other.as_str()).to_string();
            prop_assert_eq!(equals(&one, token.as_bytes(), Numbers::ByValue), one == other);
        }

        #[test]
        fn a_number_equals_itself_at_every_place_of_the_point(number: i64, other: i64, places in 0..30_usize, zeros in 0..3_usize) {
            let sign = if number < 0 { "-" } else { "" };
            let digits = format!("{:030}", number.unsigned_abs());
            let (whole, fraction) = digits.split_at(30 - places);
            let whole = if whole.is_empty() { "0" } else { whole.trim_start_matches('0') };
            let whole = if whole.is_empty() { "0" } else { whole };
            let fraction = format!("{fraction}{}", "0".repeat(zeros));
            let point = if fraction.is_empty() { "" } else { "." };
            let text = format!("{sign}{whole}{point}{fraction}e{places}");
            prop_assert!(equals(&text, number.to_string().as_bytes(), Numbers::ByValue), "{text}");
            prop_assert_eq!(equals(&text, other.to_string().as_bytes(), Numbers::ByValue), number == other);
        }

        #[test]
        fn any_bytes_end_in_an_answer(value: Vec<u8>, token: Vec<u8>) {
            if let Some(text) = decode(&value) {
                let _ = equals(&text, &token, Numbers::ByValue);
            }
            let _ = decimal(&token);
        }
    }
}
