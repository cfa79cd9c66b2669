//! The header fields of the transport: their names, and what `Accept` and `Content-Type` mean (RFC 9110, 8.3 and 12.5.1).

use http::{HeaderMap, HeaderName, header};

pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
pub(crate) const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// What nearly every client says it takes.
pub(crate) const USUAL: &str = "application/json, text/event-stream";

/// What a client can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepts {
    pub(crate) json: bool,
    pub(crate) event_stream: bool,
}

impl Accepts {
    /// What [`USUAL`] means.
    pub(crate) const BOTH: Accepts = Accepts { json: true, event_stream: true };
}

/// Reads every `Accept` line. The most specific range that matches a type decides about it; weight 0 excludes it.
pub(crate) fn accepts(headers: &HeaderMap) -> Accepts {
    let (mut json, mut event_stream) = (Wanted::default(), Wanted::default());
    for line in headers.get_all(header::ACCEPT) {
        for entry in Split::new(line.as_bytes(), b',') {
            let mut parts = Split::new(entry, b';');
            let range = parts.next().unwrap_or_default().trim_ascii();
            let weight = parts.find_map(weight).unwrap_or(1.0);
            json.consider(range, weight, [JSON, "application/*"]);
            event_stream.consider(range, weight, [EVENT_STREAM, "text/*"]);
        }
    }
    Accepts { json: json.is_wanted, event_stream: event_stream.is_wanted }
}

/// Whether the body is declared as JSON, exactly once, whatever its parameters.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    let essence = line.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(JSON.as_bytes())
}

/// What has been said about one media type.
#[derive(Default)]
struct Wanted {
    /// How specific the range was that decided: 3 the type itself, 2 its family, 1 anything, 0 nothing was said.
    rank: u8,
    is_wanted: bool,
}

impl Wanted {
    fn consider(&mut self, range: &[u8], weight: f32, [exact, family]: [&str; 2]) {
        let rank = match range {
            _ if range.eq_ignore_ascii_case(exact.as_bytes()) => 3,
            _ if range.eq_ignore_ascii_case(family.as_bytes()) => 2,
            b"*/*" => 1,
            _ => return,
        };
        if rank > self.rank {
            *self = Wanted { rank, is_wanted: weight > 0.0 };
        }
    }
}

fn weight(parameter: &[u8]) -> Option<f32> {
    let parameter = parameter.trim_ascii();
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The parts between separators that are not inside a quoted string.
struct Split<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Split<'a> {
    fn new(text: &'a [u8], separator: u8) -> Self {
        Split { rest: Some(text), separator }
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.rest.take()?;
        let (mut quoted, mut escaped) = (false, false);
        for (at, &byte) in text.iter().enumerate() {
            if byte == self.separator && !quoted {
                self.rest = Some(&text[at + 1..]);
                return Some(&text[..at]);
            }
            quoted ^= byte == b'"' && !escaped;
            escaped = byte == b'\\' && quoted && !escaped;
        }
        Some(text)
    }
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
        assert_eq!(accept(&[USUAL]), (Accepts::BOTH.json, Accepts::BOTH.event_stream));
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
