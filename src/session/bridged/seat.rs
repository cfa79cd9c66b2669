//! What a session in front of shared children remembers for its client: its log, the calls that are not answered, the questions
//! that the client was asked. Pure, behind the session's lock; who talks to the children is `modern` and `shared`.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::listening::Standing;
use crate::bridge::legacy_on_modern::results::Wrapped;
use crate::bridge::subscriptions::MAX_URIS;
use crate::link::NotPosted;
use crate::link::cursor::Cursor;
use crate::link::effects::Effects;
use crate::link::log::{Kept, Log};
use crate::link::route::Carries;
use crate::link::stream::{Cut, EventKind};
use crate::protocol::jsonrpc;
use crate::protocol::meta::Level;
use crate::protocol::splice::canonical;
use crate::protocol::sse::StreamId;
use crate::quota::Counted;

/// Where the answer to a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// On a stream of its own.
    Own,
    /// On the session's only stream (HTTP with SSE, 2024-11-05).
    Standing,
    /// On the stream of the batch that it came in (2025-03-26).
    Batch(StreamId),
}

/// Notifications that may wait for a child to start.
const MAX_WAITING: usize = 64;

/// A request of the client that is not answered.
struct Call {
    /// As the client wrote it.
    id: Box<[u8]>,
    stream: StreamId,
    way: Way,
    carries: Carries,
    /// Who works on it.
    task: Option<AbortHandle>,
    /// The last progress that the client was told.
    progress: Option<f64>,
    _counted: Counted,
}

/// Where a client's answer goes: the place of the question in its round, and the answer.
pub(super) type Answers = mpsc::Sender<(usize, Bytes)>;

/// A question that the client has not answered.
struct Question {
    call: u64,
    stream: StreamId,
    /// What the answer is to be told with.
    at: usize,
    answers: Answers,
}

pub(super) struct Seat {
    pub(super) log: Log,
    calls: FxHashMap<u64, Call>,
    next_call: u64,
    /// By the number that is the question's id.
    questions: FxHashMap<u64, Question>,
    next_question: u64,
    max_calls: usize,
    /// What the client chose with `logging/setLevel`.
    pub(super) level: Option<Level>,
    pub(super) wrapped: Wrapped,
    /// What it subscribed to.
    pub(super) uris: BTreeSet<String>,
    /// What it is about to subscribe to, by which call.
    pub(super) subscribing: HashMap<String, u64>,
    pub(super) standing: Option<Standing>,
    /// Counts them.
    pub(super) standings: u64,
    /// Somebody has begun to look after what is about no call.
    is_introduced: bool,
    /// Notifications that wait for a child, in order; `None` while nobody sees to them.
    waiting: Option<VecDeque<Bytes>>,
    active: Instant,
    pub(super) has_ended: bool,
}

impl Seat {
    pub(super) fn new(log: Log, max_calls: usize, now: Instant) -> Seat {
        Seat {
            log,
            calls: FxHashMap::default(),
            next_call: 1,
            questions: FxHashMap::default(),
            next_question: 1,
            max_calls,
            level: None,
            wrapped: Wrapped::default(),
            uris: BTreeSet::new(),
            subscribing: HashMap::new(),
            standing: None,
            standings: 0,
            is_introduced: false,
            waiting: None,
            active: now,
            has_ended: false,
        }
    }

    /// Whether so many more calls may be made.
    pub(super) fn admit(&mut self, count: usize, now: Instant) -> Result<(), NotPosted> {
        self.active = now;
        if self.has_ended {
            return Err(NotPosted::Ended);
        }
        if self.calls.len() + count > self.max_calls { Err(NotPosted::TooManyCalls) } else { Ok(()) }
    }

    /// A request: its number, and where its client begins to read if the stream is its own.
    pub(super) fn begin(
        &mut self,
        id: &[u8],
        way: Way,
        carries: Carries,
        cut: Option<Cut>,
        now: Instant,
    ) -> (u64, Option<Cursor>) {
        let (stream, cursor) = match way {
            Way::Own => {
                let cursor = self.log.open(id, cut, now);
                (cursor.stream, Some(cursor))
            }
            Way::Standing => (StreamId::GET, None),
            Way::Batch(stream) => (stream, None),
        };
        let number = self.next_call;
        self.next_call += 1;
        self.calls.insert(number, Call { id: id.into(), stream, way, carries, task: None, progress: None, _counted: None });
        (number, cursor)
    }

    /// What a call counts as until it is answered.
    pub(super) fn count(&mut self, call: u64, counted: &Counted) {
        self.calls.get_mut(&call).into_iter().for_each(|call| call._counted.clone_from(counted));
    }

