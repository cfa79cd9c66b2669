//! The children that modern clients' calls run on: which of them a call gets, how many there may be, and what is to be done when
//! one of them tells something that concerns more than its own calls. What a message becomes on its way is `bridge`'s.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use thiserror::Error;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

use self::holdings::Holdings;
use self::listens::Hub;
use self::member::{Bridge, Key, Member};
use self::shelf::Shelf;
use self::starter::{Child, NotStarted, Shortage, Starter};
use self::tools::Tools;
use crate::bridge::Patience;
use crate::bridge::capabilities::Capabilities;
use crate::bridge::discover::Facts;
use crate::bridge::legacy_on_legacy::LegacyOnLegacy;
use crate::bridge::modern_on_legacy::ModernOnLegacy;
use crate::bridge::modern_on_modern::ModernOnModern;
use crate::bridge::ticket::Sealer;
use crate::budget::Budget;
use crate::config::Limits;
use crate::ledger::Ledger;
use crate::link::EndReason;
use crate::metrics::Metrics;
use crate::principal::Principal;
use crate::seal::Seal;

mod holdings;
mod legacy;
mod listens;
pub(crate) mod member;
mod modern;
mod notices;
mod shared;
mod shelf;
pub(crate) mod spares;
mod start;
pub(crate) mod starter;
mod tools;

pub(crate) use self::legacy::Resumed;
pub(crate) use self::modern::{NotTaken, Taken};
pub(crate) use self::shared::{Seated, Standing};

/// How long a call waits for a child of its own.
const QUEUE: Duration = Duration::from_secs(10);
/// How long an ended child's place is waited for.
pub(crate) const RECLAIM: Duration = Duration::from_secs(6);
/// A child beside the home child of its key ends after so long without work.
const EXTRA_IDLE: Duration = Duration::from_secs(60);
/// How many calls that were lost with their child are remembered.
const GRAVES: usize = 1024;

/// Why there is no child.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum NoChild {
    #[error("{0}")]
    Short(Shortage),
    #[error("too many children of one principal")]
    TooManyOwn,
    /// The reason is in the log under this correlation id.
    #[error("the server cannot be started ({correlation})")]
    NotStarted { reason: String, correlation: String },
    /// The child is of the other era; what it said.
    #[error("the server does not speak this era: {0}")]
    OtherEra(String),
}

pub(crate) struct Pool {
    name: &'static str,
    limits: Limits,
    pub(crate) starter: Arc<Starter>,
    seal: Arc<Seal>,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    legacy: Arc<Shelf<ModernOnLegacy>>,
    modern: Arc<Shelf<ModernOnModern>>,
    shared: Arc<Shelf<LegacyOnLegacy>>,
    /// Counts starts of shared legacy children.
    shared_started: watch::Sender<u64>,
    holdings: Ledger<Holdings>,
    tools: Tools,
    /// What the server says of itself to legacy clients.
    facts: ArcSwapOption<Facts>,
    /// Only modern clients are served: a spare may be asked modern things.
    pub(crate) is_modern_only: AtomicBool,
    slots: AtomicU64,
    leases: AtomicU64,
    sessions: AtomicU64,
    /// A modern child refused `subscriptions/listen`.
    refuses_listens: AtomicBool,
    is_draining: AtomicBool,
    /// Calls that were lost with their child while they waited for their user: lease, round, and until when.
    graves: Mutex<VecDeque<(u64, u32, Instant)>>,
    /// A lease, a place or an elicitation that somebody may wait for.
    news: Notify,
    /// What was known of the server's era is not so.
    pub(crate) suspect: Notify,
    me: Weak<Pool>,
}

impl Pool {
    pub(crate) fn new(
        name: &'static str,
        limits: Limits,
        starter: Arc<Starter>,
        seal: Seal,
        budget: Arc<Budget>,
        metrics: Arc<Metrics>,
    ) -> Arc<Pool> {
        Arc::new_cyclic(|me| Pool {
            name,
            limits,
            starter,
            seal: Arc::new(seal),
            budget,
            metrics,
            legacy: Arc::default(),
            modern: Arc::default(),
            shared: Arc::default(),
            shared_started: watch::Sender::new(0),
            holdings: Ledger::default(),
            tools: Tools::default(),
            facts: ArcSwapOption::empty(),
            is_modern_only: AtomicBool::new(false),
            slots: AtomicU64::new(1),
            leases: AtomicU64::new(1),
            sessions: AtomicU64::new(1),
            refuses_listens: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            graves: Mutex::default(),
            news: Notify::new(),
            suspect: Notify::new(),
            me: me.clone(),
        })
    }

