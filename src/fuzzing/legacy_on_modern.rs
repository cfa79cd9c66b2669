//! Legacy clients on a modern child: a session in front of a shared child, as `session/bridged` plays it, without its tasks.

use std::collections::{BTreeMap, BTreeSet};

use super::bridges::{PATIENCE, SEAL, STEPS, Wire, sealer};
use super::child;
use super::input::Input;
use super::ledger::{Clients, Told};
use super::rewritten::{answered, described, enveloped, is_whole};
use super::session::{request, said};
use crate::bridge::discover::Facts;
use crate::bridge::legacy_on_modern::questions::{self, Round};
use crate::bridge::legacy_on_modern::results::{self, Wrapped};
use crate::bridge::legacy_on_modern::{Dress, Retry, Speaker};
use crate::bridge::modern_on_modern::ModernOnModern;
use crate::bridge::ticket::Ticket;
use crate::bridge::{Asked, OfSession};
use crate::link::stream::EventKind;
use crate::protocol::jsonrpc::{self, Envelope, Kind};
use crate::protocol::meta::{Ask, Level};
use crate::protocol::object;
use crate::protocol::revision::Revision;
use crate::protocol::sse::StreamId;

/// Whatever client and child say, in any order and at any time: see `ledger`. Besides, every request that the child gets has one
/// envelope and keeps what the client wrote, every answer is under the client's id and has nothing that only modern results have,
/// no two questions have one id, and every call is answered once.
pub fn legacy_on_modern(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let speaker = speaker(&mut input);
    let router = ModernOnModern::new(sealer(), PATIENCE);
    let mut world = World {
        wire: Wire::new(router, Clients::Modern),
        speaker,
        wrapped: Wrapped::default(),
        works: BTreeMap::new(),
        rounds: Vec::new(),
        over: BTreeSet::new(),
        next_question: 1,
        next: 0,
    };
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        world.play(&mut input);
    }
    let told = {
        let data = serde_json::json!({ "reason": "child_exited" });
        use crate::link::route::Route;
        world.wire.route(|router, _, now, out| router.fail_all("it died", &data, now, out))
    };
    told.iter().for_each(|told| world.tell(told));
    assert!(world.works.is_empty(), "every call that a child had is answered when it has died");
}

/// A client, and what it is told of the server.
fn speaker(input: &mut Input<'_>) -> Speaker {
    let revision = Revision::LEGACY[input.below(4)];
    let known = [
        r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{"listChanged":true},"tasks":{}}"#.to_owned(),
        "{}".to_owned(),
        child::value(input),
    ];
    let (capabilities, info) = (&known[input.below(3)], child::value(input));
    let params = format!(r#"{{"protocolVersion":"{}","capabilities":{capabilities},"clientInfo":{info}}}"#, revision.as_str());
    let speaker = Speaker::read(params.as_bytes());
    assert_eq!(speaker.revision, revision);
    assert!(is_whole(speaker.capabilities()), "capabilities are JSON");
    described(&Facts::of(child::value(input).as_bytes()), revision);
    speaker
}

/// A client's request that is not answered.
#[derive(Clone)]
struct Work {
    text: Vec<u8>,
    envelope: Envelope,
    ask: Ask,
    round: usize,
}

impl Work {
    fn id(&self) -> &[u8] {
        self.envelope.id.expect("a request has one").of(&self.text)
    }
}

/// Questions that the client was asked.
struct Open {
    work: Work,
    number: u64,
    round: Round,
    ids: Vec<u64>,
    answers: Vec<Option<Vec<u8>>>,
}

struct World {
    wire: Wire<ModernOnModern>,
    speaker: Speaker,
    wrapped: Wrapped,
    /// By the stream on which the child's answer comes: the call's number, and the call.
    works: BTreeMap<u64, (u64, Work)>,
    rounds: Vec<Open>,
    /// Calls that are answered.
    over: BTreeSet<u64>,
    next_question: u64,
    next: u64,
}