    /// Somebody works on a call. One that is over needs nobody.
    pub(super) fn assign(&mut self, call: u64, task: AbortHandle) {
        match self.calls.get_mut(&call) {
            Some(call) => call.task = Some(task),
            None => task.abort(),
        }
    }

    pub(super) fn is_open(&self, call: u64) -> bool {
        self.calls.contains_key(&call)
    }

    pub(super) fn carries_of(&self, call: u64) -> Carries {
        self.calls.get(&call).map_or(Carries::AnswerOnly, |call| call.carries)
    }

    pub(super) fn calls_in_flight(&self) -> usize {
        self.calls.len()
    }

    /// A request that was not taken after all, and is refused elsewhere; `false` if it shares its stream, and must be answered there.
    pub(super) fn take_back(&mut self, call: u64, effects: &mut Effects) -> bool {
        if self.calls.get(&call).is_some_and(|call| call.way != Way::Own) {
            return false;
        }
        self.subscribing.retain(|_, by| *by != call);
        if let Some(call) = self.calls.remove(&call) {
            self.log.end(call.stream, effects);
        }
        true
    }

    /// What comes of a call before its answer.
    pub(super) fn say(&mut self, call: u64, line: Bytes, effects: &mut Effects) -> Said {
        let Some(call) = self.calls.get(&call) else { return Said::No("notification_without_call") };
        let stream = match (call.carries, self.log.is_reachable(call.stream)) {
            (Carries::Events, true) => call.stream,
            _ => StreamId::GET,
        };
        self.log.append(stream, EventKind::Notification, line, effects);
        Said::Yes
    }

    /// Progress of a call. It only grows (2025-11-25, Progress, Behavior Requirements, 1), also where the child began anew.
    pub(super) fn progress(&mut self, call: u64, progress: Option<f64>, line: Bytes, effects: &mut Effects) -> Said {
        let Some(call) = self.calls.get_mut(&call) else { return Said::No("progress_without_call") };
        if call.carries == Carries::AnswerOnly {
            return Said::No("progress_in_json_mode");
        }
        if let (Some(last), Some(progress)) = (call.progress, progress)
            && progress <= last
        {
            return Said::No("progress_not_increasing");
        }
        call.progress = progress.or(call.progress);
        self.log.append(call.stream, EventKind::Notification, line, effects);
        Said::Yes
    }

    /// The answer to a call; says whether anybody waited for it.
    pub(super) fn answer(&mut self, number: u64, line: Bytes, effects: &mut Effects) -> bool {
        let Some(call) = self.calls.remove(&number) else { return false };
        self.questions.retain(|_, question| question.call != number);
        self.subscribing.retain(|_, by| *by != number);
        let has_more = match call.way {
            Way::Own => false,
            Way::Standing => true,
            Way::Batch(stream) => self.calls.values().any(|other| other.stream == stream),
        };
        let kind = if has_more { EventKind::Reply } else { EventKind::Answer };
        self.log.append(call.stream, kind, line, effects);
        true
    }

    /// What concerns no call: on the GET stream.
    pub(super) fn tell(&mut self, line: Bytes, effects: &mut Effects) {
        self.log.append(StreamId::GET, EventKind::Notification, line, effects);
    }

