//! Random scripts of many clients and their child, against a small model: which number stands for which request, who has the
//! logs, and how far each subscription is.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// A request: its id and token of few, whether it wants logs, and whether it is a subscription.
    Send(u8, Option<u8>, bool, bool),
    /// The child answers one: a result, an error, or a demand for input with a state.
    Answer(usize, u8),
    Progress(usize),
    Log,
    Acknowledge(usize),
    Frame(usize),
    /// The child ends a subscription, or tries to cancel a call.
    Cancel(usize),
    Leave(usize),
    LoseLine,
    Stop,
    Wait(u64),
}

/// A request that is in flight.
#[derive(Clone)]
struct Open {
    stream: u64,
    id: String,
    token: Option<String>,
    is_listen: bool,
    /// Frames that came before the acknowledgement, until it came.
    early: Option<Vec<String>>,
    began: Instant,
    alive: Instant,
}

struct World {
    bench: Bench,
    open: BTreeMap<u64, Open>,
    /// Requests that are over: nothing may come of them.
    over: Vec<u64>,
    logger: Option<u64>,
    /// Those that had the logs and were given up, with the time.
    fading: Vec<(u64, Instant)>,
    streams: u64,
    written: Vec<u64>,
}

impl World {
    fn new() -> World {
        World {
            bench: Bench::new(),
            open: BTreeMap::new(),
            over: Vec::new(),
            logger: None,
            fading: Vec::new(),
            streams: 0,
            written: Vec::new(),
        }
    }

    /// One of those in flight, or of those that are over.
    fn pick(&self, pick: usize) -> Option<u64> {
        let known: Vec<u64> = self.open.keys().chain(&self.over).copied().collect();
        known.get(pick % known.len().max(1)).copied()
    }

    fn finish(&mut self, number: u64) -> Open {
        self.over.push(number);
        self.logger.take_if(|logger| *logger == number);
        self.open.remove(&number).expect("it is in flight")
    }

