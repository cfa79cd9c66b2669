//! GET: the standing stream of a session, or an earlier stream once more from where its client stopped.

use std::sync::Arc;

use http::Response as HttpResponse;

use super::Http;
use super::body::{Body, Events};
use super::refusal::Refusal;
use super::reply;
use crate::link::cursor::{self, From, NoCursor};
use crate::link::reader::Reader;
use crate::link::stream::Cut;
use crate::metrics::StreamKind;
use crate::protocol::revision::Revision;
use crate::protocol::sse::{self, EventId, StreamId};
use crate::session::Session;

/// What the session says that belongs to no request. One reader at a time.
pub(crate) fn listen(http: &Http, session: &Arc<Session>, cut: Option<Cut>) -> Result<HttpResponse<Body>, Refusal> {
    if http.shutdown.is_draining() {
        return Err(Refusal::Draining);
    }
    let reader = session.attach(StreamId::GET, From::Unread, cut).map_err(|_| Refusal::StreamTaken)?;
    let prime = session.revision().is_some_and(Revision::has_polling).then(|| reader.event_id());
    Ok(stream(http, session, reader, prime, StreamKind::Get))
}

/// 2025-11-25, Resumability and Redelivery, 2: the events after that one, of that stream only, then what comes live.
pub(crate) fn resume(http: &Http, session: &Arc<Session>, id: EventId, cut: Option<Cut>) -> Result<HttpResponse<Body>, Refusal> {
    if http.shutdown.is_draining() && id.stream == StreamId::GET {
        return Err(Refusal::Draining);
    }
    match session.attach(id.stream, From::After(id.seq), cut) {
        // A stream that has nothing more: 204 ends a client's attempts to come back (WHATWG HTML, Server-sent events);
        // an empty stream would be asked for again and again.
        Ok(reader) if reader.is_at_end() => Ok(reply::no_content(session)),
        Ok(reader) => {
            http.metrics.replay_counted("resumed");
            Ok(stream(http, session, reader, None, StreamKind::Resumed))
        }
        Err(NoCursor::Gone(client_id)) => {
            http.metrics.replay_counted("gone");
            let mut event = Vec::new();
            sse::event_head(&mut event, Some(EventId { seq: id.seq.saturating_add(1), ..id }));
            event.extend_from_slice(&cursor::gone(&client_id));
            event.extend_from_slice(sse::EVENT_END);
            Ok(reply::stream(Body::full(event), session))
        }
        Err(NoCursor::Expired) => {
            http.metrics.replay_counted("expired");
            Err(Refusal::EventIdExpired)
        }
        Err(NoCursor::Unknown | NoCursor::Taken) => {
            http.metrics.replay_counted("unknown");
            Err(Refusal::BadEventId)
        }
    }
}

fn stream(http: &Http, session: &Arc<Session>, reader: Reader, prime: Option<EventId>, kind: StreamKind) -> HttpResponse<Body> {
    let polls = session.revision().is_some_and(Revision::has_polling);
    let max_age = http.max_stream_age.filter(|_| polls || reader.stream() == StreamId::GET);
    let events = Events::new(reader, prime, max_age, http.metrics.stream_opened(kind));
    reply::stream(Body::events(events), session)
}
