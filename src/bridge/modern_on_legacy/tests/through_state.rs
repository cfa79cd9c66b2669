//! The same router behind a link's state, where streams are opened, read and left.

use std::task::Waker;

use super::*;
use crate::child::outbox::Outbox;
use crate::link::cursor::{Cursor, First, Next};
use crate::link::effects::Effects;
use crate::link::state::State;

struct Link {
    state: State<ModernOnLegacy>,
    bench: Bench,
}

impl Link {
    fn new() -> Link {
        let mut bench = Bench::new();
        let other = Bench::new();
        let router = std::mem::replace(&mut bench.router, other.router);
        let log = std::mem::replace(&mut bench.log, other.log);
        let metrics = Arc::new(Metrics::new());
        Link {
            state: State::new(
                router,
                log,
                Outbox::new(1 << 20, std::sync::Arc::new(crate::budget::Budget::new(64 << 20))),
                3,
                metrics,
                bench.now,
            ),
            bench,
        }
    }

    fn leased(&mut self, said: &Said) -> Cursor {
        let (text, now) = (said.text(), self.bench.now);
        let asked = asked(&text);
        assert!(self.state.router.take_lease(LEASE, &asked, said.declared(), self.bench.place()).is_ok());
        let cursor = self.state.log.open(asked.id.1, None, now);
        let mut effects = Effects::default();
        self.state.route(&mut effects, |router, _, out| router.ask(LEASE, &asked, cursor.stream, now, out));
        effects.run();
        cursor
    }

    fn retried(&mut self, said: &Said) -> Cursor {
        let (text, now, place) = (said.text(), self.bench.now, self.bench.place());
        let (asked, declared) = (asked(&text), said.declared());
        let cursor = self.state.log.open(asked.id.1, None, now);
        let mut effects = Effects::default();
        self.state.route(&mut effects, |router, _, out| router.retry(&asked, declared, cursor.stream, place, now, out));
        effects.run();
        cursor
    }

    fn hear(&mut self, text: &str) {
        let envelope = jsonrpc::read(text.as_bytes()).expect("a message");
        let mut effects = Effects::default();
        self.state.child_wrote(&[Some((text.as_bytes(), envelope))], self.bench.now, &mut effects);
        effects.run();
    }

    fn after(&mut self, time: Duration) {
        self.bench.now += time;
        let mut effects = Effects::default();
        self.state.tick(self.bench.now, &mut effects);
        effects.run();
    }

    fn leave(&mut self, cursor: &Cursor) {
        let mut effects = Effects::default();
        self.state.detach(cursor, self.bench.now, &mut effects);
        effects.run();
    }

    /// What has been written to the child since the last look.
    fn written(&mut self) -> Vec<String> {
        let lines = self.state.outbox.next_batch(0).unwrap_or_default();
        assert!(self.state.outbox.next_batch(0).is_none());
        lines.into_iter().map(|line| String::from_utf8(line.rest()).expect("UTF-8").trim_end().to_owned()).collect()
    }

    fn first(&mut self, cursor: &Cursor) -> Option<String> {
        match self.state.log.first(cursor, Waker::noop()) {
            First::Answer(text) => Some(String::from_utf8(text.to_vec()).expect("UTF-8")),
            _ => None,
        }
    }

    fn next(&mut self, cursor: &mut Cursor) -> Option<String> {
        match self.state.log.next(cursor, Waker::noop(), self.bench.now) {
            Next::Event(_, text) => Some(String::from_utf8(text.to_vec()).expect("UTF-8")),
            _ => None,
        }
    }
}

fn state_of(answer: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(answer).expect("JSON");
    answer["result"]["requestState"].as_str().expect("a state").to_owned()
}

#[test]
fn a_client_that_goes_cancels_its_call_once_and_gives_its_place_back_with_the_answer() {
    let mut link = Link::new();
    let cursor = link.leased(&call("1"));
    assert_eq!(link.written().len(), 1);
    link.leave(&cursor);
    link.leave(&cursor);
    let cancellation = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"the client closed the stream"}}"#;
    assert_eq!(link.written(), [cancellation]);
    assert_eq!(link.bench.free_places(), PLACES - 1);
    link.hear(&result(1));
    assert_eq!((link.bench.free_places(), link.state.router.is_held()), (PLACES, false));
}

#[test]
fn a_client_that_goes_with_its_answer_or_its_questions_cancels_nothing() {
    let mut link = Link::new();
    let cursor = link.leased(&call("1"));
    link.hear(FORM);
    link.after(Duration::from_millis(25));
    assert_eq!(link.written().len(), 1);
    let asked = link.first(&cursor).expect("it is asked");
    link.leave(&cursor);
    assert!(link.written().is_empty());
    assert!(!link.state.has_ended() && link.state.idle_for(link.bench.now + PATIENCE.hard) == Duration::ZERO);
    let retry = call("1").again("2", &state_of(&asked), r#"{"elicitation-1":{"action":"accept"}}"#);
    let cursor = link.retried(&retry);
    assert_eq!(link.written(), [r#"{"jsonrpc":"2.0","id":"f","result":{"action":"accept"}}"#]);
    link.hear(&result(1));
    assert_eq!(link.first(&cursor), Some(complete("2")));
    link.leave(&cursor);
    assert!(link.written().is_empty());
    assert!(link.state.idle_for(link.bench.now + PATIENCE.hard) > Duration::ZERO);
}

#[test]
fn what_comes_before_the_answer_is_read_before_it_in_the_childs_order() {
    let mut link = Link::new();
    let mut cursor = link.leased(&call("1").with_token("\"t\"").with_level("info"));
    let lines = [progress("1", 1), log_line("info", "a"), progress("1", 2), log_line("error", "b"), result(1)];
    lines.iter().for_each(|line| link.hear(line));
    let expected = [progress("\"t\"", 1), log_line("info", "a"), progress("\"t\"", 2), log_line("error", "b"), complete("1")];
    for expected in expected {
        assert_eq!(link.next(&mut cursor), Some(expected));
    }
    assert_eq!(link.next(&mut cursor), None);
    assert!(link.state.log.is_at_end(&cursor));
}

#[test]
fn parked_calls_do_not_count_as_calls_in_flight() {
    let mut link = Link::new();
    link.leased(&call("1"));
    for _ in 0..2 {
        let (text, now) = (Said { method: "tools/list", ..call("9") }.text(), link.bench.now);
        let posted = link.state.post_request(b"9", None, now, |router, stream| {
            let asked = asked(&text);
            router.request(&asked, stream, now).parts(asked.text)
        });
        assert!(posted.is_ok());
    }
    assert!(link.state.admit_call(link.bench.now).is_err());
    link.hear(FORM);
    link.after(Duration::from_millis(25));
    assert!(link.state.admit_call(link.bench.now).is_ok());
}
