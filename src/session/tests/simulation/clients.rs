//! The simulated clients of one session: they ask, read, leave, come back and answer.

use std::task::Waker;

use serde_json::{Value, json};

use super::world::World;
use crate::link::cursor::{Cursor, From, Next};
use crate::link::route::{Carries, Routed};
use crate::protocol::jsonrpc;
use crate::protocol::sse::StreamId;

/// Ids of calls in flight are mostly equal.
const IDS: [&str; 4] = ["1", "\"1\"", "7", "1"];

/// A stream that a client reads: that of a call, or the standing one.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) number: u64,
    id: &'static str,
    stream: StreamId,
    cursor: Option<Cursor>,
    /// The number of the last event that it took.
    last: u64,
    got: Vec<Value>,
    is_over: bool,
    pub(super) resumes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Clients {
    pub(super) calls: Vec<Call>,
    pub(super) get: Option<Call>,
    /// Questions that wait for their user.
    open: Vec<u64>,
    pub(super) asked: usize,
    pub(super) refused: usize,
}

impl Clients {
    pub(super) fn are_done(&self) -> bool {
        self.calls.iter().all(|call| call.is_over) && self.open.is_empty()
    }
}

impl Call {
    fn new(number: u64, id: &'static str, cursor: Cursor) -> Call {
        Call { number, id, stream: cursor.stream, cursor: Some(cursor), last: 0, got: Vec::new(), is_over: false, resumes: 0 }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.got.last().is_some_and(|last| last.get("result").is_some())
    }

    /// It got what the child wrote about it, each thing once and in order, and its own answer or one error.
    pub(super) fn check(&self, wrote: &[String]) {
        let own = self.got.iter().filter(|message| message.get("error").is_none());
        let text = |message: &Value| match message.get("result") {
            Some(result) => result.to_string(),
            None => message["params"]["message"].as_str().expect("progress").to_owned(),
        };
        assert_eq!(own.map(text).collect::<Vec<_>>(), wrote, "call {}", self.number);
        let (last, others) = self.got.split_last().expect("an answer");
        let id: Value = serde_json::from_str(self.id).expect("an id");
        assert_eq!(last["id"], id, "its own id");
        if let Some(error) = last.get("error") {
            assert_eq!(error["code"], -32603);
        }
        for message in others {
            assert_eq!(
                (message["method"].as_str(), &message["params"]["progressToken"]),
                (Some("notifications/progress"), &json!("t"))
            );
        }
    }

    /// The standing stream carries nothing that belongs to a call.
    pub(super) fn check_standing(&self) {
        let is_change = |message: &Value| message["method"] == "notifications/tools/list_changed";
        assert!(self.got.iter().all(is_change), "{:?}", self.got);
    }
}

impl World {
    pub(super) fn client_listens(&mut self) {
        let cursor = self.with(|state, effects, now| state.attach(StreamId::GET, From::Unread, None, now, effects));
        self.clients.get = Some(Call::new(u64::MAX, "null", cursor.expect("nobody else listens")));
    }

    pub(super) fn client_asks(&mut self, method: &str) {
        let number = self.clients.calls.len() as u64;
        let id = IDS[self.below(4)];
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"name":{number},"_meta":{{"progressToken":"t"}}}}}}"#
        );
        let envelope = jsonrpc::read(text.as_bytes()).expect("a message");
        let posted = self.with(|state, _, now| {
            let cursor = state.post_request(id.as_bytes(), None, now, |router, stream| {
                router.request(text.as_bytes(), &envelope, stream, Carries::Events, false, now).joined(text.as_bytes())
            })?;
            state.log.commit(cursor.stream);
            Ok::<_, crate::link::NotPosted>(cursor)
        });
        match posted {
            Ok(cursor) => {
                self.taken += 1;
                self.clients.calls.push(Call::new(number, id, cursor));
            }
            Err(_) => self.clients.refused += 1,
        }
    }

    pub(super) fn client_tells(&mut self) {
        let text = br#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
        self.tell(text);
    }

    /// A message that is no request: it goes to the child, or nowhere.
    fn tell(&mut self, text: &[u8]) -> bool {
        let envelope = jsonrpc::read(text).expect("a message");
        let mut goes = false;
        let told = self.with(|state, effects, now| {
            state.post(now, effects, |router, out| {
                let routed = match envelope.id {
                    Some(_) => router.answer(text, &envelope),
                    None => router.notification(text, &envelope, now),
                };
                goes = matches!(routed, Routed::ToChild(_));
                out.push(routed);
            })
        });
        self.taken += usize::from(told.is_ok() && goes);
        self.clients.refused += usize::from(told.is_err());
        told.is_ok()
    }

    /// Some stream that somebody reads, or none.
    fn some_call(&mut self) -> Option<&mut Call> {
        let at = self.below(self.clients.calls.len() as u64 + 1);
        self.clients.calls.get_mut(at).or(self.clients.get.as_mut())
    }

    pub(super) fn client_reads(&mut self, most: usize) {
        let now = self.now;
        let at = self.below(self.clients.calls.len() as u64 + 1);
        let World { clients, state, .. } = self;
        let Clients { calls, get, open, asked, .. } = clients;
        let Some(call) = calls.get_mut(at).or(get.as_mut()) else { return };
        for _ in 0..most {
            let Some(cursor) = &mut call.cursor else { return };
            match state.log.next(cursor, Waker::noop(), now) {
                Next::Event(seq, bytes) => {
                    assert_eq!(seq, call.last + 1, "no gap and nothing twice");
                    call.last = seq;
                    let message: Value = serde_json::from_slice(&bytes).expect("an event is a message");
                    match message["method"].as_str() {
                        Some("elicitation/create") => {
                            open.extend(message["id"].as_u64());
                            *asked += 1;
                        }
                        Some("notifications/cancelled") => open.retain(|id| message["params"]["requestId"] != *id),
                        _ => call.got.push(message),
                    }
                }
                Next::Wait => return,
                Next::End => {
                    call.is_over = true;
                    call.cursor = None;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) fn client_leaves(&mut self) {
        let cursor = self.some_call().and_then(|call| call.cursor.take());
        if let Some(cursor) = cursor {
            self.with(|state, effects, now| state.detach(&cursor, now, effects));
        }
    }

    pub(super) fn client_comes_back(&mut self) {
        let Some(call) = self.some_call().filter(|call| call.cursor.is_none() && !call.is_over) else { return };
        let (stream, last) = (call.stream, call.last);
        let cursor = self.with(|state, effects, now| state.attach(stream, From::After(last), None, now, effects));
        let cursor = cursor.expect("it is kept");
        let clients = &mut self.clients;
        let call = clients.calls.iter_mut().chain(&mut clients.get).find(|call| call.stream == stream).expect("it was there");
        call.cursor = Some(cursor);
        call.resumes += 1;
    }

    pub(super) fn client_answers(&mut self) {
        if self.clients.open.is_empty() {
            return;
        }
        let at = self.below(self.clients.open.len() as u64);
        let id = self.clients.open[at];
        let text = json!({ "jsonrpc": "2.0", "id": id, "result": { "action": "accept" } }).to_string();
        if self.tell(text.as_bytes()) || self.state.has_ended() {
            self.clients.open.swap_remove(at);
        }
    }
}
