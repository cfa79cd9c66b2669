//! How sessions are opened: in front of a child of their own, which answers `initialize` itself, or in front of children that
//! they share, in whose place the gateway answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};
use tracing::{Instrument as _, info, info_span, warn};

use super::{NotOpened, Owner, Server};
use crate::bridge::discover::{Facts, revision_of};
use crate::bridge::legacy_on_legacy;
use crate::bridge::legacy_on_modern::{Speaker, initialize_result};
use crate::child::outbox::Outbox;
use crate::config::OnChildExit;
use crate::link::keeper::{self, NoSuccessor};
use crate::link::log::Log;
use crate::link::reader::Reader;
use crate::link::route::Carries;
use crate::link::state::State;
use crate::link::{EndReason, Link, NotPosted};
use crate::pool::NoChild;
use crate::pool::starter::{Child, NotStarted, Shortage};
use crate::principal::Principal;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::revision::Revision;
use crate::quota::Held;
use crate::session::bridged::{Backend, Parts};
use crate::session::revive::Revive;
use crate::session::router::{Patience, Router};
use crate::session::{Behind, Bridged, Session, SessionId, Terms, Way, call_own};

/// What may wait for a child that does not read.
const OUTBOX_BYTES: usize = 1 << 20;
/// A cancelled call that the child leaves unanswered is answered by us after this.
const CANCEL_PATIENCE: Duration = Duration::from_secs(2);
/// A child that wrote nothing for this long may be holding its output back.
const SILENCE: Duration = Duration::from_secs(10);

/// Ends a session that its client does not know yet, unless it is opened: a client may leave while its child starts.
struct Opening(Option<Arc<Session>>);

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            session.end(EndReason::NotOpened);
        }
    }
}

impl Server {
    /// Starts a child, passes `initialize` to it, and waits for the answer.
    pub(super) async fn open_own(
        self: &Arc<Self>,
        text: &Bytes,
        envelope: &Envelope,
        carries: Carries,
        owner: Owner,
        permit: OwnedSemaphorePermit,
    ) -> Result<(Arc<Session>, Reader), NotOpened> {
        let began = self.starter.begin().map_err(NotOpened::Short)?;
        let child = match self.pool.child(true).await {
            Ok(child) => child,
            Err(NotStarted::Short(why)) => return Err(NotOpened::Short(why)),
            Err(NotStarted::Failed(reason)) => return Err(NotOpened::CannotStart(self.failed(began, &reason))),
        };
        let (session, link) = match self.adopt(child, owner, permit) {
            Ok(adopted) => adopted,
            Err(error) => return Err(self.no_random(&error)),
        };
        let mut opening = Opening(Some(Arc::clone(&session)));
        let reader = match call_own(&link, text, envelope, Terms { way: Way::Own, carries, cut: None, counted: None }) {
            Ok(reader) => reader,
            Err(NotPosted::NoBudget) => return Err(NotOpened::Short(Shortage::Budget)),
            Err(_) => return Err(NotOpened::Ended(self.failed(began, "it closed its input"))),
        };
        let answer = timeout(self.limits.initialize_timeout, answer(&session, &link, &reader)).await;
        let answer = match answer {
            Err(_) => {
                self.metrics.timeout_counted("initialize");
                return Err(NotOpened::TimedOut(self.failed(began, "no answer to initialize within --initialize-timeout")));
            }
            Ok(Some(answer)) if !session.has_ended() => answer,
            Ok(answer) => {
                let error = answer.as_ref().and_then(|answer| Some(jsonrpc::read(answer).ok()?.error?.of(answer)));
                let how = error.and_then(keeper::how_it_ended).unwrap_or_else(|| "at once".to_owned());
                return Err(NotOpened::Ended(self.failed(began, &format!("it ended ({how}) before it answered initialize"))));
            }
        };
        let Some(revision) = agreed_revision(&answer) else {
            self.doubt_era(&answer);
            return Err(NotOpened::Refused(answer));
        };
        self.starter.succeeded();
        self.metrics.spawn_counted("ok");
        self.metrics.child_spawn_seconds.observe(began.elapsed());
        self.opened(&session, revision);
        opening.0 = None;
        Ok((session, reader))
    }

