//! A legacy client's requests on the legacy child that it shares with others. Bytes pass but for ids and tokens; what a client
//! must not do to others (its level, its subscriptions, its tasks) is kept here.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::calls::Sent;
use super::seat::Said;
use super::{Bridged, LOST};
use crate::bridge::legacy_on_legacy::Sitter;
use crate::bridge::legacy_on_modern::questions::Question;
use crate::bridge::legacy_on_modern::results;
use crate::link::NotPosted;
use crate::link::reader::Reader;
use crate::pool::{NotTaken, Seated, Standing};
use crate::protocol::jsonrpc::{self, Envelope, Kind, Method};
use crate::protocol::meta::{Ask, Level};
use crate::protocol::object::{self, Edit};
use crate::protocol::revision::Revision;
use crate::protocol::splice::{canonical, splice};

/// Questions of one call that may be open.
const MAX_QUESTIONS: usize = 64;

/// A client's request, for as long as the child works on it.
struct Work {
    call: u64,
    id: Vec<u8>,
    ask: Ask,
    name: Option<Vec<u8>>,
    /// The child's revision, where the client's is older.
    is_newer: bool,
}

/// A request that the shared child has.
pub(super) struct Shared {
    work: Work,
    reader: Reader,
    seated: Seated,
    /// The resource that it subscribes to.
    subscribes: Option<String>,
}

impl Bridged {
    /// Gives a call to the shared child, or answers it.
    pub(super) async fn send_shared(
        self: &Arc<Self>,
        call: u64,
        text: &Bytes,
        envelope: &Envelope,
        revision: Revision,
    ) -> Result<Sent, NotTaken> {
        let ask = Ask::of(text, envelope);
        let id = envelope.id.map_or(&b"null"[..], |id| id.of(text));
        let param = |name| envelope.params.and_then(|params| object::member(params.of(text), name));
        let refused = |code, why| jsonrpc::error(Some(id), code, why, None);
        if envelope.is_method(text, "ping") {
            self.answer(call, jsonrpc::result(id, b"{}"));
            return Ok(Sent::Answered);
        }
        // One client's tasks are not for others to see, and the child does not know them apart.
        let is_unheard = !self.hears && envelope.is_method(text, "resources/subscribe");
        let sets_level = envelope.is_method(text, "logging/setLevel");
        if ask == Ask::Tasks || is_unheard || sets_level && !self.facts.declares(&["logging"]) {
            self.answer(call, refused(jsonrpc::METHOD_NOT_FOUND, "Method not found"));
            return Ok(Sent::Answered);
        }
        if sets_level {
            let Some(level) = param("level").and_then(|level| Level::parse(level.value)) else {
                self.answer(call, refused(jsonrpc::INVALID_PARAMS, "params.level must be a log level"));
                return Ok(Sent::Answered);
            };
            self.lock().level = Some(level);
            self.seated().await?.set_level(self.number, level);
            self.answer(call, jsonrpc::result(id, b"{}"));
            return Ok(Sent::Answered);
        }
        let uri = || param("uri").and_then(|uri| object::string(uri.value));
        if envelope.is_method(text, "resources/unsubscribe")
            && let Some(uri) = uri()
        {
            self.lock().subscribes_no_more(&uri);
            if self.seated().await?.keeps(self.number, &uri) {
                self.answer(call, jsonrpc::result(id, b"{}"));
                return Ok(Sent::Answered);
            }
        }
        let subscribes = envelope.is_method(text, "resources/subscribe").then(uri).flatten();
        if let Some(uri) = &subscribes
            && !self.lock().begin_subscribing(uri, call)
        {
            self.answer(call, refused(jsonrpc::INVALID_PARAMS, "at most 1024 resources can be subscribed to"));
            return Ok(Sent::Answered);
        }
        let without_task = (ask == Ask::CallTool && param("task").is_some()).then(|| Bytes::from(without_task(text)));
        let text = without_task.as_ref().unwrap_or(text);
        // Read once: it differs in one member only.
        let Ok(envelope) = jsonrpc::read(text) else { return Err(NotTaken::BadAnswer("cannot be read")) };
        let work = Work {
            call,
            id: id.to_vec(),
            ask,
            name: param("name").filter(|_| ask == Ask::CallTool).map(|name| name.value.to_vec()),
            is_newer: self.speaker.revision < revision,
        };
        let heard = |standing| self.stand_shared(standing);
        let carries = self.lock().carries_of(call);
        let (reader, seated) =
            self.pool.ask_shared(&self.principal, &self.sitter(), self.hears, (text, &envelope), carries, heard).await?;
        Ok(Sent::Shared(Box::new(Shared { work, reader, seated, subscribes })))
    }