    /// A child that has read nothing, or for a legacy handshake perhaps a `ping`. Ends one that nobody uses if there is no room.
    pub(crate) async fn child(&self, is_for_legacy: bool) -> Result<Child, NotStarted> {
        // A `ping` makes a child of both eras a legacy one.
        let may_be_spare = is_for_legacy || self.is_modern_only.load(Ordering::Relaxed);
        let started = if may_be_spare { self.starter.take_or_start().await } else { self.starter.start().await };
        match started {
            Err(NotStarted::Short(Shortage::Children)) if self.reclaim() => {
                let permit = timeout(RECLAIM, Arc::clone(&self.starter.children).acquire_owned()).await;
                match permit {
                    Ok(Ok(permit)) => self.starter.start_within(permit).await,
                    _ => Err(NotStarted::Short(Shortage::Children)),
                }
            }
            started => started,
        }
    }

    /// Ends a child that nobody would miss. Says whether there was one.
    pub(crate) fn reclaim(&self) -> bool {
        self.starter.spares.end_one() || self.reclaim_where(|_| true)
    }

    fn reclaim_where(&self, is_it: impl Fn(&Key) -> bool) -> bool {
        fn end_one<R: Bridge>(members: Vec<Arc<Member<R>>>, is_it: impl Fn(&Key) -> bool) -> bool {
            let idle = members.into_iter().find(|member| is_it(&member.key) && member.takes_calls() && member.is_idle());
            idle.inspect(|member| member.link.end(EndReason::Idle)).is_some()
        }
        end_one(self.legacy.all(), &is_it) || end_one(self.modern.all(), &is_it) || end_one(self.shared.all(), &is_it)
    }

    /// A place among the children of a principal; for one of them another may have to end.
    async fn own_place(&self, principal: &Principal) -> Result<OwnedSemaphorePermit, NoChild> {
        let children = Arc::clone(&self.holdings(principal).children);
        if children.available_permits() == 0 {
            self.reclaim_where(|key| key.principal == *principal);
        }
        match timeout(QUEUE, children.acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(NoChild::TooManyOwn),
        }
    }

    /// No child takes another call; each ends with its last one.
    pub(crate) fn retire_all(&self) {
        self.legacy.all().iter().for_each(|member| member.retire());
        self.refuses_listens.store(false, Ordering::Relaxed);
        for member in self.modern.all() {
            member.retire();
            // Who listens comes back, to another.
            member
                .link
                .with(|state, effects| state.route(effects, |router, _, out| router.end_listens("the server is replaced", out)));
        }
        for member in self.shared.all() {
            member.retire();
            // Who uses it looks for another.
            member.link.with(|state, effects| state.route(effects, |router, _, out| router.end_seats(out)));
        }
    }

    /// What a legacy server says of itself; from the child that was initialised last.
    pub(crate) async fn legacy_facts(&self) -> Result<Arc<Facts>, NoChild> {
        if let Some(facts) = self.facts.load_full() {
            return Ok(facts);
        }
        let key = Key { principal: Principal::Anonymous, capabilities: Capabilities::none() };
        Ok(self.legacy_home(&key).await?.facts.clone())
    }

    /// Starts a child that nobody asked for: does the server start? What comes of it is remembered where starts are counted.
    pub(crate) async fn try_start(&self, is_legacy: bool) {
        let key = Key { principal: Principal::Anonymous, capabilities: Capabilities::none() };
        // Only the first of its key would be used.
        if is_legacy {
            let is_first = self.legacy.of(&key).is_empty();
            if let Ok(member) = self.arc().attempt(self.arc().start_legacy(key)).await
                && !is_first
            {
                member.link.end(EndReason::NotOpened);
            }
        } else {
            let is_first = self.modern.of(&key).is_empty();
            if let Ok(member) = self.arc().attempt(self.arc().start_modern(key)).await
                && !is_first
            {
                member.link.end(EndReason::NotOpened);
            }
        }
    }

    /// What a modern server says of itself.
    pub(crate) async fn modern_facts(&self, principal: &Principal) -> Result<Arc<Facts>, NoChild> {
        let key = Key { principal: principal.clone(), capabilities: Capabilities::none() };
        Ok(self.modern_home(&key).await?.facts.clone())
    }

    /// A number for a session in front of shared children.
    pub(crate) fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn refuses_listens(&self) -> bool {
        self.refuses_listens.load(Ordering::Relaxed)
    }

