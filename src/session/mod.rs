//! One session: a legacy client's `initialize` … end, in front of one child. What is decided here is decided in `router`,
//! `log` and `outbox` behind one lock; this file locks, carries out the effects, and writes to the child.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

pub(crate) use self::bad_lines::BadLines;
use self::cursor::{From, NoCursor};
use self::effects::Effects;
pub(crate) use self::id::SessionId;
pub(crate) use self::reader::Reader;
use self::router::Carries;
pub(crate) use self::state::NotPosted;
use self::state::{Line, State};
use crate::child::framer::Fed;
use crate::child::pipe::{self, Written};
use crate::metrics::Metrics;
use crate::principal::Principal;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::revision::Revision;
use crate::protocol::sse::StreamId;

mod bad_lines;
pub(crate) mod cursor;
pub(crate) mod effects;
mod id;
pub(crate) mod keeper;
pub(crate) mod log;
mod reader;
pub(crate) mod router;
pub(crate) mod state;
pub(crate) mod stream;

/// A reader that takes nothing for this long no longer makes the child wait.
const PAUSE: Duration = Duration::from_millis(250);

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The client asked for it.
    Deleted,
    Idle,
    ChildExited,
    /// The child can say nothing any more.
    ChildClosedStdout,
    /// The child can be told nothing any more.
    ChildClosedStdin,
    /// `initialize` failed or was given up: there never was a session.
    NotOpened,
    /// The gateway stops.
    Shutdown,
}

impl EndReason {
    /// A metric's label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            EndReason::Deleted => "deleted",
            EndReason::Idle => "idle",
            EndReason::ChildExited => "child_exited",
            EndReason::ChildClosedStdout => "child_closed_stdout",
            EndReason::ChildClosedStdin => "child_closed_stdin",
            EndReason::NotOpened => "not_opened",
            EndReason::Shutdown => "shutdown",
        }
    }
}

pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// The id as a header value.
    pub(crate) header: HeaderValue,
    pub(crate) principal: Principal,
    state: Mutex<State>,
    /// Taken when the child is to see the end of its input.
    stdin: Mutex<Option<Arc<AsyncFd<OwnedFd>>>>,
    /// A reader took something.
    room: Notify,
    end: watch::Sender<Option<EndReason>>,
    /// What client and child agreed on; unset until then.
    revision: OnceLock<Option<Revision>>,
    /// The child has written something.
    heard: AtomicBool,
    pub(crate) metrics: Arc<Metrics>,
}

impl Session {
    pub(crate) fn new(id: SessionId, principal: Principal, state: State, stdin: AsyncFd<OwnedFd>, metrics: Arc<Metrics>) -> Self {
        let header = HeaderValue::from_str(&id.to_string()).expect("hexadecimal digits are a header value");
        Session {
            id,
            header,
            principal,
            state: Mutex::new(state),
            stdin: Mutex::new(Some(Arc::new(stdin))),
            room: Notify::new(),
            end: watch::Sender::new(None),
            revision: OnceLock::new(),
            heard: AtomicBool::new(false),
            metrics,
        }
    }

    /// The revision in use; `None` before `initialize` is answered, and for a date that we do not know.
    pub(crate) fn revision(&self) -> Option<Revision> {
        self.revision.get().copied().flatten()
    }

    pub(crate) fn agree_on(&self, revision: Option<Revision>) {
        let _ = self.revision.set(revision);
    }

    pub(crate) fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Sends a request to the child; the reader gets what comes of it.
    pub(crate) fn call(
        self: &Arc<Self>,
        text: &[u8],
        envelope: &Envelope,
        carries: Carries,
        cut: Option<Arc<Notify>>,
    ) -> Result<Reader, NotPosted> {
        let (cursor, writes) = {
            let mut state = self.lock();
            let cursor = state.post_request(text, envelope, carries, cut, Instant::now())?;
            (cursor, state.outbox.begin_write())
        };
        self.metrics.message_to_child_counted(envelope.kind);
        if writes {
            self.write();
        }
        Ok(Reader::new(Arc::clone(self), cursor))
    }

    /// Sends a notification or an answer to the child.
    pub(crate) fn tell(self: &Arc<Self>, text: &[u8], envelope: &Envelope) -> Result<(), NotPosted> {
        let writes = {
            let mut state = self.lock();
            state.post_message(text, envelope, Instant::now())?;
            state.outbox.begin_write()
        };
        self.metrics.message_to_child_counted(envelope.kind);
        if writes {
            self.write();
        }
        Ok(())
    }

    /// Reads the GET stream, or an earlier stream again.
    pub(crate) fn attach(self: &Arc<Self>, stream: StreamId, from: From, cut: Option<Arc<Notify>>) -> Result<Reader, NoCursor> {
        let mut effects = Effects::default();
        let cursor = self.lock().attach(stream, from, cut, Instant::now(), &mut effects);
        effects.run();
        cursor.map(|cursor| Reader::new(Arc::clone(self), cursor))
    }

    /// Whether an event id was given by this session.
    pub(crate) fn knows(&self, id: crate::protocol::sse::EventId) -> bool {
        self.lock().log.event_id_at(id.stream, id.seq) == id
    }