    /// Answers `initialize` in the place of children that other clients use too.
    pub(super) async fn open_shared(
        self: &Arc<Self>,
        text: &Bytes,
        envelope: &Envelope,
        carries: Carries,
        owner: Owner,
        is_legacy: bool,
        free: Option<OwnedSemaphorePermit>,
    ) -> Result<(Arc<Session>, Reader), NotOpened> {
        let Owner { principal, held } = owner;
        let Hello { speaker, backend, facts, result } = self.hello(text, envelope, &principal, is_legacy, true).await?;
        let permit = self.place(free, false).await?;
        let revision = speaker.revision;
        let (id, bridged) = self.bridged(&principal, speaker, backend, facts, true).map_err(|error| self.no_random(&error))?;
        let client_id = envelope.id.map_or(&b"null"[..], |id| id.of(text));
        let reader = bridged.answered(client_id, &result, Way::Own, carries).ok().flatten();
        let reader = reader.ok_or_else(|| NotOpened::CannotStart(self.pool.correlated("the session ended at once")))?;
        let session = Arc::new(Session::new(id, self.replica.as_deref(), principal, Behind::Shared(Arc::clone(&bridged))));
        self.opened(&session, Some(revision));
        let (server, kept) = (Arc::clone(self), Arc::clone(&session));
        bridged.forgotten_by(Box::new(move |reason| server.closed(&kept, reason, (permit, held))));
        Ok((session, reader))
    }

    /// Answers `initialize` of a client that gets no session: the result.
    pub(crate) async fn introduce(
        self: &Arc<Self>,
        text: &Bytes,
        envelope: &Envelope,
        principal: &Principal,
    ) -> Result<Vec<u8>, NotOpened> {
        let era = self.era().await?;
        Ok(self.hello(text, envelope, principal, era.is_legacy, false).await?.result)
    }

    /// A session for one request of a client that has none.
    pub(crate) async fn once(self: &Arc<Self>, revision: Revision, principal: Principal) -> Result<Session, NotOpened> {
        let era = self.era().await?;
        let (backend, facts) = self.backend(&principal, era.is_legacy).await?;
        let speaker = Speaker::unknown(revision);
        let facts = Arc::new(facts.for_stateless());
        let (id, bridged) = self.bridged(&principal, speaker, backend, facts, false).map_err(|error| self.no_random(&error))?;
        let session = Session::nameless(id, principal, Behind::Shared(bridged));
        session.agree_on(Some(revision));
        Ok(session)
    }

    /// What a client's `initialize` says and is answered. `hears` says whether there is a stream for what is about no call.
    async fn hello(
        self: &Arc<Self>,
        text: &Bytes,
        envelope: &Envelope,
        principal: &Principal,
        is_legacy: bool,
        hears: bool,
    ) -> Result<Hello, NotOpened> {
        let mut speaker = Speaker::read(envelope.params.map_or(&b"{}"[..], |params| params.of(text)));
        let (backend, facts) = self.backend(principal, is_legacy).await?;
        let facts = if hears { facts } else { Arc::new(facts.for_stateless()) };
        let (revision, result) = match backend {
            Backend::Legacy(_) => legacy_on_legacy::initialize_result(&facts, speaker.revision),
            Backend::Modern => {
                let can_listen = hears && !self.pool.refuses_listens();
                (speaker.revision, initialize_result(&facts, speaker.revision, self.program(), can_listen))
            }
        };
        speaker.revision = revision;
        Ok(Hello { speaker, backend, facts, result })
    }

    /// What a session without a child of its own uses, and what that says of itself.
    async fn backend(self: &Arc<Self>, principal: &Principal, is_legacy: bool) -> Result<(Backend, Arc<Facts>), NotOpened> {
        let facts = match is_legacy {
            true => self.pool.shared_facts(principal).await,
            false => self.pool.modern_facts(principal).await,
        };
        let facts = facts.map_err(|why| match why {
            NoChild::Short(why) => NotOpened::Short(why),
            NoChild::TooManyOwn => NotOpened::Short(Shortage::Children),
            NoChild::NotStarted { correlation, .. } => NotOpened::CannotStart(correlation),
            NoChild::OtherEra(reason) => {
                self.pool.suspect.notify_one();
                NotOpened::CannotStart(self.pool.correlated(&reason))
            }
        })?;
        let revision = revision_of(&facts.result).unwrap_or(Revision::NEWEST_LEGACY);
        Ok((if is_legacy { Backend::Legacy(revision) } else { Backend::Modern }, facts))
    }

    fn bridged(
        &self,
        principal: &Principal,
        speaker: Speaker,
        backend: Backend,
        facts: Arc<Facts>,
        hears: bool,
    ) -> Result<(SessionId, Arc<Bridged>), getrandom::Error> {
        let id = SessionId::random()?;
        let bridged = Bridged::new(Parts {
            pool: Arc::clone(&self.pool),
            principal: principal.clone(),
            speaker,
            backend,
            hears,
            facts,
            log: self.log(getrandom::u32()?),
            max_calls: self.limits.max_calls,
            question_timeout: self.limits.question_timeout,
            metrics: Arc::clone(&self.metrics),
        });
        Ok((id, bridged))
    }

