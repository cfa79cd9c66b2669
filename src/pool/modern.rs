//! A modern client's call on a modern child: any child of its principal will do, but one that asks for logs needs a child where
//! nobody else does (stdio does not say whose a log message is), and a retry goes to the child that made its state.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::member::tell_client_line;
use super::member::{Key, Member};
use super::{Holdings, NoChild, Pool};
use crate::bridge::Asked;
use crate::bridge::capabilities::Capabilities;
use crate::bridge::modern_on_modern::ModernOnModern;
use crate::bridge::ticket::{Kind as TicketKind, Ticket};
use crate::link::NotPosted;
use crate::link::reader::Reader;
use crate::link::stream::Cut;
use crate::principal::Principal;
use crate::protocol::jsonrpc::Kind;
use crate::protocol::object;

/// How often a child is looked for that takes a call.
pub(super) const ATTEMPTS: usize = 3;

/// A call that a child has.
pub(crate) struct Taken {
    pub(crate) reader: Reader,
    /// The server offers what the call asks for.
    pub(crate) is_offered: bool,
}

/// Why a child has not got a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    NoChild(NoChild),
    NotPosted(NotPosted),
    /// The call's own bound: too many run that may be asked.
    TooManyLeases,
    TooManyListens,
    /// The `requestState` is not good for this.
    BadState,
    /// An answer cannot be one.
    BadAnswer(&'static str),
    /// The call was lost with its child.
    ChildLost,
}

impl From<NoChild> for NotTaken {
    fn from(why: NoChild) -> Self {
        NotTaken::NoChild(why)
    }
}

impl From<NotPosted> for NotTaken {
    fn from(why: NotPosted) -> Self {
        NotTaken::NotPosted(why)
    }
}

/// Counts the starts of one principal that are under way.
struct Starting<'a> {
    holdings: &'a Holdings,
    count: usize,
}

