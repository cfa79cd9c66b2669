//! The header fields of the transport: their names, and what `Accept` and `Content-Type` mean (RFC 9110, 8.3 and 12.5.1).

use http::{HeaderMap, HeaderName, header};

pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
pub(crate) const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// What a client can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepts {
    pub(crate) json: bool,
    pub(crate) event_stream: bool,
}

/// Reads every `Accept` line. The most specific range that matches a type decides about it; weight 0 excludes it.
pub(crate) fn accepts(headers: &HeaderMap) -> Accepts {
    let ranges: Vec<(String, bool)> = headers
        .get_all(header::ACCEPT)
        .iter()
        .flat_map(|line| split_quoted(line.as_bytes(), b','))
        .filter_map(|entry| media_range(&entry))
        .collect();
    let takes = |kind: &str| {
        let family = kind.split_once('/').map_or(kind, |(family, _)| family);
        let candidates = [kind.to_owned(), format!("{family}/*"), "*/*".to_owned()];
        let decide = |name: &String| ranges.iter().find(|(range, _)| range == name).map(|(_, wanted)| *wanted);
        candidates.iter().find_map(decide).unwrap_or(false)
    };
    Accepts { json: takes(JSON), event_stream: takes(EVENT_STREAM) }
}

/// Whether the body is declared as JSON, exactly once, whatever its parameters.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let essence = line.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(JSON.as_bytes())
}

/// A media range in lower case, and whether its weight is above 0.
fn media_range(entry: &[u8]) -> Option<(String, bool)> {
    let mut parts = split_quoted(entry, b';').into_iter();
    let range = parts.next()?.trim_ascii().to_ascii_lowercase();
    let range = String::from_utf8(range).ok().filter(|range| range.contains('/'))?;
    let weight = parts.find_map(|part| {
        let part = part.trim_ascii();
        let value = part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="))?;
        std::str::from_utf8(value).ok()?.parse::<f32>().ok()
    });
    Some((range, weight.is_none_or(|weight| weight > 0.0)))
}

/// Splits at a separator, but not inside a quoted string.
fn split_quoted(text: &[u8], separator: u8) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut quoted = false;
    let mut escaped = false;
    for &byte in text {
        if byte == separator && !quoted {
            parts.push(Vec::new());
            continue;
        }
        quoted ^= byte == b'"' && !escaped;
        escaped = byte == b'\\' && quoted && !escaped;
        if let Some(part) = parts.last_mut() {
            part.push(byte);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn accept(lines: &[&str]) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT, HeaderValue::from_str(line).expect("a header value"));
        }
        let accepts = accepts(&headers);
        (accepts.json, accepts.event_stream)
    }

    #[test]
    fn accept_is_read_by_rfc_9110() {
        for (lines, json, stream) in [
            (&[][..], false, false),
            (&["application/json, text/event-stream"], true, true),
            (&["application/json", "text/event-stream"], true, true),
            (&["Application/JSON;q=0.5,TEXT/event-stream"], true, true),
            (&["*/*"], true, true),
            (&["application/*"], true, false),
            (&["text/*"], false, true),
            (&["application/jsonx, text/event-streamy"], false, false),
            (&["*/*, application/json;q=0"], false, true),
            (&["*/*;q=0, text/event-stream"], false, true),
            (&["text/event-stream;q=0.0, text/*"], false, false),
            (&["text/plain;a=\"application/json, text/event-stream\""], false, false),
            (&["application/json;v=\"a;q=0\""], true, false),
            (&["application/json;q=nonsense"], true, false),
            (&["json, ,;,/"], false, false),
        ] {
            assert_eq!(accept(lines), (json, stream), "{lines:?}");
        }
    }

    #[test]
    fn a_body_is_json_only_if_it_says_so_once() {
        for (lines, good) in [
            (&["application/json"][..], true),
            (&["Application/JSON ; charset=utf-8"], true),
            (&["application/jsonx"], false),
            (&["text/plain"], false),
            (&["text/plain, application/json"], false),
            (&["application/json", "text/plain"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_TYPE, HeaderValue::from_static(line));
            }
            assert_eq!(is_json(&headers), good, "{lines:?}");
        }
    }
}
