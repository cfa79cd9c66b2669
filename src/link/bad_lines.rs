//! Lines on a child's stdout that are no messages: counted, a few logged, skipped.

use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::protocol::jsonrpc::Unreadable;

/// Counts and logs a child's lines that are no messages; logs at most ten in ten seconds.
pub(crate) struct BadLines {
    since: Instant,
    logged: u32,
}

impl BadLines {
    pub(crate) fn new() -> Self {
        BadLines { since: Instant::now(), logged: 0 }
    }

    /// A line that is no message.
    pub(super) fn add_unreadable(&mut self, metrics: &Metrics, line: &[u8], fault: &Unreadable) {
        match fault {
            _ if line.trim_ascii().is_empty() => metrics.bad_line_counted("blank"),
            Unreadable::NotUtf8 => self.add(metrics, "not_utf8", b""),
            // What is not JSON is no message: its beginning may be shown, and mostly says what is wrong.
            Unreadable::NotJson(_) => self.add(metrics, "not_json", line),
            Unreadable::TooDeep => self.add(metrics, "too_deep", b""),
            Unreadable::Batch => self.add(metrics, "batch", b""),
            Unreadable::Shape(..) => self.add(metrics, "not_json_rpc", b""),
        }
    }

    pub(super) fn add(&mut self, metrics: &Metrics, reason: &'static str, line: &[u8]) {
        metrics.bad_line_counted(reason);
        if self.since.elapsed() >= Duration::from_secs(10) {
            *self = BadLines::new();
        }
        self.logged += 1;
        if self.logged <= 10 {
            let begins = crate::child::stderr::escaped(&line[..line.len().min(80)]);
            tracing::warn!(reason, begins, "a line on the server's stdout is not a message; it must write messages only");
        }
    }
}
