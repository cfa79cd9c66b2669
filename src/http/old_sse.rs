//! HTTP with SSE, the transport of 2024-11-05: one GET whose stream carries everything toward the client, and a URI that takes
//! what the client says. Its sessions are sessions as all others, of any legacy revision; their answers go to the GET stream.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Response as HttpResponse, StatusCode};
use tokio::sync::mpsc;

use super::Http;
use super::body::{Body, Clock, Events};
use super::entrance::Caller;
use super::post::{not_opened, refused};
use super::refusal::{Refusal, Refused};
use super::reply;
use super::wire::Wire;
use crate::link::EndReason;
use crate::link::cursor::From;
use crate::link::route::Carries;
use crate::link::stream::Cut;
use crate::metrics::{Metrics, StreamKind};
use crate::principal::Principal;
use crate::protocol::jsonrpc::{Envelope, Kind, Method};
use crate::protocol::revision::Revision;
use crate::protocol::sse::StreamId;
use crate::quota::{Counted, Held};
use crate::server::Owner;
use crate::session::{Session, SessionId, Terms, Way};
use crate::shutdown::{Phase, Shutdown};

/// Messages for a client whose session is not open.
const WAITING: usize = 8;

/// The streams of this transport that are open.
pub(crate) struct Doors {
    /// Where streams are opened, and where messages are sent.
    pub(super) stream: String,
    pub(super) messages: String,
    max: AtomicUsize,
    open: Mutex<HashMap<SessionId, Arc<Door>>>,
}

/// One such stream.
pub(crate) struct Door {
    principal: Principal,
    state: Mutex<State>,
    events: mpsc::Sender<Event>,
    /// Of its principal's share of sessions: its session ends with it.
    _held: Option<Held>,
}

enum State {
    /// `initialize` is still to come.
    New,
    Opening,
    Open(Arc<Session>),
}

/// How often a stream whose session is being opened looks whether it is still.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a stream is told by whoever takes its client's messages.
enum Event {
    Message(Bytes),
    Opened(Arc<Session>),
    /// Its client may not have it any more.
    Over,
}

impl Doors {
    pub(crate) fn new(endpoint: &str, max: usize) -> Doors {
        let base = endpoint.trim_end_matches('/');
        Doors {
            stream: format!("{base}/sse"),
            messages: format!("{base}/message"),
            max: AtomicUsize::new(max),
            open: Mutex::default(),
        }
    }

    /// From here on so many may be open.
    pub(crate) fn bound(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// The stream that a message names: `sessionId` in the query of its URI.
    pub(super) fn find(&self, query: Option<&str>, replica: Option<&str>, principal: &Principal) -> Result<Arc<Door>, Refusal> {
        let id = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("sessionId="));
        let id = SessionId::read(id.ok_or(Refusal::NoSessionId)?.as_bytes(), replica).ok_or(Refusal::NoSuchSession)?;
        let door = self.lock().get(&id).filter(|door| door.principal == *principal).cloned();
        door.ok_or(Refusal::NoSuchSession)
    }

