//! One session: a legacy client's `initialize` … end, in front of a child of its own (bytes pass) or of children that it shares
//! (`bridged`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::Instant;

pub(crate) use self::bridged::{Bridged, Refuse, Way};
pub(crate) use self::id::SessionId;
use self::router::Router;
use crate::link::cursor::{From, NoCursor};
use crate::link::reader::Reader;
use crate::link::route::{Carries, Routed};
use crate::link::stream::{Cut, EventKind};
use crate::link::{EndReason, Link, NotPosted, Tick};
use crate::pool::NotTaken;
use crate::prefetch::prefetch;
use crate::principal::Principal;
use crate::protocol::jsonrpc::{Envelope, Kind};
use crate::protocol::revision::Revision;
use crate::protocol::sse::{EventId, StreamId};
use crate::quota::Counted;

pub(crate) mod bridged;
mod id;
mod recall;
pub(crate) mod revive;
pub(crate) mod router;
#[cfg(test)]
mod tests;

/// How a request is to be answered.
pub(crate) struct Terms {
    pub(crate) way: Way,
    pub(crate) carries: Carries,
    pub(crate) cut: Option<Cut>,
    /// What it counts as until it is answered.
    pub(crate) counted: Counted,
}

/// What a session's client talks to.
#[derive(Clone)]
pub(crate) enum Behind {
    /// A child of its own.
    Own(Arc<Link<Router>>),
    /// Children that it shares.
    Shared(Arc<Bridged>),
}

pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// The id as a header value; `None` for a session that its client knows nothing of, which ends with its request.
    pub(crate) header: Option<HeaderValue>,
    pub(crate) principal: Principal,
    behind: Behind,
    /// What client and child agreed on; unset until then.
    revision: OnceLock<Option<Revision>>,
    /// Its answers go to the GET stream.
    has_one_stream: AtomicBool,
    /// Its server has been replaced: what is under way goes on, and nothing new begins.
    is_retired: AtomicBool,
}

impl Session {
    /// `replica` is what its client's name for it begins with.
    pub(crate) fn new(id: SessionId, replica: Option<&str>, principal: Principal, behind: Behind) -> Self {
        let header = HeaderValue::from_str(&id.shown(replica)).expect("letters and digits are a header value");
        Session { header: Some(header), ..Session::nameless(id, principal, behind) }
    }

    /// Its request is being read; then it is needed.
    pub(crate) fn prefetch(&self) {
        if let Behind::Own(link) = &self.behind {
            prefetch(&**link);
        }
    }

    /// A session for one request.
    pub(crate) fn nameless(id: SessionId, principal: Principal, behind: Behind) -> Self {
        let (has_one_stream, is_retired) = (AtomicBool::new(false), AtomicBool::new(false));
        Session { id, header: None, principal, behind, revision: OnceLock::new(), has_one_stream, is_retired }
    }

    /// The revision in use; `None` before `initialize` is answered, and for a date that we do not know.
    pub(crate) fn revision(&self) -> Option<Revision> {
        self.revision.get().copied().flatten()
    }

    pub(crate) fn agree_on(&self, revision: Option<Revision>) {
        let _ = self.revision.set(revision);
    }

    /// A request of the client; the reader gets what comes of it, where it has a stream of its own. `refuse` is for one that
    /// shares its stream.
    pub(crate) async fn call(
        &self,
        text: &Bytes,
        envelope: &Envelope,
        terms: Terms,
        refuse: &Refuse,
    ) -> Result<Option<Reader>, NotTaken> {
        match &self.behind {
            Behind::Own(link) if terms.way == Way::Standing => {
                if let Err(why) = call_standing(link, text, envelope, &terms.counted) {
                    self.say(refuse(why.into(), envelope.id.map_or(&b"null"[..], |id| id.of(text))).into());
                }
                Ok(None)
            }
            Behind::Own(link) => call_own(link, text, envelope, terms).map(Some).map_err(NotTaken::from),
            Behind::Shared(bridged) => Box::pin(bridged.call(text, envelope, terms, refuse)).await,
        }
    }

