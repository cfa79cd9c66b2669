//! A named server: its command, its bounds and its sessions. Opens a session with a child of its own, finds it again, and
//! looks at the clock for all of them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tracing::info;

use self::era::Eras;
use self::registry::Registry;
use self::retire::Stage;
use crate::budget::Budget;
use crate::child::spawner::Spawner;
use crate::config::{AtSessionCap, Children, Command, Limits, OnChildExit, ServerConfig};
use crate::link::EndReason;
use crate::link::reader::Reader;
use crate::link::route::Carries;
use crate::memory::Gate;
use crate::metrics::Metrics;
use crate::pool::starter::{Shortage, Starter};
use crate::pool::{Pool, RECLAIM, spares};
use crate::principal::Principal;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::revision::Revision;
use crate::quota::{self, Held, Quotas};
use crate::seal::Seal;
use crate::session::Session;

mod era;
mod open;
pub(crate) mod registry;
mod retire;

/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(250);
/// A session that has just been opened, or used, is not idle enough to end for another.
const EVICTABLE: Duration = Duration::from_secs(5);
/// How long the place of a session that ends is waited for.
const EVICTION: Duration = Duration::from_secs(1);

/// What all servers of a gateway share.
#[derive(Clone)]
pub(crate) struct Commons {
    pub(crate) spawner: Spawner,
    pub(crate) gate: Arc<Gate>,
    pub(crate) budget: Arc<Budget>,
    /// What session ids and sealed states begin with.
    pub(crate) replica: Option<Arc<str>>,
}

pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// What it was made of.
    pub(crate) config: ServerConfig,
    command: Arc<Command>,
    pub(crate) limits: Limits,
    pub(crate) pool: Arc<Pool>,
    starter: Arc<Starter>,
    eras: Eras,
    prewarm: usize,
    /// Legacy sessions have no child of their own.
    pub(crate) shares_children: bool,
    pub(crate) registry: Registry,
    pub(crate) quotas: Arc<Quotas>,
    sessions: Arc<Semaphore>,
    at_session_cap: AtSessionCap,
    on_child_exit: OnChildExit,
    budget: Arc<Budget>,
    pub(crate) replica: Option<Arc<str>>,
    stage: Stage,
    /// Sessions that are being opened.
    openings: AtomicUsize,
    /// Whether a principal may still enter.
    admits: OnceLock<Admits>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Asks whether a principal may enter.
pub(crate) type Admits = Box<dyn Fn(&Principal) -> bool + Send + Sync>;

/// Whose a session is, and what it takes of that principal's share until it ends.
pub(crate) struct Owner {
    pub(crate) principal: Principal,
    pub(crate) held: Option<Held>,
}