    /// Ends the streams of principals that may not enter any more. Where there is a session, that ends by itself.
    pub(crate) fn shut_out(&self, is_gone: &dyn Fn(&Principal) -> bool) {
        for door in self.lock().values().filter(|door| is_gone(&door.principal)) {
            let _ = door.events.try_send(Event::Over); // who has so much to read has a session, or ends with it
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Door>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Door {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> Option<Arc<Session>> {
        match &*self.state() {
            State::Open(session) => Some(Arc::clone(session)),
            _ => None,
        }
    }

    fn is_new(&self) -> bool {
        matches!(*self.state(), State::New)
    }

    /// Whether the session may be opened now: it is not open, and nobody opens it.
    fn begins_opening(&self) -> bool {
        let mut state = self.state();
        let is_new = matches!(*state, State::New);
        if is_new {
            *state = State::Opening;
        }
        is_new
    }

    /// A message for a client whose session is not open.
    fn say(&self, message: impl Into<Bytes>) -> Result<(), Refusal> {
        self.events.try_send(Event::Message(message.into())).map_err(|_| Refusal::NoSuchSession)
    }
}

/// 2024-11-05, Transports, HTTP with SSE: the stream begins with the URI for the client's messages.
pub(super) fn listen(http: &Http, caller: &Caller, doors: &Arc<Doors>, cut: Option<Cut>) -> Result<HttpResponse<Body>, Refusal> {
    if http.shutdown.is_draining() {
        return Err(Refusal::Draining);
    }
    let held = caller.opens_session()?;
    let random = |error: getrandom::Error| Refusal::NotOpened(http.server.pool.correlated(&error.to_string()));
    let id = SessionId::random().map_err(random)?;
    let (events, told) = mpsc::channel(WAITING);
    let door = Arc::new(Door { principal: caller.principal.clone(), state: Mutex::new(State::New), events, _held: held });
    {
        let mut open = doors.lock();
        if open.len() >= doors.max.load(Ordering::Relaxed) {
            return Err(Refusal::TooManySessions);
        }
        open.insert(id, Arc::clone(&door));
    }
    let shown = id.shown(http.server.replica.as_deref());
    let first = format!("event: endpoint\ndata: {}?sessionId={shown}\n\n", doors.messages);
    let shutdown = Arc::clone(&http.shutdown);
    let stream = Stream {
        id,
        door,
        doors: Arc::clone(doors),
        told,
        ready: VecDeque::from([Bytes::from(first)]),
        events: None,
        cut,
        metrics: Arc::clone(&http.metrics),
        clock: Clock::default(),
        patience: http.server.limits.initialize_timeout,
        stopping: Box::pin(stopping(shutdown)),
    };
    Ok(reply::event_stream(Body::old_stream(stream)))
}

async fn stopping(shutdown: Arc<Shutdown>) {
    shutdown.reached(Phase::Draining).await;
}

/// Messages of a client: taken, whatever comes of them; that goes to the stream.
pub(super) async fn take(
    http: &Http,
    door: &Arc<Door>,
    items: &[(Bytes, Envelope)],
    is_batch: bool,
    counted: &Counted,
) -> Result<HttpResponse<Body>, Refused> {
    let accepted = Ok(reply::status(StatusCode::ACCEPTED));
    let first = items.first();
    if let Some((text, envelope)) = first.filter(|_| !is_batch)
        && envelope.kind == Kind::Request
        && envelope.method == Method::Initialize
    {
        open(http, door, text, envelope).await?;
        return accepted;
    }
    let session = door.session().ok_or(Refusal::Misplaced("initialize comes first"))?;
    if is_batch && !session.revision().is_some_and(Revision::has_batches) {
        return Err(Refusal::Misplaced(super::check::NO_BATCHES).into());
    }
    for (text, envelope) in items {
        let id = envelope.id.map(|id| id.of(text));
        if envelope.kind != Kind::Request {
            session.tell(text, envelope).map_err(|why| refused(http, why.into()))?;
        } else if session.is_retired() {
            session.say(Refusal::NoSuchSession.about(id).message().into());
        } else if http.shutdown.is_draining() {
            session.say(Refusal::Draining.about(id).message().into());
        } else {
            let terms = Terms { way: Way::Standing, carries: Carries::Events, cut: None, counted: counted.clone() };
            let called = session.call(text, envelope, terms, &http.refuse).await;
            called.map_err(|why| refused(http, why).about(id))?;
        }
    }
    accepted
}

/// Opens the stream's session; what `initialize` is answered with goes to the stream.
async fn open(http: &Http, door: &Arc<Door>, text: &Bytes, envelope: &Envelope) -> Result<(), Refused> {
    let id = envelope.id.map(|id| id.of(text));
    if !door.begins_opening() {
        return Err(Refusal::AlreadyInitialized.about(id));
    }
    let opening = Opening(door);
    if http.shutdown.is_draining() {
        return Ok(door.say(Refusal::Draining.about(id).message())?);
    }
    let owner = Owner { principal: door.principal.clone(), held: None };
    match http.server.open(text, envelope, Carries::Events, owner).await {
        Ok((session, mut reader)) => {
            session.be_one_stream();
            while let Some(message) = reader.event().await {
                session.say(message);
            }
            *door.state() = State::Open(Arc::clone(&session));
            if door.events.try_send(Event::Opened(Arc::clone(&session))).is_err() {
                session.end(EndReason::ClientLeft);
            }
        }
        Err(why) => door.say(not_opened(why, id))?,
    }
    drop(opening);
    Ok(())
}

/// An opening that did not come about may be tried again.
struct Opening<'a>(&'a Door);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if matches!(*state, State::Opening) {
            *state = State::New;
        }
    }
}

