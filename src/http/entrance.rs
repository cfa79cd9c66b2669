//! Who may enter a server: whoever shows a token, or has a certificate, or anybody. What they open is theirs alone.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use http::HeaderMap;
use tokio::time::Instant;

use super::refusal::Refusal;
use super::wire::Wire;
use crate::auth::{Given, Tokens, credentials, is_same};
use crate::principal::Principal;
use crate::quota::{Account, Exceeded, InFlight, Quotas};

/// The door of one server.
pub(crate) struct Entrance {
    realm: &'static str,
    /// Exchanged when the file is read again.
    tokens: Option<RwLock<Arc<Tokens>>>,
    takes_certificates: bool,
    quotas: Arc<Quotas>,
    /// Whoever comes, where nobody is asked.
    anybody: Caller,
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
    tokens: Arc<Tokens>,
    shown: Box<[u8]>,
    caller: Caller,
}

impl Entrance {
    pub(crate) fn new(realm: &'static str, tokens: Option<Tokens>, takes_certificates: bool, quotas: Arc<Quotas>) -> Entrance {
        let anybody = Caller { account: quotas.account(&Principal::Anonymous, Instant::now()), principal: Principal::Anonymous };
        Entrance { realm, tokens: tokens.map(|tokens| RwLock::new(Arc::new(tokens))), takes_certificates, quotas, anybody }
    }

    /// Nobody is asked who they are.
    fn is_open(&self) -> bool {
        self.tokens.is_none() && !self.takes_certificates
    }

    /// Other tokens are good from here on.
    pub(crate) fn renew(&self, tokens: Tokens) {
        if let Some(held) = &self.tokens {
            *held.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
        }
    }

    /// Whether such a principal can still come in. One with a certificate proves it on each connection anew.
    pub(crate) fn knows(&self, principal: &Principal) -> bool {
        match (principal, self.tokens()) {
            (Principal::Token(_), tokens) => tokens.is_some_and(|tokens| tokens.has(principal)),
            (Principal::Certificate(_), _) => self.takes_certificates,
            (Principal::Anonymous, _) => self.is_open(),
        }
    }

    fn tokens(&self) -> Option<Arc<Tokens>> {
        self.tokens.as_ref().map(|tokens| Arc::clone(&tokens.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Who asks; a token that is shown decides, whatever the connection's certificate says.
    pub(super) fn admit(&self, fields: &HeaderMap, wire: &Wire) -> Result<Caller, Refusal> {
        if self.is_open() {
            return Ok(self.anybody.clone());
        }
        if let Some(tokens) = self.tokens() {
            match credentials(fields) {
                Given::Token(shown) => return self.by_token(&tokens, shown, wire),
                Given::Bad => return Err(self.refusal(true)),
                Given::None => {}
            }
        }
        let certificate = wire.certificate().filter(|_| self.takes_certificates);
        let name = certificate.ok_or_else(|| self.refusal(false))?;
        Ok(self.caller(Principal::Certificate(Arc::clone(name))))
    }

    fn by_token(&self, tokens: &Arc<Tokens>, shown: &[u8], wire: &Wire) -> Result<Caller, Refusal> {
        // What was good on this connection under these tokens is good again.
        let mut pass = wire.pass.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = pass.as_ref().filter(|known| Arc::ptr_eq(&known.tokens, tokens) && is_same(&known.shown, shown)) {
            return Ok(known.caller.clone());
        }
        let caller = self.caller(tokens.find(shown).cloned().ok_or_else(|| self.refusal(true))?);
        *pass = Some(Box::new(Known { tokens: Arc::clone(tokens), shown: shown.into(), caller: caller.clone() }));
        Ok(caller)
    }

    fn caller(&self, principal: Principal) -> Caller {
        Caller { account: self.quotas.account(&principal, Instant::now()), principal }
    }

    fn refusal(&self, is_wrong: bool) -> Refusal {
        Refusal::Unauthorized { realm: self.realm, is_wrong, takes_tokens: self.tokens.is_some() }
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
