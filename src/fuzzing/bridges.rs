//! A router between clients and a child that the bytes of a run speak for, with its clock.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::Instant;

use super::child;
use super::input::Input;
use super::ledger::{Clients, Ledger, Told};
use crate::bridge::Patience;
use crate::bridge::ticket::Sealer;
use crate::budget::Budget;
use crate::link::effects::Effects;
use crate::link::log::{Kept, Log};
use crate::link::route::{Route, Routed};
use crate::link::stream::EventKind;
use crate::metrics::Metrics;
use crate::principal::Principal;
use crate::protocol::jsonrpc;
use crate::protocol::sse::StreamId;
use crate::seal::Seal;

pub(super) const PATIENCE: Patience = Patience {
    request: Duration::from_secs(300),
    hard: Duration::from_secs(3600),
    park: Duration::from_secs(600),
    grace: Duration::from_secs(30),
};

/// Steps of one run; a longer input has no longer story.
pub(super) const STEPS: usize = 200;

pub(super) struct Wire<R> {
    pub(super) router: R,
    pub(super) ledger: Ledger,
    pub(super) log: Log,
    pub(super) now: Instant,
}

impl<R: Route> Wire<R> {
    pub(super) fn new(router: R, clients: Clients) -> Wire<R> {
        let now = Instant::now();
        let budget = Arc::new(Budget::new(1 << 30));
        let log = match clients {
            Clients::Modern => Log::shared(1 << 20, budget, Arc::clone(&METRICS), now),
            Clients::Legacy => Log::new(1, 1 << 14, budget, Arc::clone(&METRICS), now),
        };
        Wire { router, ledger: Ledger::new(clients), log, now }
    }

    pub(super) fn route(&mut self, act: impl FnOnce(&mut R, &Log, Instant, &mut Vec<Routed>)) -> Vec<Told> {
        let mut out = Vec::new();
        act(&mut self.router, &self.log, self.now, &mut out);
        let told = self.ledger.saw(out);
        for (stream, kind, text) in &told {
            self.keep(StreamId(*stream), *kind, text);
        }
        told
    }

    /// What comes to a client goes into the log; a question that finds no room there is answered by the router.
    fn keep(&mut self, stream: StreamId, kind: EventKind, text: &[u8]) {
        let kept = self.log.append(stream, kind, text.to_vec().into(), &mut Effects::default());
        if kept == Kept::No && kind == EventKind::Question {
            self.router.unasked(text).into_iter().for_each(|line| self.ledger.wrote(&line));
        }
    }

    /// The child writes something, which is passed on if it is a message.
    pub(super) fn hear(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        let text = child::message(input, &self.ledger.numbers());
        // The framer has cut it at its LF; a CR may be in it.
        let text: Vec<u8> = text.into_iter().map(|byte| if byte == b'\n' { b' ' } else { byte }).collect();
        let Ok(envelope) = jsonrpc::read(&text) else { return Vec::new() };
        self.ledger.heard(&text, &envelope);
        self.route(|router, log, now, out| router.line(&text, &envelope, log, now, out))
    }

    /// What may happen to any router besides messages.
    pub(super) fn happen(&mut self, input: &mut Input<'_>) -> Vec<Told> {
        match input.below(4) {
            0 => self.route(|router, _, now, out| router.line_lost("too long", now, out)),
            1 => {
                let Some(stream) = input.pick(&self.ledger.open_streams()) else { return Vec::new() };
                self.route(|router, _, now, out| router.left(StreamId(stream), now, out))
            }
            _ => {
                let times = [1, 25, 150, 1_000, 5_000, 31_000, 299_000, 300_000, 600_000, 3_600_000];
                self.now += Duration::from_millis(times[input.below(times.len())]);
                self.route(|router, _, now, out| router.tick(now, out))
            }
        }
    }

    /// The child dies: nothing is left.
    pub(super) fn end(&mut self) {
        let data = serde_json::json!({ "reason": "child_exited" });
        self.route(|router, _, now, out| router.fail_all("it died", &data, now, out));
        assert_eq!((self.router.calls_in_flight(), self.ledger.waiting()), (0, 0), "every call has its answer");
    }
}

/// A sealer of one child's tickets.
pub(super) fn sealer() -> Sealer {
    Sealer { seal: Arc::clone(&SEAL), context: "default", slot: 4, principal: Principal::Anonymous.tag() }
}

pub(super) static SEAL: LazyLock<Arc<Seal>> = LazyLock::new(|| Arc::new(Seal::random(None).expect("random bytes")));
static METRICS: LazyLock<Arc<Metrics>> = LazyLock::new(|| Arc::new(Metrics::new()));