impl World {
    fn play(&mut self, input: &mut Input<'_>) {
        let told = match input.below(8) {
            0 | 1 => {
                self.begin(input);
                Vec::new()
            }
            2 => self.wire.happen(input),
            3 | 4 => {
                self.answer(input);
                Vec::new()
            }
            _ => self.wire.hear(input),
        };
        told.iter().for_each(|told| self.tell(told));
        let open = self.wire.ledger.open_streams();
        self.works.retain(|stream, _| open.contains(stream)); // their clients have left
    }

    /// A request, of those that sessions do not answer themselves.
    fn begin(&mut self, input: &mut Input<'_>) {
        let text = request(input);
        let Some(envelope) = jsonrpc::read(&text).ok().filter(|envelope| envelope.kind == Kind::Request) else { return };
        let ask = Ask::of(&text, &envelope);
        if matches!(ask, Ask::Discover | Ask::Listen | Ask::Tasks | Ask::Removed) {
            return;
        }
        self.next += 1;
        let number = self.next;
        let level = [None, Some(Level::Info), Some(Level::Debug)][input.below(3)];
        self.ask(number, Work { text, envelope, ask, round: 0 }, level, None);
    }

    /// A request goes to the child, once or once more.
    fn ask(&mut self, number: u64, work: Work, level: Option<Level>, retry: Option<&Retry>) {
        let told = self.speaker.enveloped(&work.text, &work.envelope, work.ask, level, retry);
        enveloped(&work.text, &work.envelope, work.ask, &told, retry);
        let (text, envelope) = (bytes::Bytes::copy_from_slice(&work.text), work.envelope);
        let dress = Dress { speaker: &self.speaker.clone(), envelope: &envelope, retry };
        let is_too_deep = dress.is_too_deep(&text);
        assert_eq!(is_too_deep, jsonrpc::read(&told).is_err());
        if is_too_deep {
            return self.fail(number, &work, "is nested too deep");
        }
        let session = Some(OfSession { number: 1, has_level: true });
        let mut asked = Asked { level, session, dress: Some(dress), ..Asked::read(&text, &envelope, work.ask) };
        if work.ask.may_ask() {
            asked.request.state = retry.and_then(|retry| retry.state.as_deref());
        }
        let ticket = asked.retried_state().map(|state| {
            let state = object::string(state).expect("a string");
            Ticket::open(&SEAL, b"default", &state).expect("a state of ours")
        });
        assert!(ticket.is_none() || retry.is_some(), "only retries have a state");
        if let Some(ticket) = &ticket
            && ticket.digest != asked.digest()
        {
            return self.fail(number, &work, "the state is another call's");
        }
        self.next += 1;
        let stream = self.next;
        self.wire.ledger.owner = stream;
        self.wire.ledger.open(stream, asked.id.1, asked.token.map(|token| token.of(&text)));
        let may_log = self.wire.router.may_log(&asked);
        let state = ticket.as_ref().map(|ticket| &*ticket.rest);
        let line = self.wire.router.request(&asked, StreamId(stream), state, may_log, self.wire.now);
        self.wire.ledger.wrote(&line.joined(&text));
        self.works.insert(stream, (number, work));
    }

    /// What came of a call.
    fn tell(&mut self, (stream, kind, text): &Told) {
        if *kind != EventKind::Answer {
            return;
        }
        let Some((number, work)) = self.works.remove(stream) else { return };
        let Ok(envelope) = jsonrpc::read(text) else { return self.fail(number, &work, "lost") };
        let result = envelope.result.map(|result| result.of(text));
        match result.map_or(results::Kind::Complete, results::kind) {
            results::Kind::Complete => {
                let params = work.envelope.params.map_or(&b"{}"[..], |params| params.of(&work.text));
                let name = object::member(params, "name").filter(|_| work.ask == Ask::CallTool).map(|name| name.value);
                let revision = self.speaker.revision;
                let told = results::answer(text, &envelope, work.ask, name, revision, &mut self.wrapped).joined(text);
                answered(text, work.ask, &told);
                self.end(number, &work, &told);
            }
            results::Kind::Unknown => self.fail(number, &work, "of a type that nobody here knows"),
            results::Kind::InputRequired => match Round::read(result.unwrap_or_default()) {
                Ok(round) if work.ask.may_ask() && work.round < 10 => self.put(number, work, round),
                _ => self.fail(number, &work, "the server asks something"),
            },
        }
    }

