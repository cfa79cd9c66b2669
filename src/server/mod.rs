//! A named server: its command, its bounds and its sessions. Opens a session with a child of its own, finds it again, and
//! looks at the clock for all of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tracing::{Instrument as _, error, info, info_span, warn};

use self::era::Eras;
use self::registry::Registry;
use crate::budget::Budget;
use crate::child::outbox::Outbox;
use crate::child::spawner::Spawner;
use crate::config::{Command, Config, Limits};
use crate::link::keeper;
use crate::link::log::Log;
use crate::link::reader::Reader;
use crate::link::state::State;
use crate::link::{EndReason, Link};
use crate::metrics::Metrics;
use crate::pool::starter::{Child, NotStarted, Starter};
use crate::pool::{Pool, spares};
use crate::principal::Principal;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::revision::Revision;
use crate::seal::Seal;
use crate::session::router::{Carries, Patience, Router};
use crate::session::{Session, SessionId};

mod era;
pub(crate) mod registry;

/// What the only server is called.
const NAME: &str = "default";
/// What may wait for a child that does not read.
const OUTBOX_BYTES: usize = 1 << 20;
/// A cancelled call that the child leaves unanswered is answered by us after this.
const CANCEL_PATIENCE: Duration = Duration::from_secs(2);
/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(250);
/// A child that wrote nothing for this long may be holding its output back.
const SILENCE: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    pub(crate) name: &'static str,
    command: Arc<Command>,
    pub(crate) limits: Limits,
    pub(crate) pool: Arc<Pool>,
    starter: Arc<Starter>,
    eras: Eras,
    prewarm: usize,
    pub(crate) registry: Registry,
    sessions: Arc<Semaphore>,
    /// Openings that failed in a row, with the reason of the last.
    failures: AtomicUsize,
    last_failure: Mutex<String>,
    budget: Arc<Budget>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Why there is no session.
#[derive(Debug, Error)]
pub(crate) enum NotOpened {
    #[error("too many sessions")]
    TooManySessions,
    #[error("too many children")]
    TooManyChildren,
    /// The reason is in the log under this correlation id.
    #[error("the server cannot be started ({0})")]
    CannotStart(String),
    #[error("the server ended before it answered ({0})")]
    Ended(String),
    #[error("the server did not answer ({0})")]
    TimedOut(String),
    /// The child's own error; there is no session.
    #[error("the server refused")]
    Refused(Bytes),
}

/// Ends a session that its client does not know yet, unless it is opened: a client may leave while its child starts.
struct Opening(Option<Arc<Session>>);

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            session.link.end(EndReason::NotOpened);
        }
    }
}

impl Server {
    /// # Errors
    /// The system gives no random bytes.
    pub(crate) fn new(config: &Config, spawner: Spawner, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let limits = config.limits.clone();
        let command = Arc::new(config.command.clone());
        let starter = Arc::new(Starter::new(
            Arc::clone(&command),
            limits.max_line,
            limits.max_children,
            config.expose_stderr,
            spawner,
            Arc::clone(&metrics),
        ));
        let budget = Arc::new(Budget::new(limits.log_bytes_total));
        let seal = Seal::random().map_err(std::io::Error::other)?;
        let pool = Pool::new(NAME, limits.clone(), Arc::clone(&starter), seal, Arc::clone(&budget), Arc::clone(&metrics));
        Ok(Server {
            name: NAME,
            command,
            pool,
            starter,
            eras: Eras::new(config.child_era),
            prewarm: config.prewarm,
            registry: Registry::default(),
            sessions: Arc::new(Semaphore::new(limits.max_sessions)),
            failures: AtomicUsize::new(0),
            last_failure: Mutex::default(),
            budget,
            limits,
            metrics,
        })
    }

    /// Keeps spare children ready, if any are wanted.
    pub(crate) async fn keep_spares(self: Arc<Self>) {
        if self.prewarm > 0 {
            spares::keep(Arc::clone(&self.starter), self.prewarm).await;
        }
    }

