//! A modern client's call on a legacy child: beside others on the home child if it can be asked nothing, else alone with a
//! lease; and the retry that brings the answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::member::{Key, Member, Own, ask_own};
use super::modern::{ATTEMPTS, NotTaken, Taken};
use super::starter::Shortage;
use super::{NoChild, Pool, QUEUE};
use crate::bridge::Asked;
use crate::bridge::capabilities::{Capabilities, Declared};
use crate::bridge::modern_on_legacy::ModernOnLegacy;
use crate::bridge::modern_on_legacy::parked::NotResumed;
use crate::bridge::modern_on_legacy::resend::Step;
use crate::bridge::ticket::{Kind as TicketKind, Ticket};
use crate::link::reader::Reader;
use crate::link::route::Place;
use crate::link::stream::Cut;
use crate::link::{Link, NotPosted};
use crate::principal::Principal;
use crate::protocol::jsonrpc::Kind;

/// How long a child may take to set its log level.
const SET_LEVEL: Duration = Duration::from_secs(1);
/// How long a user's way elsewhere is waited for, once the user says to have gone.
const ELSEWHERE: Duration = Duration::from_secs(30);

/// How a retry goes on.
pub(crate) enum Resumed {
    Taken(Taken),
    /// With this answer, at once.
    Answer(Vec<u8>),
    /// The user declined.
    Declined,
}

/// A lease that no call has yet: given back unless one gets it.
struct Leased {
    member: Arc<Member<ModernOnLegacy>>,
    lease: u64,
}

impl Drop for Leased {
    fn drop(&mut self) {
        let lease = self.lease;
        self.member.link.with(|state, effects| state.route(effects, |router, _, out| router.untake_lease(lease, out)));
    }
}

impl Pool {
    /// Sends a call to a legacy child.
    pub(crate) async fn ask_legacy(
        &self,
        principal: &Principal,
        asked: &Asked<'_>,
        capabilities: &[u8],
        cut: Option<Cut>,
    ) -> Result<Taken, NotTaken> {
        let key = Key { principal: principal.clone(), capabilities: Capabilities::of(capabilities) };
        let declared = Declared::of(capabilities);
        if asked.ask.may_ask() && (declared.any() || asked.level.is_some()) {
            let leased = self.lease(&key, asked, declared).await?;
            return self.send_leased(leased, asked, cut).await;
        }
        let mut attempts = 0;
        loop {
            attempts += 1;
            let member = self.sharing(&key, asked).await?;
            let posted = member.link.with(|child, _| {
                if !child.router.may_share(asked.ask) {
                    return Ok(None); // a lease was faster
                }
                let now = Instant::now();
                child
                    .post_request(asked.id.1, cut.clone(), now, |router, stream| {
                        router.request(asked, stream, now).parts(asked.text)
                    })
                    .map(Some)
            });
            match posted {
                Ok(Some(cursor)) => return Ok(self.taken(&member, asked, cursor)),
                // It ended before it was told anything: another one will do.
                Ok(None) | Err(NotPosted::Ended) if attempts < ATTEMPTS => {}
                Ok(None) => return Err(NotTaken::TooManyLeases),
                Err(why) => return Err(why.into()),
            }
        }
    }

    /// A child for a call that can be asked nothing: the home child, unless a call there might be.
    async fn sharing(&self, key: &Key, asked: &Asked<'_>) -> Result<Arc<Member<ModernOnLegacy>>, NoChild> {
        let may_share = |member: &Arc<Member<ModernOnLegacy>>| member.link.lock().router.may_share(asked.ask);
        let home = self.legacy_home(key).await?;
        if may_share(&home) {
            return Ok(home);
        }
        match self.legacy.of(key).into_iter().find(may_share) {
            Some(member) => Ok(member),
            None => self.arc().attempt(self.arc().start_legacy(key.clone())).await,
        }
    }

    /// Goes on with a call whose client was asked something.
    pub(crate) async fn retry(
        &self,
        principal: &Principal,
        asked: &Asked<'_>,
        capabilities: &[u8],
        state: &[u8],
        cut: Option<Cut>,
    ) -> Result<Resumed, NotTaken> {
        let ticket = self.open_ticket(principal, asked, state).ok_or(NotTaken::BadState)?;
        if ticket.replica != self.seal.replica() || ticket.kind == TicketKind::Pass {
            return Err(NotTaken::BadState);
        }
        let Some(member) = self.legacy.by_slot(ticket.slot) else { return Err(self.exhume(&ticket)) };
        match ticket.kind {
            TicketKind::Park => {
                self.resume(principal, asked, &ticket, &member, Declared::of(capabilities), cut).await.map(Resumed::Taken)
            }
            _ => self.resend(principal, asked, &ticket, &member, capabilities, cut).await,
        }
    }

    async fn resume(
        &self,
        principal: &Principal,
        asked: &Asked<'_>,
        ticket: &Ticket,
        member: &Arc<Member<ModernOnLegacy>>,
        declared: Declared,
        cut: Option<Cut>,
    ) -> Result<Taken, NotTaken> {
        let check = |router: &ModernOnLegacy| router.check_retry(ticket.lease, ticket.round, asked).map_err(not_resumed);
        check(&member.link.lock().router)?;
        let place = self.place(principal).await?;
        self.set_level(member, asked).await;
        let cursor = member.link.with(|state, effects| {
            let now = Instant::now();
            // The child may have died meanwhile, another retry been faster, or the time be up.
            let admitted = match state.admit_call(now) {
                Err(NotPosted::Ended) => Err(self.exhume(ticket)),
                Err(why) => Err(why.into()),
                Ok(()) => check(&state.router),
            };
            if let Err(why) = admitted {
                effects.release(place);
                return Err(why);
            }
            let cursor = state.log.open(asked.id.1, cut, now);
            state.route(effects, |router, _, out| router.retry(asked, declared, cursor.stream, place, now, out));
            Ok(cursor)
        })?;
        Ok(self.taken(member, asked, cursor))
    }

