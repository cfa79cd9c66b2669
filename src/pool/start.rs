//! How children of the pool are started: a process, a link with its keeper, and the first words of its era.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tracing::{Instrument as _, error, info, info_span};

use super::member::{Bridge, Key, Member, Own, ask_own, tell_own};
use super::shelf::Shelf;
use super::starter::{Child, NotStarted};
use super::{NoChild, Pool};
use crate::bridge::discover::{self, Facts};
use crate::bridge::legacy_on_legacy::LegacyOnLegacy;
use crate::bridge::modern_on_legacy::ModernOnLegacy;
use crate::bridge::modern_on_modern::ModernOnModern;
use crate::child::outbox::Outbox;
use crate::link::keeper::{self, NoSuccessor};
use crate::link::log::Log;
use crate::link::state::State;
use crate::link::{EndReason, Link};
use crate::principal::Principal;

/// What may wait for a child that does not read.
const OUTBOX_BYTES: usize = 1 << 20;

impl Pool {
    /// Starts a legacy child for that key, and initialises it.
    pub(crate) async fn start_legacy(self: Arc<Self>, key: Key) -> Result<Arc<Member<ModernOnLegacy>>, NoChild> {
        let began = Instant::now();
        let own = self.own_place(&key.principal).await?;
        let child = self.child(true).await.map_err(|why| self.not_started(why))?;
        let slot = self.slots.fetch_add(1, Ordering::Relaxed);
        let router =
            ModernOnLegacy::new(&key.capabilities, self.sealer(slot, &key.principal), self.patience(), Arc::clone(&self.budget));
        let link = self.link(router, child, own, slot, &key.principal);
        let opening = Opening(Some(Arc::clone(&link)));
        let facts = self.initialize(&link, &key, |router, facts| router.learn(Arc::clone(facts))).await?;
        self.facts.store(Some(Arc::clone(&facts)));
        let member = self.is_up(slot, key, &link, facts, began, &self.legacy);
        info!(slot, "a server process for modern clients is initialised");
        opening.done();
        self.forget_if_ended(&member);
        Ok(member)
    }

    /// Starts a legacy child for all sessions of that key's principal, and initialises it.
    pub(crate) async fn start_shared(self: Arc<Self>, key: Key) -> Result<Arc<Member<LegacyOnLegacy>>, NoChild> {
        let began = Instant::now();
        let own = self.own_place(&key.principal).await?;
        let child = self.child(true).await.map_err(|why| self.not_started(why))?;
        let slot = self.slots.fetch_add(1, Ordering::Relaxed);
        let router = LegacyOnLegacy::new(self.patience(), self.limits.question_timeout);
        let link = self.link(router, child, own, slot, &key.principal);
        let opening = Opening(Some(Arc::clone(&link)));
        let facts = self.initialize(&link, &key, |_, _| {}).await?;
        self.shared_started.send_modify(|count| *count += 1);
        let member = self.is_up(slot, key, &link, facts, began, &self.shared);
        info!(slot, "a server process for all sessions is initialised");
        opening.done();
        self.forget_if_ended(&member);
        Ok(member)
    }

    /// The handshake of legacy revisions.
    async fn initialize<R: Bridge>(
        &self,
        link: &Arc<Link<R>>,
        key: &Key,
        learn: impl FnOnce(&mut R, &Arc<Facts>),
    ) -> Result<Arc<Facts>, NoChild> {
        let params = discover::initialize_params(key.capabilities.as_bytes());
        let result = match self.hand_shake(link, "initialize", &params).await {
            Own::Result(result) => result,
            Own::Error(error) => return Err(NoChild::OtherEra(format!("it refused initialize: {}", shown(&error)))),
            Own::Ended(how) => return Err(self.failed(&format!("it ended ({how}) before it answered initialize"))),
            Own::Nothing => return Err(self.failed("no answer to initialize within --initialize-timeout")),
        };
        if discover::revision_of(&result).is_none() {
            return Err(NoChild::OtherEra(format!(
                "it answered initialize with a revision that nobody knows: {}",
                shown(&result)
            )));
        }
        let facts = Arc::new(Facts::of(&result));
        link.with(|state, _| learn(&mut state.router, &facts));
        if tell_own(link, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).is_err() {
            return Err(self.failed("it ended after initialize"));
        }
        Ok(facts)
    }

    /// A child that has taken up its work: it is found from here on.
    fn is_up<R: Bridge>(
        &self,
        slot: u64,
        key: Key,
        link: &Arc<Link<R>>,
        facts: Arc<Facts>,
        began: Instant,
        shelf: &Shelf<R>,
    ) -> Arc<Member<R>> {
        let member = Arc::new(Member::new(slot, key, Arc::clone(link), facts));
        self.metrics.spawn_counted("ok");
        self.metrics.child_spawn_seconds.observe(began.elapsed());
        shelf.add(&member);
        member
    }

