//! What a legacy client hears that is about no call of its own: one `subscriptions/listen` a session on a modern child. What
//! it covers is fixed when it is opened, so another set is another subscription, which takes the place of the one before
//! (2026-07-28, Subscriptions).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Bridged;
use crate::bridge::subscriptions::{MAX_URIS, Subject, without_subscription};
use crate::link::reader::Reader;
use crate::protocol::jsonrpc::{self, Kind, METHOD_NOT_FOUND, Method};
use crate::protocol::meta::Ask;
use crate::protocol::object;

/// How long an acknowledgement is waited for; the child has 5 s, after which the router tells.
const ACKNOWLEDGE: Duration = Duration::from_secs(6);
/// How long after its end a subscription is opened again, and the longest wait between attempts.
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);

/// Why there is no subscription.
enum NotHeard {
    /// The child refused; its error.
    Refused(Vec<u8>),
    Lost,
}

/// Who reads what children tell that is about no call.
pub(super) struct Standing {
    /// `None` for one that takes no orders.
    pub(super) order: Option<watch::Sender<Order>>,
    /// What it handed on last, once it has stopped.
    pub(super) task: JoinHandle<Vec<Bytes>>,
}

/// What it is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    GoOn,
    /// Another may take its place.
    Hold,
    /// Another has.
    Stop,
}

impl Bridged {
    /// Opens the session's first subscription, if the child has anything to tell.
    pub(super) async fn listen_first(self: &Arc<Self>) {
        let changing = self.listening.lock().await;
        if self.lock().standing.is_some() || !self.hears_changes() || self.pool.refuses_listens() {
            return;
        }
        let uris = self.lock().uris.clone();
        if self.listen(&uris).await.is_err() {
            drop(changing);
            self.listen_again();
        }
    }

    /// Subscribes to a resource, or no more; the answer.
    pub(super) async fn subscribe(self: &Arc<Self>, id: &[u8], uri: String, is_wanted: bool) -> Vec<u8> {
        let _changing = self.listening.lock().await;
        if !self.hears || !self.facts.declares(&["resources", "subscribe"]) || self.pool.refuses_listens() {
            return jsonrpc::error(Some(id), METHOD_NOT_FOUND, "Method not found", None);
        }
        let mut uris = self.lock().uris.clone();
        if is_wanted && uris.len() >= MAX_URIS {
            return jsonrpc::error(Some(id), jsonrpc::INVALID_PARAMS, "at most 1024 resources can be subscribed to", None);
        }
        let is_new = if is_wanted { uris.insert(uri.clone()) } else { uris.remove(&uri) };
        if !is_new && self.lock().standing.is_some() {
            return jsonrpc::result(id, b"{}");
        }
        match self.listen(&uris).await {
            Ok(heard) if is_wanted && !heard.contains(&uri) => {
                jsonrpc::error(Some(id), jsonrpc::INVALID_PARAMS, "the server did not take the subscription", None)
            }
            Ok(_) => jsonrpc::result(id, b"{}"),
            Err(NotHeard::Refused(error)) => {
                let message = object::member(&error, "message").and_then(|message| object::string(message.value));
                let code = i32::try_from(crate::bridge::code_of(&error)).unwrap_or(jsonrpc::INTERNAL_ERROR);
                jsonrpc::error(Some(id), code, &message.unwrap_or_default(), None)
            }
            Err(NotHeard::Lost) => {
                jsonrpc::error(Some(id), jsonrpc::INTERNAL_ERROR, "the server did not acknowledge the subscription", None)
            }
        }
    }

    fn hears_changes(&self) -> bool {
        let tells = |path: &[&str]| self.facts.declares(path);
        tells(&["tools", "listChanged"]) || tells(&["prompts", "listChanged"]) || tells(&["resources", "listChanged"])
    }