/// The body of the GET: until the session is open what its opening brings, from then on the session's GET stream.
pub(super) struct Stream {
    id: SessionId,
    door: Arc<Door>,
    doors: Arc<Doors>,
    told: mpsc::Receiver<Event>,
    ready: VecDeque<Bytes>,
    events: Option<Events>,
    cut: Option<Cut>,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// How old it may become while there is no session.
    patience: Duration,
    stopping: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl Stream {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.clock.spoke();
                return Poll::Ready(Some(bytes));
            }
            if let Some(events) = &mut self.events {
                return events.poll(cx);
            }
            match self.told.poll_recv(cx) {
                Poll::Ready(Some(Event::Message(message))) => self.ready.push_back(reply::one_event(&message).into()),
                Poll::Ready(Some(Event::Opened(session))) => {
                    let Ok(reader) = session.attach(StreamId::GET, From::Unread, self.cut.take()) else {
                        return Poll::Ready(None);
                    };
                    let active = self.metrics.stream_opened(StreamKind::OldSse);
                    self.events = Some(Events::new(reader.without_ids(), None, None, active).on(self.clock.handed_on()));
                }
                Poll::Ready(Some(Event::Over) | None) => return Poll::Ready(None),
                Poll::Pending if self.is_over(cx) => return Poll::Ready(None),
                Poll::Pending => return self.clock.poll_comment(cx),
            }
        }
    }
}

impl Stream {
    /// From now on it has the time of this connection.
    pub(super) fn follow(&mut self, wire: &Arc<Wire>) {
        self.clock.follow(wire);
    }

    /// Whether a stream without a session ends: its client does not open one, or the gateway stops.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.clock.has_passed(self.patience) {
            if self.door.is_new() {
                return true;
            }
            // Who opens it has a time of its own.
            self.patience += LOOK_AGAIN;
        }
        self.clock.wake_after(self.patience);
        self.stopping.as_mut().poll(cx).is_ready()
    }
}

impl Drop for Stream {
    /// There is no coming back to such a stream: its session is over.
    fn drop(&mut self) {
        self.doors.lock().remove(&self.id);
        if let State::Open(session) = &*self.door.state() {
            session.end(EndReason::ClientLeft);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_takes_messages_of_its_own_principal_only() {
        let doors = Doors::new("/mcp", 1);
        let (id, alice) = (SessionId::random().expect("random bytes"), Principal::named("alice"));
        let (events, _told) = mpsc::channel(1);
        doors.lock().insert(id, Arc::new(Door { principal: alice.clone(), state: Mutex::new(State::New), events, _held: None }));
        let query = format!("sessionId={id}");
        assert!(doors.find(Some(&query), None, &alice).is_ok());
        for other in [Principal::named("bob"), Principal::Anonymous] {
            assert!(doors.find(Some(&query), None, &other).is_err(), "{other:?}");
        }
    }
}
