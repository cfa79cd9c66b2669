//! Responses: what a refusal, an outcome or a stream is as HTTP.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};

use super::body::Body;
use super::refusal::{Refusal, Refused};
use crate::protocol::headers::{ACCEL_BUFFERING, EVENT_STREAM, JSON, SESSION_ID};
use crate::protocol::sse;
use crate::session::Session;

/// The response to a refused request.
pub(crate) fn refusal(refused: &Refused) -> Response<Body> {
    let refusal = &refused.refusal;
    let mut response = with_type(refusal.status(), JSON, Body::full(refused.message()));
    let headers = response.headers_mut();
    // A browser that is sent here takes it for nothing but what it says it is.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let allowed = match refusal {
        Refusal::MethodNotAllowed => Some("GET, POST, DELETE"),
        Refusal::PostOnly => Some("POST"),
        Refusal::OnlyMethod(method) => Some(*method),
        _ => None,
    };
    if let Some(allowed) = allowed {
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    if let Some(seconds) = refusal.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some(challenge) = refusal.challenge().and_then(|challenge| HeaderValue::from_str(&challenge).ok()) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if refusal.ends_connection() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// One message as the whole body.
pub(crate) fn json(message: impl Into<Bytes>, session: Option<&Session>) -> Response<Body> {
    with_session(with_type(StatusCode::OK, JSON, Body::full(message)), session)
}

/// An event stream.
pub(crate) fn stream(body: Body, session: &Session) -> Response<Body> {
    with_session(event_stream(body), Some(session))
}

/// One message to a modern client, as the whole body.
pub(crate) fn modern_json(status: StatusCode, message: impl Into<Bytes>) -> Response<Body> {
    with_type(status, JSON, Body::full(message))
}

/// An event stream without a session, and without event ids.
pub(crate) fn event_stream(body: Body) -> Response<Body> {
    let mut response = with_type(StatusCode::OK, EVENT_STREAM, body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// A message as the only event of a stream without ids.
pub(crate) fn one_event(message: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(message.len() + 32);
    sse::event_head(&mut event, None);
    event.extend_from_slice(message);
    event.extend_from_slice(sse::EVENT_END);
    event
}

/// A message was taken; there is nothing to say.
pub(crate) fn accepted(session: &Session) -> Response<Body> {
    with_session(status(StatusCode::ACCEPTED), Some(session))
}

/// There is nothing to send, now or later.
pub(crate) fn no_content(session: &Session) -> Response<Body> {
    with_session(status(StatusCode::NO_CONTENT), Some(session))
}

pub(crate) fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub(crate) fn text(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    with_type(status, kind, Body::full(text))
}

fn with_type(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn with_session(mut response: Response<Body>, session: Option<&Session>) -> Response<Body> {
    if let Some(header) = session.and_then(|session| session.header.clone()) {
        response.headers_mut().insert(SESSION_ID, header);
    }
    response
}
