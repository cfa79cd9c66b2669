//! One session: a legacy client's `initialize` … end, in front of one child of its own.

use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use self::id::SessionId;
use self::router::{Carries, Router};
use crate::link::cursor::{From, NoCursor};
use crate::link::reader::Reader;
use crate::link::{Link, NotPosted};
use crate::principal::Principal;
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::revision::Revision;
use crate::protocol::sse::{EventId, StreamId};

mod id;
pub(crate) mod router;

pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// The id as a header value.
    pub(crate) header: HeaderValue,
    pub(crate) principal: Principal,
    pub(crate) link: Arc<Link<Router>>,
    /// What client and child agreed on; unset until then.
    revision: OnceLock<Option<Revision>>,
}

impl Session {
    pub(crate) fn new(id: SessionId, principal: Principal, link: Arc<Link<Router>>) -> Self {
        let header = HeaderValue::from_str(&id.to_string()).expect("hexadecimal digits are a header value");
        Session { id, header, principal, link, revision: OnceLock::new() }
    }

    /// The revision in use; `None` before `initialize` is answered, and for a date that we do not know.
    pub(crate) fn revision(&self) -> Option<Revision> {
        self.revision.get().copied().flatten()
    }

    pub(crate) fn agree_on(&self, revision: Option<Revision>) {
        let _ = self.revision.set(revision);
    }

    /// Sends a request to the child; the reader gets what comes of it.
    pub(crate) fn call(
        &self,
        text: &[u8],
        envelope: &Envelope,
        carries: Carries,
        cut: Option<Arc<Notify>>,
    ) -> Result<Reader, NotPosted> {
        let client_id = envelope.id.map_or(&b"null"[..], |id| id.of(text));
        let cursor = self.link.with(|state, _| {
            let now = Instant::now();
            state.post_request(client_id, cut, now, |router, stream| router.request(text, envelope, stream, carries, now))
        })?;
        self.link.metrics.message_to_child_counted(envelope.kind);
        Ok(Reader::new(Arc::<Link<Router>>::clone(&self.link), cursor))
    }

    /// Sends a notification or an answer to the child.
    pub(crate) fn tell(&self, text: &[u8], envelope: &Envelope) -> Result<(), NotPosted> {
        self.link.with(|state, effects| {
            let now = Instant::now();
            state.post(now, effects, |router, out| {
                out.push(match envelope.kind {
                    Kind::Answer => router.answer(text, envelope),
                    Kind::Notification | Kind::Request => router.notification(text, envelope, now),
                });
            })
        })?;
        self.link.metrics.message_to_child_counted(envelope.kind);
        Ok(())
    }

    /// Reads the GET stream, or an earlier stream again.
    pub(crate) fn attach(&self, stream: StreamId, from: From, cut: Option<Arc<Notify>>) -> Result<Reader, NoCursor> {
        let cursor = self.link.with(|state, effects| state.attach(stream, from, cut, Instant::now(), effects))?;
        Ok(Reader::resumable(Arc::<Link<Router>>::clone(&self.link), cursor))
    }

    /// Whether an event id was given by this session.
    pub(crate) fn knows(&self, id: EventId) -> bool {
        self.link.lock().log.event_id_at(id.stream, id.seq) == id
    }

    /// The reader of the GET stream is asked to come back later.
    pub(crate) fn release_get(&self) {
        self.link.with(|state, effects| state.log.release_get(effects));
    }
}