    /// A notification of the client, other than a cancellation. What concerns others too goes no further.
    pub(super) fn notified_shared(self: &Arc<Self>, text: &Bytes, envelope: &Envelope) -> Result<(), NotPosted> {
        let is = |name: &str| envelope.is_method(text, &format!("notifications/{name}"));
        if is("initialized") {
            if self.lock().introduces() {
                let session = Arc::clone(self);
                // Ends by itself: within the time that a start may take.
                drop(tokio::spawn(async move { session.seated().await.map(drop) }));
            }
            return Ok(());
        }
        if ["cancelled", "progress", "roots/list_changed", "tasks/status"].into_iter().any(is) {
            return Ok(());
        }
        self.tell_children(text.clone())
    }

    fn sitter(&self) -> Sitter {
        let seat = self.lock();
        Sitter {
            number: self.number,
            declared: self.speaker.declared,
            level: seat.level,
            uris: seat.uris.iter().cloned().collect(),
        }
    }

    /// The shared child, with this session on it.
    pub(super) async fn seated(self: &Arc<Self>) -> Result<Seated, NotTaken> {
        let mut seated = self.pool.seat(&self.principal, &self.sitter(), self.hears).await?;
        seated.standing.take().into_iter().for_each(|standing| self.stand_shared(standing));
        Ok(seated)
    }

    /// The session uses a child that it did not use before: hears what that tells, and when it is gone, what the next one does.
    fn stand_shared(self: &Arc<Self>, standing: Standing) {
        let Standing { mut reader, mut started } = standing;
        if self.lock().standings > 0 {
            self.everything_may_have_changed();
        }
        self.stand_alone(move |session, number| async move {
            let session = Arc::downgrade(&session);
            while let Some(line) = reader.event().await {
                let Some(session) = session.upgrade() else { return Vec::new() };
                session.tell_client(line);
            }
            drop(reader);
            // Boxed: most never come here, and would keep its room.
            let next_child = async move {
                while let Some(next) = session.upgrade().map(|session| session.pool.next_shared(started)) {
                    started = next.await;
                    let Some(session) = session.upgrade().filter(|session| session.lock().standings == number) else { break };
                    // A task of its own: it puts another in the place of this one.
                    let _ = tokio::spawn(async move { session.seated().await.map(drop) }).await;
                }
            };
            Box::pin(next_child).await;
            Vec::new()
        });
    }

