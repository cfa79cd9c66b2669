//! The subscriptions of one principal in front of legacy children. Their frames come from several children, so their log is
//! their own; the resources are subscribed to at the home child of each subscription's key.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::member::{Key, Member, Own, Wanted, answer_own, post_own};
use super::modern::{NotTaken, Taken};
use super::starter::Shortage;
use super::{NoChild, Pool};
use crate::bridge::Asked;
use crate::bridge::capabilities::Capabilities;
use crate::bridge::discover::Facts;
use crate::bridge::modern_on_legacy::ModernOnLegacy;
use crate::bridge::subscriptions::{Changed, Filter, Listen, Listens, Subject, graceful_end};
use crate::budget::Budget;
use crate::config::Limits;
use crate::link::EndReason;
use crate::link::cursor::Cursor;
use crate::link::effects::Effects;
use crate::link::log::Log;
use crate::link::reader::{Reader, Source};
use crate::link::stream::{Cut, EventKind};
use crate::metrics::Metrics;
use crate::principal::Principal;
use crate::protocol::jsonrpc;
use crate::protocol::sse::StreamId;

/// How long a child may take to subscribe to a resource.
const SUBSCRIBE: Duration = Duration::from_secs(5);
/// How long after its home child's end a subscription looks for another, again and again.
const AGAIN: [Duration; 4] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15)];

/// The subscriptions of one principal.
pub(super) struct Hub {
    principal: Principal,
    max_listens: usize,
    state: Mutex<State>,
    pool: Weak<Pool>,
    me: Weak<Hub>,
}

struct State {
    log: Log,
    listens: Listens,
    holds: HashMap<StreamId, Hold>,
}

/// What a subscription holds of its home child; let go when dropped.
struct Hold {
    member: Arc<Member<ModernOnLegacy>>,
    uris: Vec<String>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.member.holders.fetch_sub(1, Ordering::Relaxed);
        unsubscribe(&self.member, &self.uris);
    }
}

impl Hub {
    pub(super) fn new(
        pool: Weak<Pool>,
        principal: Principal,
        limits: &Limits,
        budget: &Arc<Budget>,
        metrics: &Arc<Metrics>,
    ) -> Arc<Hub> {
        let log = Log::shared(limits.log_bytes, Arc::clone(budget), Arc::clone(metrics), Instant::now());
        let state = State { log, listens: Listens::default(), holds: HashMap::new() };
        Arc::new_cyclic(|me| Hub { principal, max_listens: limits.max_calls, state: Mutex::new(state), pool, me: me.clone() })
    }

    pub(super) fn len(&self) -> usize {
        self.lock().listens.len()
    }

    /// A child of the principal tells of a change.
    pub(super) fn changed(&self, line: &[u8]) {
        let Some(subject) = jsonrpc::read(line).ok().and_then(|envelope| Subject::of(line, &envelope)) else { return };
        let changed = self.lock().listens.changed(subject, line, Instant::now());
        let Changed::Due(at) = changed else { return };
        let hub = self.me.clone();
        drop(tokio::spawn(async move {
            sleep_until(at).await;
            if let Some(hub) = hub.upgrade() {
                hub.send_due();
            }
        }));
    }

    fn send_due(&self) {
        let mut effects = Effects::default();
        {
            let mut state = self.lock();
            for (stream, frame) in state.listens.take_due() {
                state.log.append(stream, EventKind::Notification, Bytes::from(frame), &mut effects);
            }
        }
        effects.run();
    }

    /// Looks at the clock; gives how many subscriptions are open.
    pub(super) fn tick(&self, now: Instant) -> usize {
        let mut effects = Effects::default();
        let open = {
            let mut state = self.lock();
            state.log.tick(now, &mut effects);
            state.listens.len()
        };
        effects.run();
        open
    }

    /// Every subscription gets its result.
    pub(super) fn end_all(&self, facts: Option<&Facts>) {
        let streams: Vec<StreamId> = self.lock().listens.all().map(|(stream, _)| stream).collect();
        streams.into_iter().for_each(|stream| self.end(stream, Some(facts)));
    }

