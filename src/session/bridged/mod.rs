//! A session in front of children that it shares with others: what its client says is taken here, and asked of the pool by one
//! task a call; what comes of it goes into the session's own log, which its client can resume.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

pub(crate) use self::calls::Refuse;
use self::seat::Seat;
pub(crate) use self::seat::Way;
use crate::bridge::discover::Facts;
use crate::bridge::legacy_on_modern::Speaker;
use crate::link::cursor::{Cursor, From, NoCursor};
use crate::link::effects::Effects;
use crate::link::keeper::correlation_id;
use crate::link::log::Log;
use crate::link::reader::{Reader, Source};
use crate::link::route::Carries;
use crate::link::stream::{Cut, EventKind};
use crate::link::{EndReason, NotPosted, Tick};
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::principal::Principal;
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::revision::Revision;
use crate::protocol::sse::{EventId, StreamId};

mod calls;
mod listening;
mod modern;
mod seat;
mod shared;

/// What children a session uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Modern ones.
    Modern,
    /// The one legacy child that all sessions share, of this revision.
    Legacy(Revision),
}

/// Makes a session unknown that is about to end.
pub(crate) type Forget = Box<dyn FnOnce(EndReason) + Send>;

pub(crate) struct Bridged {
    /// Names the session toward shared children.
    number: u64,
    seat: Mutex<Seat>,
    pool: Arc<Pool>,
    principal: Principal,
    speaker: Speaker,
    backend: Backend,
    /// It hears what is about no call.
    hears: bool,
    /// What the child said of itself when the session was opened.
    facts: Arc<Facts>,
    question_timeout: Duration,
    /// Its subscriptions are changed one at a time.
    listening: AsyncMutex<()>,
    end: OnceLock<EndReason>,
    forget: Mutex<Option<Forget>>,
    metrics: Arc<Metrics>,
    me: Weak<Bridged>,
}

/// What a session is made of.
pub(crate) struct Parts {
    pub(crate) pool: Arc<Pool>,
    pub(crate) principal: Principal,
    pub(crate) speaker: Speaker,
    pub(crate) backend: Backend,
    /// There is a stream for what is about no call.
    pub(crate) hears: bool,
    pub(crate) facts: Arc<Facts>,
    pub(crate) log: Log,
    pub(crate) max_calls: usize,
    pub(crate) question_timeout: Duration,
    pub(crate) metrics: Arc<Metrics>,
}

impl Bridged {
    pub(crate) fn new(parts: Parts) -> Arc<Bridged> {
        let Parts { pool, principal, speaker, backend, hears, facts, log, max_calls, question_timeout, metrics } = parts;
        let seat = Seat::new(log, max_calls, Instant::now());
        Arc::new_cyclic(|me| Bridged {
            number: pool.next_session(),
            seat: Mutex::new(seat),
            pool,
            principal,
            speaker,
            backend,
            hears,
            facts,
            question_timeout,
            listening: AsyncMutex::new(()),
            end: OnceLock::new(),
            forget: Mutex::default(),
            metrics,
            me: me.clone(),
        })
    }

    /// A request that is answered without any child: its reader, which holds the answer.
    pub(crate) fn answered(&self, id: &[u8], result: &[u8], way: Way, carries: Carries) -> Result<Option<Reader>, NotPosted> {
        let cursor = self.with(|seat, effects| {
            let now = Instant::now();
            seat.admit(1, now)?;
            let (call, cursor) = seat.begin(id, way, carries, None, now);
            seat.answer(call, jsonrpc::result(id, result).into(), effects);
            Ok::<_, NotPosted>(cursor)
        })?;
        Ok(cursor.map(|cursor| Reader::new(self.arc(), cursor)))
    }

    /// Puts a message on the GET stream.
    pub(crate) fn say(&self, message: Bytes) {
        self.with(|seat, effects| {
            seat.log.append(StreamId::GET, EventKind::Reply, message, effects);
        });
    }

    /// A notification, or an answer to a question.
    pub(crate) fn tell(self: &Arc<Self>, text: &Bytes, envelope: &Envelope) -> Result<(), NotPosted> {
        let now = Instant::now();
        let dropped = self.with(|seat, effects| {
            if seat.has_ended {
                return Err(NotPosted::Ended);
            }
            seat.use_now(now);
            Ok(match (envelope.kind, envelope.id, envelope.about_request) {
                (Kind::Answer, Some(id), _) if seat.answered(id.of(text), text.clone(), now) => None,
                (Kind::Answer, ..) => Some("answer_without_question"),
                (_, _, Some(about)) if envelope.is_method(text, "notifications/cancelled") => {
                    seat.cancel(about.of(text), now, effects).err()
                }
                _ => None,
            })
        })?;
        if let Some(reason) = dropped {
            self.metrics.drop_counted(reason);
        }
        match (envelope.kind, self.backend) {
            (Kind::Notification, Backend::Modern) => self.notified_modern(text, envelope),
            (Kind::Notification, Backend::Legacy(_)) => self.notified_shared(text, envelope),
            _ => Ok(()),
        }
    }