/// Why there is no session.
#[derive(Debug, Error)]
pub(crate) enum NotOpened {
    #[error("too many sessions")]
    TooManySessions,
    #[error("{0}")]
    Short(Shortage),
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
    pub(crate) fn new(config: &ServerConfig, commons: &Commons, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let name = interned(&config.name);
        let limits = config.limits.clone();
        let command = Arc::new(config.command.clone());
        let Commons { spawner, gate, budget, replica } = commons.clone();
        let starter = Arc::new(Starter::new(
            Arc::clone(&command),
            &limits,
            config.expose_stderr,
            spawner,
            gate,
            Arc::clone(&budget),
            Arc::clone(&metrics),
        ));
        // Of its own: what was sealed for a server that had this name before is good no more.
        let seal = Seal::random(replica.as_deref()).map_err(std::io::Error::other)?;
        let pool = Pool::new(name, limits.clone(), Arc::clone(&starter), seal, Arc::clone(&budget), Arc::clone(&metrics));
        Ok(Server {
            name,
            config: config.clone(),
            command,
            pool,
            starter,
            eras: Eras::new(config.child_era),
            prewarm: config.prewarm,
            shares_children: config.children == Children::Shared || config.is_stateless,
            registry: Registry::default(),
            quotas: Arc::new(Quotas::new(quota::Limits {
                sessions: config.share.sessions,
                calls: config.share.calls,
                rate: config.share.rate,
            })),
            sessions: Arc::new(Semaphore::new(limits.max_sessions)),
            at_session_cap: config.at_session_cap,
            on_child_exit: config.on_child_exit,
            budget,
            replica,
            limits,
            stage: Stage::default(),
            openings: AtomicUsize::new(0),
            admits: OnceLock::new(),
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
        owner: Owner,
    ) -> Result<(Arc<Session>, Reader), NotOpened> {
        let _opening = self.begin_opening()?;
        let free = Arc::clone(&self.sessions).try_acquire_owned().ok();
        if free.is_none() && self.at_session_cap == AtSessionCap::Refuse {
            return Err(NotOpened::TooManySessions);
        }
        if self.starter.gate.is_shut(Instant::now()) {
            return Err(NotOpened::Short(Shortage::Memory));
        }
        let era = self.era().await?;
        if era.is_legacy && !self.shares_children {
            self.starter.may_begin().map_err(NotOpened::Short)?;
            let permit = self.place(free, true).await?;
            self.open_own(text, envelope, carries, owner, permit).await
        } else {
            self.open_shared(text, envelope, carries, owner, era.is_legacy, free).await
        }
    }

    /// A place among the sessions: one that is free, else that of a session that nobody uses. Asked for last: nobody's session
    /// ends for one that is not opened. `with_child` says that a place among the children is needed too.
    async fn place(&self, free: Option<OwnedSemaphorePermit>, with_child: bool) -> Result<OwnedSemaphorePermit, NotOpened> {
        if let Some(free) = free {
            return Ok(free);
        }
        let needs_child = with_child && !self.starter.has_room() && !self.pool.reclaim();
        if !self.evict_one(needs_child) {
            return Err(NotOpened::TooManySessions);
        }
        let Ok(Ok(permit)) = timeout(EVICTION, Arc::clone(&self.sessions).acquire_owned()).await else {
            return Err(NotOpened::TooManySessions);
        };
        if needs_child {
            // Its child ends after it; whether there is room now is seen by whoever starts one.
            let _ = timeout(RECLAIM, self.starter.children.acquire()).await;
        }
        Ok(permit)
    }

    /// Ends the session that has been idle for longest, of those with a child running if `has_child`. Says whether there was one.
    fn evict_one(&self, has_child: bool) -> bool {
        let now = Instant::now();
        let may_end = |session: &Arc<Session>| !session.has_ended() && (!has_child || session.has_child());
        let idle = self.registry.all().into_iter().filter(may_end);
        let idle = idle.map(|session| (session.idle_for(now), session)).filter(|(idle, _)| *idle >= EVICTABLE);
        let Some((_, session)) = idle.max_by_key(|(idle, _)| *idle) else { return false };
        session.end(EndReason::Evicted);
        true
    }

    /// A session is open: from here on it is found.
    fn opened(&self, session: &Arc<Session>, revision: Option<Revision>) {
        session.agree_on(revision);
        self.metrics.sessions_opened.inc();
        self.metrics.sessions_active.inc();
        self.registry.insert(Arc::clone(session));
        self.check_late(session);
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
                } else if self.limits.hibernate_after.is_some_and(|after| tick.quiet >= after) {
                    session.sleep();
                }
            }
            self.metrics.stdin_queue_bytes.set(i64::try_from(queued).unwrap_or(i64::MAX));
        }
    }

    /// Whether a session could be opened now, as far as is known; else why not.
    pub(crate) fn readiness(&self) -> Result<(), String> {
        if self.sessions.available_permits() == 0 && self.at_session_cap == AtSessionCap::Refuse {
            return Err("all sessions are in use (--max-sessions)".to_owned());
        }
        self.eras.readiness()?;
        if !self.starter.has_room() {
            return Err("all children are in use (--max-children)".to_owned());
        }
        if self.starter.gate.is_shut(Instant::now()) {
            return Err("too little memory is left (--memory-gate)".to_owned());
        }
        if let Some((failures, reason)) = self.starter.crash_loop() {
            return Err(format!("the server failed to start {failures} times in a row: {reason}"));
        }
        match self.starter.may_begin() {
            // Sessions on children that are shared need no start.
            Err(Shortage::BackingOff(wait)) if !self.shares_children => {
                Err(format!("the server failed to start and is not tried again yet: {}", wait.reason))
            }
            Err(Shortage::Budget) => Err("too much is kept for clients and servers (--log-bytes-total)".to_owned()),
            _ => Ok(()),
        }
    }

    /// Whether it is known which revisions it speaks, or that it does not answer.
    pub(crate) fn was_asked(&self) -> bool {
        self.eras.is_settled()
    }

    /// Waits until every child is gone.
    pub(crate) async fn all_children_gone(&self) {
        let all = u32::try_from(self.limits.max_children).unwrap_or(u32::MAX);
        let _ = self.starter.children.acquire_many(all).await;
    }

    /// Calls that are not answered, and sessions that are being opened.
    pub(crate) fn calls_in_flight(&self) -> usize {
        let sessions: usize = self.registry.all().iter().map(|session| session.calls_in_flight()).sum();
        sessions + self.pool.calls_in_flight() + self.openings.load(Ordering::Relaxed)
    }

    /// Takes a session out of the registry: from here on it is unknown.
    pub(crate) fn forget(&self, session: &Session) {
        if self.registry.remove(session.id) {
            self.metrics.sessions_active.dec();
        }
    }

    /// The start that began then has failed; the client gets the id under which the reason stands in the log.
    fn failed(&self, began: Instant, reason: &str) -> String {
        self.starter.failed(began, reason);
        self.pool.correlated(reason)
    }
}

/// The name for as long as the process runs: names are few, and most are those that were there before.
fn interned(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let kept: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(kept);
    kept
}