    /// Hands on what comes of a call until it is answered, and the client's answers to what it is asked.
    pub(super) async fn follow(&self, shared: Shared) {
        let Shared { work, mut reader, seated, subscribes } = shared;
        let (answers, mut answered) = mpsc::channel::<(usize, Bytes)>(MAX_QUESTIONS);
        // What the child asked and is not answered: its ids, and ours.
        let mut asked: HashMap<usize, (Vec<u8>, u64)> = HashMap::new();
        let mut questions = 0;
        loop {
            let line = tokio::select! {
                biased;
                Some((at, text)) = answered.recv() => {
                    if let Some((own, _)) = asked.remove(&at) {
                        hand_answer(&seated, &own, &text);
                    }
                    continue;
                }
                line = reader.event() => line,
            };
            let Some(line) = line else { return self.fail(work.call, &work.id, LOST) };
            let Ok(envelope) = jsonrpc::read(&line) else { continue };
            match (envelope.kind, envelope.method, envelope.id, envelope.about_request) {
                (Kind::Answer, ..) => return self.finished(&work, &line, &envelope, subscribes),
                (Kind::Request, _, Some(own), _) => {
                    let revision = self.speaker.revision;
                    let older = Question::of_request(&line, &envelope).filter(|_| work.is_newer);
                    let put = |id: u64| match &older {
                        Some(question) => question.request(id, None, revision),
                        None => splice(&line, &mut [(own, id.to_string().as_bytes())], b""),
                    };
                    let at = questions;
                    questions += 1;
                    let own = own.of(&line).to_vec();
                    let asking = match older.as_ref().and_then(|question| question.fault(revision)) {
                        _ if asked.len() >= MAX_QUESTIONS => Err("too many questions are open in this call"),
                        Some(why) => Err(why),
                        None => self.with(|seat, effects| seat.ask(work.call, at, &answers, put, effects)),
                    };
                    match asking {
                        Ok(id) => drop(asked.insert(at, (own, id))),
                        Err(why) => seated.answer(&own, jsonrpc::refusal(&own, jsonrpc::METHOD_NOT_FOUND, why)),
                    }
                }
                (_, Method::Cancelled, _, Some(about)) => {
                    let about = canonical(about.of(&line));
                    let withdrawn = asked.extract_if(|_, (own, _)| canonical(own) == about);
                    let withdrawn: Vec<u64> = withdrawn.map(|(_, (_, id))| id).collect();
                    self.with(|seat, effects| {
                        let why = "the server needs no answer any more";
                        withdrawn.into_iter().for_each(|id| seat.withdraw_one(id, why, effects));
                    });
                }
                (_, method, ..) => {
                    let said = self.with(|seat, effects| match method {
                        Method::Progress => seat.progress(work.call, None, line.clone(), effects),
                        _ => seat.say(work.call, line.clone(), effects),
                    });
                    if let Said::No(reason) = said {
                        self.metrics.drop_counted(reason);
                    }
                }
            }
        }
    }

    fn finished(&self, work: &Work, line: &Bytes, envelope: &Envelope, subscribes: Option<String>) {
        self.with(|seat, effects| {
            if let Some(uri) = subscribes
                && seat.subscribing.get(&uri) == Some(&work.call)
            {
                seat.subscribing.remove(&uri);
                if envelope.result.is_some() {
                    seat.uris.insert(uri);
                }
            }
            let line = match envelope.result.filter(|_| work.is_newer) {
                Some(result) => {
                    let revision = self.speaker.revision;
                    let name = work.name.as_deref();
                    let shaped = results::shaped(result.of(line), work.ask, name, revision, &mut seat.wrapped);
                    splice(line, &mut [(result, &shaped)], b"").into()
                }
                None => line.clone(),
            };
            seat.answer(work.call, line, effects);
        });
    }
}

/// The client's answer, under the id that the child gave its question.
fn hand_answer(seated: &Seated, own: &[u8], text: &[u8]) {
    let Some(id) = jsonrpc::read(text).ok().and_then(|envelope| envelope.id) else { return };
    seated.answer(own, splice(text, &mut [(id, own)], b"\n"));
}

/// A tool's call that is no task.
fn without_task(text: &[u8]) -> Vec<u8> {
    let params =
        |params: &[u8]| object::rewrite(params, &[], |member| if member.is("task") { Edit::Drop } else { Edit::Keep }, &[]);
    let edit = |member: &object::Member<'_>| if member.is("params") { Edit::Put(params(member.value)) } else { Edit::Keep };
    object::rewrite(text, &[], edit, &[])
}
