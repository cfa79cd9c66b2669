//! What makes the rivals' child a modern one: it is asked `server/discover` first.

use std::fs::File;
use std::io::{Read as _, Write as _, stdin, stdout};
use std::os::fd::AsFd as _;

use crate::json::member;

const FACTS: &str =
    r#""resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private""#;

/// Answers the first request, and leaves what follows it unread.
pub(crate) fn answer() {
    let mut input = File::from(stdin().as_fd().try_clone_to_owned().expect("a descriptor"));
    let (mut line, mut byte) = (Vec::new(), [0]);
    while matches!(input.read(&mut byte), Ok(1)) && byte != *b"\n" {
        line.extend(byte);
    }
    // Without one the gateway has gone, and the child ends too.
    let Some(id) = member(&line, "id") else { return };
    let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{{FACTS}}}}}\n", String::from_utf8_lossy(id));
    let _ = stdout().write_all(answer.as_bytes());
}
