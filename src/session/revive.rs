//! What follows a session's own child: another, which is told what the first one was, before it hears anything new.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::recall::Recall;
use super::router::Router;
use crate::link::keeper::Successor;
use crate::link::reader::Reader;
use crate::link::route::{Route as _, Routed};
use crate::link::stream::EventKind;
use crate::link::{EndReason, Link};
use crate::metrics::ActiveGuard;
use crate::pool::Pool;
use crate::pool::starter::{Child, NotStarted, Place, Restart, Running, Shortage};
use crate::protocol::jsonrpc;
use crate::protocol::sse::StreamId;

/// So many children in a row that do not come up are the end.
const TRIES: u32 = 5;
/// Two tries are at least this far apart, where nothing else says how far.
const PACE: Duration = Duration::from_millis(500);
/// A child that lived for less is one that crashes.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// How long what follows the handshake may take.
const REST: Duration = Duration::from_secs(10);

pub(crate) struct Revive {
    pool: Arc<Pool>,
    /// Also where the child has ended by itself; else only where it was stopped until it is needed.
    after_exit: bool,
    initialize_timeout: Duration,
    place: Option<Place>,
    /// When the child was started, and whether it has been told everything.
    began: Instant,
    is_greeted: bool,
    /// Starts in a row that came to nothing.
    failures: u32,
    /// Of this session's children: short lives.
    lives: Restart,
}

impl Revive {
    pub(crate) fn new(pool: Arc<Pool>, after_exit: bool, initialize_timeout: Duration, place: Place) -> Revive {
        Revive {
            pool,
            after_exit,
            initialize_timeout,
            place: Some(place),
            began: Instant::now(),
            is_greeted: true,
            failures: 0,
            lives: Restart::default(),
        }
    }

    /// The handshake that the first child had, and what it was asked since.
    async fn tell(&self, link: &Arc<Link<Router>>) -> Result<(), EndReason> {
        let recall = |about: fn(&Recall) -> _| link.lock().router.recall.as_ref().map(about);
        let (text, result) = recall(Recall::handshake).flatten().ok_or(EndReason::NotOpened)?;
        let answer = ask(link, &text)?;
        let answer = timeout(self.initialize_timeout, answer.answer()).await.ok().flatten().ok_or(EndReason::NotOpened)?;
        let same = jsonrpc::read(&answer).ok().and_then(|read| read.result).is_some_and(|own| own.of(&answer) == &*result);
        if !same {
            return Err(EndReason::ChildChanged);
        }
        let (initialized, requests) = link.lock().router.recall.as_ref().map(Recall::rest).ok_or(EndReason::NotOpened)?;
        let mut readers = Vec::new();
        if let Some(text) = initialized {
            let told = link.with(|state, _| state.outbox.push_own([&*text, b"\n"].concat()));
            told.map_err(|_| EndReason::NotOpened)?;
        }
        for text in requests {
            readers.push(ask(link, &text)?);
        }
        // A child that does not grant it now had granted it before: the client hears that everything may have changed.
        let _ = timeout(REST, async {
            for reader in &readers {
                reader.answer().await;
            }
        })
        .await;
        Ok(())
    }

    async fn start(&self) -> Result<(Child, Instant), (String, Duration)> {
        let now = Instant::now();
        if let Some(wait) = self.lives.wait(now) {
            return Err((wait.reason, wait.again_in));
        }
        let short = |why: Shortage| match why {
            Shortage::BackingOff(wait) => (wait.reason, wait.again_in),
            why => (why.to_string(), PACE),
        };
        let began = self.pool.starter.begin().map_err(short)?;
        match self.pool.child(true).await {
            Ok(child) => Ok((child, began)),
            Err(NotStarted::Short(why)) => Err(short(why)),
            Err(NotStarted::Failed(reason)) => {
                self.pool.starter.failed(began, &reason);
                Err((reason, PACE))
            }
        }
    }

    /// Waits until the next child is needed. Says whether that came before the end.
    async fn needed(&self, link: &Arc<Link<Router>>) -> bool {
        let _asleep = ActiveGuard::new(link.metrics.asleep.clone());
        tokio::select! {
            _ = link.end_asked() => false,
            () = link.awaited() => true,
        }
    }

