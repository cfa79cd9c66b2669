//! A client that blocks: it sends a request, reads the whole response and looks at it, and only then sends the next. So the
//! gateway meets the same things in the same order each time.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use memchr::memmem;

use crate::cases::{Ask, Case, Client};
use crate::child::{DONE, EVENTS, letters, said};
use crate::json::{member, text};

const FIELDS: &str = "host: localhost\r\naccept: application/json, text/event-stream\r\ncontent-type: application/json\r\n";
const HELLO: &str = "hello, world";
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"0"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
const NOTIFICATION: &str = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
/// What a modern request says beside its arguments.
const ENVELOPE: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"0"},"io.modelcontextprotocol/clientCapabilities":{}"#;
/// The first id; all have as many digits.
const FIRST: u32 = 1_000_000;

/// A response, with what its chunks held.
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

struct Wire {
    socket: TcpStream,
    /// The fields that every request has.
    fields: String,
}

/// Makes so many calls of this kind, and before them what a client must say to be heard.
pub(crate) fn run(case: &Case, calls: u32, address: SocketAddr, token: Option<&str>) {
    let mut wire = Wire::open(case, address, token);
    let text = match case.ask {
        Ask::Letters(count) => letters(count),
        Ask::Hello => HELLO.to_owned(),
        Ask::Progress | Ask::Notification => DONE.to_owned(),
    };
    for id in (FIRST..).take(calls as usize) {
        if let Ask::Notification = case.ask {
            assert_eq!(wire.ask(NOTIFICATION).status, 202, "a notification is accepted");
            continue;
        }
        let reply = wire.ask(&call(case, id, &text));
        assert_eq!(reply.status, 200, "a call is answered");
        let events = events(&reply, &id.to_string(), text.as_bytes());
        let wanted = if let Ask::Progress = case.ask { EVENTS } else { 0 };
        assert_eq!(events, Some(wanted), "the answer, and all progress before it: {}", String::from_utf8_lossy(&reply.body));
    }
}

fn call(case: &Case, id: u32, text: &str) -> String {
    let mut meta = Vec::new();
    if case.client == Client::Modern {
        meta.push(ENVELOPE.to_owned());
    }
    let (tool, arguments) = if let Ask::Progress = case.ask {
        meta.push(format!(r#""progressToken":{id}"#));
        ("progress", "{}".to_owned())
    } else {
        ("echo", format!(r#"{{"text":"{text}"}}"#))
    };
    let meta = if meta.is_empty() { String::new() } else { format!(r#","_meta":{{{}}}"#, meta.join(",")) };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}{meta}}}}}"#)
}

/// How many progress notifications of this call come before its answer; `None` if anything else comes, or no answer.
fn events(reply: &Reply, id: &str, text_of_answer: &[u8]) -> Option<usize> {
    let is_answer = |message: &[u8]| said(message, id) == Some(text_of_answer);
    if !reply.head.contains("text/event-stream") {
        return is_answer(&reply.body).then_some(0);
    }
    let lines = reply.body.split(|byte| *byte == b'\n');
    let messages: Vec<&[u8]> =
        lines.filter_map(|line| line.strip_prefix(b"data:")).map(<[u8]>::trim_ascii).filter(|data| !data.is_empty()).collect();
    let (last, others) = messages.split_last()?;
    let is_progress = |message: &[u8]| {
        let token = member(message, "params").and_then(|params| member(params, "progressToken"));
        member(message, "method").and_then(text) == Some(b"notifications/progress") && token == Some(id.as_bytes())
    };
    (is_answer(last) && others.iter().all(|message| is_progress(message))).then_some(others.len())
}

impl Wire {
    fn open(case: &Case, address: SocketAddr, token: Option<&str>) -> Wire {
        let socket = TcpStream::connect(address).expect("it listens");
        socket.set_nodelay(true).expect("a TCP socket");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a TCP socket");
        let mut wire = Wire { socket, fields: FIELDS.to_owned() };
        wire.fields += case.more;
        wire.fields.extend(token.map(|token| format!("authorization: Bearer {token}\r\n")));
        match case.client {
            Client::Modern => wire.fields += "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: echo\r\n",
            Client::Legacy => {
                let reply = wire.ask(INITIALIZE);
                let id = reply.head.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).expect("a session");
                wire.fields += &format!("mcp-session-id: {id}\r\nmcp-protocol-version: 2025-11-25\r\n");
                assert_eq!(wire.ask(INITIALIZED).status, 202, "the session is open");
            }
        }
        wire
    }

    /// Sends a message and reads the response to its end.
    fn ask(&mut self, message: &str) -> Reply {
        let head = format!("POST /mcp HTTP/1.1\r\n{}content-length: {}\r\n\r\n", self.fields, message.len());
        self.socket.write_all((head + message).as_bytes()).expect("it reads");
        let mut bytes = Vec::new();
        let end = loop {
            self.more(&mut bytes);
            if let Some(at) = memmem::find(&bytes, b"\r\n\r\n") {
                break at;
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).expect("HTTP/1.1");
        let mut body = bytes.split_off(end + 4);
        if head.contains("transfer-encoding: chunked") {
            while !body.ends_with(b"\r\n0\r\n\r\n") {
                self.more(&mut body);
            }
            body = unchunked(&body);
        } else {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            while body.len() < length {
                self.more(&mut body);
            }
        }
        Reply { status, head, body }
    }

    fn more(&mut self, bytes: &mut Vec<u8>) {
        let mut chunk = [0; 1 << 16];
        let count = self.socket.read(&mut chunk).expect("it answers in time");
        assert!(count > 0, "it hung up");
        bytes.extend_from_slice(&chunk[..count]);
    }
}

/// What is in the chunks.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(bytes.len());
    loop {
        let end = memmem::find(bytes, b"\r\n").expect("the size of a chunk");
        let size = std::str::from_utf8(&bytes[..end]).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let size = size.expect("the size of a chunk");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[end + 2..][..size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
}
