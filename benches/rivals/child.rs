//! The stdio server behind every contestant: it does as little as a server can, so that what is measured is what stands in
//! front of it. Runs as a process of its own (`rivals child`).
//!
//! Tools: `echo` says `text` again, `big` says [`big`], `progress` sends [`EVENTS`] progress notifications and then an answer.

use std::fs::File;
use std::io::{Read as _, Result, Write as _, stdin, stdout};
use std::os::fd::AsFd as _;
use std::sync::LazyLock;

use crate::json::{at_first, at_member, member, text};

/// How many progress notifications a call of `progress` brings.
pub(crate) const EVENTS: usize = 50;
/// The size of the text that `big` says.
pub(crate) const BIG: usize = 4 << 20;
/// What `progress` says at the end.
pub(crate) const DONE: &str = "done";

/// No two parts of it look the same.
pub(crate) fn big() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| letters(BIG));
    &TEXT
}

/// So many letters, which need no escapes.
pub(crate) fn letters(count: usize) -> String {
    (0..count).map(|at| char::from(b'a' + ((at * 7 + at / 13 + at / 997) % 26) as u8)).collect()
}

const HEAD: &str = r#"{"jsonrpc":"2.0","id":"#;
const TEXT: &str = r#","result":{"content":[{"type":"text","text":"#;
const TAIL: &str = "}]}}\n";

/// The length of a line that says [`big`] to a request whose id has so many digits.
pub(crate) fn big_line(digits: usize) -> usize {
    HEAD.len() + digits + TEXT.len() + BIG + 2 + TAIL.len()
}

/// Answers go out together where the requests came together.
struct Out {
    pipe: File,
    waiting: Vec<u8>,
}

impl Out {
    fn add(&mut self, parts: &[&[u8]]) -> Result<()> {
        for part in parts {
            if part.len() >= BIG {
                // Not copied.
                self.flush()?;
                self.pipe.write_all(part)?;
            } else {
                self.waiting.extend_from_slice(part);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.pipe.write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }
}

/// Serves until its input ends, or nobody reads.
pub(crate) fn serve() {
    let _ = answers();
}

fn answers() -> Result<()> {
    // Plain descriptors: std's stdout looks for ends of lines.
    let mut input = File::from(stdin().as_fd().try_clone_to_owned()?);
    let mut out = Out { pipe: File::from(stdout().as_fd().try_clone_to_owned()?), waiting: Vec::with_capacity(1 << 17) };
    let (mut lines, mut chunk) = (Vec::with_capacity(1 << 17), vec![0; 1 << 16]);
    while let count @ 1.. = input.read(&mut chunk)? {
        let old = lines.len();
        lines.extend_from_slice(&chunk[..count]);
        let Some(end) = memchr::memrchr(b'\n', &chunk[..count]) else { continue };
        for line in lines[..old + end].split(|byte| *byte == b'\n') {
            answer(line, &mut out)?;
        }
        lines.drain(..=old + end);
        out.flush()?;
    }
    Ok(())
}

fn answer(line: &[u8], out: &mut Out) -> Result<()> {
    let (Some(id), Some(method)) = (member(line, "id"), member(line, "method").and_then(text)) else { return Ok(()) };
    let params = member(line, "params").unwrap_or(b"{}");
    match method {
        b"initialize" => {
            let revision = member(params, "protocolVersion").unwrap_or(b"null");
            let facts = br#","capabilities":{"tools":{}},"serverInfo":{"name":"rivals","version":"0"}}}"#;
            out.add(&[HEAD.as_bytes(), id, br#","result":{"protocolVersion":"#, revision, facts, b"\n"])
        }
        b"tools/list" => {
            let tools =
                ["echo", "big", "progress"].map(|name| format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#));
            out.add(&[HEAD.as_bytes(), id, br#","result":{"tools":["#, tools.join(",").as_bytes(), b"]}}\n"])
        }
        b"tools/call" => called(id, params, out),
        _ => out.add(&[HEAD.as_bytes(), id, br#","result":{}}"#, b"\n"]),
    }
}

fn called(id: &[u8], params: &[u8], out: &mut Out) -> Result<()> {
    let (head, tail) = (&[HEAD.as_bytes(), id, TEXT.as_bytes()], TAIL.as_bytes());
    match member(params, "name").and_then(text) {
        Some(b"echo") => {
            let said = member(params, "arguments").and_then(|arguments| member(arguments, "text"));
            out.add(head)?;
            out.add(&[said.unwrap_or(b"null"), tail])
        }
        Some(b"big") => {
            out.add(head)?;
            out.add(&[b"\"", big().as_bytes(), b"\"", tail])
        }
        Some(b"progress") => {
            // Without a token nobody wants to hear of it.
            if let Some(token) = member(params, "_meta").and_then(|meta| member(meta, "progressToken")) {
                for at in 1..=EVENTS {
                    let method = br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"#;
                    out.add(&[method, token, format!(",\"progress\":{at},\"total\":{EVENTS}}}}}\n").as_bytes()])?;
                }
            }
            out.add(head)?;
            out.add(&[b"\"", DONE.as_bytes(), b"\"", tail])
        }
        _ => out.add(&[HEAD.as_bytes(), id, br#","error":{"code":-32602,"message":"no such tool"}}"#, b"\n"]),
    }
}

/// The text in the answer to the request with this id; `None` if it is another's, or no such answer.
pub(crate) fn said<'a>(message: &'a [u8], id: &str) -> Option<&'a [u8]> {
    if member(message, "id")? != id.as_bytes() {
        return None;
    }
    text(member(at_first(at_member(at_member(message, "result")?, "content")?)?, "text")?)
}
