//! Server-Sent Events as we write them (WHATWG HTML, Server-sent events; 2025-11-25, Transports), and the ids of events.

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

/// A stream of one session: number 0 is the standing GET stream, every POST that asks something opens the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamId(pub(crate) u64);

impl StreamId {
    pub(crate) const GET: StreamId = StreamId(0);
}

/// A cursor within one stream, as clients send it back in `Last-Event-ID`: all events up to `seq` have arrived.
///
/// 2025-11-25, Resumability and Redelivery: ids are unique in their session and encode their stream. The nonce is the
/// session's, so that an id of one session is never a cursor in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventId {
    pub(crate) nonce: u32,
    pub(crate) stream: StreamId,
    /// The number of an event in its stream, from 1; 0 is the place before the first.
    pub(crate) seq: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:x}-{:x}", self.nonce, self.stream.0, self.seq)
    }
}

impl EventId {
    /// The id that is written so; another spelling of the same numbers is not an id of ours.
    pub(crate) fn parse(text: &str) -> Option<EventId> {
        let mut parts = text.splitn(3, '-');
        let nonce = u32::from_str_radix(parts.next()?, 16).ok()?;
        let stream = StreamId(u64::from_str_radix(parts.next()?, 16).ok()?);
        let seq = u64::from_str_radix(parts.next()?, 16).ok()?;
        let id = EventId { nonce, stream, seq };
        (id.to_string() == text).then_some(id)
    }
}

/// What keeps a quiet stream's connection open: clients skip comments.
pub(crate) const COMMENT: &[u8] = b": keep-alive\n\n";

/// How long a client waits before it comes back to a stream whose connection ended.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// The lines before an event's data. An id is for streams that may be resumed.
pub(crate) fn event_head(out: &mut Vec<u8>, id: Option<EventId>) {
    if let Some(id) = id {
        // Writing to a Vec cannot fail.
        let _ = writeln!(out, "id: {id}");
    }
    out.extend_from_slice(b"event: message\ndata: ");
}

/// What ends an event.
pub(crate) const EVENT_END: &[u8] = b"\n\n";

/// An event without data: gives the client a cursor before there is anything to send.
pub(crate) fn priming_event(out: &mut Vec<u8>, id: EventId) {
    let _ = write!(out, "id: {id}\nretry: {}\ndata: \n\n", RETRY.as_millis());
}

/// Asks the client to come back after [`RETRY`]; sent before a connection is ended on purpose.
pub(crate) fn retry(out: &mut Vec<u8>) {
    let _ = write!(out, "retry: {}\n\n", RETRY.as_millis());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_only_as_it_is_written() {
        let id = EventId { nonce: 0xab, stream: StreamId(3), seq: 17 };
        assert_eq!(id.to_string(), "000000ab-3-11");
        assert_eq!(EventId::parse("000000ab-3-11"), Some(id));
        for text in [
            "",
            "ab-3-11",
            "000000AB-3-11",
            "000000ab-3",
            "000000ab-3-11-1",
            "000000ab-03-11",
            "000000ab-+3-11",
            "000000ab--3-11",
        ] {
            assert_eq!(EventId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_event_is_id_event_data_and_a_blank_line() {
        let mut out = Vec::new();
        event_head(&mut out, Some(EventId { nonce: 1, stream: StreamId(2), seq: 3 }));
        out.extend_from_slice(b"{}");
        out.extend_from_slice(EVENT_END);
        assert_eq!(String::from_utf8_lossy(&out), "id: 00000001-2-3\nevent: message\ndata: {}\n\n");
    }
}