    /// Nobody waits for it any more; it may go on in the child.
    fn abandon(&mut self, number: u64) -> Open {
        if self.logger == Some(number) {
            self.fading.push((number, self.bench.now));
        }
        self.finish(number)
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Send(id, token, logs, listens) => self.send(id, token, logs, listens),
            Step::Answer(pick, how) => self.answer(pick, how),
            Step::Progress(pick) => {
                let Some(number) = self.pick(pick) else { return };
                let mut expected = vec![Routed::Dropped("progress_without_call")];
                if let Some(open) = self.open.get_mut(&number) {
                    open.alive = self.bench.now;
                    if let Some(token) = &open.token {
                        expected = vec![note(open.stream, &progress(token))];
                    }
                }
                same(&self.bench.hear(&progress(&number.to_string())), &expected);
            }
            Step::Log => {
                let fades = |(_, since): &(u64, Instant)| self.bench.now - *since < Duration::from_secs(1);
                let expected = match self.logger {
                    Some(_) if self.fading.iter().any(fades) => Routed::Dropped("log_after_cancel"),
                    Some(number) => note(self.open[&number].stream, LOG),
                    None => Routed::Dropped("log_for_nobody"),
                };
                same(&self.bench.hear(LOG), &[expected]);
            }
            Step::Acknowledge(pick) => self.frame(pick, "subscriptions/acknowledged"),
            Step::Frame(pick) => self.frame(pick, "prompts/list_changed"),
            Step::Cancel(pick) => {
                let Some(number) = self.pick(pick) else { return };
                let line = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{number}}}}}"#);
                let expected = if self.open.get(&number).is_some_and(|open| open.is_listen) {
                    let open = self.finish(number);
                    answer(open.stream, &graceful(&open.id))
                } else {
                    Routed::Dropped("cancel_without_call")
                };
                same(&self.bench.hear(&line), &[expected]);
            }
            Step::Leave(pick) => {
                let Some(number) = self.pick(pick).filter(|number| self.open.contains_key(number)) else { return };
                let open = self.abandon(number);
                let routed = self.bench.leave(open.stream);
                self.count(&routed);
                same(&routed, &[end(open.stream), cancelled(number, "the client closed the stream")]);
            }
            Step::LoseLine => {
                let calls: Vec<u64> = self.open.iter().filter(|(_, open)| !open.is_listen).map(|(number, _)| *number).collect();
                let mut expected = Vec::new();
                if let [only] = calls[..] {
                    let open = self.abandon(only);
                    expected.push(answer(open.stream, &error(&open.id, -32603, "too long", "")));
                }
                same(&self.bench.lose_line(), &expected);
            }
            Step::Stop => {
                let listens: Vec<u64> = self.open.iter().filter(|(_, open)| open.is_listen).map(|(number, _)| *number).collect();
                let mut expected = Vec::new();
                for number in listens {
                    let open = self.finish(number);
                    expected.push(answer(open.stream, &graceful(&open.id)));
                    expected.push(cancelled(number, "the gateway stops"));
                }
                let routed = self.bench.stop();
                self.count(&routed);
                same_set(&routed, &expected);
            }
            Step::Wait(time) => self.wait(Duration::from_millis(time)),
        }
        assert_eq!(self.bench.router.calls_in_flight(), self.open.len());
        assert_eq!(self.bench.router.has_logger(), self.logger.is_some());
    }

    fn send(&mut self, id: u8, token: Option<u8>, logs: bool, listens: bool) {
        let word = |of: u8| if of.is_multiple_of(2) { (of % 3).to_string() } else { format!("\"{}\"", of % 3) };
        let (id, token) = (word(id), token.map(word));
        let base = if listens { listen(&id) } else { call(&id) };
        let said = Said { token: token.as_deref(), level: logs.then_some("info"), ..base };
        self.streams += 1;
        let number = self.over.len() as u64 + self.open.len() as u64 + 1;
        let line = self.bench.line(&said, self.streams);
        let keeps = logs && (listens || self.logger.is_none());
        let private = number.to_string();
        let token_sent = token.as_ref().map(|_| private.as_str());
        let sent = Said { id: &private, token: token_sent, level: keeps.then_some("info"), ..said };
        assert_eq!(line, sent.text());
        if keeps && !listens {
            self.logger = Some(number);
        }
        let (stream, now) = (self.streams, self.bench.now);
        let early = listens.then(Vec::new);
        let open = Open { stream, id: id.clone(), token: token.clone(), is_listen: listens, early, began: now, alive: now };
        assert!(self.open.insert(number, open).is_none());
    }

    fn answer(&mut self, pick: usize, how: u8) {
        let Some(number) = self.pick(pick) else { return };
        let line = |id: &str| match how {
            0 => result(id),
            1 => error(id, -32050, "no", ""),
            _ => format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"input_required","requestState":"mine {number}"}}}}"#
            ),
        };
        let routed = self.bench.hear(&line(&number.to_string()));
        if !self.open.contains_key(&number) {
            self.fading.retain(|(fading, _)| *fading != number);
            return same(&routed, &[Routed::Dropped("answer_without_call")]);
        }
        let open = self.finish(number);
        let mut expected = Vec::new();
        if open.early.is_some() && how != 1 {
            expected.push(Routed::Dropped("listen_not_acknowledged"));
        }
        if how < 2 || open.is_listen {
            expected.push(answer(open.stream, &line(&open.id)));
            return same(&routed, &expected);
        }
        let [Routed::Event(stream, EventKind::Answer, text)] = &routed[..] else { panic!("{:?}", shown(&routed)) };
        assert_eq!(stream.0, open.stream);
        let json: serde_json::Value = serde_json::from_slice(text).expect("JSON");
        assert_eq!(json["id"].to_string(), open.id);
        let state = json["result"]["requestState"].as_str().expect("a state");
        let ticket = self.bench.open(&Principal::Anonymous, &call("1"), state).expect("a state of this call");
        assert_eq!(ticket.rest, format!("\"mine {number}\"").into_bytes());
        assert!(self.bench.open(&Principal::named("other"), &call("1"), state).is_none());
    }

    fn frame(&mut self, pick: usize, method: &str) {
        let Some(number) = self.pick(pick) else { return };
        let line = frame(method, &number.to_string());
        let notice = (method == "prompts/list_changed").then(|| Routed::Notice(Notice::Changed(line.clone().into_bytes())));
        let mut expected = Vec::new();
        match self.open.get_mut(&number) {
            Some(open) if open.is_listen => {
                let own = frame(method, &open.id);
                match open.early.take() {
                    Some(early) if method == "subscriptions/acknowledged" => {
                        expected.push(note(open.stream, &own));
                        expected.extend(early.iter().map(|line| note(open.stream, line)));
                    }
                    Some(mut early) => {
                        early.push(own);
                        open.early = Some(early);
                    }
                    None => expected.push(note(open.stream, &own)),
                }
                expected.extend(notice);
            }
            _ => expected.push(Routed::Dropped("frame_without_listen")),
        }
        same(&self.bench.hear(&line), &expected);
    }

    fn wait(&mut self, time: Duration) {
        let routed = self.bench.after(time);
        self.count(&routed);
        let (now, mut expected) = (self.bench.now, Vec::new());
        let is_late = |open: &Open| match (open.is_listen, &open.early) {
            (true, Some(_)) => now - open.began >= Duration::from_secs(5),
            (true, None) => false,
            _ => now - open.alive >= PATIENCE.request || now - open.began >= PATIENCE.hard,
        };
        let late: Vec<u64> = self.open.iter().filter(|(_, open)| is_late(open)).map(|(number, _)| *number).collect();
        for number in late {
            let open = self.abandon(number);
            let text = if open.is_listen { "the server did not acknowledge within 5 s" } else { jsonrpc::LATE };
            expected.push(Routed::Expired(if open.is_listen { "acknowledge" } else { "request" }));
            expected.push(answer(open.stream, &error(&open.id, -32603, text, "")));
            expected.push(cancelled(number, "timed out"));
        }
        same_set(&routed, &expected);
    }

    /// Nothing is cancelled twice.
    fn count(&mut self, routed: &[Routed]) {
        for routed in routed {
            if let Routed::ToChild(line) = routed {
                let line: serde_json::Value = serde_json::from_slice(line).expect("JSON");
                let number = line["params"]["requestId"].as_u64().expect("a private number");
                assert!(!self.written.contains(&number));
                self.written.push(number);
            }
        }
    }

    fn die(&mut self) {
        let open = std::mem::take(&mut self.open).into_values();
        let lost = |id: &str| error(id, -32603, "it died", r#"{"reason":"child_exited"}"#);
        let expected: Vec<Routed> =
            open.map(|open| if open.is_listen { end(open.stream) } else { answer(open.stream, &lost(&open.id)) }).collect();
        same_set(&self.bench.die(), &expected);
        assert_eq!((self.bench.router.calls_in_flight(), self.bench.router.has_logger()), (0, false));
    }
}