    /// Lines that the child wrote: read outside the lock, routed together under it.
    pub(crate) fn child_wrote(self: &Arc<Self>, fed: &Fed<'_>, max_line: usize, bad_lines: &mut BadLines) {
        self.heard.store(true, Ordering::Relaxed);
        let mut lines: Vec<Line<'_>> = Vec::new();
        lines.extend(fed.lost_before.then_some(Line::TooLong));
        for line in fed.lines() {
            match jsonrpc::read(line) {
                _ if line.len() > max_line => lines.push(Line::TooLong),
                Ok(envelope) => {
                    self.metrics.message_to_client_counted(envelope.kind);
                    lines.push(Line::Message(line, envelope));
                }
                Err(fault) => bad_lines.add_unreadable(self, line, &fault),
            }
        }
        lines.extend(fed.lost_after.then_some(Line::TooLong));
        if lines.is_empty() {
            return;
        }
        for _ in lines.iter().filter(|line| matches!(line, Line::TooLong)) {
            bad_lines.add(self, "too_long", b"");
        }
        let mut effects = Effects::default();
        let writes = {
            let mut state = self.lock();
            state.child_wrote(&lines, Instant::now(), &mut effects);
            state.outbox.begin_write()
        };
        effects.run();
        if writes {
            self.write();
        }
    }

    /// Lets readers catch up before more is read from the child: for as long as one of them takes something every
    /// 250 ms. A client that does not read delays nobody longer than that.
    pub(crate) async fn wait_for_room(&self) {
        loop {
            let progress = self.room.notified();
            if !self.lock().log.is_under_pressure() {
                return;
            }
            if timeout(PAUSE, progress).await.is_err() {
                self.lock().log.mark_stalled(PAUSE, Instant::now());
            }
        }
    }

    /// What time brings. Says how long the session has been idle.
    pub(crate) fn tick(self: &Arc<Self>, now: Instant) -> Tick {
        let mut effects = Effects::default();
        let (tick, writes) = {
            let mut state = self.lock();
            state.tick(now, &mut effects);
            let tick = Tick { idle: state.idle_for(now), stdin_queue: state.outbox.bytes() };
            (tick, state.outbox.begin_write())
        };
        effects.run();
        if writes {
            self.write();
        }
        tick
    }

    /// Asks for the end; the first reason counts. The session's keeper does the rest.
    pub(crate) fn end(&self, reason: EndReason) {
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            if is_first {
                *end = Some(reason);
            }
            is_first
        });
    }

    pub(crate) fn end_reason(&self) -> Option<EndReason> {
        *self.end.borrow()
    }

    pub(crate) async fn end_asked(&self) -> EndReason {
        let mut end = self.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(reason) => reason.unwrap_or(EndReason::Shutdown),
            Err(_) => EndReason::Shutdown,
        }
    }

    pub(crate) fn calls_in_flight(&self) -> usize {
        self.lock().router.calls_in_flight()
    }

    /// The reader of the GET stream is asked to come back later.
    pub(crate) fn release_get(&self) {
        let mut effects = Effects::default();
        self.lock().log.release_get(&mut effects);
        effects.run();
    }

    /// Answers every call in flight with an error and ends every stream. The child's input is closed by its keeper.
    pub(crate) fn finish(&self, message: &str, data: &serde_json::Value) {
        let mut effects = Effects::default();
        self.lock().end(message, data, &mut effects);
        effects.run();
    }

    pub(crate) fn close_stdin(&self) {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing behind the lock panics half-way by design; if it did, the session's own calls are what is at risk.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the outbox until it is empty or the pipe is full. Only for whom `begin_write` chose.
    fn write(self: &Arc<Self>) {
        let Some(stdin) = self.stdin.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return };
        loop {
            let Some(batch) = self.lock().outbox.next_batch() else { return };
            match pipe::write(stdin.get_ref(), batch) {
                Written::All => {}
                Written::Rest(rest) => {
                    // Detached on purpose: it ends with the session.
                    drop(tokio::spawn(Arc::clone(self).write_rest(stdin, rest)));
                    return;
                }
                Written::Lost(lines) => return self.lost_stdin(lines),
            }
        }
    }

    /// Nobody reads the child's input: nothing more is accepted for it, and what was waiting is counted.
    fn lost_stdin(&self, lines: usize) {
        let waiting = self.lock().outbox.close();
        self.metrics.messages_lost_counted(lines + waiting);
        self.end(EndReason::ChildClosedStdin);
    }

    async fn write_rest(self: Arc<Self>, stdin: Arc<AsyncFd<OwnedFd>>, mut rest: std::collections::VecDeque<Vec<u8>>) {
        loop {
            tokio::select! {
                writable = pipe::writable(&stdin) => if writable.is_err() { return },
                _ = self.end_asked() => return self.metrics.messages_lost_counted(rest.len()),
            }
            match pipe::write(stdin.get_ref(), rest) {
                Written::All => match self.lock().outbox.next_batch() {
                    Some(batch) => rest = batch,
                    None => return,
                },
                Written::Rest(left) => rest = left,
                Written::Lost(lines) => return self.lost_stdin(lines),
            }
        }
    }
}

/// What a look at the clock found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) idle: Duration,
    pub(crate) stdin_queue: usize,
}
