//! Legacy clients that share a legacy child.

use std::collections::BTreeMap;
use std::time::Duration;

use super::bridges::{PATIENCE, STEPS, Wire};
use super::input::Input;
use super::ledger::{Clients, Told};
use super::session::{request, said};
use crate::bridge::capabilities::Declared;
use crate::bridge::legacy_on_legacy::{LegacyOnLegacy, Sitter};
use crate::link::route::{Carries, Route};
use crate::protocol::jsonrpc::{self, Kind};
use crate::protocol::meta::Level;
use crate::protocol::splice::splice;
use crate::protocol::sse::StreamId;

/// Whatever the sessions and the child say, in any order and at any time: see `ledger`. Besides, nobody sits there when the child
/// has died.
pub fn legacy_on_legacy(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let router = LegacyOnLegacy::new(PATIENCE, Duration::from_secs(600));
    let mut world = World { wire: Wire::new(router, Clients::Legacy), seats: BTreeMap::new(), owner: 0 };
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        world.play(&mut input);
    }
    world.wire.end();
    assert!(!world.wire.router.is_held(), "nobody is left");
}

struct World {
    wire: Wire<LegacyOnLegacy>,
    /// The sessions, and where each hears of what is about no call.
    seats: BTreeMap<u64, (Sitter, StreamId)>,
    owner: u64,
}

impl World {
    fn play(&mut self, input: &mut Input<'_>) {
        match input.below(8) {
            0 => drop(self.sit(input)),
            1 | 2 => self.request(input),
            3 => drop(self.wire.happen(input)),
            4 => drop(self.say(input)),
            5 => drop(self.change(input)),
            _ => drop(self.wire.hear(input)),
        }
        assert_eq!(self.wire.router.calls_in_flight(), self.wire.ledger.waiting(), "who waits is known");
    }

    fn stream(&mut self) -> StreamId {
        self.wire.log.open(b"null", None, self.wire.now).stream
    }

    fn sit(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        self.owner += 1;
        let declared = [r#"{"roots":{},"elicitation":{},"sampling":{}}"#, "{}"][input.below(2)];
        let uris = if input.flag() { vec!["u".to_owned(), "file:///a".to_owned()] } else { Vec::new() };
        let level = input.flag().then_some(Level::Info);
        let sitter = Sitter { number: self.owner, declared: Declared::of(declared.as_bytes()), level, uris };
        let stream = self.stream();
        let told = self.wire.route(|router, _, _, out| router.sit(&sitter, stream, out));
        self.seats.insert(self.owner, (sitter, stream));
        told
    }

    fn chosen(&self, input: &mut Input<'_>) -> Option<(Sitter, StreamId)> {
        let numbers: Vec<u64> = self.seats.keys().copied().collect();
        self.seats.get(&input.pick(&numbers)?).cloned()
    }

    fn request(&mut self, input: &mut Input<'_>) {
        self.owner += 1;
        self.wire.ledger.owner = self.owner;
        let Some((sitter, _)) = self.chosen(input) else {
            let stream = self.stream();
            let line = self.wire.router.own_request("initialize", "{}", stream, self.wire.now);
            let id = super::json::member(&line, "id").expect("an id").to_vec();
            self.wire.ledger.open(stream.0, &id, None);
            return self.wire.ledger.wrote(&line);
        };
        let text = request(input);
        let Some(envelope) = jsonrpc::read(&text).ok().filter(|envelope| envelope.kind == Kind::Request) else { return };
        let stream = self.stream();
        let carries = if input.flag() { Carries::Events } else { Carries::AnswerOnly };
        let id = envelope.id.expect("a request has one").of(&text);
        self.wire.ledger.open(stream.0, id, envelope.asked_token.map(|token| token.of(&text)));
        let line = self.wire.router.request(&sitter, &text, &envelope, stream, carries, self.wire.now);
        self.wire.ledger.wrote(&line.joined(&text));
    }

    fn say(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        let text = said(input, &self.wire.ledger.question_ids());
        let Ok(envelope) = jsonrpc::read(&text) else { return Vec::new() };
        let Some(id) = envelope.id.filter(|_| envelope.kind == Kind::Answer) else { return Vec::new() };
        let line = splice(&text, &mut [], b"\n");
        self.wire.route(|router, _, _, out| out.push(router.answer(id.of(&text), line)))
    }

    /// A session goes, or wants another level.
    fn change(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        let Some((sitter, standing)) = self.chosen(input) else { return Vec::new() };
        assert!(self.wire.router.has_seat(sitter.number));
        let _ = self.wire.router.is_wanted_by_others(sitter.number, "u");
        if input.flag() {
            let level = [Level::Debug, Level::Error][input.below(2)];
            return self.wire.route(|router, _, _, out| router.set_level(sitter.number, level, out));
        }
        self.seats.remove(&sitter.number);
        let told = self.wire.route(|router, _, now, out| router.left(standing, now, out));
        assert!(!self.wire.router.has_seat(sitter.number));
        told
    }
}
