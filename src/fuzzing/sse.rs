//! Events as they are written, read by the letter of WHATWG HTML (Server-sent events, Parsing and Interpreting an event stream).

use super::input::Input;
use crate::protocol::splice::splice;
use crate::protocol::sse::{COMMENT, EVENT_END, EventId, RETRY, StreamId, event_head, priming_event, retry};

/// What any messages, ids, comments and pauses are written as, a client reads as the same.
pub fn sse(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (mut out, mut expected) = (Vec::new(), Vec::new());
    let (mut last_id, mut reconnect) = (String::new(), None);
    while !input.is_empty() {
        let kind = input.below(6);
        let id = EventId { nonce: input.number() as u32, stream: StreamId(input.number()), seq: input.number() };
        match kind {
            0 => out.extend_from_slice(COMMENT),
            1 => {
                retry(&mut out);
                reconnect = Some(RETRY.as_millis());
            }
            2 => {
                priming_event(&mut out, id);
                (last_id, reconnect) = (id.to_string(), Some(RETRY.as_millis()));
                expected.push(Event { id: last_id.clone(), kind: "message".to_owned(), data: String::new() });
            }
            _ => {
                let text = String::from_utf8_lossy(input.piece()).into_owned();
                let message = splice(text.as_bytes(), &mut [], b"");
                let id = (kind != 3).then_some(id);
                event_head(&mut out, id);
                out.extend_from_slice(&message);
                out.extend_from_slice(EVENT_END);
                last_id = id.map_or(last_id, |id| id.to_string());
                let data = String::from_utf8(message).expect("UTF-8");
                expected.push(Event { id: last_id.clone(), kind: "message".to_owned(), data });
            }
        }
    }
    let read = Reader::read(&String::from_utf8(out).expect("UTF-8"));
    assert_eq!(read.events, expected);
    assert_eq!(read.reconnect, reconnect);
    if let Some(id) = read.events.last().map(|event| &event.id).filter(|id| !id.is_empty()) {
        assert_eq!(EventId::parse(id).map(|id| id.to_string()).as_ref(), Some(id), "what a client gives back is an id of ours");
    }
}

/// An id is read as it is written, and no other text is one.
pub fn event_id(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let id = EventId { nonce: input.number() as u32, stream: StreamId(input.number()), seq: input.number() };
    assert_eq!(EventId::parse(&id.to_string()), Some(id));
    let (text, near) = (input.rest(), id.to_string());
    // The bytes themselves, the rest of them, and an id with a piece of the rest in it.
    let at = bytes.len() % (near.len() + 1);
    let spliced = [&near.as_bytes()[..at], text, &near.as_bytes()[at..]].concat();
    for text in [bytes, text, &spliced] {
        let Ok(text) = std::str::from_utf8(text) else { continue };
        if let Some(id) = EventId::parse(text) {
            assert_eq!(id.to_string(), text);
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Event {
    id: String,
    kind: String,
    data: String,
}

#[derive(Default)]
struct Reader {
    data: String,
    kind: String,
    last_id: String,
    reconnect: Option<u128>,
    events: Vec<Event>,
}

impl Reader {
    fn read(stream: &str) -> Reader {
        let mut reader = Reader::default();
        let mut rest = stream.strip_prefix('\u{feff}').unwrap_or(stream);
        // Lines end with CRLF, LF or CR; what has no end is no line.
        while let Some(end) = rest.find(['\r', '\n']) {
            reader.line(&rest[..end]);
            rest = rest[end..].strip_prefix("\r\n").unwrap_or(&rest[end + 1..]);
        }
        reader
    }

    fn line(&mut self, line: &str) {
        match line.split_once(':') {
            None if line.is_empty() => self.dispatch(),
            Some(("", _)) => {} // a comment
            Some((field, value)) => self.field(field, value.strip_prefix(' ').unwrap_or(value)),
            None => self.field(line, ""),
        }
    }

    fn field(&mut self, field: &str, value: &str) {
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.last_id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.reconnect = value.parse().ok();
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let (mut data, kind) = (std::mem::take(&mut self.data), std::mem::take(&mut self.kind));
        if data.is_empty() {
            return;
        }
        data.pop();
        let kind = if kind.is_empty() { "message".to_owned() } else { kind };
        self.events.push(Event { id: self.last_id.clone(), kind, data });
    }
}
