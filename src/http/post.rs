//! POST: a message toward the child, and what comes back for it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response as HttpResponse;
use tracing::{Instrument as _, debug_span};

use super::Http;
use super::body::{Body, Events};
use super::check::Posted;
use super::entrance::Caller;
use super::refusal::{self, Refusal, Refused};
use super::reply;
use super::wire::{Wire, within};
use crate::config::Response;
use crate::link::NotPosted;
use crate::link::cursor::First;
use crate::link::reader::Reader;
use crate::link::route::Carries;
use crate::link::stream::Cut;
use crate::metrics::StreamKind;
use crate::pool::{NotTaken, Pool};
use crate::protocol::jsonrpc::{self, Envelope, INTERNAL_ERROR, Kind};
use crate::protocol::revision::Revision;
use crate::quota::Counted;
use crate::server::{NotOpened, Owner};
use crate::session::{Refuse, Session, Terms, Way};

/// How long a quick answer is waited for before an event stream is begun.
const JSON_PATIENCE: Duration = Duration::from_millis(100);

/// Opens a session. Its id goes out with the answer to `initialize`, never with an error.
pub(super) async fn open(http: &Http, caller: &Caller, posted: &Posted, wire: &Arc<Wire>) -> Result<HttpResponse<Body>, Refused> {
    let id = posted.envelope.id.map(|id| id.of(&posted.text));
    if http.shutdown.is_draining() {
        return Err(Refusal::Draining.about(id));
    }
    if http.is_stateless {
        return match http.server.introduce(&posted.text, &posted.envelope, &caller.principal).await {
            Ok(result) => Ok(introduced(http, jsonrpc::result(id.unwrap_or_default(), &result))),
            Err(why) => Err(not_opened_refusal(why).about(id)),
        };
    }
    let held = caller.opens_session().map_err(|refusal| refusal.about(id))?;
    let owner = Owner { principal: caller.principal.clone(), held };
    match http.server.open(&posted.text, &posted.envelope, carries(http), owner).await {
        Ok((session, reader)) => answered(http, &session, reader, posted, wire).await,
        Err(NotOpened::Refused(answer)) => Ok(reply::json(answer, None)),
        Err(why) => Err(not_opened_refusal(why).about(id)),
    }
}

fn introduced(http: &Http, answer: Vec<u8>) -> HttpResponse<Body> {
    match http.response {
        Response::Sse => reply::event_stream(Body::full(reply::one_event(&answer))),
        Response::Auto | Response::Json => reply::json(answer, None),
    }
}

/// What a client without a session sent: served in one that ends with it.
pub(super) async fn once(
    http: &Http,
    caller: &Caller,
    revision: Revision,
    items: &[(Bytes, Envelope)],
    is_batch: bool,
    wire: &Arc<Wire>,
    counted: Counted,
) -> Result<HttpResponse<Body>, Refused> {
    let first = items.iter().find_map(|(text, envelope)| envelope.id.map(|id| id.of(text))).filter(|_| !is_batch);
    if http.shutdown.is_draining() {
        return Err(Refusal::Draining.about(first));
    }
    let session = http.server.once(revision, caller.principal.clone()).await;
    let session = Arc::new(session.map_err(|why| not_opened_refusal(why).about(first))?);
    match items {
        [(text, envelope)] if !is_batch => {
            let posted = Posted { envelope: *envelope, text: text.clone() };
            ask(http, &session, &posted, wire, counted).await
        }
        items => batch(http, &session, items, wire.cut(), counted).await,
    }
}

pub(super) fn not_opened_refusal(why: NotOpened) -> Refusal {
    match why {
        NotOpened::TooManySessions => Refusal::TooManySessions,
        NotOpened::Short(why) => Refusal::Short(why),
        NotOpened::CannotStart(correlation) | NotOpened::Ended(correlation) | NotOpened::TimedOut(correlation) => {
            Refusal::NotOpened(correlation)
        }
        NotOpened::Refused(_) => Refusal::NoSuchSession,
    }
}

/// The message that answers an `initialize` that opened no session.
pub(super) fn not_opened(why: NotOpened, id: Option<&[u8]>) -> Bytes {
    match why {
        NotOpened::Refused(answer) => answer,
        why => not_opened_refusal(why).about(id).message().into(),
    }
}