    /// Messages of the client that came together; the reader gets the answers, if any are to come.
    pub(crate) fn batch(&self, items: &[(Bytes, Envelope)], terms: Terms, refuse: &Refuse) -> Result<Option<Reader>, NotTaken> {
        match &self.behind {
            Behind::Own(link) => batch_own(link, items, terms).map_err(NotTaken::from),
            Behind::Shared(bridged) => bridged.batch(items, terms, refuse),
        }
    }

    /// Puts a message on the GET stream that is nobody's but the gateway's to give: an answer to a request that is answered there.
    pub(crate) fn say(&self, message: Bytes) {
        match &self.behind {
            Behind::Own(link) => link.with(|state, effects| {
                state.log.append(StreamId::GET, EventKind::Reply, message, effects);
            }),
            Behind::Shared(bridged) => bridged.say(message),
        }
    }

    /// A notification or an answer of the client.
    pub(crate) fn tell(&self, text: &Bytes, envelope: &Envelope) -> Result<(), NotPosted> {
        match &self.behind {
            Behind::Own(link) => tell_own(link, text, envelope),
            Behind::Shared(bridged) => bridged.tell(text, envelope),
        }
    }

    /// Reads the GET stream, or an earlier stream again.
    pub(crate) fn attach(&self, stream: StreamId, from: From, cut: Option<Cut>) -> Result<Reader, NoCursor> {
        match &self.behind {
            Behind::Own(link) => {
                let cursor = link.with(|state, effects| state.attach(stream, from, cut, Instant::now(), effects))?;
                Ok(Reader::resumable(Arc::<Link<Router>>::clone(link), cursor))
            }
            Behind::Shared(bridged) => bridged.attach(stream, from, cut),
        }
    }

    /// Whether an event id was given by this session.
    pub(crate) fn knows(&self, id: EventId) -> bool {
        let own = match &self.behind {
            Behind::Own(link) => link.lock().log.event_id_at(id.stream, id.seq),
            Behind::Shared(bridged) => bridged.event_id_at(id),
        };
        own == id
    }

    /// From now on every answer goes to the GET stream.
    pub(crate) fn be_one_stream(&self) {
        self.has_one_stream.store(true, Ordering::Relaxed);
    }

    /// From now on it takes no request.
    pub(crate) fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Relaxed)
    }

    /// The reader of the GET stream is asked to come back later, unless answers are still to come on it.
    pub(crate) fn release_get(&self) {
        if self.has_one_stream.load(Ordering::Relaxed) && self.calls_in_flight() > 0 {
            return;
        }
        match &self.behind {
            Behind::Own(link) => link.with(|state, effects| state.log.release_get(effects)),
            Behind::Shared(bridged) => bridged.release_get(),
        }
    }

    pub(crate) fn calls_in_flight(&self) -> usize {
        match &self.behind {
            Behind::Own(link) => link.calls_in_flight(),
            Behind::Shared(bridged) => bridged.calls_in_flight(),
        }
    }

    /// How long nothing has happened.
    pub(crate) fn idle_for(&self, now: Instant) -> Duration {
        match &self.behind {
            Behind::Own(link) => link.lock().idle_for(now),
            Behind::Shared(bridged) => bridged.idle_for(now),
        }
    }

    /// What time brings.
    pub(crate) fn tick(&self, now: Instant) -> Tick {
        match &self.behind {
            Behind::Own(link) => link.tick(now),
            Behind::Shared(bridged) => bridged.tick(now),
        }
    }

    /// A child of its own is stopped until it is needed, if nothing is under way.
    pub(crate) fn sleep(&self) {
        if let Behind::Own(link) = &self.behind {
            link.sleep(Router::can_sleep);
        }
    }

    /// Asks for the end; the first reason counts.
    pub(crate) fn end(&self, reason: EndReason) {
        match &self.behind {
            Behind::Own(link) => link.end(reason),
            Behind::Shared(bridged) => bridged.end(reason),
        }
    }

    /// Whether a process of its own runs for it.
    pub(crate) fn has_child(&self) -> bool {
        matches!(&self.behind, Behind::Own(link) if link.has_child())
    }

    pub(crate) fn has_ended(&self) -> bool {
        match &self.behind {
            Behind::Own(link) => link.end_reason().is_some(),
            Behind::Shared(bridged) => bridged.end_reason().is_some(),
        }
    }
}

