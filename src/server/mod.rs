//! A named server: its command, its bounds and its sessions. Opens a session with a child of its own, finds it again, and
//! looks at the clock for all of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tracing::{error, info};

use self::era::Eras;
use self::registry::Registry;
use crate::budget::Budget;
use crate::child::spawner::Spawner;
use crate::config::{Children, Command, Config, Limits};
use crate::link::EndReason;
use crate::link::keeper;
use crate::link::reader::Reader;
use crate::link::route::Carries;
use crate::metrics::Metrics;
use crate::pool::starter::Starter;
use crate::pool::{Pool, spares};
use crate::principal::Principal;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::revision::Revision;
use crate::seal::Seal;
use crate::session::Session;

mod era;
mod open;
pub(crate) mod registry;

/// What the only server is called.
const NAME: &str = "default";
/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(250);

pub(crate) struct Server {
    pub(crate) name: &'static str,
    command: Arc<Command>,
    pub(crate) limits: Limits,
    pub(crate) pool: Arc<Pool>,
    starter: Arc<Starter>,
    eras: Eras,
    prewarm: usize,
    /// Legacy sessions have no child of their own.
    pub(crate) shares_children: bool,
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
            shares_children: config.children == Children::Shared || config.is_stateless,
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

    /// Opens a session: in front of a child of its own, which gets this `initialize`, or in front of children that it shares. The
    /// reader reads the stream of `initialize`, which holds at least the answer.
    pub(crate) async fn open(
        self: &Arc<Self>,
        text: &Bytes,
        envelope: &Envelope,
        carries: Carries,
        principal: Principal,
    ) -> Result<(Arc<Session>, Reader), NotOpened> {
        let permit = Arc::clone(&self.sessions).try_acquire_owned().map_err(|_| NotOpened::TooManySessions)?;
        let era = self.era().await.map_err(NotOpened::CannotStart)?;
        if era.is_legacy && !self.shares_children {
            self.open_own(text, envelope, carries, principal, permit).await
        } else {
            self.open_shared(text, envelope, carries, principal, era.is_legacy, permit).await
        }
    }

    /// A session is open: from here on it is found.
    fn opened(&self, session: &Arc<Session>, revision: Option<Revision>) {
        session.agree_on(revision);
        self.failures.store(0, Ordering::Relaxed);
        self.metrics.sessions_opened.inc();
        self.metrics.sessions_active.inc();
        self.registry.insert(Arc::clone(session));
        if session.has_ended() {
            self.forget(session); // it ended in between
        }
        info!(session = session.id.short(), revision = revision.map_or("unknown", Revision::as_str), "session opened");
    }

    /// Looks at the clock for every session until it is dropped.
    pub(crate) async fn watch_clock(self: Arc<Self>) {
        loop {
            sleep(TICK).await;
            let now = Instant::now();
            let mut queued = self.pool.tick(now);
            for session in self.registry.all() {
                let tick = session.tick(now);
                queued += tick.stdin_queue;
                if tick.idle >= self.limits.idle_timeout {
                    self.metrics.timeout_counted("idle_session");
                    session.end(EndReason::Idle);
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

    /// Takes a session out of the registry: from here on it is unknown.
    pub(crate) fn forget(&self, session: &Session) {
        if self.registry.remove(session.id) {
            self.metrics.sessions_active.dec();
        }
    }

    /// Counts an opening that failed; gives how many have in a row.
    fn failed_once(&self, reason: &str) -> usize {
        reason.clone_into(&mut self.last_failure.lock().unwrap_or_else(PoisonError::into_inner));
        self.failures.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Logs why a session could not be opened; the client gets the id under which the reason stands.
    fn failed(&self, reason: &str) -> String {
        let correlation = keeper::correlation_id();
        let failures = self.failed_once(reason);
        error!(server = self.name, correlation, failures, reason, "the server could not be started");
        self.metrics.spawn_counted("failed");
        correlation
    }
}
