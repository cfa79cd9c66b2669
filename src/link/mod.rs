//! One child and everyone who talks to it: what it is told goes through the outbox, what it says through the router into the
//! log. The three are behind one lock; this file locks, carries out the effects, and writes to the child.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) use self::bad_lines::BadLines;
use self::cursor::Cursor;
use self::effects::Effects;
use self::log::Log;
use self::reader::Source;
use self::route::{Notice, Route};
pub(crate) use self::state::NotPosted;
use self::state::{Line, State};
use crate::child::framer::Fed;
use crate::child::pipe::{self, Written};
use crate::metrics::Metrics;
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::object;
use crate::protocol::revision::Revision;

mod bad_lines;
pub(crate) mod cursor;
pub(crate) mod effects;
pub(crate) mod keeper;
pub(crate) mod log;
pub(crate) mod reader;
pub(crate) mod route;
pub(crate) mod state;
pub(crate) mod stream;

/// A reader that takes nothing for this long no longer makes the child wait.
const PAUSE: Duration = Duration::from_millis(250);

/// The first answers of a child: to `initialize`, and perhaps to a `ping` before it.
const LOOKS: u8 = 2;

/// Why a link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The client asked for it.
    Deleted,
    /// It closed the only stream that it had.
    ClientLeft,
    Idle,
    /// The server is of another era than it was.
    EraChanged,
    ChildExited,
    /// The child can say nothing any more.
    ChildClosedStdout,
    /// The child can be told nothing any more.
    ChildClosedStdin,
    /// The child did not take up its work, or nobody waits for it any more.
    NotOpened,
    /// The child was to take no more calls, and has none left.
    Retired,
    /// The gateway stops.
    Shutdown,
}

impl EndReason {
    /// A metric's label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            EndReason::Deleted => "deleted",
            EndReason::ClientLeft => "client_left",
            EndReason::Idle => "idle",
            EndReason::EraChanged => "era_changed",
            EndReason::ChildExited => "child_exited",
            EndReason::ChildClosedStdout => "child_closed_stdout",
            EndReason::ChildClosedStdin => "child_closed_stdin",
            EndReason::NotOpened => "not_opened",
            EndReason::Retired => "retired",
            EndReason::Shutdown => "shutdown",
        }
    }
}

/// Who is told what concerns more than one link.
pub(crate) type Watch = Box<dyn Fn(Notice) + Send + Sync>;

pub(crate) struct Link<R> {
    state: Mutex<State<R>>,
    /// Taken when the child is to see the end of its input.
    stdin: Mutex<Option<Arc<AsyncFd<OwnedFd>>>>,
    /// A reader took something.
    room: Notify,
    end: watch::Sender<Option<EndReason>>,
    /// The child has written something.
    heard: AtomicBool,
    /// The child may write several messages in an array (2025-03-26).
    takes_batches: AtomicBool,
    /// How many of its first answers are still looked at for its revision.
    looks: AtomicU8,
    watch: OnceLock<Watch>,
    pub(crate) metrics: Arc<Metrics>,
}

impl<R: Route> Link<R> {
    pub(crate) fn new(state: State<R>, stdin: AsyncFd<OwnedFd>, metrics: Arc<Metrics>) -> Self {
        Link {
            state: Mutex::new(state),
            stdin: Mutex::new(Some(Arc::new(stdin))),
            room: Notify::new(),
            end: watch::Sender::new(None),
            heard: AtomicBool::new(false),
            takes_batches: AtomicBool::new(false),
            looks: AtomicU8::new(LOOKS),
            watch: OnceLock::new(),
            metrics,
        }
    }

    /// From now on `watch` is told what concerns more than this link.
    pub(crate) fn watched_by(&self, watch: Watch) {
        let _ = self.watch.set(watch);
    }

    pub(crate) fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// One of the child's first answers, perhaps that to `initialize`: what comes right behind it may be a batch.
    fn look_for_revision(&self, answer: &[u8], envelope: &Envelope) {
        self.looks.fetch_sub(1, Ordering::Relaxed);
        let date = envelope.result.and_then(|result| object::member(result.of(answer), "protocolVersion"));
        let date = date.and_then(|date| object::string(date.value));
        if date.as_deref().and_then(Revision::parse).is_some_and(Revision::has_batches) {
            self.takes_batches.store(true, Ordering::Relaxed);
        }
    }