/// A request: its answer, as JSON or at the end of a stream.
pub(crate) async fn ask(
    http: &Http,
    session: &Arc<Session>,
    posted: &Posted,
    wire: &Arc<Wire>,
    counted: Counted,
) -> Result<HttpResponse<Body>, Refused> {
    let id = posted.envelope.id.map(|id| id.of(&posted.text));
    if http.shutdown.is_draining() {
        return Err(Refusal::Draining.about(id));
    }
    let span = debug_span!("call", session = session.id.short(), method = %posted.envelope.method_name(&posted.text));
    let asked = async {
        let (text, envelope) = (&posted.text, &posted.envelope);
        let terms = Terms { way: Way::Own, carries: carries(http), cut: wire.cut(), counted };
        match session.call(text, envelope, terms, &http.refuse).await {
            Ok(Some(reader)) => answered(http, session, reader, posted, wire).await,
            Ok(None) => Ok(reply::accepted(session)),
            Err(why) => Err(refused(http, why).about(id)),
        }
    };
    asked.instrument(span).await
}

/// Messages that came together: their answers in an array, or on one stream.
pub(crate) async fn batch(
    http: &Http,
    session: &Arc<Session>,
    items: &[(Bytes, Envelope)],
    cut: Option<Cut>,
    counted: Counted,
) -> Result<HttpResponse<Body>, Refused> {
    let has_request = items.iter().any(|(_, envelope)| envelope.kind == Kind::Request);
    if has_request && http.shutdown.is_draining() {
        return Err(Refusal::Draining.into());
    }
    let terms = Terms { way: Way::Own, carries: carries(http), cut, counted };
    let taken = session.batch(items, terms, &http.refuse).map_err(|why| refused(http, why))?;
    match taken {
        None => Ok(reply::accepted(session)),
        Some(mut reader) if http.response == Response::Json => {
            let mut answers: Vec<Bytes> = Vec::new();
            while let Some(answer) = reader.event().await {
                answers.push(answer);
            }
            Ok(reply::json([b"[", answers.join(&b","[..]).as_slice(), b"]"].concat(), Some(session)))
        }
        Some(reader) => Ok(stream(http, session, reader)),
    }
}

/// A notification or an answer: taken once it is queued for the child.
pub(crate) fn tell(http: &Http, session: &Arc<Session>, posted: &Posted) -> Result<HttpResponse<Body>, Refused> {
    session.tell(&posted.text, &posted.envelope).map_err(|why| refused(http, why.into()))?;
    Ok(reply::accepted(session))
}

async fn answered(
    http: &Http,
    session: &Arc<Session>,
    reader: Reader,
    posted: &Posted,
    wire: &Arc<Wire>,
) -> Result<HttpResponse<Body>, Refused> {
    let first = match http.response {
        Response::Json => Some(reader.first().await),
        Response::Auto => within(wire, JSON_PATIENCE, reader.first()).await,
        Response::Sse => None,
    };
    match first {
        Some(First::Answer(answer)) => Ok(reply::json(answer, Some(session))),
        Some(_) if http.response == Response::Json => {
            let id = posted.envelope.id.map(|id| id.of(&posted.text));
            let error = jsonrpc::error(id, INTERNAL_ERROR, "Error processing request: No response received", None);
            Ok(reply::json(error, Some(session)))
        }
        _ => Ok(stream(http, session, reader)),
    }
}

/// The rest of a request's events. From here on they have ids, and a client that loses the connection may come back.
fn stream(http: &Http, session: &Arc<Session>, mut reader: Reader) -> HttpResponse<Body> {
    if session.header.is_none() {
        let events = Events::new(reader, None, None, http.metrics.stream_opened(StreamKind::Post));
        return reply::stream(Body::events(events), session);
    }
    reader.commit();
    let polls = session.revision().is_some_and(Revision::has_polling);
    // A client that does not know of polling takes the end of its stream for the end of its request.
    let max_age = http.max_stream_age.filter(|_| polls);
    let prime = polls.then(|| reader.event_id());
    let active = http.metrics.stream_opened(StreamKind::Post);
    let events = Events::new(reader, prime, max_age, active);
    reply::stream(Body::events(events), session)
}

fn carries(http: &Http) -> Carries {
    match http.response {
        Response::Json => Carries::AnswerOnly,
        Response::Auto | Response::Sse => Carries::Events,
    }
}

/// Why a session's request was turned away.
pub(super) fn refused(http: &Http, why: NotTaken) -> Refusal {
    refused_by(&http.server.pool, why)
}

fn refused_by(pool: &Pool, why: NotTaken) -> Refusal {
    match why {
        NotTaken::NotPosted(NotPosted::Ended) => Refusal::NoSuchSession,
        why => refusal::not_taken(pool, why),
    }
}

/// How a request is refused whose answer shares its stream.
pub(crate) fn refuser(pool: &Arc<Pool>) -> Refuse {
    let pool = Arc::clone(pool);
    Arc::new(move |why, id| refused_by(&pool, why).about(Some(id)).message())
}
