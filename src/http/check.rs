//! Every rule about a request, once, in one order: what comes out is a [`Call`] or a refusal. Nothing below reads a header
//! again.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, TRANSFER_ENCODING};
use http::{HeaderMap, Method as Verb, Request};
use hyper::body::Incoming;

use super::Http;
use super::envelope;
use super::modern::Modern;
use super::old_sse::{Door, Doors};
use super::refusal::{Refusal, Refused};
use super::seen::Seen;
use super::upload;
use super::wire::Wire;
use crate::config::Response;
use crate::principal::Principal;
use crate::protocol::headers::{self, Accepts, LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};
use crate::protocol::jsonrpc::{self, Envelope, Kind, Method, Unreadable};
use crate::protocol::meta::Ask;
use crate::protocol::revision::Revision;
use crate::protocol::sse::EventId;
use crate::session::{Session, SessionId};

/// Longest request target.
const MAX_URI: usize = 8192;
/// Longest session id that is looked at.
const MAX_SESSION_ID: usize = 128;

/// Most messages in a batch.
const MAX_BATCH: usize = 100;
pub(super) const NO_BATCHES: &str = "one message a request: batches are for sessions of 2025-03-26";

/// One message as a client sent it.
pub(crate) struct Posted {
    pub(crate) text: Bytes,
    pub(crate) envelope: Envelope,
}

/// A request that passed every check.
pub(crate) enum Call {
    /// `initialize`: a session is to be opened.
    Open(Posted),
    /// A request of an open session.
    Ask(Arc<Session>, Posted),
    /// What a client without a session sent, of that revision; whether it is a batch.
    Once(Revision, Vec<(Bytes, Envelope)>, bool),
    /// A notification or an answer.
    Tell(Arc<Session>, Posted),
    /// Messages that came together.
    Batch(Arc<Session>, Vec<(Bytes, Envelope)>),
    /// The standing GET stream.
    Listen(Arc<Session>),
    /// A stream of before, after that event.
    Resume(Arc<Session>, EventId),
    /// The end of a session.
    Delete(Arc<Session>),
    /// A request of a modern client.
    Modern(Box<Modern>),
    /// A notification of a modern client: nothing that is to be passed on.
    Ignore,
    /// The only stream of a client of the transport of 2024-11-05.
    OldStream(Arc<Doors>),
    /// What such a client says; whether it is a batch.
    OldMessages(Arc<Door>, Vec<(Bytes, Envelope)>, bool),
    /// CORS.
    Preflight,
}

/// What a path is for.
enum Place {
    Endpoint,
    OldStream(Arc<Doors>),
    OldMessages(Arc<Doors>),
}

fn place(http: &Http, path: &str) -> Result<Place, Refusal> {
    if path == http.endpoint {
        return Ok(Place::Endpoint);
    }
    match &http.doors {
        Some(doors) if path == doors.stream => Ok(Place::OldStream(Arc::clone(doors))),
        Some(doors) if path == doors.messages => Ok(Place::OldMessages(Arc::clone(doors))),
        _ => Err(Refusal::NoSuchPath),
    }
}