    /// Starts a child, passes `initialize` to it, and waits for the answer. The reader reads the stream of `initialize`, which
    /// holds at least the answer.
    pub(crate) async fn open(
        self: &Arc<Self>,
        text: &[u8],
        envelope: &Envelope,
        carries: Carries,
        principal: Principal,
    ) -> Result<(Arc<Session>, Reader), NotOpened> {
        let session_permit = Arc::clone(&self.sessions).try_acquire_owned().map_err(|_| NotOpened::TooManySessions)?;
        let began = Instant::now();
        let child = match self.pool.child(true).await {
            Ok(child) => child,
            Err(NotStarted::TooManyChildren) => return Err(NotOpened::TooManyChildren),
            Err(NotStarted::Failed(reason)) => return Err(NotOpened::CannotStart(self.failed(&reason))),
        };
        let session = match self.adopt(child, principal, session_permit) {
            Ok(session) => session,
            Err(error) => return Err(NotOpened::CannotStart(self.failed(&error.to_string()))),
        };
        let mut opening = Opening(Some(Arc::clone(&session)));
        let Ok(reader) = session.call(text, envelope, carries, None) else {
            return Err(NotOpened::Ended(self.failed("it closed its input")));
        };
        let answer = timeout(self.limits.initialize_timeout, self.answer(&session, &reader)).await;
        let answer = match answer {
            Err(_) => {
                self.metrics.timeout_counted("initialize");
                return Err(NotOpened::TimedOut(self.failed("no answer to initialize within --initialize-timeout")));
            }
            Ok(Some(answer)) if session.link.end_reason().is_none() => answer,
            Ok(_) => return Err(NotOpened::Ended(self.failed("it ended before it answered initialize"))),
        };
        let Some(revision) = agreed_revision(&answer) else {
            self.doubt_era(&answer);
            return Err(NotOpened::Refused(answer));
        };
        session.agree_on(revision);
        self.failures.store(0, Ordering::Relaxed);
        self.metrics.spawn_counted("ok");
        self.metrics.child_spawn_seconds.observe(began.elapsed().as_secs_f64());
        self.metrics.sessions_opened.inc();
        self.metrics.sessions_active.inc();
        self.registry.insert(Arc::clone(&session));
        if session.link.end_reason().is_some() {
            self.forget(&session); // it ended in between
        }
        info!(session = session.id.short(), revision = revision.map_or("unknown", Revision::as_str), "session opened");
        opening.0 = None;
        Ok((session, reader))
    }

    /// Looks at the clock for every session until it is dropped.
    pub(crate) async fn watch_clock(self: Arc<Self>) {
        loop {
            sleep(TICK).await;
            let now = Instant::now();
            let mut queued = self.pool.tick(now);
            for session in self.registry.all() {
                let tick = session.link.tick(now);
                queued += tick.stdin_queue;
                if tick.idle >= self.limits.idle_timeout {
                    self.metrics.timeout_counted("idle_session");
                    session.link.end(EndReason::Idle);
                }
            }
            self.metrics.stdin_queue_bytes.set(i64::try_from(queued).unwrap_or(i64::MAX));
            self.metrics.stored_bytes.set(i64::try_from(self.budget.used()).unwrap_or(i64::MAX));
        }
    }

