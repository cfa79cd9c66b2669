//! A session's memory, step by step: what each gives is read from its log.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;

use super::*;
use crate::budget::Budget;
use crate::link::cursor::{From, Next};
use crate::metrics::Metrics;

mod calls;
mod properties;
mod scripts;

const MAX_CALLS: usize = 6;
const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    seat: Seat,
    now: Instant,
    runtime: Runtime,
}

/// What reading a stream to its end gives: its messages, and whether it is over.
type Read = (Vec<String>, bool);

impl Bench {
    fn new() -> Bench {
        Bench::holding(1 << 20)
    }

    fn holding(bytes: usize) -> Bench {
        let (now, metrics) = (Instant::now(), Arc::new(Metrics::new()));
        let log = Log::new(7, bytes, Arc::new(Budget::new(1 << 30)), metrics, now);
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        Bench { seat: Seat::new(log, MAX_CALLS, now), now, runtime }
    }

    fn own(&mut self, id: &str, carries: Carries) -> (u64, Cursor) {
        let (call, cursor) = self.seat.begin(id.as_bytes(), Way::Own, carries, None, self.now);
        (call, cursor.expect("a stream of its own"))
    }

    fn standing(&mut self, id: &str) -> u64 {
        let (call, cursor) = self.seat.begin(id.as_bytes(), Way::Standing, Carries::Events, None, self.now);
        assert_eq!(cursor, None);
        call
    }

    /// Calls that came together, and where they are answered.
    fn batch(&mut self, ids: &[&str], carries: Carries) -> (Vec<u64>, Cursor) {
        let cursor = self.seat.log.open(b"null", None, self.now);
        let way = Way::Batch(cursor.stream);
        let calls = ids.iter().map(|id| match self.seat.begin(id.as_bytes(), way, carries, None, self.now) {
            (call, None) => call,
            (_, Some(_)) => unreachable!("it has no stream of its own"),
        });
        (calls.collect(), cursor)
    }

    fn open_get(&mut self) -> Cursor {
        let effects = &mut Effects::default();
        self.seat.log.attach(StreamId::GET, From::Unread, None, self.now, effects).expect("nobody reads it")
    }

    /// What is new for a reader.
    fn read(&mut self, cursor: &mut Cursor) -> Read {
        let mut messages = Vec::new();
        loop {
            match self.seat.log.next(cursor, Waker::noop(), self.now) {
                Next::Event(_, bytes) => messages.push(String::from_utf8(bytes.to_vec()).expect("UTF-8")),
                Next::Wait => return (messages, false),
                Next::End => return (messages, true),
                other => unreachable!("{other:?}"),
            }
        }
    }

    fn answer(&mut self, call: u64, text: &str) -> bool {
        self.seat.answer(call, text.to_owned().into(), &mut Effects::default())
    }

    fn say(&mut self, call: u64, text: &str) -> Said {
        self.seat.say(call, text.to_owned().into(), &mut Effects::default())
    }

    fn progress(&mut self, call: u64, progress: Option<f64>, text: &str) -> Said {
        self.seat.progress(call, progress, text.to_owned().into(), &mut Effects::default())
    }

    fn ask(&mut self, call: u64, at: usize, answers: &Answers) -> Result<u64, &'static str> {
        self.seat.ask(call, at, answers, |id| asked(id).into_bytes(), &mut Effects::default())
    }

    fn reply(&mut self, id: &str, text: &str) -> bool {
        self.seat.answered(id.as_bytes(), text.to_owned().into(), self.now)
    }

    fn cancel(&mut self, id: &str) -> Result<(), &'static str> {
        self.seat.cancel(id.as_bytes(), self.now, &mut Effects::default())
    }

    fn end(&mut self) {
        let data = serde_json::json!({ "reason": "deleted" });
        self.seat.end("it is over", &data, &mut Effects::default());
    }

    /// Somebody works on a call, for ever.
    fn work(&mut self, call: u64) -> JoinHandle<()> {
        let task = self.runtime.spawn(std::future::pending());
        self.seat.assign(call, task.abort_handle());
        task
    }

    fn is_aborted(&self, task: &JoinHandle<()>) -> bool {
        self.runtime.block_on(tokio::task::yield_now());
        task.is_finished()
    }
}

fn asked(id: u64) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#)
}

fn cancelled(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32800,"message":"the request was cancelled"}}}}"#)
}

fn ended(id: &str) -> String {
    let data = r#"{"reason":"deleted"}"#;
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32603,"message":"it is over","data":{data}}}}}"#)
}

fn withdrawn(id: u64, reason: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"{reason}"}}}}"#)
}

const WITHDRAWN: &str = "the call was cancelled";

fn took(answered: &mut Receiver<(usize, Bytes)>) -> Option<(usize, String)> {
    let (at, text) = answered.try_recv().ok()?;
    Some((at, String::from_utf8(text.to_vec()).expect("UTF-8")))
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
