//! A reader's place in a stream of the log, and what it finds there.

use bytes::Bytes;

use crate::protocol::jsonrpc;
use crate::protocol::sse::StreamId;

/// A reader's place in one stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) stream: StreamId,
    /// The last event it took.
    pub(super) seq: u64,
    pub(super) generation: u64,
}

/// Where a reader of the GET stream or of a resumed stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// After what has been delivered; refused while another reader is there.
    Unread,
    /// After this event; replaces another reader.
    After(u64),
}

/// Why no reader can begin there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoCursor {
    /// The stream has a reader.
    Taken,
    /// No such event was ever sent in this session.
    Unknown,
    /// The stream has been given up; its request had this id.
    Gone(Box<[u8]>),
    /// The stream has been given up so long ago that nothing is known of it.
    Expired,
}

/// What a stream has for its reader.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Event(u64, Bytes),
    /// Events after the reader's place were given up; this message, which the log made, tells of it.
    Gap(u64, Bytes),
    /// The connection is to end, and the client to come back.
    Release,
    Wait,
    End,
}

/// What a request's first event was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Its answer: the stream is over and forgotten.
    Answer(Bytes),
    /// Something else: the reader goes on with `Log::next`.
    Event,
    Wait,
}

/// The answer on a stream whose own answer has been given up.
pub(crate) fn gone(client_id: &[u8]) -> Bytes {
    let text = "the answer was given up before it was read (--log-bytes, --log-bytes-total)";
    jsonrpc::error(Some(client_id), jsonrpc::INTERNAL_ERROR, text, None).into()
}

pub(super) fn missing(events: u64) -> Bytes {
    let text = format!("{events} events of this stream were given up before they were read (--log-bytes, --log-bytes-total)");
    let data = serde_json::Value::from(text);
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"warning","logger":"mcp-http-gateway","data":{data}}}}}"#
    )
    .into()
}
