//! Every rule about a request whose head is good, once, in one order: what comes out is a [`Call`] or a refusal. Nothing below
//! reads a header again.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method as Verb, Request};
use hyper::body::Incoming;

use super::Http;
use super::entrance::Caller;
use super::envelope;
use super::head::Place;
use super::modern::Modern;
use super::old_sse::{Door, Doors};
use super::refusal::{Refusal, Refused};
use super::upload;
use super::wire::Wire;
use crate::config::Response;
use crate::principal::Principal;
use crate::protocol::headers::{self, LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};
use crate::protocol::jsonrpc::{self, Envelope, Kind, Method, Unreadable};
use crate::protocol::meta::Ask;
use crate::protocol::revision::Revision;
use crate::protocol::sse::EventId;
use crate::quota::Counted;
use crate::session::{Session, SessionId};

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

impl Posted {
    fn id(&self) -> Option<&[u8]> {
        self.envelope.id.map(|id| id.of(&self.text))
    }
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

impl Call {
    /// How many calls it is, and what the id of a single one is.
    pub(super) fn asked(&self) -> (usize, Option<&[u8]>) {
        match self {
            Call::Open(posted) | Call::Ask(_, posted) => (1, posted.id()),
            Call::Modern(modern) => (1, modern.posted.id()),
            Call::Once(_, items, _) | Call::Batch(_, items) | Call::OldMessages(_, items, _) => {
                (items.iter().filter(|(_, envelope)| envelope.kind == Kind::Request).count(), None)
            }
            Call::Tell(..) | Call::Listen(_) | Call::Resume(..) | Call::Delete(_) => (0, None),
            Call::Ignore | Call::OldStream(_) | Call::Preflight => (0, None),
        }
    }

    /// Whether it goes on when its client leaves.
    fn is_of_a_session(&self) -> bool {
        matches!(self, Call::Ask(..) | Call::Once(..) | Call::Batch(..) | Call::OldMessages(..))
    }

    /// What it counts as: for the session, which keeps it until the answer, and for the body, which goes with the client.
    pub(super) fn counts(&self, counted: Counted) -> (Counted, Counted) {
        match counted {
            counted if self.is_of_a_session() => (counted, None),
            // A subscription stands for as long as its client wants.
            counted => (None, counted.filter(|_| !matches!(self, Call::Modern(modern) if modern.ask == Ask::Listen))),
        }
    }
}

/// Reads one request.
pub(super) async fn read(
    http: &Http,
    place: &Place,
    caller: &Caller,
    request: &mut Request<Incoming>,
    wire: &Arc<Wire>,
) -> Result<Call, Refused> {
    let principal = &caller.principal;
    if request.method() == Verb::POST {
        let text = upload::whole(request, http.server.limits.max_body, wire).await?;
        return match place {
            Place::OldMessages(doors) => old_messages(http, doors, principal, request.uri().query(), request.headers(), &text),
            Place::Endpoint | Place::OldStream(_) => post(http, principal, request.headers_mut(), text),
        };
    }
    let fields = request.headers();
    match (request.method(), place) {
        (&Verb::GET, Place::OldStream(doors)) => Ok(Call::OldStream(Arc::clone(doors))),
        (&Verb::GET, _) => {
            let session = session(http, principal, fields)?;
            revision(fields)?;
            let Some(id) = fields.get(LAST_EVENT_ID) else { return Ok(Call::Listen(session)) };
            let id = id.to_str().ok().and_then(EventId::parse).filter(|id| session.knows(*id));
            Ok(Call::Resume(session, id.ok_or(Refusal::BadEventId)?))
        }
        (&Verb::DELETE, _) => {
            let session = session(http, principal, fields)?;
            revision(fields)?;
            Ok(Call::Delete(session))
        }
        _ => Ok(Call::Preflight),
    }
}

/// Which call a message is: an opening, or a message of a session.
fn post(http: &Http, principal: &Principal, fields: &mut HeaderMap, text: Bytes) -> Result<Call, Refused> {
    if text.trim_ascii_start().first() == Some(&b'[') {
        return batch(http, principal, fields, &text);
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
    let session = match (session(http, principal, fields), envelope.kind) {
        // Its server has been replaced: the client begins anew.
        (Ok(session), Kind::Request) if session.is_retired() => return Err(about(Refusal::NoSuchSession, &text)),
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
fn batch(http: &Http, principal: &Principal, fields: &HeaderMap, text: &Bytes) -> Result<Call, Refused> {
    let bad = |text| Err(Refusal::Misplaced(text).into());
    let messages = jsonrpc::batch(text).map_err(Refusal::Unreadable)?;
    if envelope::is_modern(fields) {
        return bad(NO_BATCHES);
    }
    let (session, spoken) = if http.is_stateless {
        (None, Some(told_revision(fields)?))
    } else {
        let session = match session(http, principal, fields) {
            Err(Refusal::NoSessionId) => return bad(NO_BATCHES),
            Ok(session) if session.is_retired() => return Err(Refusal::NoSuchSession.into()),
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
fn old_messages(
    http: &Http,
    doors: &Doors,
    principal: &Principal,
    query: Option<&str>,
    fields: &HeaderMap,
    text: &Bytes,
) -> Result<Call, Refused> {
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
    let door = doors.find(query, http.server.replica.as_deref(), principal)?;
    Ok(Call::OldMessages(door, items, is_batch))
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
fn session(http: &Http, principal: &Principal, fields: &HeaderMap) -> Result<Arc<Session>, Refusal> {
    let mut lines = fields.get_all(SESSION_ID).iter();
    let line = lines.next().filter(|line| !line.is_empty()).ok_or(Refusal::NoSessionId)?;
    if line.len() > MAX_SESSION_ID || lines.next().is_some() {
        return Err(Refusal::NoSuchSession);
    }
    let id = SessionId::read(line.as_bytes(), http.server.replica.as_deref()).ok_or(Refusal::NoSuchSession)?;
    let session = http.session(id, principal).ok_or(Refusal::NoSuchSession)?;
    session.prefetch();
    Ok(session)
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