    /// Opens a subscription for the lists and these resources, in the place of the one before. What the child acknowledged.
    async fn listen(self: &Arc<Self>, uris: &BTreeSet<String>) -> Result<BTreeSet<String>, NotHeard> {
        if uris.is_empty() && !self.hears_changes() {
            let mut seat = self.lock();
            seat.standing.take().iter().for_each(|standing| standing.task.abort());
            seat.uris.clear();
            return Ok(BTreeSet::new());
        }
        let mut filter = serde_json::Map::new();
        for (kind, flag) in
            [("tools", "toolsListChanged"), ("prompts", "promptsListChanged"), ("resources", "resourcesListChanged")]
        {
            if self.facts.declares(&[kind, "listChanged"]) {
                filter.insert(flag.to_owned(), true.into());
            }
        }
        if !uris.is_empty() {
            filter.insert("resourceSubscriptions".to_owned(), json!(uris));
        }
        let filter = json!(filter).to_string();
        let text = self.speaker.own_request("0", "subscriptions/listen", &[("notifications", filter.as_bytes())]);
        // What the one before tells from here on waits, so that what both tell is told once.
        let held = Held::new(self);
        let mut reader = self.ask_text(text, Ask::Listen, None, false).await.map_err(|_| NotHeard::Lost)?;
        let first = timeout(ACKNOWLEDGE, reader.event()).await.ok().flatten().ok_or(NotHeard::Lost)?;
        let envelope = jsonrpc::read(&first).map_err(|_| NotHeard::Lost)?;
        if let Some(error) = envelope.error {
            let error = error.of(&first).to_vec();
            if crate::bridge::code_of(&error) == i64::from(METHOD_NOT_FOUND) {
                self.pool.listens_refused();
            }
            return Err(NotHeard::Refused(error));
        }
        if !envelope.is_method(&first, "notifications/subscriptions/acknowledged") {
            return Err(NotHeard::Lost);
        }
        let heard = envelope.params.and_then(|params| object::at(params.of(&first), &["notifications", "resourceSubscriptions"]));
        let heard: BTreeSet<String> =
            heard.map(|heard| object::elements(heard.value).into_iter().filter_map(object::string).collect()).unwrap_or_default();
        self.lock().uris = uris.intersection(&heard).cloned().collect();
        // Ends with the session, or when another takes its place: then the child hears that nobody listens.
        self.stand(|session, before, orders| session.hear(before, orders, reader));
        drop(held);
        Ok(heard)
    }

    /// Puts a task in the place of the one that stands for the session.
    pub(super) fn stand<F>(self: &Arc<Self>, task: impl FnOnce(Arc<Self>, Option<Standing>, Orders) -> F)
    where
        F: Future<Output = Vec<Bytes>> + Send + 'static,
    {
        let mut seat = self.lock();
        if seat.has_ended {
            return;
        }
        seat.standings += 1;
        let (order, ordered) = watch::channel(Order::GoOn);
        let before = seat.standing.take();
        let task = tokio::spawn(task(Arc::clone(self), before, Orders { number: seat.standings, ordered }));
        seat.standing = Some(Standing { order: Some(order), task });
    }

    /// The same for one that takes no orders: it is told its number, and ended when another takes its place.
    pub(super) fn stand_alone<F>(self: &Arc<Self>, task: impl FnOnce(Arc<Self>, u64) -> F)
    where
        F: Future<Output = Vec<Bytes>> + Send + 'static,
    {
        let mut seat = self.lock();
        if seat.has_ended {
            return;
        }
        seat.standings += 1;
        seat.standing.take().iter().for_each(|before| before.task.abort());
        let task = tokio::spawn(task(Arc::clone(self), seat.standings));
        seat.standing = Some(Standing { order: None, task });
    }

    /// Hands on what a subscription brings until it ends, and opens another then; or until another takes its place: what it
    /// handed on last is given to that one, which may have it too.
    async fn hear(self: Arc<Self>, before: Option<Standing>, mut orders: Orders, mut reader: Reader) -> Vec<Bytes> {
        let mut told = match before {
            Some(before) => {
                before.give(Order::Stop);
                before.task.await.unwrap_or_default()
            }
            None => Vec::new(),
        };
        loop {
            let order = *orders.ordered.borrow_and_update();
            let line = match order {
                Order::Stop => return self.last_words(&mut reader).await,
                Order::Hold => {
                    if orders.ordered.changed().await.is_err() {
                        return Vec::new();
                    }
                    continue;
                }
                Order::GoOn => match timeout(Duration::ZERO, reader.event()).await {
                    Ok(line) => line,
                    Err(_) => {
                        told.clear(); // what comes later is news
                        tokio::select! {
                            biased;
                            changed = orders.ordered.changed() => if changed.is_ok() { continue } else { break },
                            line = reader.event() => line,
                        }
                    }
                },
            };
            let line = match line.as_deref().map(Frame::read) {
                Some(Frame::Change(line)) => line,
                Some(Frame::Odd) => {
                    self.metrics.drop_counted("notification_for_nobody");
                    continue;
                }
                Some(Frame::End) | None => break,
            };
            match told.iter().position(|other| *other == line) {
                Some(at) => drop(told.swap_remove(at)),
                None => self.tell_client(line),
            }
        }
        if self.lock().standings == orders.number {
            self.listen_again();
        }
        Vec::new()
    }