    /// Reads the GET stream, or an earlier stream again.
    pub(crate) fn attach(&self, stream: StreamId, from: From, cut: Option<Cut>) -> Result<Reader, NoCursor> {
        let cursor = self.with(|seat, effects| {
            let now = Instant::now();
            seat.use_now(now);
            seat.log.attach(stream, from, cut, now, effects)
        })?;
        Ok(Reader::resumable(self.arc(), cursor))
    }

    pub(crate) fn event_id_at(&self, id: EventId) -> EventId {
        self.lock().log.event_id_at(id.stream, id.seq)
    }

    pub(crate) fn release_get(&self) {
        self.with(|seat, effects| seat.log.release_get(effects));
    }

    pub(crate) fn calls_in_flight(&self) -> usize {
        self.lock().calls_in_flight()
    }

    pub(crate) fn idle_for(&self, now: Instant) -> Duration {
        self.lock().idle_for(now)
    }

    /// What time brings.
    pub(crate) fn tick(&self, now: Instant) -> Tick {
        self.with(|seat, effects| {
            seat.shrink();
            seat.log.tick(now, effects);
            Tick { idle: seat.idle_for(now), quiet: Duration::ZERO, stdin_queue: 0 }
        })
    }

    /// Ends it; the first reason counts.
    pub(crate) fn end(&self, reason: EndReason) {
        if self.end.set(reason).is_ok() {
            self.ended(reason);
        }
    }

    /// Before it ends, or now if it has, `forget` makes it unknown.
    pub(crate) fn forgotten_by(&self, forget: Forget) {
        *self.forget.lock().unwrap_or_else(PoisonError::into_inner) = Some(forget);
        if let Some(reason) = self.end_reason() {
            self.ended(reason);
        }
    }

    pub(crate) fn end_reason(&self) -> Option<EndReason> {
        self.end.get().copied()
    }

    fn ended(&self, reason: EndReason) {
        let forget = self.forget.lock().unwrap_or_else(PoisonError::into_inner).take();
        forget.into_iter().for_each(|forget| forget(reason));
        let message = match reason {
            EndReason::Shutdown => "the gateway stops",
            _ => "the session ended before the server answered",
        };
        let data = json!({ "reason": reason.label(), "correlationId": correlation_id() });
        self.with(|seat, effects| seat.end(message, &data, effects));
    }

    /// Tells the children something of the client, in order: now if one is up, else once one is.
    fn tell_children(self: &Arc<Self>, text: Bytes) -> Result<(), NotPosted> {
        if !self.lock().has_waiting() {
            let told = match self.backend {
                Backend::Modern => self.pool.tell_modern_now(&self.principal, &text),
                Backend::Legacy(_) => self.pool.tell_shared_now(&self.principal, &text),
            };
            if let Some(told) = told {
                return told;
            }
        }
        if self.lock().wait_with(text)? {
            let session = Arc::clone(self);
            // Ends by itself: within the time that a start may take.
            drop(tokio::spawn(async move { session.tell_waiting().await }));
        }
        Ok(())
    }

    async fn tell_waiting(self: Arc<Self>) {
        loop {
            let Some(text) = self.lock().next_waiting() else { return };
            let is_told = match self.backend {
                Backend::Modern => self.pool.tell_modern(&self.principal, &text).await.is_ok(),
                Backend::Legacy(_) => self.seated().await.is_ok_and(|seated| seated.tell(&text).is_ok()),
            };
            if !is_told {
                self.metrics.messages_lost.inc();
            }
        }
    }

    fn answer(&self, call: u64, line: Vec<u8>) {
        if !self.with(|seat, effects| seat.answer(call, line.into(), effects)) {
            self.metrics.drop_counted("answer_without_call");
        }
    }

    fn fail(&self, call: u64, id: &[u8], why: &str) {
        self.answer(call, jsonrpc::error(Some(id), jsonrpc::INTERNAL_ERROR, why, None));
    }

    /// Does something under the lock, and after it what came of that.
    fn with<T>(&self, act: impl FnOnce(&mut Seat, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let value = act(&mut self.lock(), &mut effects);
        effects.run();
        value
    }

    fn lock(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arc(&self) -> Arc<Bridged> {
        self.me.upgrade().expect("whoever calls holds it")
    }
}

const LOST: &str = "the server ended before it got the call";

impl Source for Bridged {
    fn with_log(&self, act: &mut dyn FnMut(&mut Log)) {
        act(&mut self.lock().log);
    }

    /// 2025-11-25, Sending Messages to the Server, 6: a lost connection is no cancellation.
    fn left(self: Arc<Self>, cursor: &Cursor) {
        let now = Instant::now();
        let mut seat = self.lock();
        seat.use_now(now);
        seat.log.detach(cursor, now);
    }
}
