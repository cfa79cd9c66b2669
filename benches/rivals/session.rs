//! A client's session, and its calls: what is sent, and whether what comes back is the answer to it.

use std::fmt;

use crate::child::{DONE, EVENTS, big, said};
use crate::json::{member, text};
use crate::wire::{Wire, field};

/// Known to every rival.
const REVISION: &str = "2025-06-18";

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The connection broke.
    Broken,
    /// This status.
    Refused(u16),
    /// Not the answer to what was asked.
    Wrong,
    /// So many events of a call did not come.
    Loses(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Broken => write!(to, "breaks"),
            Fault::Refused(status) => write!(to, "answers {status}"),
            Fault::Wrong => write!(to, "answers wrongly"),
            Fault::Loses(count) => write!(to, "loses {count} of {EVENTS}"),
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(_: std::io::Error) -> Self {
        Fault::Broken
    }
}

/// Where a contestant is asked, and what it calls the child's tools.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) port: u16,
    pub(crate) path: &'static str,
    pub(crate) prefix: &'static str,
}

/// What a call asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    /// This text again.
    Echo(&'static str),
    /// The text of 4 MiB.
    Big,
    /// Progress, then an answer.
    Progress,
}

impl Call {
    fn tool(self) -> &'static str {
        match self {
            Call::Echo(_) => "echo",
            Call::Big => "big",
            Call::Progress => "progress",
        }
    }

    fn answer(self) -> &'static str {
        match self {
            Call::Echo(text) => text,
            Call::Big => big(),
            Call::Progress => DONE,
        }
    }
}

/// A session that is open.
#[derive(Clone)]
pub(crate) struct Session {
    place: Place,
    /// The fields that every request of it has.
    fields: String,
}

impl Session {
    /// Opens one on this connection.
    pub(crate) async fn open(wire: &mut Wire, place: Place) -> Result<Session, Fault> {
        let fields = format!("host: 127.0.0.1:{}\r\ncontent-type: application/json\r\n", place.port);
        let mut session = Session { place, fields };
        let hello = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{REVISION}","capabilities":{{}},"clientInfo":{{"name":"rivals","version":"0"}}}}}}"#
        );
        let reply = wire.ask(&session.post(&hello)).await?;
        if !(200..300).contains(&reply.status) {
            return Err(Fault::Refused(reply.status));
        }
        // The limits give none, and are sent one all the same: what they read is as long as what the others read.
        let id = field(reply.head, "mcp-session-id").map_or("0123456789abcdef0123456789abcdef".into(), String::from_utf8_lossy);
        session.fields += &format!("mcp-session-id: {id}\r\nmcp-protocol-version: {REVISION}\r\n");
        let reply = wire.ask(&session.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)).await?;
        if (200..300).contains(&reply.status) { Ok(session) } else { Err(Fault::Refused(reply.status)) }
    }

    /// Ends it. Whether the contestant knows how to is its own matter.
    pub(crate) async fn close(self, wire: &mut Wire) {
        let _ = wire.ask(&self.request("DELETE", "application/json", "")).await;
    }

    /// Opens its standing stream on this connection, and reads none of it.
    pub(crate) async fn listen(&self, wire: &mut Wire) -> Result<(), Fault> {
        match wire.begin(&self.request("GET", "text/event-stream", "")).await? {
            (200, _) => Ok(()),
            (status, _) => Err(Fault::Refused(status)),
        }
    }

    fn post(&self, body: &str) -> Vec<u8> {
        self.request("POST", "application/json, text/event-stream", body)
    }

    fn request(&self, verb: &str, accept: &str, body: &str) -> Vec<u8> {
        let (path, fields, length) = (self.place.path, &self.fields, body.len());
        format!("{verb} {path} HTTP/1.1\r\n{fields}accept: {accept}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
    }

    /// The bytes of a call, but for its id, which stands where [`Template::with`] puts it.
    pub(crate) fn template(&self, call: Call) -> Template {
        let name = format!("{}{}", self.place.prefix, call.tool());
        let arguments = match call {
            Call::Echo(text) => format!(r#"{{"text":"{text}"}}"#),
            Call::Big | Call::Progress => "{}".to_owned(),
        };
        let meta = if matches!(call, Call::Progress) { r#","_meta":{"progressToken":0000000}"# } else { "" };
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":0000000,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}{meta}}}}}"#
        );
        let bytes = self.post(&body);
        let marks = [&b"\"id\":0000000"[..], b"\"progressToken\":0000000"];
        let places = marks.iter().filter_map(|mark| Some(memchr::memmem::find(&bytes, mark)? + mark.len() - 7)).collect();
        Template { call, bytes, places }
    }
}

/// A call whose id can be exchanged.
pub(crate) struct Template {
    call: Call,
    bytes: Vec<u8>,
    /// Where the id stands.
    places: Vec<usize>,
}

impl Template {
    /// Makes the call with this id, of seven digits, and looks at all that comes back.
    pub(crate) async fn make(&mut self, wire: &mut Wire, id: u32) -> Result<(), Fault> {
        let id = id.to_string();
        for place in &self.places {
            self.bytes[*place..][..id.len()].copy_from_slice(id.as_bytes());
        }
        let reply = wire.ask(&self.bytes).await?;
        if reply.status != 200 {
            return Err(Fault::Refused(reply.status));
        }
        let answer = self.call.answer().as_bytes();
        let events = if reply.is_event_stream() {
            events(reply.body, &id, answer).ok_or(Fault::Wrong)?
        } else if said(reply.body, &id) == Some(answer) {
            0
        } else {
            return Err(Fault::Wrong);
        };
        let wanted = if matches!(self.call, Call::Progress) { EVENTS } else { 0 };
        if events == wanted { Ok(()) } else { Err(Fault::Loses(wanted.abs_diff(events))) }
    }
}

/// How many progress notifications of this request are in an event stream that ends with its answer; `None` if anything else
/// is in it.
fn events(body: &[u8], id: &str, answer: &[u8]) -> Option<usize> {
    let (mut count, mut is_answered) = (0, false);
    let mut at = 0;
    for end in memchr::memchr_iter(b'\n', body) {
        let line = &body[std::mem::replace(&mut at, end + 1)..end];
        let Some(data) = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii).filter(|data| !data.is_empty()) else { continue };
        if member(data, "method").and_then(text) == Some(b"notifications/progress") {
            let token = member(data, "params").and_then(|params| member(params, "progressToken"));
            count += usize::from(token == Some(id.as_bytes()));
        } else if !is_answered && said(data, id) == Some(answer) {
            is_answered = true;
        } else {
            return None;
        }
    }
    is_answered.then_some(count)
}
