//! Modern clients on a modern child: calls, retries with the child's state, subscriptions, logs.

use bytes::Bytes;

use super::bridges::{PATIENCE, SEAL, STEPS, Wire, sealer};
use super::child;
use super::input::Input;
use super::json;
use super::ledger::{Clients, Told};
use super::modern::{Call, asked};
use crate::bridge::Asked;
use crate::bridge::modern_on_modern::ModernOnModern;
use crate::bridge::ticket::{Kind as TicketKind, Ticket};
use crate::link::route::Route;
use crate::link::stream::EventKind;
use crate::protocol::jsonrpc;
use crate::protocol::meta::Ask;
use crate::protocol::object;
use crate::protocol::sse::StreamId;

/// Whatever clients and child say, in any order and at any time: see `ledger`. Besides, a child's state comes back to it as it
/// was, in a retry of the same call only, and frames of a subscription go to who asked for it, under its own id.
pub fn modern_on_modern(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let router = ModernOnModern::new(sealer(), PATIENCE);
    let mut world = World { wire: Wire::new(router, Clients::Modern), states: Vec::new(), calls: Vec::new(), next: 0 };
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        world.play(&mut input);
    }
    world.wire.end();
}

struct World {
    wire: Wire<ModernOnModern>,
    calls: Vec<(u64, Call)>,
    /// What clients were given: a call, and the JSON of the state.
    states: Vec<(Call, Vec<u8>)>,
    next: u64,
}

impl World {
    fn play(&mut self, input: &mut Input<'_>) {
        let told = match input.below(8) {
            0 => self.begin(input),
            1 => self.retry(input),
            2 => self.wire.happen(input),
            3 => match input.below(4) {
                0 => self.wire.route(|router, _, _, out| router.end_listens("the gateway stops", out)),
                1 => self.own(input),
                _ => self.listen(input),
            },
            _ => self.wire.hear(input),
        };
        told.iter().for_each(|told| self.learn(told));
        assert_eq!(self.wire.router.calls_in_flight(), self.wire.ledger.waiting(), "who waits is known");
    }

    fn begin(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        let call = Call::spelled(input);
        let text = Bytes::from(if input.below(8) == 7 { child::raw(input) } else { call.text(input, "").into_bytes() });
        if let Some(asked) = asked(&text).filter(|asked| asked.retried_state().is_none()) {
            let (stream, _) = self.send(&asked, None);
            self.calls.push((stream, call));
        }
        Vec::new()
    }

    fn listen(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        let more = r#""notifications":{"toolsListChanged":true},"#;
        let text = Bytes::from(Call::spelled(input).text_with(input, more, "subscriptions/listen").into_bytes());
        self.send(&asked(&text).expect("a request"), None);
        Vec::new()
    }

    fn own(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        let method = ["server/discover", "tools/list"][input.below(2)];
        self.next += 1;
        self.wire.ledger.owner = self.next;
        let line = self.wire.router.own_request(method, "{}", StreamId(self.next), self.wire.now);
        let id = json::member(&line, "id").expect("an id").to_vec();
        self.wire.ledger.open(self.next, &id, None);
        self.wire.ledger.wrote(&line);
        Vec::new()
    }

    /// Sends a request; its stream, and the line that the child gets.
    fn send(&mut self, asked: &Asked<'_>, state: Option<&[u8]>) -> (u64, Vec<u8>) {
        self.next += 1;
        self.wire.ledger.owner = self.next;
        self.wire.ledger.open(self.next, asked.id.1, asked.token.map(|token| token.of(asked.text)));
        let may_log = self.wire.router.may_log(asked);
        let line = self.wire.router.request(asked, StreamId(self.next), state, may_log, self.wire.now).joined(asked.text);
        self.wire.ledger.wrote(&line);
        (self.next, line)
    }

    fn retry(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        let at = input.below(self.states.len().min(256));
        let Some((call, state)) = self.states.iter().rev().nth(at).cloned() else { return Vec::new() };
        let more = format!(r#""inputResponses":{{}},"requestState":{},"#, String::from_utf8_lossy(&state));
        let text = Bytes::from(call.text(input, &more).into_bytes());
        let asked = asked(&text).expect("a request like the first one");
        let given = object::string(asked.retried_state().expect("a state")).expect("a string");
        let ticket = Ticket::open(&SEAL, b"default", &given).expect("a state of ours");
        assert!(ticket.kind == TicketKind::Pass && ticket.digest == asked.digest(), "a state is its call's");
        let (stream, line) = self.send(&asked, Some(&ticket.rest));
        let params = json::member(&line, "params").expect("params");
        assert_eq!(json::member(params, "requestState"), Some(&*ticket.rest), "the child gets its own state");
        self.calls.push((stream, call));
        Vec::new()
    }

    fn learn(&mut self, (stream, kind, text): &Told) {
        let Ok(envelope) = jsonrpc::read(text) else { return };
        if *kind == EventKind::Notification
            && let Some(about) = envelope.about_subscription
        {
            let id = about.of(text);
            assert!(self.wire.ledger.waits(*stream, id), "a frame is under the client's own id: {}", String::from_utf8_lossy(id));
        }
        let Some((_, call)) = self.calls.iter().find(|(own, _)| own == stream) else { return };
        let Some(result) = envelope.result.map(|result| result.of(text)) else { return };
        let asks = matches!(object::member(result, "resultType"), Some(kind) if kind.value == b"\"input_required\"");
        if let Some(state) = json::member(result, "requestState").filter(|_| asks && call.ask().may_ask()) {
            self.states.push((call.clone(), state.to_vec()));
        }
    }
}

impl Call {
    fn ask(&self) -> Ask {
        let text = Bytes::from(self.text(&mut Input::new(b""), "").into_bytes());
        asked(&text).map_or(Ask::Other, |asked| asked.ask)
    }
}
