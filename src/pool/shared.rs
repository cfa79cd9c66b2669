//! The one legacy child that many legacy sessions use (`--children shared`): initialised with no capabilities, since those of one
//! client are not those of another. When it is gone, the next message starts another.

use std::sync::Arc;

use bytes::Bytes;

use tokio::time::Instant;

use super::member::{Key, Member, tell_client_line};
use super::modern::ATTEMPTS;
use super::{NoChild, NotTaken, Pool};
use crate::bridge::capabilities::Capabilities;
use crate::bridge::discover::Facts;
use crate::bridge::legacy_on_legacy::{LegacyOnLegacy, Sitter};
use crate::link::reader::Reader;
use crate::link::route::Carries;
use crate::link::{Link, NotPosted};
use crate::principal::Principal;
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::meta::Level;

/// A child that a session uses.
pub(crate) struct Seated {
    member: Arc<Member<LegacyOnLegacy>>,
    /// What is about no call, where the session has just begun to use it.
    pub(crate) standing: Option<Standing>,
}

/// What a session hears of a child that is about no call.
pub(crate) struct Standing {
    pub(crate) reader: Reader,
    /// How many shared children have been started, this one included.
    pub(crate) started: u64,
}

impl Pool {
    /// What the shared legacy server says of itself.
    pub(crate) async fn shared_facts(&self, principal: &Principal) -> Result<Arc<Facts>, NoChild> {
        Ok(self.shared_home(principal).await?.facts.clone())
    }

    async fn shared_home(&self, principal: &Principal) -> Result<Arc<Member<LegacyOnLegacy>>, NoChild> {
        let key = Key { principal: principal.clone(), capabilities: Capabilities::none() };
        self.shared.home(&key, || self.arc().attempt(self.arc().start_shared(key.clone()))).await
    }

    /// Tells the shared child something of a session's client, if it is up.
    pub(crate) fn tell_shared_now(&self, principal: &Principal, text: &[u8]) -> Option<Result<(), NotPosted>> {
        let key = Key { principal: principal.clone(), capabilities: Capabilities::none() };
        Some(tell_client_line(&self.shared.of(&key).first()?.link, text))
    }

    /// The shared child, and the session's seat there if `sits` says that it wants one.
    pub(crate) async fn seat(&self, principal: &Principal, sitter: &Sitter, sits: bool) -> Result<Seated, NoChild> {
        let member = self.shared_home(principal).await?;
        let standing = member.link.with(|state, effects| {
            if !sits || state.has_ended() || state.router.has_seat(sitter.number) {
                return None;
            }
            let cursor = state.log.open(b"null", None, Instant::now());
            state.route(effects, |router, _, out| router.sit(sitter, cursor.stream, out));
            // One that takes no more calls is to be followed at once.
            let started = *self.shared_started.borrow();
            Some((cursor, started - u64::from(!member.takes_calls())))
        });
        let reader = |cursor| Reader::new(Arc::<Link<LegacyOnLegacy>>::clone(&member.link), cursor);
        let standing = standing.map(|(cursor, started)| Standing { reader: reader(cursor), started });
        Ok(Seated { member, standing })
    }

    /// Sends a request of a session to the shared child. `heard` is told of the child if the session has just begun to use it.
    pub(crate) async fn ask_shared(
        &self,
        principal: &Principal,
        sitter: &Sitter,
        sits: bool,
        (text, envelope): (&Bytes, &Envelope),
        carries: Carries,
        mut heard: impl FnMut(Standing),
    ) -> Result<(Reader, Seated), NotTaken> {
        let id = envelope.id.map_or(&b"null"[..], |id| id.of(text));
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut seated = self.seat(principal, sitter, sits).await?;
            seated.standing.take().into_iter().for_each(&mut heard);
            let posted = seated.member.link.with(|state, _| {
                let now = Instant::now();
                let line = |router: &mut LegacyOnLegacy, stream| {
                    router.request(sitter, text, envelope, stream, carries, now).parts(text)
                };
                state.post_request(id, None, now, line)
            });
            match posted {
                // It ended before it was told anything: another one will do.
                Err(NotPosted::Ended) if attempts < ATTEMPTS => {}
                Err(why) => return Err(why.into()),
                Ok(cursor) => {
                    self.metrics.message_to_child_counted(Kind::Request);
                    let reader = Reader::new(Arc::<Link<LegacyOnLegacy>>::clone(&seated.member.link), cursor);
                    return Ok((reader, seated));
                }
            }
        }
    }

    /// Waits until more shared children have been started than that; gives how many.
    pub(crate) fn next_shared(&self, after: u64) -> impl Future<Output = u64> + Send + use<> {
        let mut started = self.shared_started.subscribe();
        async move { started.wait_for(|count| *count > after).await.map_or(u64::MAX, |count| *count) }
    }
}

impl Seated {
    /// The session's client chose a level.
    pub(crate) fn set_level(&self, session: u64, level: Level) {
        self.member.link.with(|state, effects| {
            state.route(effects, |router, _, out| router.set_level(session, level, out));
        });
    }

    /// Whether the child must not hear that a session no longer wants a resource: others do. Then this one's wish is gone.
    pub(crate) fn keeps(&self, session: u64, uri: &str) -> bool {
        let mut state = self.member.link.lock();
        let keeps = state.router.is_wanted_by_others(session, uri);
        if keeps {
            state.router.want_no_more(session, uri, None);
        }
        keeps
    }

    /// Tells the child something of a client.
    pub(crate) fn tell(&self, text: &[u8]) -> Result<(), NotPosted> {
        tell_client_line(&self.member.link, text)
    }

    /// Answers the child's question of that id.
    pub(crate) fn answer(&self, id: &[u8], line: Vec<u8>) {
        let told = self
            .member
            .link
            .with(|state, effects| state.post(Instant::now(), effects, |router, out| out.push(router.answer(id, line))));
        if told.is_ok() {
            self.member.link.metrics.message_to_child_counted(Kind::Answer);
        }
    }
}