    /// Starts a modern child for that key, and asks it what it is.
    pub(crate) async fn start_modern(self: Arc<Self>, key: Key) -> Result<Arc<Member<ModernOnModern>>, NoChild> {
        let began = Instant::now();
        let own = self.own_place(&key.principal).await?;
        let child = self.child(false).await.map_err(|why| self.not_started(why))?;
        let slot = self.slots.fetch_add(1, Ordering::Relaxed);
        let router = ModernOnModern::new(self.sealer(slot, &key.principal), self.patience());
        let link = self.link(router, child, own, slot, &key.principal);
        let opening = Opening(Some(Arc::clone(&link)));
        let params = discover::own_params(b"{}", "");
        let facts = match self.hand_shake(&link, "server/discover", &params).await {
            Own::Result(result) if discover::is_mutual(&result) => Arc::new(Facts::of(&result)),
            Own::Error(error) if discover::is_mutual_error(&error) => Arc::default(),
            Own::Result(other) | Own::Error(other) => {
                return Err(NoChild::OtherEra(format!("it refused server/discover: {}", shown(&other))));
            }
            Own::Ended(how) => return Err(self.failed(&format!("it ended ({how}) before it answered server/discover"))),
            Own::Nothing => return Err(self.failed("no answer to server/discover within --initialize-timeout")),
        };
        let member = self.is_up(slot, key, &link, facts, began, &self.modern);
        info!(slot, "a modern server process is up");
        opening.done();
        self.forget_if_ended(&member);
        Ok(member)
    }

    /// The first words of an era, answered in time; not waited for where the gateway stops.
    async fn hand_shake<R: Bridge>(&self, link: &Arc<Link<R>>, method: &str, params: &str) -> Own {
        tokio::select! {
            own = ask_own(link, method, params, self.limits.initialize_timeout) => own,
            () = self.starter.stopped() => Own::Nothing,
        }
    }

    /// A link to that child, with its keeper.
    fn link<R: Bridge>(
        &self,
        router: R,
        child: Child,
        own: OwnedSemaphorePermit,
        slot: u64,
        principal: &Principal,
    ) -> Arc<Link<R>> {
        let log = Log::shared(self.limits.log_bytes, Arc::clone(&self.budget), Arc::clone(&self.metrics), Instant::now());
        let outbox = Outbox::new(OUTBOX_BYTES, Arc::clone(&self.budget));
        let metrics = Arc::clone(&self.metrics);
        let state = State::new(router, log, outbox, self.limits.max_calls, Arc::clone(&metrics), Instant::now());
        let span = info_span!("shared", slot, pid = child.running.pid());
        let Child { running, place } = child;
        let link = Arc::new(Link::new(state, running.stdin, metrics));
        let (pool, principal) = (self.me.clone(), principal.clone());
        link.watched_by(Box::new(move |notice| {
            if let Some(pool) = pool.upgrade() {
                pool.noticed(slot, &principal, notice);
            }
        }));
        let (pool, kept, max_line) = (self.me.clone(), Arc::clone(&link), self.starter.max_line);
        let keeping = async move {
            let forget = |reason: EndReason| {
                if let Some(pool) = pool.upgrade() {
                    pool.gone(slot, reason);
                }
            };
            keeper::keep(kept, running.output, max_line, NoSuccessor, forget).await;
            drop((place, own));
        };
        // It ends by itself, with its child.
        drop(tokio::spawn(keeping.instrument(span)));
        link
    }

    /// A start, if one may begin now. How it goes decides when the next may.
    pub(super) async fn attempt<T>(self: Arc<Self>, start: impl Future<Output = Result<T, NoChild>>) -> Result<T, NoChild> {
        let began = self.starter.begin().map_err(NoChild::Short)?;
        let started = start.await;
        match &started {
            Ok(_) => self.starter.succeeded(),
            Err(NoChild::NotStarted { reason, .. }) => self.starter.failed(began, reason),
            // It was not started, or it said something: it does not crash.
            Err(NoChild::Short(_) | NoChild::TooManyOwn | NoChild::OtherEra(_)) => {}
        }
        started
    }

    pub(super) fn not_started(&self, why: NotStarted) -> NoChild {
        match why {
            NotStarted::Short(why) => NoChild::Short(why),
            NotStarted::Failed(reason) => self.failed(&reason),
        }
    }

    /// Logs why a child could not be had; the client gets the id under which the reason stands.
    pub(super) fn failed(&self, reason: &str) -> NoChild {
        NoChild::NotStarted { reason: reason.to_owned(), correlation: self.correlated(reason) }
    }

    /// Logs a reason, and gives the id under which it stands.
    pub(crate) fn correlated(&self, reason: &str) -> String {
        let correlation = keeper::correlation_id();
        error!(server = self.name, correlation, reason, "the server could not be started");
        self.metrics.spawn_counted("failed");
        correlation
    }

    fn forget_if_ended<R: Bridge>(&self, member: &Member<R>) {
        if let Some(reason) = member.link.end_reason() {
            self.gone(member.slot, reason); // it ended before it was found
        }
    }
}

/// Ends a link whose child did not take up its work, or that nobody waits for any more.
struct Opening<R: Bridge>(Option<Arc<Link<R>>>);

impl<R: Bridge> Opening<R> {
    fn done(mut self) {
        self.0 = None;
    }
}

impl<R: Bridge> Drop for Opening<R> {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.end(EndReason::NotOpened);
        }
    }
}

/// The beginning of what a child said, for the log.
fn shown(text: &[u8]) -> String {
    json!(String::from_utf8_lossy(&text[..text.len().min(200)])).to_string()
}
