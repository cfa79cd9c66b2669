//! Everything of one history, and what must hold at its end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::child::Child;
use super::clients::Clients;
use crate::budget::Budget;
use crate::child::line::Line;
use crate::child::outbox::Outbox;
use crate::link::effects::Effects;
use crate::link::log::Log;
use crate::link::route::{Route as _, Routed};
use crate::link::state::State;
use crate::link::stream::EventKind;
use crate::metrics::Metrics;
use crate::protocol::jsonrpc;
use crate::protocol::sse::StreamId;
use crate::session::recall::Recall;
use crate::session::router::{Patience, Router};

const HOUR: Duration = Duration::from_secs(3600);

/// What the gateway has, and between it and the child.
pub(super) struct World {
    pub(super) state: State<Router>,
    pub(super) now: Instant,
    /// Whoever writes, for which generation, and what is left to write.
    writer: Option<(u64, VecDeque<Vec<u8>>)>,
    pub(super) child: Child,
    pub(super) clients: Clients,
    /// Lines that were taken for a child, and those that are counted as lost.
    pub(super) taken: usize,
    lost: usize,
    metrics: Arc<Metrics>,
    respawns: bool,
    /// Another child is being told what the first one was.
    is_greeting: bool,
    children: u64,
    stalled: usize,
    random: u64,
}

/// What happened in all histories together.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) answered: usize,
    pub(super) lost: usize,
    pub(super) resumes: usize,
    pub(super) questions: usize,
    pub(super) refused: usize,
    pub(super) stalled: usize,
    pub(super) children: u64,
}

impl Seen {
    pub(super) fn add(&mut self, world: &World) {
        let calls = &world.clients.calls;
        self.answered += calls.iter().filter(|call| call.is_answered()).count();
        self.lost += calls.iter().filter(|call| !call.is_answered()).count();
        self.resumes += calls.iter().map(|call| call.resumes).sum::<usize>();
        self.questions += world.clients.asked;
        self.refused += world.clients.refused;
        self.stalled += world.stalled;
        self.children += world.children;
    }
}

impl World {
    pub(super) fn new(seed: u64, respawns: bool) -> World {
        let now = Instant::now();
        let (budget, metrics) = (Arc::new(Budget::new(1 << 30)), Arc::new(Metrics::new()));
        let patience = Patience { request: HOUR, hard: HOUR, question: HOUR, cancelled: HOUR };
        let router = if respawns { Router::recalling(patience) } else { Router::new(patience) };
        let log = Log::new(7, 1 << 28, Arc::clone(&budget), Arc::clone(&metrics), now);
        let state = State::new(router, log, Outbox::new(600, budget), 40, Arc::clone(&metrics), now);
        let mut world = World {
            state,
            now,
            writer: None,
            child: Child::default(),
            clients: Clients::default(),
            taken: 0,
            lost: 0,
            metrics,
            respawns,
            is_greeting: false,
            children: 1,
            stalled: 0,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        };
        world.client_listens();
        world.client_asks("initialize");
        world.settle();
        world
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from((self.random >> 11) % bound).expect("a small number")
    }

    pub(super) fn step(&mut self) {
        let later = self.below(50) as u64;
        self.now += Duration::from_millis(later);
        match self.below(100) {
            0..=17 => self.client_asks("tools/call"),
            18..=23 => self.client_tells(),
            24..=43 => self.client_reads(3),
            44..=51 => self.client_leaves(),
            52..=59 => self.client_comes_back(),
            60..=63 => self.client_answers(),
            64..=78 => self.write(),
            79..=97 => self.child_works(),
            98 => self.with(|state, effects, now| state.tick(now, effects)),
            _ if self.below(4) == 0 => self.die(),
            _ => {}
        }
    }

