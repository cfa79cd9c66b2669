//! Of which era a command's children are: a set, found out by asking two processes (2026-07-28, stdio, Backward Compatibility).
//! One is asked `server/discover`, the other `initialize`: a process is pinned by its first request, so one cannot do both.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::{NotOpened, Server};
use crate::bridge::capabilities::Capabilities;
use crate::bridge::code_of;
use crate::config::{ChildEra, Command};
use crate::link::EndReason;
use crate::pool::NoChild;
use crate::pool::member::Key;
use crate::principal::Principal;
use crate::protocol::jsonrpc;

/// A server that answers `initialize` and says nothing to `server/discover` for this long after, and twice as long as it took,
/// is a legacy one.
const SILENCE: Duration = Duration::from_secs(2);
/// What was found is not doubted sooner than this after it was.
const DOUBT: Duration = Duration::from_secs(10);
/// How often it is looked whether the server is to be asked again.
const LOOK: Duration = Duration::from_secs(1);

/// Which clients a command's children can serve without a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Era {
    pub(crate) is_legacy: bool,
    pub(crate) is_modern: bool,
}

#[derive(Clone, Debug)]
enum Found {
    /// Not yet.
    Asking,
    Era(Era, Instant),
    /// Neither process answered; the reason is in the log under this correlation id.
    Unusable(String),
}

impl Found {
    fn bits(&self) -> u8 {
        match self {
            Found::Era(era, _) => u8::from(era.is_legacy) | u8::from(era.is_modern) << 1,
            Found::Asking | Found::Unusable(_) => 0,
        }
    }
}

/// What is known of a command.
pub(super) struct Eras {
    found: watch::Sender<Found>,
    /// The same, for the many who find it known: 1 for legacy, 2 for modern, 3 for both, 0 for neither.
    known: AtomicU8,
    is_probing: Mutex<bool>,
    is_fixed: bool,
    /// When the program's files last changed, as they were when it was asked.
    files: Mutex<Vec<Option<SystemTime>>>,
}

impl Eras {
    pub(super) fn new(era: ChildEra) -> Self {
        let fixed = |is_legacy| Found::Era(Era { is_legacy, is_modern: !is_legacy }, Instant::now());
        let found = match era {
            ChildEra::Auto => Found::Asking,
            ChildEra::Legacy => fixed(true),
            ChildEra::Modern => fixed(false),
        };
        Eras {
            known: AtomicU8::new(found.bits()),
            found: watch::Sender::new(found),
            is_probing: Mutex::new(false),
            is_fixed: era != ChildEra::Auto,
            files: Mutex::default(),
        }
    }

    /// The era, if it is known.
    fn known(&self) -> Option<Era> {
        let bits = self.known.load(Ordering::Acquire);
        (bits != 0).then_some(Era { is_legacy: bits & 1 != 0, is_modern: bits & 2 != 0 })
    }

    /// Whatever was known, this is so from here on, if `may_be` says so of that.
    fn learn(&self, new: Found, may_be: impl FnOnce(&Found) -> bool) {
        self.found.send_if_modified(|found| {
            let is_news = may_be(found);
            if is_news {
                self.known.store(new.bits(), Ordering::Release);
                *found = new;
            }
            is_news
        });
    }

    pub(super) fn is_settled(&self) -> bool {
        !matches!(&*self.found.borrow(), Found::Asking)
    }

    /// Why it is not known, if it is not.
    pub(super) fn readiness(&self) -> Result<(), String> {
        match &*self.found.borrow() {
            Found::Asking => Err("the server is being asked which revisions it speaks".to_owned()),
            Found::Era(..) => Ok(()),
            Found::Unusable(correlation) => {
                Err(format!("the server answers neither initialize nor server/discover ({correlation})"))
            }
        }
    }
}