    /// The next child, within some tries; else why there is none.
    async fn try_to_start(&mut self, link: &Arc<Link<Router>>) -> Result<Running, Option<String>> {
        let mut refused = 0;
        loop {
            let started = tokio::select! {
                _ = link.end_asked() => return Err(None),
                started = self.start() => started,
            };
            match started {
                Ok((child, began)) => {
                    (self.began, self.is_greeted) = (began, false);
                    let Child { running, place } = child;
                    self.place = Some(place);
                    return Ok(running);
                }
                Err((reason, wait)) => {
                    warn!(reason, again_in = ?wait, "no server process to go on with");
                    refused += 1;
                    if refused >= TRIES {
                        return Err(Some(reason));
                    }
                    tokio::select! {
                        _ = link.end_asked() => return Err(None),
                        () = sleep(wait.max(PACE)) => {}
                    }
                }
            }
        }
    }
}

impl Successor<Router> for Revive {
    async fn greet(&mut self, link: &Arc<Link<Router>>) -> EndReason {
        if !self.is_greeted {
            if let Err(reason) = Box::pin(self.tell(link)).await {
                return reason;
            }
            self.is_greeted = true;
            self.failures = 0;
            self.pool.starter.succeeded();
            link.with(|state, effects| {
                state.outbox.release();
                state.router.is_here();
                let changes = state.router.recall.as_ref().map(Recall::changes).unwrap_or_default();
                state.route(effects, |_, _, out| {
                    let event = |text| Routed::Event(StreamId::GET, EventKind::Notification, text);
                    out.extend(changes.into_iter().map(event));
                });
            });
            info!("another server process has taken up the session");
        }
        std::future::pending().await
    }

    fn follows(&mut self, link: &Arc<Link<Router>>, reason: EndReason) -> bool {
        let can_go_on = link.lock().router.recall.as_ref().is_some_and(Recall::is_enough);
        if link.end_reason().is_some() || !can_go_on {
            return false;
        }
        let now = Instant::now();
        match reason {
            EndReason::Asleep => true,
            EndReason::ChildExited | EndReason::ChildClosedStdout | EndReason::ChildClosedStdin | EndReason::NotOpened => {
                if !self.is_greeted {
                    self.failures += 1;
                    self.pool.starter.failed(self.began, "it ended before it had taken up a session");
                    return self.failures < TRIES;
                }
                if now.saturating_duration_since(self.began) < SHORT_LIFE {
                    self.lives.failed(self.began, now, 0, "it ended soon after its start");
                } else {
                    self.lives.succeeded();
                }
                self.after_exit
            }
            _ => false,
        }
    }

    fn interrupt(&mut self, link: &Arc<Link<Router>>, message: &str, data: &Value) {
        let lost = link.with(|state, effects| {
            let lost = state.outbox.renew();
            state.route(effects, |router, _, out| {
                router.leaves();
                router.interrupted(message, data, out);
            });
            lost
        });
        link.metrics.messages_lost_counted(lost);
    }

    async fn next(&mut self, link: &Arc<Link<Router>>, reason: EndReason) -> Option<Running> {
        self.place = None;
        let sleeps = reason == EndReason::Asleep;
        if sleeps {
            link.with(|state, effects| state.route(effects, |router, _, out| router.withdraw_all("the server sleeps", out)));
        }
        loop {
            if sleeps && !self.needed(link).await {
                return None;
            }
            match self.try_to_start(link).await {
                Ok(running) => {
                    link.metrics.respawn_counted(reason.label());
                    link.lock().router.comes();
                    return Some(running);
                }
                Err(Some(reason)) if sleeps => {
                    let correlation = self.pool.correlated(&reason);
                    let message = format!("the server's process could not be started again ({correlation})");
                    let data = serde_json::json!({ "reason": "asleep", "correlationId": correlation });
                    let lost = link.with(|state, effects| {
                        state.route(effects, |router, _, out| router.given_up(&message, &data, out));
                        state.outbox.drop_held()
                    });
                    link.metrics.messages_lost_counted(lost);
                }
                Err(_) => return None,
            }
        }
    }
}

/// Sends a request in the client's words; what comes of it is for the gateway.
fn ask(link: &Arc<Link<Router>>, text: &[u8]) -> Result<Reader, EndReason> {
    let text = Bytes::copy_from_slice(text);
    // It was read once, so it can be read again.
    let envelope = jsonrpc::read(&text).map_err(|_| EndReason::NotOpened)?;
    let posted = link.with(|state, _| {
        let now = Instant::now();
        state.post_own(now, |router, stream| router.own_request(&text, &envelope, stream, now))
    });
    // The session has ended.
    let cursor = posted.map_err(|_| EndReason::NotOpened)?;
    Ok(Reader::new(Arc::<Link<Router>>::clone(link), cursor))
}