/// Sends a request to a child that is the session's own.
pub(crate) fn call_own(
    link: &Arc<Link<Router>>,
    text: &Bytes,
    envelope: &Envelope,
    Terms { carries, cut, counted, .. }: Terms,
) -> Result<Reader, NotPosted> {
    let client_id = envelope.id.map_or(&b"null"[..], |id| id.of(text));
    let cursor = link.with(|state, _| {
        let now = Instant::now();
        let line = |router: &mut Router, stream| {
            let line = router.request(text, envelope, stream, carries, false, now);
            router.count_last(&counted);
            line.parts(text)
        };
        state.post_request(client_id, cut, now, line)
    })?;
    link.metrics.message_to_child_counted(envelope.kind);
    Ok(Reader::new(Arc::<Link<Router>>::clone(link), cursor))
}

/// Sends a request that is answered on the GET stream.
fn call_standing(link: &Arc<Link<Router>>, text: &Bytes, envelope: &Envelope, counted: &Counted) -> Result<(), NotPosted> {
    link.with(|state, _| {
        let now = Instant::now();
        state.post_standing(now, |router| {
            let line = router.request(text, envelope, StreamId::GET, Carries::Events, true, now);
            router.count_last(counted);
            line.parts(text)
        })
    })?;
    link.metrics.message_to_child_counted(envelope.kind);
    Ok(())
}

fn batch_own(
    link: &Arc<Link<Router>>,
    items: &[(Bytes, Envelope)],
    Terms { carries, cut, counted, .. }: Terms,
) -> Result<Option<Reader>, NotPosted> {
    let requests = items.iter().filter(|(_, envelope)| envelope.kind == Kind::Request).count();
    let now = Instant::now();
    let mut dropped = Vec::new();
    let lines = |router: &mut Router, stream| {
        let mut lines = Vec::new();
        for (text, envelope) in items {
            let routed = match envelope.kind {
                Kind::Request => {
                    let line = router.request(text, envelope, stream, carries, true, now);
                    router.count_last(&counted);
                    Routed::ToChild(line.joined(text))
                }
                Kind::Notification => router.notification(text, envelope, now),
                Kind::Answer => router.answer(text, envelope),
            };
            match routed {
                Routed::ToChild(line) => lines.extend_from_slice(&line),
                Routed::Dropped(reason) => dropped.push(reason),
                _ => {}
            }
        }
        lines
    };
    let cursor = link.with(|state, _| state.post_batch(requests, cut, now, lines))?;
    dropped.into_iter().for_each(|reason| link.metrics.drop_counted(reason));
    items.iter().for_each(|(_, envelope)| link.metrics.message_to_child_counted(envelope.kind));
    Ok(cursor.map(|cursor| Reader::new(Arc::<Link<Router>>::clone(link), cursor)))
}

fn tell_own(link: &Arc<Link<Router>>, text: &[u8], envelope: &Envelope) -> Result<(), NotPosted> {
    link.with(|state, effects| {
        let now = Instant::now();
        state.post(now, effects, |router, out| {
            out.push(match envelope.kind {
                Kind::Answer => router.answer(text, envelope),
                Kind::Notification | Kind::Request => router.notification(text, envelope, now),
            });
        })
    })?;
    link.metrics.message_to_child_counted(envelope.kind);
    Ok(())
}
