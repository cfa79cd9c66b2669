//! A child that modern clients share: its link, and what is known of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::bridge::capabilities::Capabilities;
use crate::bridge::discover::Facts;
use crate::bridge::legacy_on_legacy::LegacyOnLegacy;
use crate::bridge::modern_on_legacy::ModernOnLegacy;
use crate::bridge::modern_on_modern::ModernOnModern;
use crate::link::keeper;
use crate::link::reader::Reader;
use crate::link::route::{Route, Routed};
use crate::link::{EndReason, Link, NotPosted};
use crate::principal::Principal;
use crate::protocol::jsonrpc::{self, Kind};
use crate::protocol::splice::splice;
use crate::protocol::sse::StreamId;

/// A router that the gateway itself may ask through.
pub(crate) trait Bridge: Route {
    /// A request of the gateway's own, answered on `stream`.
    fn own_request(&mut self, method: &str, params: &str, stream: StreamId, now: Instant) -> Vec<u8>;
}

impl Bridge for ModernOnLegacy {
    fn own_request(&mut self, method: &str, params: &str, stream: StreamId, now: Instant) -> Vec<u8> {
        ModernOnLegacy::own_request(self, method, params, stream, now)
    }
}

impl Bridge for ModernOnModern {
    fn own_request(&mut self, method: &str, params: &str, stream: StreamId, now: Instant) -> Vec<u8> {
        ModernOnModern::own_request(self, method, params, stream, now)
    }
}

impl Bridge for LegacyOnLegacy {
    fn own_request(&mut self, method: &str, params: &str, stream: StreamId, now: Instant) -> Vec<u8> {
        LegacyOnLegacy::own_request(self, method, params, stream, now)
    }
}

/// Which clients' calls a child may serve.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) principal: Principal,
    /// What a legacy child was initialised with; nothing for a modern one, which hears it with every request.
    pub(crate) capabilities: Capabilities,
}

pub(crate) struct Member<R> {
    /// A number that no other child of this process ever has.
    pub(crate) slot: u64,
    pub(crate) key: Key,
    pub(crate) link: Arc<Link<R>>,
    /// What the child said of itself when it started.
    pub(crate) facts: Arc<Facts>,
    /// Takes no more calls, and ends when it has none.
    retired: AtomicBool,
    /// Subscriptions that hear of its resources.
    pub(super) holders: AtomicUsize,
    /// The resources that they want.
    pub(super) resources: Mutex<HashMap<String, Wanted>>,
}

/// A resource of a child that somebody wants to hear of.
pub(super) struct Wanted {
    pub(super) count: usize,
    /// Whether the child let us subscribe, once it has said so.
    pub(super) outcome: watch::Receiver<Option<bool>>,
}

/// What the child answered a request of the gateway's own.
pub(crate) enum Own {
    Result(Bytes),
    Error(Bytes),
    /// It ended instead; how.
    Ended(String),
    /// It did not, in time or at all.
    Nothing,
}

impl<R: Bridge> Member<R> {
    pub(super) fn new(slot: u64, key: Key, link: Arc<Link<R>>, facts: Arc<Facts>) -> Self {
        Member {
            slot,
            key,
            link,
            facts,
            retired: AtomicBool::new(false),
            holders: AtomicUsize::new(0),
            resources: Mutex::default(),
        }
    }

    pub(crate) fn takes_calls(&self) -> bool {
        !self.retired.load(Ordering::Relaxed) && self.link.end_reason().is_none()
    }

    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Whether it could be ended without anybody noticing.
    pub(super) fn is_idle(&self) -> bool {
        self.holders.load(Ordering::Relaxed) == 0 && !self.is_busy()
    }

    fn is_busy(&self) -> bool {
        let state = self.link.lock();
        state.router.calls_in_flight() > 0 || state.router.is_held()
    }

    /// What time brings.
    pub(super) fn tick(&self, now: Instant, idle_timeout: Duration) -> usize {
        let tick = self.link.tick(now);
        if self.retired.load(Ordering::Relaxed) && !self.is_busy() {
            self.link.end(EndReason::Retired);
        } else if tick.idle >= idle_timeout && self.holders.load(Ordering::Relaxed) == 0 {
            self.link.metrics.timeout_counted("idle_child");
            self.link.end(EndReason::Idle);
        }
        tick.stdin_queue
    }
}

/// Asks a child on the gateway's own behalf.
pub(super) async fn ask_own<R: Bridge>(link: &Arc<Link<R>>, method: &str, params: &str, patience: Duration) -> Own {
    match post_own(link, method, params) {
        Some(reader) => answer_own(reader, patience).await,
        None => Own::Nothing,
    }
}

/// Sends such a request.
pub(super) fn post_own<R: Bridge>(link: &Arc<Link<R>>, method: &str, params: &str) -> Option<Reader> {
    let cursor = link.with(|state, _| {
        let now = Instant::now();
        state.post_request(b"0", None, now, |router, stream| router.own_request(method, params, stream, now))
    });
    link.metrics.message_to_child_counted(Kind::Request);
    Some(Reader::new(Arc::<Link<R>>::clone(link), cursor.ok()?))
}

/// Waits for its answer.
pub(super) async fn answer_own(reader: Reader, patience: Duration) -> Own {
    let Ok(Some(answer)) = timeout(patience, reader.answer()).await else { return Own::Nothing };
    let Ok(envelope) = jsonrpc::read(&answer) else { return Own::Nothing };
    match (envelope.result, envelope.error) {
        (Some(result), _) => Own::Result(answer.slice(result.range())),
        (None, Some(error)) => match keeper::how_it_ended(error.of(&answer)) {
            Some(exit) => Own::Ended(exit),
            None => Own::Error(answer.slice(error.range())),
        },
        (None, None) => Own::Nothing,
    }
}

/// Tells a child something on the gateway's own behalf.
pub(super) fn tell_own<R: Bridge>(link: &Arc<Link<R>>, line: &str) -> Result<(), NotPosted> {
    link.with(|state, effects| {
        let line = format!("{line}\n").into_bytes();
        state.post(Instant::now(), effects, |_, out| out.push(Routed::ToChild(line)))
    })
}

/// Tells a child something of a client.
pub(super) fn tell_client_line<R: Bridge>(link: &Arc<Link<R>>, text: &[u8]) -> Result<(), NotPosted> {
    let line = splice(text, &mut [], b"\n");
    link.with(|state, effects| state.post(Instant::now(), effects, |_, out| out.push(Routed::ToChild(line))))?;
    link.metrics.message_to_child_counted(Kind::Notification);
    Ok(())
}