impl Server {
    /// The era of the children; asked for first, if it is not known.
    pub(crate) async fn era(self: &Arc<Self>) -> Result<Era, NotOpened> {
        if let Some(era) = self.eras.known() {
            return Ok(era);
        }
        let mut found = self.eras.found.subscribe();
        let known = found.borrow().clone();
        match known {
            Found::Era(era, _) => return Ok(era),
            Found::Asking | Found::Unusable(_) => self.probe_once()?,
        }
        let known = timeout(self.limits.initialize_timeout, found.wait_for(|found| !matches!(found, Found::Asking))).await;
        match known.map(|known| known.map(|known| known.clone())) {
            Ok(Ok(Found::Era(era, _))) => Ok(era),
            Ok(Ok(Found::Unusable(correlation))) => Err(NotOpened::CannotStart(correlation)),
            _ => Err(NotOpened::CannotStart(self.pool.correlated("the server did not say in time which revisions it speaks"))),
        }
    }

    /// Asks at start, and again whenever what was found turns out wrong or the program has changed.
    pub(crate) async fn watch_era(self: Arc<Self>) {
        if !self.eras.is_fixed {
            let _ = self.probe_once();
        }
        // Kept until it may be acted upon.
        let mut suspected = false;
        loop {
            suspected |= timeout(LOOK, self.pool.suspect.notified()).await.is_ok();
            let known = self.eras.found.borrow().clone();
            let age = match known {
                Found::Era(era, at) => {
                    self.try_again(era).await;
                    if self.eras.is_fixed {
                        continue;
                    }
                    at.elapsed()
                }
                // Asked until it answers: whoever looks at its readiness sends no requests meanwhile.
                Found::Unusable(_) => {
                    let _ = self.probe_once();
                    continue;
                }
                Found::Asking => continue,
            };
            if age >= DOUBT && (suspected || self.has_changed()) {
                suspected = false;
                info!("the server is asked again which revisions it speaks");
                let _ = self.probe_once();
            }
        }
    }

    /// A child refused `initialize`: perhaps because it is a modern one.
    pub(super) fn doubt_era(&self, answer: &[u8]) {
        let error = jsonrpc::read(answer).ok().and_then(|envelope| envelope.error);
        if error.is_some_and(|error| code_of(error.of(answer)) == i64::from(jsonrpc::UNSUPPORTED_VERSION)) {
            self.pool.suspect.notify_one();
        }
    }

    fn has_changed(&self) -> bool {
        *self.eras.files.lock().unwrap_or_else(PoisonError::into_inner) != files(&self.command)
    }

    /// Starts a child of a server in a crash loop without anybody asking for one: is it over?
    async fn try_again(&self, era: Era) {
        if self.starter.crash_loop().is_none() || self.starter.wait().is_some() {
            return;
        }
        if era.is_legacy && self.shares_children {
            // One that runs is all there may be.
            if self.pool.shared_facts(&Principal::Anonymous).await.is_ok() {
                self.starter.succeeded();
            }
        } else {
            self.pool.try_start(era.is_legacy).await;
        }
    }

    /// Asks, unless somebody does, or it is too early. Who waits sees the outcome.
    fn probe_once(self: &Arc<Self>) -> Result<(), NotOpened> {
        let mut is_probing = self.eras.is_probing.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_probing {
            return Ok(());
        }
        let trial = self.starter.begin().map_err(NotOpened::Short)?;
        *is_probing = true;
        self.eras.learn(Found::Asking, |found| matches!(found, Found::Unusable(_)));
        drop(is_probing);
        let server = Arc::clone(self);
        // Detached on purpose: requests come and go meanwhile.
        drop(tokio::spawn(async move {
            *server.eras.files.lock().unwrap_or_else(PoisonError::into_inner) = files(&server.command);
            server.probe(trial).await;
            *server.eras.is_probing.lock().unwrap_or_else(PoisonError::into_inner) = false;
        }));
        Ok(())
    }

