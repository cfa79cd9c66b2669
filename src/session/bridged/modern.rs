//! A legacy client's requests on modern children. What only sessions know is answered here; everything else goes to the pool as
//! a modern request of this client, and when the child wants something from the user, the client is asked and the request sent
//! again with its answers (2026-07-28, Multi Round-Trip Requests).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::calls::Sent;
use super::seat::Said;
use super::{Bridged, LOST};
use crate::bridge::legacy_on_modern::questions::{self, Round};
use crate::bridge::legacy_on_modern::results;
use crate::bridge::legacy_on_modern::{Dress, Retry};
use crate::bridge::subject::Subject;
use crate::bridge::{Asked as PoolAsked, OfSession};
use crate::link::NotPosted;
use crate::link::reader::Reader;
use crate::pool::NotTaken;
use crate::protocol::jsonrpc::{self, Envelope, Kind, Method};
use crate::protocol::meta::{Ask, Level};
use crate::protocol::object;
use crate::protocol::scan::Value;

/// How often a child may ask in one call.
const MAX_ROUNDS: usize = 10;

/// A client's request, for as long as it is worked on.
struct Work {
    call: u64,
    text: Bytes,
    envelope: Envelope,
    ask: Ask,
}

/// A request that a child has.
pub(super) struct Asked {
    work: Work,
    reader: Reader,
}

impl Work {
    fn id(&self) -> &[u8] {
        self.envelope.id.map_or(&b"null"[..], |id| id.of(&self.text))
    }

    /// The tool that is called, if one is.
    fn name(&self) -> Option<&[u8]> {
        let params = self.envelope.params.filter(|_| self.ask == Ask::CallTool)?;
        object::member(params.of(&self.text), "name").map(|name| name.value)
    }
}

impl Bridged {
    /// Gives a call to a modern child, or answers it.
    pub(super) async fn send_modern(&self, call: u64, text: &Bytes, envelope: &Envelope) -> Result<Sent, NotTaken> {
        let ask = Ask::of(text, envelope);
        let id = envelope.id.map_or(&b"null"[..], |id| id.of(text));
        if let Some(answer) = self.answered_here(ask, text, envelope, id) {
            self.answer(call, answer);
            return Ok(Sent::Answered);
        }
        let is_subscribe = envelope.is_method(text, "resources/subscribe");
        if is_subscribe || envelope.is_method(text, "resources/unsubscribe") {
            let uri = envelope.params.and_then(|params| object::member(params.of(text), "uri"));
            return Ok(match uri.and_then(|uri| object::string(uri.value)) {
                Some(uri) => Sent::Subscription(uri, is_subscribe),
                None => {
                    self.answer(call, jsonrpc::error(Some(id), jsonrpc::INVALID_PARAMS, "params.uri must be a string", None));
                    Sent::Answered
                }
            });
        }
        let work = Work { call, text: text.clone(), envelope: *envelope, ask };
        let reader = self.ask(&work, None).await?;
        Ok(Sent::Modern(Box::new(Asked { work, reader })))
    }

    /// What needs no child, or must not reach one.
    fn answered_here(&self, ask: Ask, text: &[u8], envelope: &Envelope, id: &[u8]) -> Option<Vec<u8>> {
        let no_such = || Some(jsonrpc::error(Some(id), jsonrpc::METHOD_NOT_FOUND, "Method not found", None));
        match ask {
            Ask::Removed if envelope.is_method(text, "ping") => Some(jsonrpc::result(id, b"{}")),
            Ask::Removed if envelope.is_method(text, "logging/setLevel") => {
                if !self.facts.declares(&["logging"]) {
                    return no_such();
                }
                let level = envelope.params.and_then(|params| object::member(params.of(text), "level"));
                Some(match level.and_then(|level| Level::parse(level.value)) {
                    Some(level) => {
                        self.lock().level = Some(level);
                        jsonrpc::result(id, b"{}")
                    }
                    None => jsonrpc::error(Some(id), jsonrpc::INVALID_PARAMS, "params.level must be a log level", None),
                })
            }
            // Of the other era, or of an extension that does not cross.
            Ask::Discover | Ask::Listen | Ask::Tasks => no_such(),
            Ask::Removed if envelope.is_method(text, "initialize") => no_such(),
            _ => None,
        }
    }

    /// A notification of the client, other than a cancellation. What modern servers do not hear of goes no further.
    pub(super) fn notified_modern(self: &Arc<Self>, text: &Bytes, envelope: &Envelope) -> Result<(), NotPosted> {
        let known = ["cancelled", "progress", "roots/list_changed", "tasks/status"];
        let is = |name: &str| envelope.is_method(text, &format!("notifications/{name}"));
        if is("initialized") {
            if self.lock().introduces() {
                let session = Arc::clone(self);
                // Ends by itself: within the time that a child may take to acknowledge.
                drop(tokio::spawn(async move { session.listen_first().await }));
            }
            return Ok(());
        }
        if known.into_iter().any(is) {
            return Ok(());
        }
        self.tell_children(self.speaker.enveloped(text, envelope, Ask::Other, None, None).into())
    }

