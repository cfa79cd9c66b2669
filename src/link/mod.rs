//! One child and everyone who talks to it: what it is told goes through the outbox, what it says through the router into the
//! log. The three are behind one lock; this file locks, carries out the effects, and writes to the child.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) use self::bad_lines::BadLines;
use self::bell::Bell;
use self::cursor::Cursor;
use self::effects::Effects;
pub(crate) use self::fate::EndReason;
use self::fate::Fate;
use self::log::Log;
use self::reader::Source;
use self::route::{Notice, Route};
pub(crate) use self::state::NotPosted;
use self::state::{Line, State};
use crate::child::Pipe;
use crate::child::framer::{Fed, LongLine};
use crate::child::outbox::When;
use crate::metrics::Metrics;
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::object;
use crate::protocol::revision::Revision;
use crate::protocol::splice;

mod bad_lines;
mod bell;
mod block;
pub(crate) mod cursor;
pub(crate) mod effects;
mod fate;
pub(crate) mod keeper;
pub(crate) mod log;
pub(crate) mod reader;
pub(crate) mod route;
pub(crate) mod state;
mod stdin;
pub(crate) mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod turn;

/// A reader that takes nothing for this long no longer makes the child wait.
const PAUSE: Duration = Duration::from_millis(250);

/// The first answers of a child: to `initialize`, and perhaps to a `ping` before it.
const LOOKS: u8 = 2;

/// Who is told what concerns more than one link.
pub(crate) type Watch = Box<dyn Fn(Notice) + Send + Sync>;

pub(crate) struct Link<R> {
    state: Mutex<State<R>>,
    /// Taken when the child is to see the end of its input.
    stdin: Mutex<Option<Arc<AsyncFd<Pipe>>>>,
    /// A reader took something.
    room: Notify,
    /// Something waits for a process that is not there.
    awaited: Notify,
    fate: watch::Sender<Fate>,
    bell: Bell,
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
    pub(crate) fn new(state: State<R>, stdin: AsyncFd<Pipe>, metrics: Arc<Metrics>) -> Self {
        Link {
            state: Mutex::new(state),
            stdin: Mutex::new(Some(Arc::new(stdin))),
            room: Notify::new(),
            awaited: Notify::new(),
            fate: watch::Sender::new(Fate::default()),
            bell: Bell::default(),
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
        let (value, when) = {
            let mut state = self.lock();
            let value = act(&mut state, &mut effects);
            if state.outbox.is_awaited() {
                self.awaited.notify_one();
            }
            (value, state.outbox.due())
        };
        match when {
            Some(When::Now(generation)) => self.write(generation),
            Some(When::Soon) => turn::at_its_end(Arc::clone(self) as _),
            None => {}
        }
        self.carry_out(effects);
        value
    }

    /// Lines that the child wrote: read outside the lock, routed together under it.
    pub(crate) fn child_wrote(self: &Arc<Self>, fed: &mut Fed<'_>, max_line: usize, bad_lines: &mut BadLines) {
        self.heard.store(true, Ordering::Relaxed);
        if !fed.lost_before
            && !self.takes_batches.load(Ordering::Relaxed)
            && let Some(line) = fed.take_first(splice::LARGE)
        {
            self.child_wrote_long(line, bad_lines);
        }
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

    /// A long line on its own, before what came behind it.
    fn child_wrote_long(self: &Arc<Self>, line: LongLine, bad_lines: &mut BadLines) {
        let mut read = Vec::new();
        self.add_message(line.text(), &mut read, bad_lines);
        let envelope = read.pop().flatten().map(|(_, envelope)| envelope);
        if let Some(envelope) = envelope {
            self.with(|state, effects| state.child_wrote_long(line, &envelope, Instant::now(), effects));
        }
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
            if self.has_room() {
                return;
            }
            if timeout(PAUSE, progress).await.is_err() {
                self.lock().log.mark_stalled(PAUSE, Instant::now());
            }
        }
    }

    /// Whether readers keep up.
    pub(crate) fn has_room(&self) -> bool {
        !self.lock().log.is_under_pressure()
    }

    /// What time brings. Says how long the link has been idle.
    pub(crate) fn tick(self: &Arc<Self>, now: Instant) -> Tick {
        let (tick, is_stalled) = self.with(|state, effects| {
            state.tick(now, effects);
            let tick = Tick { idle: state.idle_for(now), quiet: state.quiet_for(now), stdin_queue: state.outbox.bytes() };
            (tick, state.outbox.is_stalled(now))
        });
        if is_stalled {
            self.metrics.timeout_counted("child_stalled");
            self.end(EndReason::ChildStalled);
        }
        tick
    }

    /// Asks for the end; the first reason counts. The link's keeper does the rest.
    pub(crate) fn end(&self, reason: EndReason) {
        self.fate.send_if_modified(|fate| {
            let is_first = fate.end.is_none();
            if is_first {
                fate.end = Some(reason);
            }
            is_first
        });
    }

    pub(crate) fn end_reason(&self) -> Option<EndReason> {
        self.fate.borrow().end
    }

    pub(crate) async fn end_asked(&self) -> EndReason {
        self.fate_where(|fate| fate.end.is_some()).await.end.unwrap_or(EndReason::Shutdown)
    }

    /// Waits for a reason to stop the child that is not the child's own.
    async fn stop_asked(&self) -> EndReason {
        let fate = self.fate_where(|fate| fate.end.is_some() || fate.lost_stdin || fate.sleeps).await;
        fate.end.unwrap_or(if fate.lost_stdin { EndReason::ChildClosedStdin } else { EndReason::Asleep })
    }

    /// The child is stopped until it is needed, if nothing is on its way to it and `can_sleep` agrees.
    pub(crate) fn sleep(&self, can_sleep: impl FnOnce(&R) -> bool) {
        let mut state = self.lock();
        if self.end_reason().is_none() && can_sleep(&state.router) && state.outbox.hold() {
            state.router.leaves();
            drop(state);
            self.fate.send_modify(|fate| fate.sleeps = true);
        }
    }

    /// Waits until something is there for a child that is not.
    pub(crate) async fn awaited(&self) {
        while !self.lock().outbox.is_awaited() {
            self.awaited.notified().await;
        }
    }

    /// Another process takes the place of one that has gone; what is held waits until it is released.
    pub(crate) fn adopt(&self, stdin: AsyncFd<Pipe>) {
        *self.stdin.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(stdin));
        let generation = self.lock().outbox.begin_generation();
        self.fate.send_modify(|fate| *fate = Fate { end: fate.end, sleeps: false, lost_stdin: false, generation });
    }

    async fn fate_where(&self, is_it: impl FnMut(&Fate) -> bool) -> Fate {
        // The sender lives as long as `self`.
        self.fate.subscribe().wait_for(is_it).await.map_or(Fate::default(), |fate| *fate)
    }

    pub(crate) fn calls_in_flight(&self) -> usize {
        self.lock().router.calls_in_flight()
    }

    /// Answers every call in flight with an error and ends every stream. The child's input is closed by its keeper.
    pub(crate) fn finish(self: &Arc<Self>, message: &str, data: &serde_json::Value) {
        self.with(|state, effects| state.end(message, data, Instant::now(), effects));
    }

    /// Whether there is a process that can be told something.
    pub(crate) fn has_child(&self) -> bool {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The child has been told all that there is.
    pub(crate) fn close_stdin(self: &Arc<Self>) {
        self.write_pushed();
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
    /// Neither side has said anything for so long.
    pub(crate) quiet: Duration,
    pub(crate) stdin_queue: usize,
}
