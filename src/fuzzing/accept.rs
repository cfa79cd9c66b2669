//! What a client can take, and whether a body is JSON, against a plain reading of RFC 9110.

use http::{HeaderMap, HeaderValue, header};

use super::input::Input;
use crate::protocol::headers::{accepts, is_json};

/// Any `Accept` and `Content-Type` lines, those that the bytes spell and those that they are, are read as RFC 9110 has it (5.6,
/// 8.3, 12.4.2, 12.5.1). What it leaves open is left open: a weight that is none.
pub fn accept(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut lines = Vec::new();
    for _ in 0..input.below(4) {
        let line = if input.flag() { input.piece().to_vec() } else { spelled(&mut input) };
        lines.extend(HeaderValue::from_bytes(&line));
    }
    lines.extend(HeaderValue::from_bytes(input.rest()));
    let mut headers = HeaderMap::new();
    for line in &lines {
        headers.append(header::ACCEPT, line.clone());
        headers.append(header::CONTENT_TYPE, line.clone());
    }
    let given = accepts(&headers);
    let entries: Vec<Entry> =
        lines.iter().flat_map(|line| split(line.as_bytes(), b',')).map(|entry| Entry::read(&entry)).collect();
    for (is_taken, family, kind) in [(given.json, "application", "json"), (given.event_stream, "text", "event-stream")] {
        if let Some(expected) = is_wanted(&entries, family, kind) {
            assert_eq!(is_taken, expected, "{family}/{kind} of {lines:?}");
        }
    }
    let said: Vec<String> = lines.iter().map(|line| String::from_utf8_lossy(line.as_bytes()).to_lowercase()).collect();
    let essence = |line: &str| line.split(';').next().map(|essence| essence.trim_matches([' ', '\t']) == "application/json");
    let expected = matches!(&said[..], [only] if essence(only) == Some(true));
    assert_eq!(is_json(&headers), expected, "{lines:?}");
}

/// Lines that have the shape of `Accept`, near what matters.
fn spelled(input: &mut Input<'_>) -> Vec<u8> {
    const PARTS: [&str; 24] = [
        "application/json",
        "text/event-stream",
        "*/*",
        "application/*",
        "text/*",
        "Application/JSON",
        "application/jsonx",
        "text/plain",
        ";q=0",
        ";q=1",
        ";q=0.000",
        "; q=0.001",
        ";Q=0",
        ";q=0.5",
        ";v=1",
        ";v=\"a,b;q=0\"",
        ";v=\"\\\"\"",
        ";v=\"",
        ",",
        ", ",
        ",,",
        "\t",
        ";",
        " ;q=0 ,",
    ];
    let mut line = Vec::new();
    for _ in 0..input.below(24) {
        line.extend_from_slice(PARTS[input.below(PARTS.len())].as_bytes());
    }
    line
}

struct Entry {
    range: String,
    /// `None` where a weight is written that is none.
    is_wanted: Option<bool>,
}

impl Entry {
    fn read(entry: &[u8]) -> Entry {
        let parts: Vec<String> = split(entry, b';').iter().map(|part| text(part)).collect();
        let weight = parts.iter().skip(1).find(|part| part.starts_with("q="));
        let is_wanted = match weight {
            None => Some(true),
            Some(weight) => wanted(&weight[2..]),
        };
        Entry { range: parts.first().cloned().unwrap_or_default(), is_wanted }
    }
}

/// Whether a weight is more than 0: `0` or `1` with at most three decimals, of which those of 1 are zeros.
fn wanted(weight: &str) -> Option<bool> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let is_zero = decimals.bytes().all(|byte| byte == b'0');
    match whole {
        "0" => Some(!is_zero),
        "1" if is_zero => Some(true),
        _ => None,
    }
}

/// The most specific range decides, the first of equals; `None` where what decides is left open.
fn is_wanted(entries: &[Entry], family: &str, kind: &str) -> Option<bool> {
    let ranges = [format!("{family}/{kind}"), format!("{family}/*"), "*/*".to_owned()];
    let decides = ranges.iter().find_map(|range| entries.iter().find(|entry| entry.range == *range));
    decides.map_or(Some(false), |entry| entry.is_wanted)
}

fn text(part: &[u8]) -> String {
    let lossless: String = part.iter().map(|byte| char::from(*byte)).collect();
    lossless.trim_matches([' ', '\t']).to_ascii_lowercase()
}

/// Cuts at every separator outside quotes, in which a backslash takes the meaning of the next character.
fn split(line: &[u8], separator: u8) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = line.iter().copied();
    let mut quoted = false;
    while let Some(byte) = bytes.next() {
        if byte == separator && !quoted {
            parts.push(Vec::new());
            continue;
        }
        let part = parts.last_mut().expect("there is always one");
        part.push(byte);
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => part.extend(bytes.next()),
            _ => {}
        }
    }
    parts
}
