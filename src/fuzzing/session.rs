//! A legacy client and a child of its own.

use std::time::Duration;

use super::bridges::{STEPS, Wire};
use super::child;
use super::input::Input;
use super::ledger::{Clients, Told};
use super::modern::Call;
use crate::link::cursor::{Cursor, From};
use crate::link::effects::Effects;
use crate::link::route::{Carries, Route};
use crate::protocol::jsonrpc::{self, Kind};
use crate::protocol::sse::StreamId;
use crate::session::router::{Patience, Router};

/// Whatever a client and its child say, in any order and at any time: see `ledger`.
pub fn session(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let seconds = Duration::from_secs;
    let patience = Patience { request: seconds(300), hard: seconds(3600), question: seconds(600), cancelled: seconds(5) };
    let mut world = World { wire: Wire::new(Router::new(patience), Clients::Legacy), reader: None, owner: 0 };
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        world.play(&mut input);
    }
    world.wire.end();
}

struct World {
    wire: Wire<Router>,
    /// Reads the GET stream.
    reader: Option<Cursor>,
    owner: u64,
}

impl World {
    fn play(&mut self, input: &mut Input<'_>) {
        match input.below(8) {
            0 => self.request(input, false),
            1 => self.request(input, true),
            2 => drop(self.wire.happen(input)),
            3 => drop(self.say(input)),
            4 => self.read(),
            _ => drop(self.wire.hear(input)),
        }
        assert_eq!(self.wire.router.calls_in_flight(), self.wire.ledger.waiting(), "who waits is known");
    }

    /// One request, or several that are answered on one stream; on the GET stream, or on one of their own.
    fn request(&mut self, input: &mut Input<'_>, is_batch: bool) {
        let carries = if input.flag() { Carries::Events } else { Carries::AnswerOnly };
        let count = if is_batch { 1 + input.below(4) } else { 1 };
        let texts: Vec<Vec<u8>> = (0..count).map(|_| request(input)).collect();
        let texts: Vec<_> = texts.iter().filter_map(|text| Some((text, jsonrpc::read(text).ok()?))).collect();
        let texts: Vec<_> = texts.into_iter().filter(|(_, envelope)| envelope.kind == Kind::Request).collect();
        if texts.is_empty() {
            return;
        }
        let stream = if input.below(4) == 3 { StreamId::GET } else { self.wire.log.open(b"null", None, self.wire.now).stream };
        for (text, envelope) in texts {
            self.owner += 1;
            self.wire.ledger.owner = self.owner;
            let id = envelope.id.expect("a request has one").of(text);
            self.wire.ledger.open(stream.0, id, envelope.asked_token.map(|token| token.of(text)));
            let line = self.wire.router.request(text, &envelope, stream, carries, is_batch, self.wire.now);
            self.wire.ledger.wrote(&line.joined(text));
        }
    }

    /// A notification or an answer of the client.
    fn say(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        let text = said(input, &self.wire.ledger.question_ids());
        let Ok(envelope) = jsonrpc::read(&text) else { return Vec::new() };
        self.wire.route(|router, _, now, out| match envelope.kind {
            Kind::Notification => out.push(router.notification(&text, &envelope, now)),
            Kind::Answer => out.push(router.answer(&text, &envelope)),
            Kind::Request => {}
        })
    }

    /// The GET stream is opened, or left.
    fn read(&mut self) {
        let now = self.wire.now;
        match self.reader.take() {
            Some(cursor) => self.wire.log.detach(&cursor, now),
            None => self.reader = self.wire.log.attach(StreamId::GET, From::Unread, None, now, &mut Effects::default()).ok(),
        }
    }
}

pub(super) fn request(input: &mut Input<'_>) -> Vec<u8> {
    const METHODS: [&str; 5] = ["tools/call", "initialize", "resources/subscribe", "resources/unsubscribe", "x"];
    match input.below(8) {
        7 => child::raw(input),
        _ => {
            let method = METHODS[input.below(METHODS.len())];
            Call::spelled(input).text_with(input, "", method).into_bytes()
        }
    }
}

/// A notification of a client, or an answer to one of these questions or another.
pub(super) fn said(input: &mut Input<'_>, open: &[Vec<u8>]) -> Vec<u8> {
    const IDS: [&str; 6] = ["1", "2", r#""a""#, r#""\u0061""#, "-9007199254740993", r#""1""#];
    let at = input.below(open.len() + 1);
    let id = open.get(at).map_or_else(|| IDS[at % IDS.len()].to_owned(), |id| String::from_utf8_lossy(id).into_owned());
    let text = match input.below(6) {
        0 | 1 => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#, child::value(input)),
        2 => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":1,"message":"no"}}}}"#),
        3 => {
            let id = IDS[input.below(IDS.len())];
            format!("{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\r\n\"params\":{{\"requestId\":{id}}}}}")
        }
        4 => r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned(),
        _ => return child::raw(input),
    };
    text.into_bytes()
}