    /// Every subscription ends as if its connection had.
    pub(super) fn close_all(&self) {
        let streams: Vec<StreamId> = self.lock().listens.all().map(|(stream, _)| stream).collect();
        streams.into_iter().for_each(|stream| self.end(stream, None));
    }

    /// Ends a subscription: with its result, or so that its client comes back.
    fn end(&self, stream: StreamId, well: Option<Option<&Facts>>) {
        let mut effects = Effects::default();
        let hold = {
            let mut state = self.lock();
            let Some(listen) = state.listens.close(stream) else { return };
            match well {
                Some(facts) => {
                    let result = Bytes::from(graceful_end(&listen.id, facts));
                    state.log.append(stream, EventKind::Answer, result, &mut effects);
                }
                None => state.log.end(stream, &mut effects),
            }
            state.holds.remove(&stream)
        };
        effects.run();
        drop(hold);
    }

    /// A child has gone. Subscriptions that were at home there look for another one.
    pub(super) fn lost(&self, slot: u64, reason: EndReason) {
        if reason == EndReason::Shutdown {
            return;
        }
        let lost: Vec<(StreamId, Hold)> = {
            let mut state = self.lock();
            let streams: Vec<StreamId> =
                state.holds.iter().filter(|(_, hold)| hold.member.slot == slot).map(|(stream, _)| *stream).collect();
            streams.into_iter().filter_map(|stream| Some((stream, state.holds.remove(&stream)?))).collect()
        };
        for (stream, hold) in lost {
            drop(hold);
            let Some(hub) = self.me.upgrade() else { return };
            drop(tokio::spawn(async move { hub.move_home(stream).await }));
        }
    }