    /// Sends a request to a modern child, once or once more.
    async fn ask(&self, work: &Work, round: Option<&Retry>) -> Result<Reader, NotTaken> {
        let chosen = self.lock().level;
        let level = chosen.or(Some(Level::Info)).filter(|_| self.facts.declares(&["logging"]));
        let Work { text, envelope, ask, .. } = work;
        let dress = Dress { speaker: &self.speaker, envelope, retry: round };
        if dress.is_too_deep(text) {
            return Err(NotTaken::BadAnswer("is nested too deep"));
        }
        let mut asked = self.asked(text, envelope, *ask, level, chosen.is_some());
        if ask.may_ask() {
            asked.request.responses = round.and_then(|round| Some((Value::Object, round.responses.as_deref()?)));
            asked.request.state = round.and_then(|round| round.state.as_deref());
        }
        asked.dress = Some(dress);
        Ok(self.pool.ask_modern(&self.principal, &asked, None).await?.reader)
    }

    /// Sends a request that has its envelope.
    pub(super) async fn ask_text(
        &self,
        text: Vec<u8>,
        ask: Ask,
        level: Option<Level>,
        has_level: bool,
    ) -> Result<Reader, NotTaken> {
        // The client's text could be read, so this can: it differs in members of an object only. Nested too deep it may be.
        let text = &Bytes::from(text);
        let Ok(envelope) = jsonrpc::read(text) else { return Err(NotTaken::BadAnswer("is nested too deep")) };
        let asked = self.asked(text, &envelope, ask, level, has_level);
        Ok(self.pool.ask_modern(&self.principal, &asked, None).await?.reader)
    }

