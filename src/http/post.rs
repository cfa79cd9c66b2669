//! POST: a message toward the child, and what comes back for it.

use std::sync::Arc;
use std::time::Duration;

use http::Response as HttpResponse;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{Instrument as _, debug_span};

use super::Http;
use super::body::{Body, Events};
use super::check::Posted;
use super::reply::{self, Refusal, Refused};
use crate::config::Response;
use crate::link::NotPosted;
use crate::link::cursor::First;
use crate::link::reader::Reader;
use crate::principal::Principal;
use crate::protocol::jsonrpc::{self, INTERNAL_ERROR};
use crate::protocol::revision::Revision;
use crate::server::NotOpened;
use crate::session::Session;
use crate::session::router::Carries;

/// How long a quick answer is waited for before an event stream is begun.
const JSON_PATIENCE: Duration = Duration::from_millis(100);

/// Opens a session. Its id goes out with the answer to `initialize`, never with an error.
pub(crate) async fn open(http: &Http, posted: &Posted) -> Result<HttpResponse<Body>, Refused> {
    let id = posted.envelope.id.map(|id| id.of(&posted.text));
    if http.shutdown.is_draining() {
        return Err(Refusal::Draining.about(id));
    }
    match http.server.open(&posted.text, &posted.envelope, carries(http), Principal::Anonymous).await {
        Ok((session, reader)) => answered(http, &session, reader, posted, http.response).await,
        Err(NotOpened::Refused(answer)) => Ok(reply::json(answer, None)),
        Err(NotOpened::TooManySessions) => Err(Refusal::TooManySessions.about(id)),
        Err(NotOpened::TooManyChildren) => Err(Refusal::TooManyChildren.about(id)),
        Err(NotOpened::CannotStart(correlation) | NotOpened::Ended(correlation) | NotOpened::TimedOut(correlation)) => {
            Err(Refusal::NotOpened(correlation).about(id))
        }
    }
}

/// A request: its answer, as JSON or at the end of a stream.
pub(crate) async fn ask(
    http: &Http,
    session: &Arc<Session>,
    posted: &Posted,
    cut: Option<Arc<Notify>>,
) -> Result<HttpResponse<Body>, Refused> {
    let id = posted.envelope.id.map(|id| id.of(&posted.text));
    if http.shutdown.is_draining() {
        return Err(Refusal::Draining.about(id));
    }
    let span = debug_span!("call", session = session.id.short(), method = %posted.envelope.method_name(&posted.text));
    let reader = session.call(&posted.text, &posted.envelope, carries(http), cut).map_err(|reason| refusal(reason).about(id))?;
    answered(http, session, reader, posted, http.response).instrument(span).await
}

/// A notification or an answer: taken once it is queued for the child.
pub(crate) fn tell(session: &Arc<Session>, posted: &Posted) -> Result<HttpResponse<Body>, Refused> {
    session.tell(&posted.text, &posted.envelope).map_err(refusal)?;
    Ok(reply::accepted(session))
}

async fn answered(
    http: &Http,
    session: &Arc<Session>,
    reader: Reader,
    posted: &Posted,
    response: Response,
) -> Result<HttpResponse<Body>, Refused> {
    let first = match response {
        Response::Json => Some(reader.first().await),
        Response::Auto => timeout(JSON_PATIENCE, reader.first()).await.ok(),
        Response::Sse => None,
    };
    match first {
        Some(First::Answer(answer)) => Ok(reply::json(answer, Some(session))),
        Some(_) if response == Response::Json => {
            let id = posted.envelope.id.map(|id| id.of(&posted.text));
            let error = jsonrpc::error(id, INTERNAL_ERROR, "Error processing request: No response received", None);
            Ok(reply::json(error, Some(session)))
        }
        _ => Ok(stream(http, session, reader)),
    }
}

/// The rest of a request's events. From here on they have ids, and a client that loses the connection may come back.
fn stream(http: &Http, session: &Arc<Session>, mut reader: Reader) -> HttpResponse<Body> {
    reader.commit();
    let polls = session.revision().is_some_and(Revision::has_polling);
    // A client that does not know of polling takes the end of its stream for the end of its request.
    let max_age = http.max_stream_age.filter(|_| polls);
    let prime = polls.then(|| reader.event_id());
    let active = http.metrics.stream_opened("post");
    let events = Events::new(reader, prime, max_age, active);
    reply::stream(Body::events(events), session)
}

fn carries(http: &Http) -> Carries {
    match http.response {
        Response::Json => Carries::AnswerOnly,
        Response::Auto | Response::Sse => Carries::Events,
    }
}

fn refusal(reason: NotPosted) -> Refusal {
    match reason {
        NotPosted::Ended => Refusal::NoSuchSession,
        NotPosted::ChildBusy => Refusal::ChildBusy,
        NotPosted::TooManyCalls => Refusal::TooManyCalls,
    }
}