    /// The child refused the call until its user had been somewhere: is the user back?
    async fn resend(
        &self,
        principal: &Principal,
        asked: &Asked<'_>,
        ticket: &Ticket,
        member: &Arc<Member<ModernOnLegacy>>,
        capabilities: &[u8],
        cut: Option<Cut>,
    ) -> Result<Resumed, NotTaken> {
        let step = member.link.lock().router.resume_resend(ticket.lease, ticket.round, asked).map_err(not_resumed)?;
        let ids = match step {
            Step::Again(answer) => return Ok(Resumed::Answer(answer)),
            Step::Declined => return Ok(Resumed::Declined),
            Step::Send(ids) => ids,
        };
        let completed = async {
            loop {
                let news = self.news.notified();
                if member.link.lock().router.is_completed(&ids) {
                    return;
                }
                news.await;
            }
        };
        // A server that never tells is asked again; it refuses again if the user has not been there.
        let _ = timeout(ELSEWHERE, completed).await;
        self.ask_legacy(principal, asked, capabilities, cut).await.map(Resumed::Taken)
    }

    /// A lease on a child of that key: on the home child if it is free, else on another, else on a new one.
    async fn lease(&self, key: &Key, asked: &Asked<'_>, declared: Declared) -> Result<Leased, NotTaken> {
        let deadline = Instant::now() + QUEUE;
        let mut place = self.place(&key.principal).await?;
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable();
            // The home child is started by whoever comes first; the others wait for it instead of starting more.
            let home = self.legacy_home(key).await;
            for member in self.legacy.of(key) {
                let lease = self.leases.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let taken = member.link.with(|state, _| {
                    if state.has_ended() { Err(place) } else { state.router.take_lease(lease, asked, declared, place) }
                });
                match taken {
                    Ok(()) => return Ok(Leased { member, lease }),
                    Err(back) => place = back,
                }
            }
            let started = match home {
                Ok(_) => self.arc().attempt(self.arc().start_legacy(key.clone())).await.map(drop),
                Err(why) => Err(why),
            };
            match started {
                Ok(()) => {}
                Err(NoChild::Short(Shortage::Children)) if timeout_at(deadline, news).await.is_ok() => {}
                Err(why) => return Err(why.into()),
            }
        }
    }

    /// A place among the calls of a principal that may be asked and are running.
    async fn place(&self, principal: &Principal) -> Result<Place, NotTaken> {
        let leases = Arc::clone(&self.holdings(principal).leases);
        match timeout(QUEUE, leases.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Place::new(permit)),
            _ => Err(NotTaken::TooManyLeases),
        }
    }

    async fn send_leased(&self, leased: Leased, asked: &Asked<'_>, cut: Option<Cut>) -> Result<Taken, NotTaken> {
        self.set_level(&leased.member, asked).await;
        let cursor = leased.member.link.with(|state, effects| {
            let now = Instant::now();
            state.admit_call(now)?;
            let cursor = state.log.open(asked.id.1, cut, now);
            state.route_asked(asked.text, effects, |router, out| router.ask(leased.lease, asked, cursor.stream, now, out));
            Ok::<_, NotPosted>(cursor)
        })?;
        Ok(self.taken(&leased.member, asked, cursor))
    }

    /// The level is the process's, so only a lease may set it.
    async fn set_level(&self, member: &Arc<Member<ModernOnLegacy>>, asked: &Asked<'_>) {
        let level = member.link.lock().router.level_to_set(asked.level);
        if let Some(level) = level {
            let params = format!(r#"{{"level":"{}"}}"#, level.as_str());
            if !matches!(ask_own(&member.link, "logging/setLevel", &params, SET_LEVEL).await, Own::Result(_)) {
                self.metrics.drop_counted("log_level_not_set");
            }
        }
    }

    fn taken(&self, member: &Arc<Member<ModernOnLegacy>>, asked: &Asked<'_>, cursor: crate::link::cursor::Cursor) -> Taken {
        self.metrics.message_to_child_counted(Kind::Request);
        Taken {
            is_offered: asked.ask.capability().is_some_and(|name| member.facts.declares(&[name])),
            reader: Reader::new(Arc::<Link<ModernOnLegacy>>::clone(&member.link), cursor),
        }
    }

    /// A call whose child is no more: it was lost, if it was still waiting for this retry.
    fn exhume(&self, ticket: &Ticket) -> NotTaken {
        let mut graves = self.graves.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = Instant::now();
        graves.retain(|(.., until)| *until > now);
        match graves.iter().position(|(lease, round, _)| *lease == ticket.lease && *round == ticket.round) {
            Some(at) => {
                graves.remove(at);
                NotTaken::ChildLost
            }
            None => NotTaken::BadState,
        }
    }
}

fn not_resumed(why: NotResumed) -> NotTaken {
    match why {
        NotResumed::Unknown => NotTaken::BadState,
        NotResumed::BadAnswer(what) => NotTaken::BadAnswer(what),
    }
}