    fn asked<'a>(&self, text: &'a Bytes, envelope: &Envelope, ask: Ask, level: Option<Level>, has_level: bool) -> PoolAsked<'a> {
        let session = Some(OfSession { number: self.number, has_level });
        PoolAsked { level, session, ..PoolAsked::read(text, envelope, ask) }
    }

    /// Works on a call until it is answered.
    pub(super) async fn work(&self, asked: Asked) {
        let Asked { work, mut reader } = asked;
        let mut elicitations = Vec::new();
        for round in 0.. {
            let Some((answer, envelope)) = self.relay(&work, &mut reader).await else {
                return self.fail(work.call, work.id(), LOST);
            };
            let result = envelope.result.map(|result| result.of(&answer));
            match result.map_or(results::Kind::Complete, results::kind) {
                results::Kind::Complete => {
                    if let (Some(result), Some(name)) = (result, work.name())
                        && results::is_structured(result)
                        && self.lock().wrapped.is_wrapped(name).is_none()
                    {
                        // The client may know the tool from a session before this one.
                        let is_wrapped = self.pool.is_wrapped(&self.principal, self.speaker.capabilities(), name).await;
                        self.lock().wrapped.set(name, is_wrapped);
                    }
                    return self.complete(&work, answer, &envelope, &elicitations);
                }
                results::Kind::Unknown => {
                    return self.fail(work.call, work.id(), "the server's result is of a type that nobody here knows");
                }
                results::Kind::InputRequired => {}
            }
            let retry = match Round::read(result.unwrap_or_default()) {
                _ if !work.ask.may_ask() => Err("the server asks something where it may not".to_owned()),
                _ if round >= MAX_ROUNDS => Err("the server asks more than ten times in one call".to_owned()),
                Ok(asked) => self.round(&work, asked, round, &mut elicitations).await,
                Err(why) => Err(why.to_owned()),
            };
            let asked = match retry {
                Ok(retry) => self.ask(&work, Some(&retry)).await.map_err(|why| not_again(&why)),
                Err(why) => Err(why),
            };
            match asked {
                Ok(next) => reader = next,
                Err(why) => return self.answer(work.call, questions::failed(work.ask, work.id(), &why)),
            }
        }
    }

    /// Hands on what comes before the answer, which is given back.
    async fn relay(&self, work: &Work, reader: &mut Reader) -> Option<(Bytes, Envelope)> {
        loop {
            let line = reader.event().await?;
            let Ok(envelope) = jsonrpc::read(&line) else { continue };
            let said = match (envelope.kind, envelope.method) {
                (Kind::Answer, _) => return Some((line, envelope)),
                (_, Method::Progress) => {
                    let progress = envelope.params.and_then(|params| object::member(params.of(&line), "progress"));
                    let progress = progress.and_then(|progress| std::str::from_utf8(progress.value).ok()?.parse().ok());
                    self.with(|seat, effects| seat.progress(work.call, progress, line.clone(), effects))
                }
                _ => self.with(|seat, effects| seat.say(work.call, line.clone(), effects)),
            };
            if let Said::No(reason) = said {
                self.metrics.drop_counted(reason);
            }
        }
    }

    fn complete(&self, work: &Work, answer: Bytes, envelope: &Envelope, elicitations: &[String]) {
        self.with(|seat, effects| {
            for elicitation in elicitations {
                seat.say(work.call, questions::elicitation_complete(elicitation).into(), effects);
            }
            let revision = self.speaker.revision;
            let told = results::answer(&answer, envelope, work.ask, work.name(), revision, &mut seat.wrapped);
            seat.answer(work.call, told.in_place(answer), effects);
        });
    }

    /// Asks the client what the child wants to know. The retry that tells it, or why there is none.
    async fn round(&self, work: &Work, asked: Round, round: usize, elicitations: &mut Vec<String>) -> Result<Retry, String> {
        let Some(count) = std::num::NonZeroUsize::new(asked.questions.len()) else {
            // The child only wants to be asked again.
            sleep(Duration::from_millis([50, 100, 200, 250].get(round).copied().unwrap_or(250))).await;
            return Ok(asked.retry(&[]));
        };
        if let Some(question) = asked.questions.iter().find(|question| !question.subject.is_declared(self.speaker.declared)) {
            return Err(format!("the server asks for {}, which the client did not declare", question.subject.required()));
        }
        if let Some(why) = asked.questions.iter().find_map(|question| question.fault(self.speaker.revision)) {
            return Err(why.to_owned());
        }
        let (answers, mut answered) = mpsc::channel(count.get());
        let mut begun = Vec::with_capacity(count.get());
        let put = self.put_questions(work.call, &asked, &answers, &mut begun);
        drop(answers);
        let collected = match put {
            Ok(()) => self.collect(&asked, &mut answered).await,
            Err(why) => Err(why.to_owned()),
        };
        // Those that are still open: the client failed another, or did not answer in time.
        self.with(|seat, effects| seat.withdraw(work.call, "the server goes on without an answer", effects));
        let collected = collected?;
        // What the user did not begin is never done.
        let accepted = begun.into_iter().zip(&collected).filter(|(_, answer)| questions::is_accepted(answer));
        elicitations.extend(accepted.filter_map(|(elicitation, _)| elicitation));
        Ok(asked.retry(&collected))
    }

    fn put_questions(
        &self,
        call: u64,
        asked: &Round,
        answers: &super::seat::Answers,
        begun: &mut Vec<Option<String>>,
    ) -> Result<(), &'static str> {
        for (at, question) in asked.questions.iter().enumerate() {
            let elicitation = (question.subject == Subject::Url).then(elicitation_id);
            let line = |id| question.request(id, elicitation.as_deref(), self.speaker.revision);
            self.with(|seat, effects| seat.ask(call, at, answers, line, effects))?;
            begun.push(elicitation);
        }
        Ok(())
    }

    /// Waits for an answer to each question.
    async fn collect(&self, asked: &Round, answered: &mut mpsc::Receiver<(usize, Bytes)>) -> Result<Vec<Vec<u8>>, String> {
        let deadline = Instant::now() + self.question_timeout;
        let mut collected: Vec<Option<Vec<u8>>> = vec![None; asked.questions.len()];
        while collected.iter().any(Option::is_none) {
            let Ok(answer) = timeout_at(deadline, answered.recv()).await else {
                self.metrics.timeout_counted("question");
                for (question, answer) in asked.questions.iter().zip(&mut collected).filter(|(_, answer)| answer.is_none()) {
                    *answer = Some(question.unanswered()?);
                }
                break;
            };
            let Some((at, text)) = answer else { return Err("the questions were withdrawn".to_owned()) };
            let Ok(envelope) = jsonrpc::read(&text) else { continue };
            if let (Some(question), Some(slot)) = (asked.questions.get(at), collected.get_mut(at)) {
                *slot = Some(question.response(&text, &envelope)?);
            }
        }
        Ok(collected.into_iter().flatten().collect())
    }
}

/// Why a child could not be asked again.
fn not_again(why: &NotTaken) -> String {
    match why {
        NotTaken::BadState => "the server gave a state that cannot be used again".to_owned(),
        NotTaken::NotPosted(NotPosted::Ended) | NotTaken::ChildLost => {
            "the server ended while the user was being asked".to_owned()
        }
        _ => "the server could not be asked again: too much is going on".to_owned(),
    }
}

/// 2025-11-25, Elicitation, URL Mode: unique, and not to be guessed.
fn elicitation_id() -> String {
    let mut bytes = [0; 16];
    // Without random bytes the id is only less telling.
    let _ = getrandom::fill(&mut bytes);
    format!("{:032x}", u128::from_ne_bytes(bytes))
}
