//! Who may enter a server: whoever shows a token, or has a certificate, or anybody. What they open is theirs alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use http::HeaderMap;
use tokio::time::Instant;

use super::refusal::Refusal;
use super::wire::Wire;
use crate::auth::{Given, Tokens, credentials, is_same};
use crate::principal::Principal;
use crate::quota::{Account, Exceeded, InFlight, Quotas};
use crate::tls::ClientCa;

/// The door of one server.
pub(crate) struct Entrance {
    realm: &'static str,
    /// Exchanged when the files are read again.
    tokens: Option<RwLock<Arc<Tokens>>>,
    client_ca: Option<RwLock<Arc<ClientCa>>>,
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
    caller: Caller,
}

enum Proof {
    Token {
        shown: Box<[u8]>,
        among: Arc<Tokens>,
    },
    /// The connection's, which these vouched for.
    Certificate(Arc<ClientCa>),
}

impl Entrance {
    pub(crate) fn new(realm: &'static str, proofs: Proofs, quotas: Arc<Quotas>) -> Entrance {
        let anybody = Caller { account: quotas.account(&Principal::Anonymous, Instant::now()), principal: Principal::Anonymous };
        let tokens = proofs.tokens.map(|tokens| RwLock::new(Arc::new(tokens)));
        Entrance { realm, tokens, client_ca: proofs.client_ca.map(RwLock::new), quotas, anybody }
    }

    /// Nobody is asked who they are.
    fn is_open(&self) -> bool {
        self.tokens.is_none() && self.client_ca.is_none()
    }

    /// Other tokens and authorities are good from here on.
    pub(crate) fn renew(&self, proofs: Proofs) {
        if let (Some(held), Some(tokens)) = (&self.tokens, proofs.tokens) {
            *held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
        }
        if let (Some(held), Some(client_ca)) = (&self.client_ca, proofs.client_ca) {
            *held.write().unwrap_or_else(PoisonError::into_inner) = client_ca;
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
            Proof::Certificate(_) => false,
        };
        if let Some(caller) = wire.pass.caller(is_known) {
            return Ok(caller);
        }
        let caller = self.caller(tokens.find(shown).cloned().ok_or_else(|| self.refusal(true))?);
        wire.pass.keep(Proof::Token { shown: shown.into(), among: tokens }, &caller);
        Ok(caller)
    }

    fn by_certificate(&self, client_ca: Arc<ClientCa>, wire: &Wire) -> Result<Caller, Refusal> {
        let is_known = |by: &Proof| matches!(by, Proof::Certificate(known) if Arc::ptr_eq(known, &client_ca));
        if let Some(caller) = wire.pass.caller(is_known) {
            return Ok(caller);
        }
        let shown = wire.certificate().filter(|shown| client_ca.vouches_for(shown)).ok_or_else(|| self.refusal(false))?;
        let caller = self.caller(Principal::Certificate(Arc::clone(&shown.name)));
        wire.pass.keep(Proof::Certificate(client_ca), &caller);
        Ok(caller)
    }

    fn caller(&self, principal: Principal) -> Caller {
        Caller { account: self.quotas.account(&principal, Instant::now()), principal }
    }

    fn refusal(&self, is_wrong: bool) -> Refusal {
        Refusal::Unauthorized { realm: self.realm, is_wrong, takes_tokens: self.tokens.is_some() }
    }
}

/// What is good now.
fn held<T>(exchanged: Option<&RwLock<Arc<T>>>) -> Option<Arc<T>> {
    exchanged.map(|held| Arc::clone(&held.read().unwrap_or_else(PoisonError::into_inner)))
}

impl Pass {
    /// Whom the last proof let in, if that is it.
    fn caller(&self, is_it: impl FnOnce(&Proof) -> bool) -> Option<Caller> {
        let known = self.lock();
        known.as_ref().filter(|known| is_it(&known.by)).map(|known| known.caller.clone())
    }

    fn keep(&self, by: Proof, caller: &Caller) {
        *self.lock() = Some(Box::new(Known { by, caller: caller.clone() }));
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

    /// A call begins; it counts until the guard is dropped.
    pub(super) fn begins_call(&self) -> Result<Option<InFlight>, Refusal> {
        let Some(account) = &self.account else { return Ok(None) };
        account.begin_call(Instant::now()).map(Some).map_err(exceeded)
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