    /// Does something under the lock, and after it what came of that.
    pub(crate) fn with<T>(self: &Arc<Self>, act: impl FnOnce(&mut State<R>, &mut Effects) -> T) -> T {
        let mut effects = Effects::default();
        let (value, writes) = {
            let mut state = self.lock();
            let value = act(&mut state, &mut effects);
            (value, state.outbox.begin_write())
        };
        if writes {
            self.write();
        }
        self.carry_out(effects);
        value
    }

    /// Lines that the child wrote: read outside the lock, routed together under it.
    pub(crate) fn child_wrote(self: &Arc<Self>, fed: &Fed<'_>, max_line: usize, bad_lines: &mut BadLines) {
        self.heard.store(true, Ordering::Relaxed);
        let mut lines: Vec<Line<'_>> = Vec::new();
        lines.extend(fed.lost_before.then_some(None));
        for line in fed.lines() {
            if line.len() > max_line {
                lines.push(None);
            } else if line.first() == Some(&b'[') && self.takes_batches.load(Ordering::Relaxed) {
                match jsonrpc::batch(line) {
                    Ok(messages) => messages.into_iter().for_each(|one| self.add_message(one, &mut lines, bad_lines)),
                    Err(fault) => bad_lines.add_unreadable(&self.metrics, line, &fault),
                }
            } else {
                self.add_message(line, &mut lines, bad_lines);
            }
        }
        lines.extend(fed.lost_after.then_some(None));
        if lines.is_empty() {
            return;
        }
        for _ in lines.iter().filter(|line| line.is_none()) {
            bad_lines.add(&self.metrics, "too_long", b"");
        }
        self.with(|state, effects| state.child_wrote(&lines, Instant::now(), effects));
    }

    fn add_message<'a>(&self, text: &'a [u8], lines: &mut Vec<Line<'a>>, bad_lines: &mut BadLines) {
        match jsonrpc::read(text) {
            Ok(envelope) => {
                self.metrics.message_to_client_counted(envelope.kind);
                if envelope.kind == Kind::Answer && self.looks.load(Ordering::Relaxed) > 0 {
                    self.look_for_revision(text, &envelope);
                }
                lines.push(Some((text, envelope)));
            }
            Err(fault) => bad_lines.add_unreadable(&self.metrics, text, &fault),
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

    /// What time brings. Says how long the link has been idle.
    pub(crate) fn tick(self: &Arc<Self>, now: Instant) -> Tick {
        self.with(|state, effects| {
            state.tick(now, effects);
            Tick { idle: state.idle_for(now), stdin_queue: state.outbox.bytes() }
        })
    }

    /// Asks for the end; the first reason counts. The link's keeper does the rest.
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

    /// Answers every call in flight with an error and ends every stream. The child's input is closed by its keeper.
    pub(crate) fn finish(self: &Arc<Self>, message: &str, data: &serde_json::Value) {
        self.with(|state, effects| state.end(message, data, Instant::now(), effects));
    }

    pub(crate) fn close_stdin(&self) {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<R>> {
        // Nothing behind the lock panics half-way by design; if it did, the link's own calls are what is at risk.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(self: &Arc<Self>, mut effects: Effects) {
        if let Some(at) = effects.alarm.take() {
            let link = Arc::downgrade(self);
            // Detached on purpose: it ends by itself, and an early look at the clock does no harm.
            drop(tokio::spawn(async move {
                sleep_until(at).await;
                if let Some(link) = link.upgrade() {
                    link.tick(Instant::now());
                }
            }));
        }
        let notices = std::mem::take(&mut effects.notices);
        effects.run();
        if let Some(watch) = self.watch.get() {
            notices.into_iter().for_each(watch);
        }
    }

    /// Writes the outbox until it is empty or the pipe is full. Only for whom `begin_write` chose.
    fn write(self: &Arc<Self>) {
        let Some(stdin) = self.stdin.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return };
        loop {
            let Some(batch) = self.lock().outbox.next_batch() else { return };
            match pipe::write(stdin.get_ref(), batch) {
                Written::All => {}
                Written::Rest(rest) => {
                    // Detached on purpose: it ends with the link.
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

impl<R: Route> Source for Link<R> {
    fn with_log(&self, act: &mut dyn FnMut(&mut Log)) {
        act(&mut self.lock().log);
    }

    fn took(&self) {
        self.room.notify_one();
    }

    fn left(self: Arc<Self>, cursor: &Cursor) {
        self.with(|state, effects| state.detach(cursor, Instant::now(), effects));
    }
}

/// What a look at the clock found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    pub(crate) idle: Duration,
    pub(crate) stdin_queue: usize,
}
