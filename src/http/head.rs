//! What must hold before a body is read, in one order: size, framing, authority, origin, path, who asks, method, accepted and
//! sent types.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, TRANSFER_ENCODING};
use http::{HeaderMap, Method as Verb, Request};

use super::Http;
use super::endpoints::{Endpoints, Served};
use super::entrance::Caller;
use super::envelope;
use super::old_sse::Doors;
use super::refusal::Refusal;
use super::seen::Seen;
use super::wire::Wire;
use crate::config::Response;
use crate::principal::Principal;
use crate::protocol::headers::{self, Accepts};

/// Longest request target.
const MAX_URI: usize = 8192;

/// A request whose body may be read.
pub(super) struct Head {
    pub(super) http: Arc<Http>,
    pub(super) place: Place,
    pub(super) caller: Caller,
}

/// What a path is for.
pub(super) enum Place {
    Endpoint,
    OldStream(Arc<Doors>),
    OldMessages(Arc<Doors>),
}

/// Why a request is turned away, and by whose rules, where it got so far.
pub(super) struct Turned {
    pub(super) http: Option<Arc<Http>>,
    /// Who asks, where it got as far as that.
    pub(super) principal: Principal,
    pub(super) refusal: Refusal,
}

impl From<Refusal> for Turned {
    fn from(refusal: Refusal) -> Self {
        Turned { http: None, principal: Principal::Anonymous, refusal }
    }
}

/// Looks at a request's head.
pub(super) fn read<B>(endpoints: &Endpoints, request: &Request<B>, wire: &Wire) -> Result<Head, Turned> {
    let fields = request.headers();
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > MAX_URI) {
        return Err(Refusal::UriTooLong.into());
    }
    let served = endpoints.served();
    let seen = Seen::of(fields);
    edge(&served, request, &seen)?;
    let (http, place) = served.find(request.uri().path()).ok_or(Refusal::NoSuchPath)?;
    let turned = |principal: &Principal, refusal| Turned { http: Some(Arc::clone(http)), principal: principal.clone(), refusal };
    // What a browser asks first, it asks without credentials (Fetch, CORS-preflight fetch).
    let is_preflight = *request.method() == Verb::OPTIONS && seen.has_origin;
    let caller = if is_preflight { Ok(Caller::nobody()) } else { http.entrance.admit(fields, wire) };
    let caller = caller.map_err(|refusal| turned(&Principal::Anonymous, refusal))?;
    types(http, &place, request, &seen).map_err(|refusal| turned(&caller.principal, refusal))?;
    Ok(Head { http: Arc::clone(http), place, caller })
}

/// What holds for every server alike.
fn edge<B>(served: &Served, request: &Request<B>, seen: &Seen<'_>) -> Result<(), Refusal> {
    let fields = request.headers();
    if seen.size > served.max_headers {
        return Err(Refusal::HeadersTooLarge);
    }
    if seen.has_coding {
        let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
        let only = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !only || codings.next().is_some() {
            return Err(Refusal::BadFraming);
        }
    }
    if !served.access.is_plainly_here(request.uri(), seen.host.only()) {
        served.access.check_host(request.uri(), fields)?;
    }
    if seen.has_origin {
        served.access.check_origin(fields)?;
    }
    Ok(())
}

/// Method, and the types that are accepted and sent.
fn types<B>(http: &Http, place: &Place, request: &Request<B>, seen: &Seen<'_>) -> Result<(), Refusal> {
    let fields = request.headers();
    match (place, request.method()) {
        (Place::Endpoint, _) => endpoint(http, request, seen),
        (_, &Verb::OPTIONS) if seen.has_origin => Ok(()),
        (Place::OldStream(_), &Verb::GET) => {
            if fields.contains_key(http::header::ACCEPT) && !headers::accepts(fields).event_stream {
                return Err(Refusal::NotAcceptable("Client must accept text/event-stream"));
            }
            Ok(())
        }
        (Place::OldStream(_), _) => Err(Refusal::OnlyMethod("GET")),
        (Place::OldMessages(_), &Verb::POST) => is_plain_json(fields, seen),
        (Place::OldMessages(_), _) => Err(Refusal::OnlyMethod("POST")),
    }
}

fn is_plain_json(fields: &HeaderMap, seen: &Seen<'_>) -> Result<(), Refusal> {
    if !seen.content_type.is(headers::JSON) && !headers::is_json(fields) {
        return Err(Refusal::NotJson);
    }
    if seen.has_encoding
        && fields.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Err(Refusal::Encoded);
    }
    Ok(())
}

/// The same for the endpoint itself.
fn endpoint<B>(http: &Http, request: &Request<B>, seen: &Seen<'_>) -> Result<(), Refusal> {
    let fields = request.headers();
    let accepts = if seen.accept.is(headers::USUAL) { Accepts::BOTH } else { headers::accepts(fields) };
    match *request.method() {
        // 2026-07-28, Streamable HTTP, Earlier Streamable HTTP Revisions.
        Verb::GET | Verb::DELETE if http.is_stateless || envelope::is_modern(fields) => Err(Refusal::PostOnly),
        Verb::POST => {
            if http.response == Response::Json && !accepts.json {
                return Err(Refusal::NotAcceptable("Client must accept application/json"));
            }
            // 2025-11-25, Sending Messages to the Server, 2.
            if http.response != Response::Json && !(accepts.json && accepts.event_stream) {
                return Err(Refusal::NotAcceptable("Client must accept both application/json and text/event-stream"));
            }
            is_plain_json(fields, seen)
        }
        Verb::GET if !accepts.event_stream => Err(Refusal::NotAcceptable("Client must accept text/event-stream")),
        Verb::GET | Verb::DELETE => Ok(()),
        Verb::OPTIONS if seen.has_origin => Ok(()),
        _ if http.is_stateless || envelope::is_modern(fields) => Err(Refusal::PostOnly),
        _ => Err(Refusal::MethodNotAllowed),
    }
}
