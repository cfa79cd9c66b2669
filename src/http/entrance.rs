//! Who may enter a server: whoever shows a token, or has a certificate, or anybody. What they open is theirs alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use tokio::time::Instant;

use super::refusal::Refusal;
use super::wire::Wire;
use crate::auth::{Given, Tokens, credentials, is_same};
use crate::principal::Principal;
use crate::quota::{Account, Counted, Exceeded, Quotas};
use crate::tls::ClientCa;

/// The door of one server.
pub(crate) struct Entrance {
    realm: &'static str,
    /// Exchanged when the files are read again.
    tokens: Option<ArcSwap<Tokens>>,
    client_ca: Option<ArcSwap<ClientCa>>,
    quotas: Arc<Quotas>,
    /// Whoever comes, where nobody is asked.
    anybody: Caller,
}

/// What is taken as a proof of who a client is; nobody is asked where there is none.
#[derive(Default)]
pub(crate) struct Proofs {
    pub(crate) tokens: Option<Tokens>,
    pub(crate) client_ca: Option<Arc<ClientCa>>,
}

/// Who asks, and what they have of the server.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) principal: Principal,
    pub(super) account: Option<Arc<Account>>,
}

/// What a connection's client showed last, and was let in by: its next request shows the same, as a rule.
#[derive(Default)]
pub(super) struct Pass(Mutex<Option<Box<Known>>>);

struct Known {
    by: Proof,
    /// None: it is turned away.
    caller: Option<Caller>,
}

enum Proof {
    Token {
        shown: Box<[u8]>,
        among: Arc<Tokens>,
    },
    /// The connection's own, which these were asked about then.
    Certificate(Arc<ClientCa>, Instant),
}

/// For how long it is not asked again whether a connection's certificate is good: it may be out of its time meanwhile.
const GOOD_FOR: Duration = Duration::from_secs(60);

impl Entrance {
    pub(crate) fn new(realm: &'static str, proofs: Proofs, quotas: Arc<Quotas>) -> Entrance {
        let anybody = Caller { account: quotas.account(&Principal::Anonymous, Instant::now()), principal: Principal::Anonymous };
        let (tokens, client_ca) = (proofs.tokens.map(ArcSwap::from_pointee), proofs.client_ca.map(ArcSwap::new));
        Entrance { realm, tokens, client_ca, quotas, anybody }
    }

    /// Nobody is asked who they are.
    fn is_open(&self) -> bool {
        self.tokens.is_none() && self.client_ca.is_none()
    }

    /// Other tokens and authorities are good from here on. Says whether an authority was taken out.
    pub(crate) fn renew(&self, proofs: Proofs) -> bool {
        if let (Some(held), Some(tokens)) = (&self.tokens, proofs.tokens) {
            held.store(Arc::new(tokens));
        }
        if let (Some(held), Some(client_ca)) = (&self.client_ca, proofs.client_ca) {
            let before = held.swap(Arc::clone(&client_ca));
            return !client_ca.includes(&before);
        }
        false
    }

    /// Whether the other believes an authority that this one does not: the same name may be somebody else's here.
    pub(crate) fn lacks_authority_of(&self, other: &Entrance) -> bool {
        match (held(other.client_ca.as_ref()), held(self.client_ca.as_ref())) {
            (Some(theirs), Some(ours)) => !ours.includes(&theirs),
            (theirs, _) => theirs.is_some(),
        }
    }

    /// Whether such a principal can still come in. One with a certificate is asked for it again.
    pub(crate) fn knows(&self, principal: &Principal) -> bool {
        match principal {
            Principal::Token(_) => held(self.tokens.as_ref()).is_some_and(|tokens| tokens.has(principal)),
            Principal::Certificate(_) => self.client_ca.is_some(),
            Principal::Anonymous => self.is_open(),
        }
    }

