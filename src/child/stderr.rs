//! What a child writes to stderr: always read, logged line by line under the target `child` up to a rate, its end kept.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Pid;
use tokio::time::Instant;
use tracing::{info, warn};

use super::framer::Framer;
use super::pipe;
use crate::metrics::Metrics;

/// Lines logged in a second; the rest is counted.
const LINES_A_SECOND: u32 = 100;
/// Longest line that is logged whole.
const MAX_LINE: usize = 4 << 10;
/// What is kept for `--expose-stderr`.
const TAIL: usize = 4 << 10;

/// The last that a child wrote to stderr.
#[derive(Clone, Default)]
pub(crate) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    fn push(&self, bytes: &[u8]) {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = (tail.len() + bytes.len()).saturating_sub(TAIL).min(tail.len());
        tail.drain(..over);
        tail.extend(&bytes[bytes.len().saturating_sub(TAIL)..]);
    }

    pub(crate) fn text(&self) -> String {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(tail.make_contiguous()).into_owned()
    }
}

/// Reads until every holder of the other end has closed it, or the task is dropped.
pub(crate) async fn drain(stderr: OwnedFd, pid: Pid, tail: Option<Tail>, metrics: Arc<Metrics>) {
    let Ok(stderr) = pipe::watch(stderr, tokio::io::Interest::READABLE) else { return };
    let mut framer = Framer::new(MAX_LINE);
    let mut rate = Rate { second: Instant::now(), logged: 0, left_out: 0 };
    pipe::read_all(&stderr, |bytes| {
        if let Some(tail) = &tail {
            tail.push(bytes);
        }
        let fed = framer.feed(bytes);
        for line in fed.lines() {
            metrics.stderr_lines.inc();
            if rate.admits(pid) {
                let line = &line[..line.len().min(MAX_LINE)];
                info!(target: "child", pid = pid.as_raw_nonzero().get(), line = %escaped(line));
            } else {
                metrics.stderr_lines_unlogged.inc();
            }
        }
        metrics.stderr_lines_unlogged.inc_by(u64::from(fed.lost_before) + u64::from(fed.lost_after));
    })
    .await;
}

/// A line that cannot end its log line, move the cursor or hide what follows: control characters and bidirectional
/// overrides stand as escapes.
pub(crate) fn escaped(line: &[u8]) -> String {
    let mut out = String::with_capacity(line.len());
    for c in String::from_utf8_lossy(line).trim_end().chars() {
        let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
        if c.is_control() || hidden { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

struct Rate {
    second: Instant,
    logged: u32,
    left_out: u64,
}

impl Rate {
    fn admits(&mut self, pid: Pid) -> bool {
        if self.second.elapsed() >= Duration::from_secs(1) {
            if self.left_out > 0 {
                warn!(target: "child", pid = pid.as_raw_nonzero().get(), lines = self.left_out, "stderr lines left out");
            }
            *self = Rate { second: Instant::now(), logged: 0, left_out: 0 };
        }
        let admits = self.logged < LINES_A_SECOND;
        if admits {
            self.logged += 1
        } else {
            self.left_out += 1
        }
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_line_can_forge_the_log() {
        assert_eq!(escaped(b"a\x1b[2Jb\r\0c\tend\r\n"), "a\\u{1b}[2Jb\\r\\u{0}c\\tend");
        assert_eq!(escaped("x\u{202e}y\u{2028}é".as_bytes()), "x\\u{202e}y\\u{2028}é");
        assert_eq!(escaped(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn the_tail_is_the_end() {
        let tail = Tail::default();
        tail.push(&[b'a'; TAIL]);
        tail.push(b"end");
        assert!(tail.text().ends_with("aend") && tail.text().len() == TAIL);
        tail.push(&[b'b'; 3 * TAIL]);
        assert_eq!(tail.text(), "b".repeat(TAIL));
    }
}