    async fn probe(self: &Arc<Self>, trial: Instant) {
        let key = Key { principal: Principal::Anonymous, capabilities: Capabilities::none() };
        let began = Instant::now();
        // Not those of before: what is asked again was wrong.
        self.pool.retire_all();
        let room = self.pool.room();
        let mut discover = tokio::spawn(Arc::clone(&self.pool).start_modern(key.clone()));
        if self.limits.max_children == 1 || self.shares_children {
            // One at a time: the first has to go before the second may start.
            let is_modern = (&mut discover).await.is_ok_and(|outcome| outcome.is_ok());
            self.pool.end_modern(room).await;
            let pool = Arc::clone(&self.pool);
            let legacy = match self.shares_children {
                true => pool.start_shared(key).await.map(drop),
                false => pool.start_legacy(key).await.map(drop),
            };
            return self.conclude(trial, is_modern, legacy);
        }
        let mut initialize = tokio::spawn(Arc::clone(&self.pool).start_legacy(key));
        let gone = |_| Err(NoChild::OtherEra("the question was given up".to_owned()));
        tokio::select! {
            modern = &mut discover => {
                let is_modern = modern.is_ok_and(|outcome| outcome.is_ok());
                let legacy = initialize.await.unwrap_or_else(gone);
                if let (true, Ok(member)) = (is_modern, &legacy) {
                    member.link.end(EndReason::NotOpened); // its revisions are served without a bridge
                }
                self.conclude(trial, is_modern, legacy.map(drop));
            }
            legacy = &mut initialize => {
                let legacy = legacy.unwrap_or_else(gone);
                let patience = if legacy.is_ok() { SILENCE.max(2 * began.elapsed()) } else { self.limits.initialize_timeout };
                match timeout(patience, &mut discover).await {
                    Ok(modern) => {
                        let is_modern = modern.is_ok_and(|outcome| outcome.is_ok());
                        if let (true, Ok(member)) = (is_modern, &legacy) {
                            member.link.end(EndReason::NotOpened);
                        }
                        self.conclude(trial, is_modern, legacy.map(drop));
                    }
                    Err(_) => {
                        let is_legacy = legacy.is_ok();
                        self.conclude(trial, false, legacy.map(drop));
                        // A modern child that is only slow must not stay a legacy one.
                        if discover.await.is_ok_and(|outcome| outcome.is_ok()) {
                            self.found(Era { is_legacy, is_modern: true });
                        }
                    }
                }
            }
        }
    }

    fn conclude(&self, trial: Instant, is_modern: bool, legacy: Result<(), NoChild>) {
        match (is_modern, legacy) {
            (true, legacy) => self.found(Era { is_legacy: legacy.is_ok(), is_modern: true }),
            (false, Ok(())) => self.found(Era { is_legacy: true, is_modern: false }),
            (false, Err(why)) => {
                warn!(reason = %why, "the server answers neither initialize nor server/discover");
                let (reason, correlation) = match why {
                    NoChild::NotStarted { reason, correlation } => (reason, correlation),
                    why => (why.to_string(), self.pool.correlated(&why.to_string())),
                };
                self.starter.failed(trial, &reason);
                self.eras.learn(Found::Unusable(correlation), |_| true);
            }
        }
    }

    fn found(&self, era: Era) {
        let speaks = match (era.is_legacy, era.is_modern) {
            (true, true) => "all",
            (true, false) => "those up to 2025-11-25",
            _ => "those from 2026-07-28 on",
        };
        self.starter.succeeded();
        self.pool.is_modern_only.store(!era.is_legacy, Ordering::Relaxed);
        info!(revisions = speaks, "the server has said which revisions it speaks");
        self.eras.learn(Found::Era(era, Instant::now()), |_| true);
    }
}

/// When the program, and those of its arguments that are files, were last changed.
fn files(command: &Command) -> Vec<Option<SystemTime>> {
    let base = command.cwd.clone().unwrap_or_default();
    let changed = |path: &Path| std::fs::metadata(base.join(path)).ok().filter(|about| about.is_file())?.modified().ok();
    let args = command.args.iter().map(|arg| changed(Path::new(arg)));
    std::iter::once(changed(&command.program)).chain(args).collect()
}
