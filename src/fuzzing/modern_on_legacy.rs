//! Modern clients on a legacy child: calls that share it, the one that has the lease, its questions, and retries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::bridges::{PATIENCE, SEAL, STEPS, Wire, sealer};
use super::child;
use super::input::Input;
use super::json;
use super::ledger::{Clients, Told};
use super::modern::{Call, asked};
use crate::bridge::Asked;
use crate::bridge::capabilities::{Capabilities, Declared};
use crate::bridge::discover::Facts;
use crate::bridge::modern_on_legacy::ModernOnLegacy;
use crate::bridge::modern_on_legacy::resend::Step;
use crate::bridge::ticket::{Kind as TicketKind, Ticket};
use crate::budget::Budget;
use crate::link::route::{Place, Route};
use crate::link::stream::EventKind;
use crate::protocol::meta::Ask;
use crate::protocol::object;
use crate::protocol::sse::StreamId;

/// Whatever clients and child say, in any order and at any time: see `ledger`. Besides, a call that may be asked is alone, runs
/// once, and a state is good once; no more questions are open than there is room for; and when the child dies every place is
/// free.
pub fn modern_on_legacy(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let declared = [ALL, "{}"][input.below(2)];
    let mut router =
        ModernOnLegacy::new(&Capabilities::of(declared.as_bytes()), sealer(), PATIENCE, Arc::new(Budget::new(64 << 20)));
    router.learn(Facts::of(br#"{"capabilities":{"tools":{},"logging":{}},"serverInfo":{"name":"x"}}"#).into());
    let mut world = World {
        wire: Wire::new(router, Clients::Modern),
        places: Arc::new(Semaphore::new(PLACES)),
        calls: BTreeMap::new(),
        leases: BTreeSet::new(),
        states: Vec::new(),
        spent: BTreeSet::new(),
        taken: None,
        next: 1,
    };
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        world.play(&mut input);
    }
    world.wire.end();
    assert!(!world.wire.router.is_held(), "nothing is held when its child has died");
    assert_eq!(world.places.available_permits(), PLACES, "every place is free");
}

struct World {
    wire: Wire<ModernOnLegacy>,
    places: Arc<Semaphore>,
    /// Calls by their leases, for retries.
    calls: BTreeMap<u64, Call>,
    leases: BTreeSet<u64>,
    /// States that clients hold, or held: whose, the text, the names of the questions.
    states: Vec<State>,
    /// Leases and rounds that a retry went on with.
    spent: BTreeSet<(u64, u32)>,
    /// Has the lease and is about to be sent.
    taken: Option<(u64, Bytes)>,
    next: u64,
}

#[derive(Clone)]
struct State {
    owner: u64,
    /// JSON.
    state: Vec<u8>,
    keys: Vec<Vec<u8>>,
}

impl World {
    fn play(&mut self, input: &mut Input<'_>) {
        let waiting = self.wire.ledger.waiting();
        let told = match input.below(8) {
            0 | 1 => self.begin(input),
            2 => self.send(input),
            3 => self.retry(input),
            4 => self.wire.happen(input),
            5 => match input.below(4) {
                0 => self.wire.route(|router, _, now, out| router.give_up(now, out)),
                1 => self.own(input),
                _ => self.untake(),
            },
            _ => self.wire.hear(input),
        };
        // Kept logs, questions that are withdrawn or asked (as many as may be open), calls whose time is up, and what the step
        // itself does.
        assert!(told.len() <= 64 + (64 + 16) + waiting + 8, "a step tells no more than was kept: {}", told.len());
        self.learn(told);
        let (open, in_flight) = (self.wire.ledger.open_questions(), self.wire.router.calls_in_flight());
        assert!(open <= 64 + 16, "{open} questions are open");
        assert_eq!(in_flight, self.wire.ledger.waiting(), "who waits is known");
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn place(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(Place::new)
    }

    /// A new call: beside others if nobody can be asked in it, else it takes the lease, if it gets it.
    fn begin(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        let call = Call::spelled(input);
        let is_raw = input.below(8) == 7;
        let text = Bytes::from(if is_raw { child::raw(input) } else { call.text(input, "").into_bytes() });
        let owner = self.number();
        let Some(asked) = asked(&text).filter(|asked| reaches(asked.ask)) else { return Vec::new() };
        let declared = declared(&asked);
        if asked.ask.may_ask() && (declared.any() || asked.level.is_some()) {
            if self.take(owner, &asked) {
                self.taken = Some((owner, text));
                self.calls.extend((!is_raw).then_some((owner, call)));
            }
            return Vec::new();
        }
        if self.wire.router.may_share(asked.ask) {
            self.wire.ledger.owner = owner;
            let stream = self.open(&asked);
            let line = self.wire.router.request(&asked, StreamId(stream), self.wire.now);
            self.wire.ledger.wrote(&line.joined(&text));
        }
        Vec::new()
    }

    fn take(&mut self, owner: u64, asked: &Asked<'_>) -> bool {
        let Some(place) = self.place() else { return false };
        let is_taken = self.wire.router.take_lease(owner, asked, declared(asked), place).is_ok();
        assert!(!is_taken || !self.wire.ledger.has_unanswered(|owner| self.leases.contains(&owner)), "another may be asked");
        assert!(!is_taken || self.taken.is_none(), "a lease is one call's");
        self.leases.extend(is_taken.then_some(owner));
        is_taken
    }

    /// The stream of a request, which is the owner's.
    fn open(&mut self, asked: &Asked<'_>) -> u64 {
        let stream = self.number();
        self.wire.ledger.open(stream, asked.id.1, asked.token.map(|token| token.of(asked.text)));
        stream
    }

    fn send(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        let Some((owner, text)) = self.taken.take() else { return Vec::new() };
        let Some(asked) = asked(&text) else { return Vec::new() };
        if input.flag() {
            self.set_level(&asked);
        }
        self.wire.ledger.owner = owner;
        let stream = self.open(&asked);
        self.wire.route(|router, _, now, out| router.ask(owner, &asked, StreamId(stream), now, out))
    }

    fn untake(&mut self) -> Vec<Told> {
        let Some((owner, _)) = self.taken.take() else { return Vec::new() };
        self.wire.route(|router, _, _, out| router.untake_lease(owner, out))
    }

    fn set_level(&mut self, asked: &Asked<'_>) {
        if let Some(level) = self.wire.router.level_to_set(asked.level) {
            self.own_request("logging/setLevel", &format!(r#"{{"level":"{}"}}"#, level.as_str()));
        }
    }

    fn own(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        self.own_request(["initialize", "tools/list"][input.below(2)], "{}");
        Vec::new()
    }

    fn own_request(&mut self, method: &str, params: &str) {
        let stream = self.number();
        self.wire.ledger.owner = stream;
        let line = self.wire.router.own_request(method, params, StreamId(stream), self.wire.now);
        let id = json::member(&line, "id").expect("an id").to_vec();
        self.wire.ledger.open(stream, &id, None);
        self.wire.ledger.wrote(&line);
    }

    /// A client comes back with a state that it was given, and answers that it makes up.
    fn retry(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        let at = input.below(self.states.len().min(256));
        let Some(state) = self.states.iter().rev().nth(at).cloned() else { return Vec::new() };
        let answers = state.keys.iter().filter_map(|key| {
            let answer = match input.below(8) {
                0 => return None,
                1 => child::value(input),
                choice => ANSWERS[choice % ANSWERS.len()].to_owned(),
            };
            Some(format!("{}:{answer}", String::from_utf8_lossy(key)))
        });
        let answers = answers.collect::<Vec<_>>().join(",");
        let shown = String::from_utf8_lossy(&state.state);
        let more = format!(r#""inputResponses":{{{answers}}},"requestState":{shown},"#);
        let text = Bytes::from(self.calls[&state.owner].text(input, &more).into_bytes());
        let asked = asked(&text).expect("a request like the first one");
        let given = object::string(asked.retried_state().expect("a state")).expect("a string");
        let ticket = Ticket::open(&SEAL, b"default", &given).expect("a state of ours");
        assert_eq!((ticket.lease, ticket.slot, ticket.principal), (state.owner, 4, sealer().principal));
        if ticket.digest != asked.digest() {
            unreachable!("the same call has the same digest");
        }
        match ticket.kind {
            TicketKind::Park => self.resume(&ticket, &asked),
            TicketKind::Resend => self.resend(&ticket, &asked, &text),
            TicketKind::Pass => unreachable!("a legacy child keeps no state"),
        }
    }

    fn resume(&mut self, ticket: &Ticket, asked: &Asked<'_>) -> Vec<Told> {
        let Some(place) = self.place() else { return Vec::new() };
        if self.wire.router.check_retry(ticket.lease, ticket.round, asked).is_err() {
            return Vec::new();
        }
        assert!(self.spent.insert((ticket.lease, ticket.round)), "a lease and a round name one state, which is good once");
        self.wire.ledger.owner = ticket.lease;
        let stream = StreamId(self.open(asked));
        self.wire.route(|router, _, now, out| router.retry(asked, declared(asked), stream, place, now, out))
    }

    fn resend(&mut self, ticket: &Ticket, asked: &Asked<'_>, text: &[u8]) -> Vec<Told> {
        let Ok(step) = self.wire.router.resume_resend(ticket.lease, ticket.round, asked) else { return Vec::new() };
        assert!(self.spent.insert((ticket.lease, ticket.round)), "a lease and a round name one state, which is good once");
        match step {
            Step::Again(answer) => {
                let envelope = self.wire.ledger.message(&answer).expect("a message");
                assert_eq!(envelope.id.map(|id| id.of(&answer)), Some(asked.id.1));
                self.hold(ticket.lease, &answer);
            }
            Step::Send(ids) => {
                let _ = self.wire.router.is_completed(&ids);
                let owner = self.number();
                if self.take(owner, asked) {
                    self.taken = Some((owner, Bytes::copy_from_slice(text)));
                    self.calls.insert(owner, self.calls[&ticket.lease].clone());
                }
            }
            Step::Declined => {}
        }
        Vec::new()
    }

    /// Clients keep the states that they are given.
    fn learn(&mut self, told: Vec<Told>) {
        for (stream, kind, text) in told {
            let owner = self.wire.ledger.owner_of(stream);
            if kind == EventKind::Answer && self.calls.contains_key(&owner) {
                self.hold(owner, &text);
            }
        }
    }

    fn hold(&mut self, owner: u64, answer: &[u8]) {
        let Some(result) = json::member(answer, "result") else { return };
        let (Some(state), Some(asked)) = (json::member(result, "requestState"), json::member(result, "inputRequests")) else {
            return;
        };
        if json::member(result, "resultType") == Some(b"\"input_required\"") {
            let keys = json::members(asked).into_iter().map(|member| member.token.to_vec()).collect();
            self.states.push(State { owner, state: state.to_vec(), keys });
        }
    }
}

/// What `http` does not answer itself, in front of a legacy child.
fn reaches(ask: Ask) -> bool {
    !matches!(ask, Ask::Discover | Ask::Listen | Ask::Tasks | Ask::Removed)
}

fn declared(asked: &Asked<'_>) -> Declared {
    Declared::of(asked.request.capabilities.map_or(&b"{}"[..], |(_, given)| given))
}

const PLACES: usize = 8;
const ALL: &str = r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#;
const ANSWERS: [&str; 4] = [
    r#"{"action":"accept","content":{},"role":"assistant","model":"m","roots":[]}"#,
    r#"{"action":"accept","content":{},"role":"assistant","model":"m","roots":[]}"#,
    r#"{"action":"decline"}"#,
    r#"{"roots":{}}"#,
];