    pub(crate) fn listens_refused(&self) {
        self.refuses_listens.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Looks at the clock. Gives what waits for children to read.
    pub(crate) fn tick(&self, now: Instant) -> usize {
        let idle = self.limits.idle_timeout;
        // A shared child that is gone tells nobody of changes until somebody speaks: it is not stopped sooner.
        let sleepy = self.limits.hibernate_after.map_or(idle, |after| after.min(idle));
        let queued =
            tick_all(&self.legacy, now, sleepy) + tick_all(&self.modern, now, sleepy) + tick_all(&self.shared, now, idle);
        let parked = self.legacy.all().iter().filter(|member| member.link.lock().router.parked_since().is_some()).count();
        self.metrics.leases_parked.set(i64::try_from(parked).unwrap_or(i64::MAX));
        let holdings = self.holdings.all();
        let running: usize = holdings.iter().map(|own| self.limits.max_leases - own.leases.available_permits()).sum();
        self.metrics.leases_running.set(i64::try_from(running).unwrap_or(i64::MAX));
        let listens: usize = holdings.iter().map(|own| own.hub.tick(now)).sum();
        self.metrics.listens_active.set(i64::try_from(listens).unwrap_or(i64::MAX));
        queued
    }

    pub(crate) fn calls_in_flight(&self) -> usize {
        let legacy: usize = self.legacy.all().iter().map(|member| member.link.calls_in_flight()).sum();
        let shared: usize = self.shared.all().iter().map(|member| member.link.calls_in_flight()).sum();
        legacy + shared + self.modern.all().iter().map(|member| member.link.calls_in_flight()).sum::<usize>()
    }

    /// The gateway stops: subscriptions get their result, calls that wait for a user are given up, nobody waits for spares.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.starter.spares.close();
        for member in self.modern.all() {
            member
                .link
                .with(|state, effects| state.route(effects, |router, _, out| router.end_listens("the gateway stops", out)));
        }
        for member in self.legacy.all() {
            member.link.with(|state, effects| state.route(effects, |router, _, out| router.give_up(Instant::now(), out)));
        }
        let facts = self.facts.load_full();
        self.holdings.all().iter().for_each(|own| own.hub.end_all(facts.as_deref()));
    }

    pub(crate) fn end_all(&self) {
        self.starter.stop();
        self.starter.spares.close();
        self.legacy.all().iter().for_each(|member| member.link.end(EndReason::Shutdown));
        self.modern.all().iter().for_each(|member| member.link.end(EndReason::Shutdown));
        self.shared.all().iter().for_each(|member| member.link.end(EndReason::Shutdown));
    }

    /// For how many more children there is room.
    pub(crate) fn room(&self) -> usize {
        self.starter.children.available_permits()
    }

    /// Ends the modern children, and waits until there is as much room as there was.
    pub(crate) async fn end_modern(&self, room: usize) {
        self.modern.all().iter().for_each(|member| member.link.end(EndReason::Idle));
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let _ = timeout(RECLAIM, self.starter.children.acquire_many(room)).await;
    }

    async fn legacy_home(&self, key: &Key) -> Result<Arc<Member<ModernOnLegacy>>, NoChild> {
        self.legacy.home(key, || self.arc().attempt(self.arc().start_legacy(key.clone()))).await
    }

    async fn modern_home(&self, key: &Key) -> Result<Arc<Member<ModernOnModern>>, NoChild> {
        self.modern.home(key, || self.arc().attempt(self.arc().start_modern(key.clone()))).await
    }

    fn arc(&self) -> Arc<Pool> {
        self.me.upgrade().expect("whoever calls holds it")
    }

    fn holdings(&self, principal: &Principal) -> Arc<Holdings> {
        let new = || Holdings {
            leases: Arc::new(Semaphore::new(self.limits.max_leases)),
            children: Arc::new(Semaphore::new(self.limits.max_leases + self.limits.max_parked)),
            starting: AtomicUsize::new(0),
            hub: Hub::new(self.me.clone(), principal.clone(), &self.limits, &self.budget, &self.metrics),
        };
        let is_served = |whose: &Principal| self.legacy.serves(whose) || self.modern.serves(whose) || self.shared.serves(whose);
        self.holdings.of(principal, new, |whose, own| own.is_held() || is_served(whose))
    }

    fn patience(&self) -> Patience {
        Patience {
            request: self.limits.request_timeout,
            hard: self.limits.request_timeout_max,
            park: self.limits.park_ttl,
            grace: self.limits.cancel_grace,
        }
    }

    fn sealer(&self, slot: u64, principal: &Principal) -> Sealer {
        Sealer { seal: Arc::clone(&self.seal), context: self.name, slot, principal: principal.tag() }
    }
}

/// Looks at the clock for children. One beside the home child of its key was needed for a moment only.
fn tick_all<R: Bridge>(shelf: &Shelf<R>, now: Instant, idle: Duration) -> usize {
    let patience = |is_home| if is_home { idle } else { idle.min(EXTRA_IDLE) };
    shelf.all_with_home().into_iter().map(|(member, is_home)| member.tick(now, patience(is_home))).sum()
}