/// What must hold before a body is read: size, authority, origin, method, accepted and sent types.
fn head<B>(http: &Http, request: &Request<B>) -> Result<Place, Refusal> {
    let fields = request.headers();
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > MAX_URI) {
        return Err(Refusal::UriTooLong);
    }
    let seen = Seen::of(fields);
    if seen.size > http.server.limits.max_headers {
        return Err(Refusal::HeadersTooLarge);
    }
    if seen.has_coding {
        let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
        let only = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
        if !only || codings.next().is_some() {
            return Err(Refusal::BadFraming);
        }
    }
    if !http.access.is_plainly_here(request.uri(), seen.host.only()) {
        http.access.check_host(request.uri(), fields)?;
    }
    if seen.has_origin {
        http.access.check_origin(fields)?;
    }
    let place = place(http, request.uri().path())?;
    match (&place, request.method()) {
        (Place::Endpoint, _) => endpoint_head(http, request, &seen)?,
        (_, &Verb::OPTIONS) if seen.has_origin => {}
        (Place::OldStream(_), &Verb::GET) => {
            if fields.contains_key(http::header::ACCEPT) && !headers::accepts(fields).event_stream {
                return Err(Refusal::NotAcceptable("Client must accept text/event-stream"));
            }
        }
        (Place::OldStream(_), _) => return Err(Refusal::OnlyMethod("GET")),
        (Place::OldMessages(_), &Verb::POST) => is_plain_json(fields, &seen)?,
        (Place::OldMessages(_), _) => return Err(Refusal::OnlyMethod("POST")),
    }
    Ok(place)
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
fn endpoint_head<B>(http: &Http, request: &Request<B>, seen: &Seen<'_>) -> Result<(), Refusal> {
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

/// Reads one request.
pub(crate) async fn read(http: &Http, request: &mut Request<Incoming>, wire: &Arc<Wire>) -> Result<Call, Refused> {
    let place = head(http, request)?;
    if request.method() == Verb::POST {
        let text = upload::whole(request, http.server.limits.max_body, wire).await?;
        return match place {
            Place::OldMessages(doors) => old_messages(&doors, request.uri().query(), request.headers(), &text),
            Place::Endpoint | Place::OldStream(_) => post(http, request.headers_mut(), text),
        };
    }
    let fields = request.headers();
    match (request.method(), place) {
        (&Verb::GET, Place::OldStream(doors)) => Ok(Call::OldStream(doors)),
        (&Verb::GET, _) => {
            let session = session(http, fields)?;
            revision(fields)?;
            let Some(id) = fields.get(LAST_EVENT_ID) else { return Ok(Call::Listen(session)) };
            let id = id.to_str().ok().and_then(EventId::parse).filter(|id| session.knows(*id));
            Ok(Call::Resume(session, id.ok_or(Refusal::BadEventId)?))
        }
        (&Verb::DELETE, _) => {
            let session = session(http, fields)?;
            revision(fields)?;
            Ok(Call::Delete(session))
        }
        _ => Ok(Call::Preflight),
    }
}

/// Which call a message is: an opening, or a message of a session.
fn post(http: &Http, fields: &mut HeaderMap, text: Bytes) -> Result<Call, Refused> {
    if text.trim_ascii_start().first() == Some(&b'[') {
        return batch(http, fields, &text);
    }
    let envelope = jsonrpc::read(&text).map_err(|fault| {
        let id = match fault {
            Unreadable::Shape(_, id) => id.map(|id| id.of(&text)),
            _ => None,
        };
        Refusal::Unreadable(fault).about(id)
    })?;
    let id = envelope.id.filter(|_| envelope.kind == Kind::Request);
    let about = |refusal: Refusal, text: &[u8]| refusal.about(id.map(|id| id.of(text)));
    if envelope.kind == Kind::Answer && envelope.id.is_none() {
        return Err(Refusal::Unreadable(Unreadable::Shape("an answer needs the id of its request", None)).into());
    }
    let is_known = is_known_legacy(fields);
    if envelope.has_claim && envelope.kind == Kind::Request || !is_known && envelope::is_modern(fields) {
        return modern(http, fields, &text, envelope).map_err(|refusal| about(refusal, &text));
    }
    if http.is_stateless {
        return stateless(fields, &text, envelope).map_err(|refusal| about(refusal, &text));
    }
    let session = match (session(http, fields), envelope.kind) {
        (Ok(session), _) => session,
        (Err(Refusal::NoSessionId), Kind::Request) if envelope.method == Method::Initialize => {
            return Ok(Call::Open(Posted { envelope, text }));
        }
        (Err(Refusal::NoSessionId), Kind::Request) => {
            return Err(about(envelope::unknown_version(fields).unwrap_or(Refusal::NoSessionId), &text));
        }
        (Err(Refusal::NoSessionId), Kind::Answer) => return Err(Refusal::AnswerPosted.about(None)),
        (Err(refusal), _) => return Err(about(refusal, &text)),
    };
    if envelope.kind == Kind::Request && envelope.method == Method::Initialize {
        return Err(about(Refusal::AlreadyInitialized, &text));
    }
    if !is_known {
        revision(fields).map_err(|refusal| about(refusal, &text))?;
    }
    let posted = Posted { envelope, text };
    Ok(match envelope.kind {
        Kind::Request => Call::Ask(session, posted),
        Kind::Notification | Kind::Answer => Call::Tell(session, posted),
    })
}

/// 2025-03-26, Basic, Batching, and Transports, Sending Messages to the Server: in no other revision.
fn batch(http: &Http, fields: &HeaderMap, text: &Bytes) -> Result<Call, Refused> {
    let bad = |text| Err(Refusal::Misplaced(text).into());
    let messages = jsonrpc::batch(text).map_err(Refusal::Unreadable)?;
    if envelope::is_modern(fields) {
        return bad(NO_BATCHES);
    }
    let (session, spoken) = if http.is_stateless {
        (None, Some(told_revision(fields)?))
    } else {
        let session = match session(http, fields) {
            Err(Refusal::NoSessionId) => return bad(NO_BATCHES),
            session => session?,
        };
        revision(fields)?;
        let spoken = session.revision();
        (Some(session), spoken)
    };
    let Some(spoken) = spoken.filter(|revision| revision.has_batches()) else { return bad(NO_BATCHES) };
    if messages.len() > MAX_BATCH {
        return bad("a batch holds at most 100 messages");
    }
    let mut items = Vec::with_capacity(messages.len());
    for message in messages {
        match jsonrpc::read(message) {
            Ok(envelope) if envelope.has_claim => return bad(NO_BATCHES),
            Ok(envelope) if envelope.method == Method::Initialize => {
                return bad("initialize must not be part of a batch");
            }
            Ok(envelope) if envelope.kind == Kind::Answer && envelope.id.is_none() => {
                return bad("an answer needs the id of its request");
            }
            Ok(envelope) => items.push((text.slice_ref(message), envelope)),
            Err(_) => return bad("something in the batch is no message"),
        }
    }
    Ok(match session {
        Some(session) => Call::Batch(session, items),
        None => {
            // What could only be about a request beyond this batch is nobody's.
            items.retain(|(_, envelope)| envelope.kind == Kind::Request || envelope.method == Method::Cancelled);
            if items.iter().all(|(_, envelope)| envelope.kind != Kind::Request) {
                Call::Ignore
            } else {
                Call::Once(spoken, items, true)
            }
        }
    })
}

/// A message of a legacy client where there are no sessions. What could only be about another request is nobody's.
fn stateless(fields: &HeaderMap, text: &Bytes, envelope: Envelope) -> Result<Call, Refusal> {
    let revision = told_revision(fields)?;
    Ok(match envelope.kind {
        Kind::Request if envelope.method == Method::Initialize => Call::Open(Posted { envelope, text: text.clone() }),
        Kind::Request => Call::Once(revision, vec![(text.clone(), envelope)], false),
        Kind::Notification | Kind::Answer => Call::Ignore,
    })
}

/// The revision of a client without a session.
fn told_revision(fields: &HeaderMap) -> Result<Revision, Refusal> {
    if let Some(refusal) = envelope::unknown_version(fields) {
        return Err(refusal);
    }
    let mut told = fields.get_all(PROTOCOL_VERSION).iter().filter_map(|date| Revision::parse(date.to_str().ok()?.trim()));
    Ok(told.next().unwrap_or(Revision::UNTOLD))
}

/// What a client of the transport of 2024-11-05 sent.
fn old_messages(doors: &Doors, query: Option<&str>, fields: &HeaderMap, text: &Bytes) -> Result<Call, Refused> {
    let is_batch = text.trim_ascii_start().first() == Some(&b'[');
    let texts = if is_batch { jsonrpc::batch(text).map_err(Refusal::Unreadable)? } else { vec![&text[..]] };
    if texts.len() > MAX_BATCH {
        return Err(Refusal::Misplaced("a batch holds at most 100 messages").into());
    }
    let mut items = Vec::with_capacity(texts.len());
    for one in texts {
        let envelope = jsonrpc::read(one).map_err(|fault| Refused::from(Refusal::Unreadable(fault)))?;
        if envelope.has_claim || envelope::is_modern(fields) {
            let why = "this transport is of 2024-11-05: clients of 2026-07-28 use the endpoint itself";
            return Err(Refusal::Misplaced(why).about(envelope.id.map(|id| id.of(one))));
        }
        if is_batch && envelope.method == Method::Initialize {
            return Err(Refusal::Misplaced("initialize must not be part of a batch").into());
        }
        items.push((text.slice_ref(one), envelope));
    }
    revision(fields)?;
    Ok(Call::OldMessages(doors.find(query, &Principal::Anonymous)?, items, is_batch))
}

/// A message of a modern client.
fn modern(http: &Http, fields: &mut HeaderMap, text: &Bytes, envelope: Envelope) -> Result<Call, Refusal> {
    match envelope.kind {
        Kind::Request => {
            let (ask, level) = envelope::request(fields, text, &envelope)?;
            // A subscription is a stream, whatever the mode.
            if ask == Ask::Listen && http.response == Response::Json && !headers::accepts(fields).event_stream {
                return Err(Refusal::NotAcceptable("Client must accept text/event-stream"));
            }
            let fields = std::mem::take(fields);
            Ok(Call::Modern(Box::new(Modern { posted: Posted { envelope, text: text.clone() }, ask, level, fields })))
        }
        Kind::Notification => envelope::notification(fields, text, &envelope).map(|()| Call::Ignore),
        // 2026-07-28, Streamable HTTP, Sending Messages, 4.
        Kind::Answer => Err(Refusal::AnswerPosted),
    }
}

/// The session that is named. Ended, unknown and foreign ones are one case.
fn session(http: &Http, fields: &HeaderMap) -> Result<Arc<Session>, Refusal> {
    let mut lines = fields.get_all(SESSION_ID).iter();
    let line = lines.next().filter(|line| !line.is_empty()).ok_or(Refusal::NoSessionId)?;
    if line.len() > MAX_SESSION_ID || lines.next().is_some() {
        return Err(Refusal::NoSuchSession);
    }
    let id = SessionId::parse(line.as_bytes()).ok_or(Refusal::NoSuchSession)?;
    http.server.registry.find(id, &Principal::Anonymous).ok_or(Refusal::NoSuchSession)
}

/// What nearly every client says: the `MCP-Protocol-Version` field is there once, and names a legacy revision.
fn is_known_legacy(fields: &HeaderMap) -> bool {
    let mut lines = fields.get_all(PROTOCOL_VERSION).iter();
    let (only, None) = (lines.next(), lines.next()) else { return false };
    only.and_then(|line| line.to_str().ok()).is_some_and(|date| Revision::parse(date).is_some())
}

/// 2025-11-25, Protocol Version Header: absent means what the session agreed on; one that we do not know is refused.
fn revision(fields: &HeaderMap) -> Result<(), Refusal> {
    for line in fields.get_all(PROTOCOL_VERSION) {
        let date = line.to_str().unwrap_or("?").trim();
        if Revision::parse(date).is_none() {
            return Err(Refusal::UnsupportedRevision(date.chars().filter(char::is_ascii_graphic).take(32).collect()));
        }
    }
    Ok(())
}