impl Starting<'_> {
    fn new(holdings: &Holdings) -> Starting<'_> {
        Starting { count: holdings.starting.fetch_add(1, Ordering::Relaxed) + 1, holdings }
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.holdings.starting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    /// Sends a call to a modern child.
    pub(crate) async fn ask_modern(&self, principal: &Principal, asked: &Asked<'_>, cut: Option<Cut>) -> Result<Taken, NotTaken> {
        let key = Key { principal: principal.clone(), capabilities: Capabilities::none() };
        let ticket = match asked.retried_state() {
            Some(state) => Some(self.open_ticket(principal, asked, state).ok_or(NotTaken::BadState)?),
            None => None,
        };
        if ticket.as_ref().is_some_and(|ticket| ticket.kind != TicketKind::Pass) {
            return Err(NotTaken::BadState);
        }
        let own = |ticket: &Ticket| self.modern.by_slot(ticket.slot).filter(|member| member.takes_calls());
        let state = ticket.as_ref().map(|ticket| ticket.rest.as_slice());
        let mut attempts = 0;
        let (member, posted) = loop {
            attempts += 1;
            // Where the child that made the state has gone, another may know the key that it used.
            let own = ticket.as_ref().filter(|ticket| ticket.replica == self.seal.replica()).and_then(own);
            let (member, may_log) = match own {
                Some(member) => (member, true),
                None => self.modern_for(&key, asked).await?,
            };
            let is_last = attempts == ATTEMPTS || ticket.is_some();
            let posted = member.link.with(|child, _| {
                let now = Instant::now();
                let keeps_level = may_log && child.router.may_log(asked);
                if asked.wants_logs() && !keeps_level {
                    if may_log && !is_last && asked.insists_on_logs() {
                        return Ok(None); // somebody was faster
                    }
                    self.metrics.drop_counted("log_level_not_asked");
                }
                let line = |router: &mut ModernOnModern, stream| {
                    router.request(asked, stream, state, keeps_level, now).parts(asked.text)
                };
                child.post_request(asked.id.1, cut.clone(), now, line).map(Some)
            });
            match posted {
                Ok(Some(cursor)) => break (member, cursor),
                // It ended before it was told anything: another one will do.
                Ok(None) | Err(NotPosted::Ended) if !is_last => {}
                Ok(None) => return Err(NotPosted::Ended.into()),
                Err(why) => return Err(why.into()),
            }
        };
        self.metrics.message_to_child_counted(Kind::Request);
        Ok(Taken {
            is_offered: asked.ask.capability().is_some_and(|name| member.facts.declares(&[name])),
            reader: Reader::new(Arc::<crate::link::Link<ModernOnModern>>::clone(&member.link), posted),
        })
    }

    /// Tells a modern child something of a session's client.
    pub(crate) async fn tell_modern(&self, principal: &Principal, line: &[u8]) -> Result<(), NotTaken> {
        let key = Key { principal: principal.clone(), capabilities: Capabilities::none() };
        Ok(tell_client_line(&self.modern_home(&key).await?.link, line)?)
    }

    /// The same, if a child is up.
    pub(crate) fn tell_modern_now(&self, principal: &Principal, line: &[u8]) -> Option<Result<(), NotPosted>> {
        let key = Key { principal: principal.clone(), capabilities: Capabilities::none() };
        Some(tell_client_line(&self.modern.of(&key).first()?.link, line))
    }

    /// The home child, or for logs one where nobody else wants them. Says whether it may be asked for logs.
    async fn modern_for(&self, key: &Key, asked: &Asked<'_>) -> Result<(Arc<Member<ModernOnModern>>, bool), NotTaken> {
        let home = self.modern_home(key).await?;
        if !asked.insists_on_logs() || home.link.lock().router.may_log(asked) {
            return Ok((home, true));
        }
        let others = self.modern.of(key);
        if let Some(free) = others.iter().find(|member| member.link.lock().router.may_log(asked)) {
            return Ok((Arc::clone(free), true));
        }
        let holdings = self.holdings(&key.principal);
        let starting = Starting::new(&holdings);
        if others.len() + starting.count <= self.limits.max_leases
            && let Ok(member) = self.arc().attempt(self.arc().start_modern(key.clone())).await
        {
            return Ok((member, true));
        }
        Ok((home, false))
    }

    /// Whether this is a retry of a call that waits for its user in a legacy child.
    pub(crate) fn is_parked(&self, principal: &Principal, asked: &Asked<'_>) -> bool {
        let ticket = asked.retried_state().and_then(|state| self.open_ticket(principal, asked, state));
        ticket.is_some_and(|ticket| ticket.kind != TicketKind::Pass)
    }

    /// The ticket in a `requestState`, if it is good for this call of this principal.
    pub(super) fn open_ticket(&self, principal: &Principal, asked: &Asked<'_>, state: &[u8]) -> Option<Ticket> {
        let ticket = Ticket::open(&self.seal, self.name.as_bytes(), &object::string(state)?)?;
        (ticket.principal == principal.tag() && ticket.digest == asked.digest()).then_some(ticket)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::budget::Budget;
    use crate::child::spawner::Spawner;
    use crate::config::{Cli, Config};
    use crate::link::route::Notice;
    use crate::memory::Gate;
    use crate::metrics::Metrics;
    use crate::pool::starter::Starter;
    use crate::protocol::jsonrpc;
    use crate::protocol::meta::Ask;
    use crate::seal::Seal;

    fn pool() -> Arc<Pool> {
        let cli = Cli::try_parse_from(["mcp-http-gateway", "--demo"]).expect("flags");
        let config = Config::load(&cli.given, &["/bin/true".into()]).expect("a configuration");
        let (command, limits) = (config.servers[0].command.clone(), config.servers[0].limits.clone());
        let (metrics, budget) = (Arc::new(Metrics::new()), Arc::new(Budget::new(1 << 20)));
        let spawner = Spawner::start(false, Arc::clone(&metrics)).expect("a thread");
        let gate = Arc::new(Gate::new(100));
        let starter = Starter::new(Arc::new(command), &limits, false, spawner, gate, Arc::clone(&budget), Arc::clone(&metrics));
        let seal = Seal::random(None).expect("random bytes");
        Pool::new("default", limits, Arc::new(starter), seal, budget, metrics)
    }

    #[tokio::test]
    async fn a_state_is_good_for_its_own_principal_only() {
        let pool = pool();
        let text = &bytes::Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#);
        let envelope = jsonrpc::read(text).expect("a message");
        let asked = Asked::read(text, &envelope, Ask::of(text, &envelope));
        let alice = Principal::named("alice");
        let state = object::quoted(&pool.sealer(1, &alice).seal(TicketKind::Park, 1, 1, asked.digest(), b""));
        assert!(pool.open_ticket(&alice, &asked, &state).is_some());
        for other in [Principal::named("bob"), Principal::Anonymous] {
            assert!(pool.open_ticket(&other, &asked, &state).is_none(), "{other:?}");
        }
    }

    #[tokio::test]
    async fn at_most_1024_calls_that_were_lost_are_remembered() {
        let pool = pool();
        for lease in 0..1025 {
            pool.noticed(1, &Principal::Anonymous, Notice::Buried(lease, 1));
        }
        assert_eq!(pool.graves.lock().expect("the lost calls").len(), 1024);
    }

    #[tokio::test]
    async fn what_is_kept_for_principals_that_have_nothing_is_forgotten() {
        let pool = pool();
        let alice = pool.holdings(&Principal::named("alice"));
        // Whoever is about to be served holds a part of it only.
        let of_bob = Arc::clone(&pool.holdings(&Principal::named("bob")).hub);
        let of_carol = Arc::clone(&pool.holdings(&Principal::named("carol")).children).acquire_owned().await;
        for at in 0..5000 {
            drop(pool.holdings(&Principal::named(&at.to_string())));
        }
        assert!(pool.holdings.all().len() <= 32 * 8 + 3, "{}", pool.holdings.all().len());
        assert!(Arc::ptr_eq(&alice, &pool.holdings(&Principal::named("alice"))), "somebody holds it");
        assert!(Arc::ptr_eq(&of_bob, &pool.holdings(&Principal::named("bob")).hub), "bob listens, or is about to");
        let free = |name| pool.holdings(&Principal::named(name)).children.available_permits();
        assert_eq!((free("carol"), of_carol.is_ok()), (free("dave") - 1, true), "a child of carol is being started");
    }
}