    /// From here on everybody does what is left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..20_000 {
            self.write();
            self.child_works();
            self.client_answers();
            self.client_comes_back();
            self.client_reads(100);
            if self.writer.is_none() && self.child.is_done() && self.clients.are_done() {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.clients);
    }

    /// Does something as a link does it: whoever finds no writer becomes it.
    pub(super) fn with<T>(&mut self, act: impl FnOnce(&mut State<Router>, &mut Effects, Instant) -> T) -> T {
        let mut effects = Effects::default();
        let value = act(&mut self.state, &mut effects, self.now);
        if let Some(generation) = self.state.outbox.begin_write() {
            assert!(self.writer.is_none(), "there are two writers");
            self.writer =
                self.state.outbox.next_batch(generation).map(|batch| (generation, batch.iter().map(Line::rest).collect()));
        }
        effects.run();
        value
    }

    /// The pipe takes some bytes, or none.
    fn write(&mut self) {
        let mut room = self.below(400);
        let Some((generation, mut batch)) = self.writer.take() else { return };
        assert_eq!(generation, self.state.outbox.generation(), "a writer outlived its process");
        self.stalled += usize::from(room < 100);
        while let Some(line) = batch.front_mut() {
            let count = line.len().min(room);
            room -= count;
            self.child.receive(&line[..count]);
            if count < line.len() {
                line.drain(..count);
                break;
            }
            batch.pop_front();
        }
        self.state.outbox.left(generation, batch.iter().map(Vec::len).sum());
        self.writer = match batch.is_empty() {
            true => self.state.outbox.next_batch(generation).map(|batch| (generation, batch.iter().map(Line::rest).collect())),
            false => Some((generation, batch)),
        };
    }

    /// The child does one thing, and what it wrote is routed.
    fn child_works(&mut self) {
        let choice = self.below(9);
        let Some(line) = self.child.work(choice) else { return };
        let envelope = jsonrpc::read(&line).expect("a child writes messages");
        self.with(|state, effects, now| state.child_wrote(&[Some((&line, envelope))], now, effects));
        if std::mem::take(&mut self.is_greeting) {
            let changes = self.recall(Recall::changes);
            self.with(|state, effects, _| {
                state.outbox.release();
                state.router.is_here();
                let event = |text| Routed::Event(StreamId::GET, EventKind::Notification, text);
                state.route(effects, |_, _, out| out.extend(changes.into_iter().map(event)));
            });
        }
    }

    /// The child is gone: with its session, or another follows.
    fn die(&mut self) {
        if self.state.has_ended() {
            return;
        }
        let data = json!({ "reason": "child_exited" });
        self.child.end();
        self.lost += self.writer.take().map_or(0, |(_, batch)| batch.len());
        if !self.respawns {
            return self.with(|state, effects, now| state.end("gone", &data, now, effects));
        }
        self.lost += self.with(|state, effects, _| {
            let lost = state.outbox.renew();
            state.route(effects, |router, _, out| {
                router.leaves();
                router.interrupted("gone", &data, out);
            });
            lost
        });
        self.children += 1;
        self.is_greeting = true;
        self.state.outbox.begin_generation();
        self.state.router.comes();
        self.child.follow();
        let (hello, _) = self.recall(Recall::handshake).expect("the first child was initialised");
        let envelope = jsonrpc::read(&hello).expect("it was read before");
        self.taken += 1;
        self.with(|state, _, now| {
            let line = |router: &mut Router, stream| router.own_request(&hello, &envelope, stream, now);
            state.post_own(now, line).map(drop).expect("the outbox is empty");
        });
    }

    fn recall<T>(&self, about: fn(&Recall) -> T) -> T {
        about(self.state.router.recall.as_ref().expect("another child may come"))
    }

    pub(super) fn check(&self) {
        for call in &self.clients.calls {
            call.check(self.child.wrote(call.number));
        }
        self.clients.get.as_ref().expect("it listens").check_standing();
        let lost = self.lost + usize::try_from(self.metrics.messages_lost.get()).expect("a small number");
        assert_eq!(self.taken, self.child.lines + lost, "what was taken was written, or is counted");
        assert_eq!(self.state.router.calls_in_flight(), 0, "no call is left");
    }
}