    /// Who asks; a token that is shown decides, whatever the connection's certificate says.
    pub(super) fn admit(&self, fields: &HeaderMap, wire: &Wire) -> Result<Caller, Refusal> {
        if self.is_open() {
            return Ok(self.anybody.clone());
        }
        if let Some(tokens) = held(self.tokens.as_ref()) {
            match credentials(fields) {
                Given::Token(shown) => return self.by_token(tokens, shown, wire),
                Given::Bad => return Err(self.refusal(true)),
                Given::None => {}
            }
        }
        match held(self.client_ca.as_ref()) {
            Some(client_ca) => self.by_certificate(client_ca, wire),
            None => Err(self.refusal(false)),
        }
    }

    fn by_token(&self, tokens: Arc<Tokens>, shown: &[u8], wire: &Wire) -> Result<Caller, Refusal> {
        // What was good on this connection under these tokens is good again.
        let is_known = |by: &Proof| match by {
            Proof::Token { shown: known, among } => Arc::ptr_eq(among, &tokens) && is_same(known, shown),
            Proof::Certificate(..) => false,
        };
        if let Some(Some(caller)) = wire.pass.caller(is_known) {
            return Ok(caller);
        }
        let caller = self.caller(tokens.find(shown).cloned().ok_or_else(|| self.refusal(true))?);
        wire.pass.keep(Proof::Token { shown: shown.into(), among: tokens }, Some(&caller));
        Ok(caller)
    }

    fn by_certificate(&self, client_ca: Arc<ClientCa>, wire: &Wire) -> Result<Caller, Refusal> {
        let Some(shown) = wire.certificate() else { return Err(self.refusal(false)) };
        let is_known = |by: &Proof| match by {
            Proof::Certificate(asked, at) => Arc::ptr_eq(asked, &client_ca) && at.elapsed() < GOOD_FOR,
            Proof::Token { .. } => false,
        };
        let caller = wire.pass.caller(is_known).unwrap_or_else(|| {
            let is_good = client_ca.vouches_for(shown);
            let caller = is_good.then(|| self.caller(Principal::Certificate(Arc::clone(&shown.name))));
            wire.pass.keep(Proof::Certificate(client_ca, Instant::now()), caller.as_ref());
            caller
        });
        caller.ok_or_else(|| self.refusal(false))
    }

    fn caller(&self, principal: Principal) -> Caller {
        Caller { account: self.quotas.account(&principal, Instant::now()), principal }
    }

    fn refusal(&self, is_wrong: bool) -> Refusal {
        Refusal::Unauthorized { realm: self.realm, is_wrong, takes_tokens: self.tokens.is_some() }
    }
}

/// What is good now.
fn held<T>(exchanged: Option<&ArcSwap<T>>) -> Option<Arc<T>> {
    exchanged.map(ArcSwap::load_full)
}

impl Pass {
    /// Whom the last proof let in, if that is it. The inner `None`: nobody.
    fn caller(&self, is_it: impl FnOnce(&Proof) -> bool) -> Option<Option<Caller>> {
        let known = self.lock();
        known.as_ref().filter(|known| is_it(&known.by)).map(|known| known.caller.clone())
    }

    fn keep(&self, by: Proof, caller: Option<&Caller>) {
        *self.lock() = Some(Box::new(Known { by, caller: caller.cloned() }));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Known>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caller {
    /// Whoever asks only what may be asked.
    pub(super) fn nobody() -> Caller {
        Caller { principal: Principal::Anonymous, account: None }
    }

    /// So many calls begin; they count until the guard is dropped.
    pub(super) fn begins_calls(&self, count: usize) -> Result<Counted, Refusal> {
        let Some(account) = &self.account else { return Ok(None) };
        account.begin_calls(count, Instant::now()).map(|calls| Some(Arc::new(calls))).map_err(exceeded)
    }

    /// A session is to be opened; it counts until the guard is dropped.
    pub(super) fn opens_session(&self) -> Result<Option<crate::quota::Held>, Refusal> {
        let Some(account) = &self.account else { return Ok(None) };
        account.open_session().map(Some).map_err(exceeded)
    }
}

fn exceeded(what: Exceeded) -> Refusal {
    match what {
        Exceeded::Sessions => Refusal::TooManyOwnSessions,
        Exceeded::Calls => Refusal::TooManyOwnCalls,
        Exceeded::Rate(wait) => Refusal::TooFast(wait),
    }
}