    fn no_random(&self, error: &impl ToString) -> NotOpened {
        NotOpened::CannotStart(self.pool.correlated(&error.to_string()))
    }

    /// A session around a child, with its keeper.
    fn adopt(
        self: &Arc<Self>,
        child: Child,
        owner: Owner,
        permit: OwnedSemaphorePermit,
    ) -> std::io::Result<(Arc<Session>, Arc<Link<Router>>)> {
        let id = SessionId::random().map_err(std::io::Error::other)?;
        let nonce = getrandom::u32().map_err(std::io::Error::other)?;
        let span = info_span!("session", id = id.short(), pid = child.running.pid());
        let Child { running, place } = child;
        let link = Arc::new(Link::new(self.state(nonce), running.stdin, Arc::clone(&self.metrics)));
        let session = Arc::new(Session::new(id, self.replica.as_deref(), owner.principal, Behind::Own(Arc::clone(&link))));
        let (server, kept_session, kept) = (Arc::clone(self), Arc::clone(&session), Arc::clone(&link));
        let (max_line, initialize_timeout) = (self.limits.max_line, self.limits.initialize_timeout);
        let after_exit = self.on_child_exit == OnChildExit::Respawn;
        let (goes_on, pool) = (self.has_successors(), Arc::clone(&self.pool));
        let keeping = async move {
            let forget = |reason: EndReason| server.closed(&kept_session, reason, (permit, owner.held));
            if goes_on {
                let revive = Revive::new(pool, after_exit, initialize_timeout, place);
                keeper::keep(kept, running.output, max_line, revive, forget).await;
            } else {
                keeper::keep(kept, running.output, max_line, NoSuccessor, forget).await;
                drop(place);
            }
        };
        // The keeper ends by itself, with its child; `all_children_gone` waits for it.
        drop(tokio::spawn(keeping.instrument(span)));
        Ok((session, link))
    }

    /// A session is over, or about to be: nobody finds it any more.
    fn closed(&self, session: &Session, reason: EndReason, places: (OwnedSemaphorePermit, Option<Held>)) {
        self.forget(session);
        self.metrics.session_closed_counted(reason.label());
        info!(session = session.id.short(), reason = reason.label(), "session ended");
        drop(places);
    }

    fn state(&self, nonce: u32) -> State<Router> {
        let patience = Patience {
            request: self.limits.request_timeout,
            hard: self.limits.request_timeout_max,
            question: self.limits.question_timeout,
            cancelled: CANCEL_PATIENCE,
        };
        let router = if self.has_successors() { Router::recalling(patience) } else { Router::new(patience) };
        let outbox = Outbox::new(OUTBOX_BYTES, Arc::clone(&self.budget));
        let metrics = Arc::clone(&self.metrics);
        State::new(router, self.log(nonce), outbox, self.limits.max_calls, metrics, Instant::now())
    }

    /// Whether another child may take the place of a session's own.
    fn has_successors(&self) -> bool {
        self.on_child_exit == OnChildExit::Respawn || self.limits.hibernate_after.is_some()
    }

    fn log(&self, nonce: u32) -> Log {
        Log::new(nonce, self.limits.log_bytes, Arc::clone(&self.budget), Arc::clone(&self.metrics), Instant::now())
    }

    /// The name of the server's program, for one that does not say its own.
    fn program(&self) -> &str {
        self.command.program.file_name().and_then(|name| name.to_str()).unwrap_or(self.name)
    }
}

/// An `initialize` that is answered in the place of children that others use too.
struct Hello {
    speaker: Speaker,
    backend: Backend,
    facts: Arc<Facts>,
    result: Vec<u8>,
}

/// The answer to `initialize`; one hint if the child keeps silent.
async fn answer(session: &Session, link: &Link<Router>, reader: &Reader) -> Option<Bytes> {
    let mut answer = std::pin::pin!(reader.answer());
    tokio::select! {
        answer = &mut answer => return answer,
        () = sleep(SILENCE) => {}
    }
    if !link.was_heard() {
        warn!(
            session = session.id.short(),
            "the server has written nothing to stdout for 10 s; if it is a script, its output may be block-buffered on a \
             pipe (Python: run it with -u or PYTHONUNBUFFERED=1; others: stdbuf -oL)"
        );
    }
    answer.await
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