    /// The client is asked.
    fn put(&mut self, number: u64, work: Work, round: Round) {
        assert!(round.questions.len() <= 64, "a round is bounded");
        let (declared, revision) = (self.speaker.declared, self.speaker.revision);
        let cannot =
            round.questions.iter().any(|question| !question.subject.is_declared(declared) || question.fault(revision).is_some());
        if cannot {
            return self.fail(number, &work, "the client cannot be asked this");
        }
        let mut ids = Vec::new();
        for question in &round.questions {
            let id = self.next_question;
            self.next_question += 1;
            let line = question.request(id, Some("e"), revision);
            if let Some(envelope) = self.wire.ledger.message(&line) {
                assert!(envelope.kind == Kind::Request && envelope.is_method(&line, question.subject.method()));
                assert_eq!(envelope.id.map(|id| id.of(&line)), Some(id.to_string().as_bytes()));
            }
            ids.push(id);
        }
        let known: BTreeSet<&u64> = self.rounds.iter().flat_map(|open| &open.ids).collect();
        assert!(ids.iter().all(|id| !known.contains(id)), "no two open questions have one id");
        let answers = vec![None; ids.len()];
        let open = Open { work, number, round, ids, answers };
        self.rounds.push(open);
        assert!(self.rounds.len() <= STEPS, "a call has one round at a time");
    }

    /// The client answers a question, or does not in time; the call goes on when all are answered.
    fn answer(&mut self, input: &mut Input<'_>) {
        let at = input.below(self.rounds.len().min(256));
        let Some(open) = self.rounds.get_mut(at) else { return };
        let is_late = input.below(8) == 7;
        let ids: Vec<Vec<u8>> = open.ids.iter().map(|id| id.to_string().into_bytes()).collect();
        let text = said(input, &ids);
        let envelope = jsonrpc::read(&text).ok().filter(|envelope| envelope.kind == Kind::Answer);
        let mut failed = None;
        for ((id, question), slot) in ids.iter().zip(&open.round.questions).zip(&mut open.answers) {
            let is_it =
                envelope.as_ref().is_some_and(|envelope| envelope.id.is_some_and(|given| given.of(&text) == id.as_slice()));
            let answer = match &envelope {
                Some(envelope) if is_it && !is_late => question.response(&text, envelope),
                _ if is_late && slot.is_none() => question.unanswered(),
                _ => continue,
            };
            match answer {
                Ok(answer) => {
                    assert!(is_whole(&answer), "an answer is JSON");
                    let _ = questions::is_accepted(&answer);
                    *slot = Some(answer);
                }
                Err(why) => failed = Some(why),
            }
        }
        if let Some(why) = failed {
            let Open { work, number, .. } = self.rounds.remove(at);
            return self.fail(number, &work, &why);
        }
        if open.answers.iter().all(Option::is_some) {
            let Open { work, number, round, answers, .. } = self.rounds.remove(at);
            let retry = round.retry(&answers.into_iter().flatten().collect::<Vec<_>>());
            assert!(
                retry.responses.as_deref().is_none_or(is_whole) && retry.state.as_deref().is_none_or(is_whole),
                "a retry is JSON"
            );
            let work = Work { round: work.round + 1, ..work };
            self.ask(number, work, None, Some(&retry));
        }
    }

    fn fail(&mut self, number: u64, work: &Work, why: &str) {
        self.end(number, work, &questions::failed(work.ask, work.id(), why));
    }

    /// The answer that the client gets.
    fn end(&mut self, number: u64, work: &Work, answer: &[u8]) {
        assert!(self.over.insert(number), "a call is answered once");
        if let Some(envelope) = self.wire.ledger.message(answer) {
            assert_eq!(envelope.kind, Kind::Answer);
            assert_eq!(envelope.id.map(|id| id.of(answer)), Some(work.id()), "under the client's id");
        }
    }
}