    /// Subscribes anew at another home child, and tells the client that anything may have changed meanwhile.
    async fn move_home(&self, stream: StreamId) {
        let Some(listen) = self.lock().listens.all().find(|(open, _)| *open == stream).map(|(_, listen)| listen.clone()) else {
            return;
        };
        for pause in AGAIN {
            sleep(pause).await;
            let Some(pool) = self.pool.upgrade() else { return };
            let key = Key { principal: self.principal.clone(), capabilities: listen.key.clone() };
            let Ok(home) = pool.legacy_home(&key).await else { continue };
            let hold = hold(&home, listen.filter.uris.clone()).await;
            let state = &mut *self.lock();
            if state.log.is_open(stream) {
                state.holds.insert(stream, hold);
            }
            break;
        }
        if !self.lock().holds.contains_key(&stream) {
            warn!("a subscription has lost its server process and found no other: it ends");
            return self.end(stream, None);
        }
        let filter = &listen.filter;
        let kinds = [(filter.tools, Subject::Tools), (filter.prompts, Subject::Prompts), (filter.resources, Subject::Resources)];
        let kinds = kinds.into_iter().filter(|(wanted, _)| *wanted).map(|(_, subject)| subject);
        kinds.chain(filter.uris.iter().cloned().map(Subject::Resource)).for_each(|subject| self.changed(&subject.line()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Hub {
    fn with_log(&self, act: &mut dyn FnMut(&mut Log)) {
        act(&mut self.lock().log);
    }

    fn left(self: Arc<Self>, cursor: &Cursor) {
        let hold = {
            let mut state = self.lock();
            state.log.detach(cursor, Instant::now());
            state.log.end(cursor.stream, &mut Effects::default());
            state.listens.close(cursor.stream);
            state.holds.remove(&cursor.stream)
        };
        drop(hold);
    }
}

impl Pool {
    /// Opens a subscription in front of legacy children.
    pub(crate) async fn listen(
        &self,
        principal: &Principal,
        asked: &Asked<'_>,
        capabilities: &[u8],
        filter: Filter,
        cut: Option<Cut>,
    ) -> Result<Taken, NotTaken> {
        if self.is_draining() {
            return Err(NotTaken::NoChild(NoChild::Short(Shortage::Replaced)));
        }
        let hub = Arc::clone(&self.holdings(principal).hub);
        if hub.len() >= hub.max_listens {
            return Err(NotTaken::TooManyListens);
        }
        let key = Key { principal: principal.clone(), capabilities: Capabilities::of(capabilities) };
        let home = self.legacy_home(&key).await?;
        let mut filter = filter.honoured(&home.facts);
        let hold = hold(&home, std::mem::take(&mut filter.uris)).await;
        filter.uris.clone_from(&hold.uris);
        if home.link.end_reason().is_some() {
            return Err(NotTaken::NoChild(self.failed("it ended before it could be listened to")));
        }
        let mut effects = Effects::default();
        let cursor = {
            let mut state = hub.lock();
            let cursor = state.log.open(asked.id.1, cut, Instant::now());
            let listen = Listen { id: asked.id.1.into(), key: key.capabilities, filter };
            let frame = state.listens.open(cursor.stream, listen);
            state.log.append(cursor.stream, EventKind::Notification, Bytes::from(frame), &mut effects);
            state.holds.insert(cursor.stream, hold);
            cursor
        };
        effects.run();
        Ok(Taken { reader: Reader::new(hub, cursor), is_offered: true })
    }
}

/// Holds a child for a subscription, and those of the resources that it lets us subscribe to. Safe to drop.
async fn hold(member: &Arc<Member<ModernOnLegacy>>, uris: Vec<String>) -> Hold {
    member.holders.fetch_add(1, Ordering::Relaxed);
    let outcomes: Vec<_> = uris.iter().map(|uri| subscribe(member, uri)).collect();
    let mut hold = Hold { member: Arc::clone(member), uris };
    let mut refused = Vec::new();
    for (uri, mut outcome) in hold.uris.iter().zip(outcomes) {
        let is_subscribed = outcome.wait_for(Option::is_some).await.is_ok_and(|outcome| *outcome == Some(true));
        refused.extend((!is_subscribed).then(|| uri.clone()));
    }
    hold.uris.retain(|uri| !refused.contains(uri));
    unsubscribe(member, &refused);
    hold
}

/// Wants a resource: who is the first asks the child, who comes later hears the same answer.
fn subscribe(member: &Member<ModernOnLegacy>, uri: &str) -> watch::Receiver<Option<bool>> {
    let mut resources = member.resources.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(wanted) = resources.get_mut(uri) {
        wanted.count += 1;
        return wanted.outcome.clone();
    }
    let (done, outcome) = watch::channel(None);
    resources.insert(uri.to_owned(), Wanted { count: 1, outcome: outcome.clone() });
    // Sent under the lock, so that the child hears of subscriptions in the order in which they were wanted.
    let reader = post_own(&member.link, "resources/subscribe", &serde_json::json!({ "uri": uri }).to_string());
    drop(resources);
    drop(tokio::spawn(async move {
        let own = match reader {
            Some(reader) => answer_own(reader, SUBSCRIBE).await,
            None => Own::Nothing,
        };
        let _ = done.send(Some(matches!(own, Own::Result(_)))); // nobody may want to know any more
    }));
    outcome
}

/// Wants resources no longer; the child hears of those that nobody wants.
fn unsubscribe(member: &Member<ModernOnLegacy>, uris: &[String]) {
    let mut resources = member.resources.lock().unwrap_or_else(PoisonError::into_inner);
    for uri in uris {
        let Some(wanted) = resources.get_mut(uri) else { continue };
        wanted.count -= 1;
        if wanted.count > 0 {
            continue;
        }
        let was_refused = *wanted.outcome.borrow() == Some(false);
        resources.remove(uri);
        if was_refused || member.link.end_reason().is_some() {
            continue;
        }
        let params = serde_json::json!({ "uri": uri }).to_string();
        if let Some(reader) = post_own(&member.link, "resources/unsubscribe", &params) {
            // What it answers changes nothing; nobody waits for it.
            drop(tokio::spawn(async move { drop(answer_own(reader, SUBSCRIBE).await) }));
        }
    }
}