    /// What is there already when another subscription has taken over: handed on, and given back.
    async fn last_words(&self, reader: &mut Reader) -> Vec<Bytes> {
        let mut told = Vec::new();
        while let Ok(Some(line)) = timeout(Duration::ZERO, reader.event()).await {
            if let Frame::Change(line) = Frame::read(&line) {
                self.tell_client(line.clone());
                told.push(line);
            }
        }
        told
    }

    pub(super) fn tell_client(&self, line: Bytes) {
        self.with(|seat, effects| seat.tell(line, effects));
    }

    /// Opens a subscription in the place of one that ended, later if need be, and tells the client that anything may have changed.
    fn listen_again(self: &Arc<Self>) {
        self.stand(|session, _, mut orders| async move {
            let session = Arc::downgrade(&session);
            let mut pause = AGAIN;
            loop {
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = orders.ordered.wait_for(|order| *order == Order::Stop) => break,
                }
                pause = (2 * pause).min(AGAIN_AT_MOST);
                let Some(session) = session.upgrade() else { break };
                if session.pool.is_draining() || session.pool.refuses_listens() {
                    break;
                }
                // A task of its own: whoever listens takes the place of this one.
                if tokio::spawn(async move { session.take_up().await }).await.unwrap_or(true) {
                    break;
                }
            }
            Vec::new()
        });
    }

    /// Listens as before. Says whether it is heard.
    async fn take_up(self: Arc<Self>) -> bool {
        let _changing = self.listening.lock().await;
        let uris = self.lock().uris.clone();
        if self.listen(&uris).await.is_err() {
            return false;
        }
        self.everything_may_have_changed();
        true
    }

    /// Tells the client of a change of each list and of each resource that it subscribed to.
    pub(super) fn everything_may_have_changed(&self) {
        let uris = self.lock().uris.clone();
        let lists = [("tools", Subject::Tools), ("prompts", Subject::Prompts), ("resources", Subject::Resources)];
        let told = lists.into_iter().filter(|(kind, _)| self.facts.declares(&[kind, "listChanged"])).map(|(_, subject)| subject);
        told.chain(uris.into_iter().map(Subject::Resource)).for_each(|subject| self.tell_client(subject.line().into()));
    }
}

/// What has come on a subscription.
enum Frame {
    /// A change, as a legacy client reads it.
    Change(Bytes),
    /// Nothing that such a client knows.
    Odd,
    End,
}

impl Standing {
    fn give(&self, order: Order) {
        if let Some(orders) = &self.order {
            orders.send_replace(order);
        }
    }
}

impl Frame {
    fn read(line: &[u8]) -> Frame {
        match jsonrpc::read(line) {
            Ok(envelope) if envelope.method == Method::Changed => Frame::Change(without_subscription(line).into()),
            Ok(envelope) if envelope.kind == Kind::Notification => Frame::Odd,
            _ => Frame::End,
        }
    }
}

/// What a task that stands for a session is told, and which of them it is.
pub(super) struct Orders {
    pub(super) number: u64,
    ordered: watch::Receiver<Order>,
}

/// Who stands for the session waits for as long as this is held; after it, or in its place another, goes on.
struct Held<'a>(&'a Bridged, u64);

impl Held<'_> {
    fn new(session: &Bridged) -> Held<'_> {
        let seat = session.lock();
        if let Some(standing) = &seat.standing {
            standing.give(Order::Hold);
        }
        Held(session, seat.standings)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let seat = self.0.lock();
        if let Some(standing) = seat.standing.as_ref().filter(|_| seat.standings == self.1) {
            standing.give(Order::GoOn);
        }
    }
}