/// The same in any order.
#[track_caller]
fn same_set(given: &[Routed], expected: &[Routed]) {
    let sorted = |routed| {
        let mut shown = shown(routed);
        shown.sort_unstable();
        shown
    };
    assert_eq!(sorted(given), sorted(expected));
}

fn graceful(id: &str) -> String {
    let meta = format!(r#"{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","_meta":{meta}}}}}"#)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_is_lost_invented_or_done_twice(
        steps in prop::collection::vec(prop_oneof![
            8 => any::<(u8, Option<u8>, bool, bool)>().prop_map(|(id, token, logs, listens)| Step::Send(id, token, logs, listens)),
            5 => (any::<usize>(), 0..3_u8).prop_map(|(pick, how)| Step::Answer(pick, how)),
            4 => any::<usize>().prop_map(Step::Progress),
            4 => Just(Step::Log),
            4 => any::<usize>().prop_map(Step::Acknowledge),
            4 => any::<usize>().prop_map(Step::Frame),
            2 => any::<usize>().prop_map(Step::Cancel),
            3 => any::<usize>().prop_map(Step::Leave),
            1 => Just(Step::LoseLine),
            1 => Just(Step::Stop),
            3 => prop::sample::select(vec![1, 999, 1_000, 4_999, 5_000, 150_000, 300_000]).prop_map(Step::Wait),
        ], 0..120),
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.play(step));
        world.die();
    }
}