    /// Whether a session could be opened now, as far as is known; else why not.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        if self.sessions.available_permits() == 0 {
            return Err("all sessions are in use (--max-sessions)".to_owned());
        }
        self.eras.readiness()?;
        if !self.starter.has_room() {
            return Err("all children are in use (--max-children)".to_owned());
        }
        let failures = self.failures.load(Ordering::Relaxed);
        if failures >= 5 {
            let last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return Err(format!("the server failed to start {failures} times in a row: {last}"));
        }
        Ok(())
    }

    /// Waits until every child is gone.
    pub(crate) async fn all_children_gone(&self) {
        let all = u32::try_from(self.limits.max_children).unwrap_or(u32::MAX);
        let _ = self.starter.children.acquire_many(all).await;
    }

    pub(crate) fn children_resident_bytes(&self) -> i64 {
        self.starter.resident_bytes()
    }

    pub(crate) fn kill_all_children(&self) {
        self.starter.kill_all();
    }

    /// A session around a child, with its keeper.
    fn adopt(
        self: &Arc<Self>,
        child: Child,
        principal: Principal,
        session_permit: OwnedSemaphorePermit,
    ) -> std::io::Result<Arc<Session>> {
        let id = SessionId::random().map_err(std::io::Error::other)?;
        let nonce = getrandom::u32().map_err(std::io::Error::other)?;
        let span = info_span!("session", id = id.short(), pid = child.running.pid());
        let Child { running, place } = child;
        let link = Arc::new(Link::new(self.state(nonce), running.stdin, Arc::clone(&self.metrics)));
        let session = Arc::new(Session::new(id, principal, Arc::clone(&link)));
        let server = Arc::clone(self);
        let kept_session = Arc::clone(&session);
        let max_line = self.limits.max_line;
        let keeping = async move {
            let forget = |reason: EndReason| {
                server.forget(&kept_session);
                server.metrics.session_closed_counted(reason.label());
                info!(reason = reason.label(), "session ended");
                drop(session_permit);
            };
            keeper::keep(link, running.output, max_line, forget).await;
            drop(place);
        };
        // The keeper ends by itself, with its child; `all_children_gone` waits for it.
        drop(tokio::spawn(keeping.instrument(span)));
        Ok(session)
    }

    fn state(&self, nonce: u32) -> State<Router> {
        let now = Instant::now();
        let patience = Patience {
            request: self.limits.request_timeout,
            hard: self.limits.request_timeout_max,
            question: self.limits.question_timeout,
            cancelled: CANCEL_PATIENCE,
        };
        let log = Log::new(nonce, self.limits.log_bytes, Arc::clone(&self.budget), Arc::clone(&self.metrics), now);
        let outbox = Outbox::new(OUTBOX_BYTES);
        State::new(Router::new(patience), log, outbox, self.limits.max_calls, Arc::clone(&self.metrics), now)
    }

    /// The answer to `initialize`; one hint if the child keeps silent.
    async fn answer(&self, session: &Session, reader: &Reader) -> Option<Bytes> {
        let mut answer = std::pin::pin!(reader.answer());
        tokio::select! {
            answer = &mut answer => return answer,
            () = sleep(SILENCE) => {}
        }
        if !session.link.was_heard() {
            warn!(
                session = session.id.short(),
                "the server has written nothing to stdout for 10 s; if it is a script, its output may be block-buffered on a \
                 pipe (Python: run it with -u or PYTHONUNBUFFERED=1; others: stdbuf -oL)"
            );
        }
        answer.await
    }

    /// Takes a session out of the registry: from here on it is unknown.
    pub(crate) fn forget(&self, session: &Session) {
        if self.registry.remove(session.id) {
            self.metrics.sessions_active.dec();
        }
    }

    /// Logs why a session could not be opened; the client gets the id under which the reason stands.
    fn failed(&self, reason: &str) -> String {
        let correlation = keeper::correlation_id();
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        reason.clone_into(&mut self.last_failure.lock().unwrap_or_else(PoisonError::into_inner));
        error!(server = self.name, correlation, failures, reason, "the server could not be started");
        self.metrics.spawn_counted("failed");
        correlation
    }
}

/// The revision in an `InitializeResult` (the inner `None`: a date that we do not know); `None` if it is no such result.
fn agreed_revision(answer: &[u8]) -> Option<Option<Revision>> {
    let envelope = jsonrpc::read(answer).ok()?;
    // Only this member is decoded: numbers elsewhere may not fit any type of ours.
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(envelope.result?.of(answer)).ok()?;
    let date: Option<String> = members.get("protocolVersion").and_then(|date| serde_json::from_str(date.get()).ok());
    Some(date.as_deref().and_then(Revision::parse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_read_from_a_result_only() {
        let result = br#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18"}}"#;
        assert_eq!(agreed_revision(result), Some(Some(Revision::V2025_06_18)));
        let unknown = br#"{"result":{"protocolVersion":"2031-01-01"},"jsonrpc":"2.0","id":1}"#;
        assert_eq!(agreed_revision(unknown), Some(None));
        assert_eq!(agreed_revision(br#"{"jsonrpc":"2.0","id":1,"error":{}}"#), None);
    }
}