    /// Asks the client in one of its calls. `line` makes the request of the id; the question's number is given back.
    pub(super) fn ask(
        &mut self,
        number: u64,
        at: usize,
        answers: &Answers,
        line: impl FnOnce(u64) -> Vec<u8>,
        effects: &mut Effects,
    ) -> Result<u64, &'static str> {
        let call = self.calls.get(&number).ok_or("the call is over")?;
        let stream = match (call.carries, self.log.is_reachable(call.stream)) {
            (Carries::Events, true) => call.stream,
            _ if self.log.has_reader(StreamId::GET) => StreamId::GET,
            _ => return Err("the client asked for a plain JSON answer and has no stream open: it cannot be asked"),
        };
        let id = self.next_question;
        self.next_question += 1;
        if self.log.append(stream, EventKind::Question, line(id).into(), effects) == Kept::No {
            return Err("the gateway's log is full (--log-bytes, --log-bytes-total)");
        }
        self.questions.insert(id, Question { call: number, stream, at, answers: answers.clone() });
        Ok(id)
    }

    /// The client answers a question; says whether that was asked.
    pub(super) fn answered(&mut self, id: &[u8], text: Bytes, now: Instant) -> bool {
        self.active = now;
        let number = crate::protocol::splice::private_number(id);
        let Some(question) = number.and_then(|number| self.questions.remove(&number)) else { return false };
        // It has room for an answer to each question; who asked may have gone.
        let _ = question.answers.try_send((question.at, text));
        true
    }

    /// A question need not be answered any more.
    pub(super) fn withdraw_one(&mut self, id: u64, reason: &str, effects: &mut Effects) {
        if let Some(question) = self.questions.remove(&id) {
            self.log.append(
                question.stream,
                EventKind::Notification,
                jsonrpc::withdrawal(id.to_string().as_bytes(), reason).into(),
                effects,
            );
        }
    }

    /// Questions of a call that need not be answered any more.
    pub(super) fn withdraw(&mut self, call: u64, reason: &str, effects: &mut Effects) {
        let open: Vec<u64> = self.questions.iter().filter(|(_, question)| question.call == call).map(|(id, _)| *id).collect();
        open.into_iter().for_each(|id| self.withdraw_one(id, reason, effects));
    }

    /// The client cancels the call of that id. A label says why it does not.
    pub(super) fn cancel(&mut self, id: &[u8], now: Instant, effects: &mut Effects) -> Result<(), &'static str> {
        self.active = now;
        let id = canonical(id);
        let mut same = self.calls.iter().filter(|(_, call)| canonical(&call.id) == id).map(|(number, _)| *number);
        let number = match (same.next(), same.next()) {
            (Some(number), None) => number,
            (Some(_), Some(_)) => return Err("ambiguous_cancel"),
            _ => return Err("cancel_without_call"),
        };
        self.withdraw(number, "the call was cancelled", effects);
        if let Some(call) = self.calls.get_mut(&number) {
            let error = jsonrpc::error(Some(&call.id), jsonrpc::REQUEST_CANCELLED, "the request was cancelled", None);
            // Who works on it lets go of its child, which hears of it.
            call.task.take().iter().for_each(AbortHandle::abort);
            self.answer(number, error.into(), effects);
        }
        Ok(())
    }

    /// A call is to subscribe to a resource; `false` beyond the bound.
    pub(super) fn begin_subscribing(&mut self, uri: &str, call: u64) -> bool {
        let has_room = self.uris.len() + self.subscribing.len() < MAX_URIS;
        if has_room {
            self.subscribing.insert(uri.to_owned(), call);
        }
        has_room
    }

    pub(super) fn subscribes_no_more(&mut self, uri: &str) {
        self.subscribing.remove(uri);
        self.uris.remove(uri);
    }

    /// Whether the client says for the first time that it is ready.
    pub(super) fn introduces(&mut self) -> bool {
        !std::mem::replace(&mut self.is_introduced, true)
    }

    /// Whether notifications wait for a child: then others wait behind them.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// One more notification waits for a child; says whether somebody has to see to it.
    pub(super) fn wait_with(&mut self, text: Bytes) -> Result<bool, NotPosted> {
        let is_first = self.waiting.is_none();
        let waiting = self.waiting.get_or_insert_default();
        if waiting.len() >= MAX_WAITING {
            return Err(NotPosted::ChildBusy);
        }
        waiting.push_back(text);
        Ok(is_first)
    }

    /// The next of those that wait; `None` once there is none, and nobody sees to them any more.
    pub(super) fn next_waiting(&mut self) -> Option<Bytes> {
        let next = self.waiting.as_mut()?.pop_front().filter(|_| !self.has_ended);
        if next.is_none() {
            self.waiting = None;
        }
        next
    }

    pub(super) fn use_now(&mut self, now: Instant) {
        self.active = now;
    }

    /// Gives back what calls took that are no more.
    pub(super) fn shrink(&mut self) {
        if self.calls.is_empty() && self.calls.capacity() > 0 {
            self.calls = FxHashMap::default();
        }
    }

    /// How long nothing has happened: no call in flight, nobody reading the GET stream, no message.
    pub(super) fn idle_for(&self, now: Instant) -> Duration {
        let is_used = !self.calls.is_empty() || self.log.has_reader(StreamId::GET);
        if is_used { Duration::ZERO } else { now.saturating_duration_since(self.active) }
    }

    /// Every call is answered with this error, every stream ends, nobody works for the session any more.
    pub(super) fn end(&mut self, message: &str, data: &serde_json::Value, effects: &mut Effects) {
        self.has_ended = true;
        self.standing.take().iter().for_each(|standing| standing.task.abort());
        let mut calls: Vec<u64> = self.calls.keys().copied().collect();
        calls.sort_unstable();
        for number in calls {
            let Some(call) = self.calls.get_mut(&number) else { continue };
            call.task.take().iter().for_each(AbortHandle::abort);
            let error = jsonrpc::error(Some(&call.id), jsonrpc::INTERNAL_ERROR, message, Some(data.clone()));
            self.answer(number, error.into(), effects);
        }
        self.log.end_all(effects);
    }
}

/// What became of something that was to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Yes,
    /// Nobody hears it; the reason is a metric's label.
    No(&'static str),
}

#[cfg(test)]
mod tests;
