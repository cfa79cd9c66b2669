//! The rest of a script's steps: what a running call tells, clients that go, and clients that come back.

use super::super::resend::Step as Resumed;
use super::ledger::{Got, InChild, KINDS, Ledger, Open, Reply, Seen};
use super::scripts::{Holder, World};
use super::*;

impl World {
    /// The number of the child's next line.
    pub(super) fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn progress(&mut self, pick: usize) {
        let known: Vec<u64> = self.ledger.child.iter().filter(|(_, call)| call.has_token).map(|(number, _)| *number).collect();
        let Some(number) = known.get(pick % known.len().max(1)).copied() else { return };
        let (serial, now) = (self.next(), self.ledger.bench.now);
        let call = self.ledger.child.get_mut(&number).expect("it was sent");
        call.alive = now;
        let (mark, is_answered) = (call.mark, call.is_answered);
        let stream = self.ledger.stream_of(mark).filter(|stream| !is_answered && self.ledger.streams[stream].token.is_some());
        if !is_answered && matches!(self.holder, Holder::Parked(holder, _) if holder == mark) {
            self.kept_progress = Some(serial);
        }
        let note = format!(r#""{{\"mark\":{mark},\"serial\":{serial}}}""#);
        let params = format!(r#"{{"progressToken":{number},"progress":{serial},"message":{note}}}"#);
        let line = format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#);
        let notes = stream.map(|stream| (stream, serial)).into_iter().collect();
        self.hear(&line, &Seen { notes, ..Seen::default() });
    }

    pub(super) fn log(&mut self, word: &str) {
        let serial = self.next();
        let level = Level::parse(format!("\"{word}\"").as_bytes()).expect("a level");
        let wants = self.level.is_some_and(|wanted| wanted <= level);
        let holder = match self.holder {
            Holder::Waits(mark, _) | Holder::Parked(mark, _) => Some(mark),
            _ => None,
        };
        let mut notes = Vec::new();
        match self.holder {
            Holder::Waits(mark, _) if wants => notes.push((self.ledger.stream_of(mark).expect("it waits"), serial)),
            Holder::Parked(mark, _) if wants && self.number(mark).is_some() => self.kept_logs.push((level, serial)),
            _ => {}
        }
        let data = format!(r#""{{\"mark\":{},\"serial\":{serial}}}""#, holder.unwrap_or(0));
        let params = format!(r#"{{"level":"{word}","data":{data}}}"#);
        let line = format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{params}}}"#);
        self.hear(&line, &Seen { notes, ..Seen::default() });
    }

    pub(super) fn leave(&mut self, pick: usize) {
        let open: Vec<u64> = self.ledger.streams.iter().filter(|(_, http)| http.is_open).map(|(stream, _)| *stream).collect();
        let Some(stream) = open.get(pick % open.len().max(1)).copied() else { return };
        let mark = self.ledger.streams[&stream].mark;
        let mut expected = if self.ledger.clients[mark].is_leased {
            self.abandoned(mark)
        } else {
            Seen { cancelled: vec![mark], ..Seen::default() }
        };
        expected.ended = vec![stream];
        if !self.ledger.clients[mark].is_leased {
            self.haunts(mark);
        }
        let routed = self.ledger.bench.leave(stream);
        self.saw(routed, expected);
        self.ledger.clients[mark].has_left = true;
    }

    /// A client comes back to its questions; which of them it answers is in the mask.
    pub(super) fn retry(&mut self, pick: usize, mask: u16, token: bool, level: Option<&'static str>, less: bool) {
        let mut away: Vec<usize> = self.elsewhere.iter().map(|(mark, _)| *mark).collect();
        away.extend(self.parked());
        let Some(mark) = away.get(pick % away.len().max(1)).copied() else { return };
        if Some(mark) != self.parked() {
            return self.retry_elsewhere(mark, mask);
        }
        let shown: Vec<(String, u64)> = self.ledger.clients[mark].shown.clone().into_iter().collect();
        let given: Vec<&(String, u64)> =
            (0..).zip(&shown).filter(|(at, _)| mask >> (at % 16) & 1 == 1).map(|(_, shown)| shown).collect();
        let mut values: Vec<String> =
            given.iter().map(|(key, id)| format!("\"{key}\":{}", self.ledger.value(key, *id))).collect();
        values.push(r#""elicitation-999":7"#.to_owned());
        let mut said = self.coming_back(mark, &format!("{{{}}}", values.join(",")));
        said.token = token.then(|| format!("{}", self.serial));
        said.level = level;
        if less {
            said = said.declaring("{}");
        }
        let stream = self.ledger.open(mark, &said);
        (self.level, self.declared) = (self.ledger.streams[&stream].level, said.declared());
        let mut expected = Seen::default();
        let wants = |level: &Level| self.level.is_some_and(|wanted| wanted <= *level);
        let logs = self.kept_logs.drain(..).filter(|(level, _)| wants(level));
        expected.notes.extend(logs.map(|(_, serial)| (stream, serial)));
        expected.notes.extend(self.kept_progress.take().filter(|_| token).map(|serial| (stream, serial)));
        if let Holder::Stored(_, _, serial) = self.holder {
            expected.answers = vec![(stream, self.ended(mark, serial))];
        } else {
            let given = given.into_iter().filter(|(_, id)| self.ledger.questions[id].is_open);
            let given: Vec<(u64, Reply)> = given.map(|(key, id)| (*id, Reply::Value(self.ledger.value(key, *id)))).collect();
            self.open.retain(|open| !given.iter().any(|(id, _)| id == open));
            self.goes_on(mark, stream, &mut expected);
            expected.replies.extend(given);
        }
        let routed = self.ledger.bench.retry(&said, stream);
        self.saw(routed, expected);
        if let Holder::Waits(_, Some((now, _))) = self.holder {
            assert_eq!(self.ledger.alarm, Some(now + Duration::from_millis(25)));
        }
        self.spent.push(said);
    }

    /// The holder's client waits again, for the rest of its questions or for the call; or it can no longer be asked the rest.
    fn goes_on(&mut self, mark: usize, stream: u64, expected: &mut Seen) {
        let (now, parked) = (self.ledger.bench.now, self.holder.clone());
        let undeclared = self.open.iter().position(|id| !self.may_be_asked(self.ledger.questions[id].kind));
        if let Some(at) = undeclared {
            let id = self.open.remove(at);
            let is_sent = self.number(mark).is_some();
            *expected = Seen { notes: std::mem::take(&mut expected.notes), ..self.abandoned(mark) };
            if !is_sent {
                expected.cancelled.clear();
                self.holder = Holder::Nobody;
            }
            let code = if self.ledger.questions[&id].kind < 2 { -32602 } else { -32601 };
            expected.replies.push((id, Reply::Refused(code)));
            return expected.answers.push((stream, Got::Error(-32021)));
        }
        self.holder = Holder::Waits(mark, (!self.open.is_empty()).then_some((now, now)));
        match (self.number(mark), parked) {
            (Some(number), Holder::Parked(_, since)) => {
                let call = self.ledger.child.get_mut(&number).expect("it works");
                call.alive = now;
                call.began += now - since; // the user's time is not the child's
            }
            _ => expected.sent = vec![mark],
        }
    }

    /// Of each place that the client was sent to: nothing, twice as often yes, or no.
    fn retry_elsewhere(&mut self, mark: usize, mask: u16) {
        let keys: Vec<String> = self.ledger.clients[mark].shown.keys().cloned().collect();
        let actions = || (0..).zip(&keys).map(|(at, key)| (key, mask >> (2 * at) & 3));
        let word = |action| if action == 3 { "decline" } else { "accept" };
        let given = actions().filter(|(_, action)| *action > 0);
        let given: Vec<String> = given.map(|(key, action)| format!(r#""{key}":{{"action":"{}"}}"#, word(action))).collect();
        let said = self.coming_back(mark, &format!("{{{}}}", given.join(",")));
        let ticket = self.ledger.bench.ticket(said.state.as_deref().expect("a state"));
        let text = said.text();
        let resumed = self.ledger.bench.router.resume_resend(ticket.lease, ticket.round, &asked(&text)).expect("a good retry");
        let missing = actions().filter(|(_, action)| *action == 0).count();
        match resumed {
            Resumed::Declined => {
                assert!(actions().any(|(_, action)| action == 3));
                self.ledger.clients[mark].has_left = true;
            }
            Resumed::Again(answer) => {
                assert!(missing > 0 && actions().all(|(_, action)| action < 3));
                let stream = self.ledger.open(mark, &said);
                let routed = vec![Routed::Event(StreamId(stream), EventKind::Answer, answer)];
                self.saw(routed, Seen { answers: vec![(stream, Got::Elsewhere(missing))], ..Seen::default() });
                return self.spent.push(said);
            }
            Resumed::Send(ids) => {
                assert!(missing == 0 && actions().all(|(_, action)| action < 3));
                assert_eq!(ids, ["a", "b"]);
                let client = &mut self.ledger.clients[mark];
                client.may_write += 1;
                client.shown.clear();
                client.lease += 10_000;
                self.again.push(mark);
            }
        }
        self.elsewhere.retain(|(other, _)| *other != mark);
        self.spent.push(said);
    }

    /// A retry that is refused leaves the state as good as it was.
    pub(super) fn bad_retry(&mut self, pick: usize, how: u8) {
        let Some(mark) = self.parked() else { return };
        let good = self.coming_back(mark, "{}");
        let (bench, anonymous) = (&self.ledger.bench, Principal::Anonymous);
        let unknown = Err(NotResumed::Unknown);
        match how {
            0 => {
                let shown: Vec<&String> = self.ledger.clients[mark].shown.keys().collect();
                let bad = Said { responses: Some(format!(r#"{{"{}":1}}"#, shown[pick % shown.len()])), ..good.clone() };
                let is_open = self.open.contains(&self.ledger.clients[mark].shown[shown[pick % shown.len()]]);
                let checked = bench.check(&anonymous, &bad);
                assert_eq!(matches!(checked, Err(NotResumed::BadAnswer(_))), is_open, "{checked:?}");
            }
            1 => {
                let bad = Said { responses: Some("[]".to_owned()), ..good.clone() };
                assert!(matches!(bench.check(&anonymous, &bad), Err(NotResumed::BadAnswer(_))));
            }
            2 => assert_eq!(bench.check(&anonymous, &good.clone().with_arguments(r#"{"mark":0.0}"#)), unknown),
            3 => {
                assert_eq!(bench.check(&anonymous, &Said { name: "other", ..good.clone() }), unknown);
                assert_eq!(bench.check(&anonymous, &Said { method: "prompts/get", ..good.clone() }), unknown);
            }
            4 => assert_eq!(bench.check(&Principal::named("other"), &good), unknown),
            _ => {
                let mut state = good.state.clone().expect("a state");
                let at = pick % state.len();
                let other = if &state[at..=at] == "A" { "B" } else { "A" };
                state.replace_range(at..=at, other);
                assert_eq!(bench.check(&anonymous, &Said { state: Some(state), ..good.clone() }), unknown);
            }
        }
        assert!(bench.check(&anonymous, &good).is_ok());
    }

    pub(super) fn coming_back(&mut self, mark: usize, responses: &str) -> Said {
        let id = format!("\"r{}\"", self.ledger.streams.len());
        let client = &self.ledger.clients[mark];
        client.said.again(&id, client.state.as_deref().expect("it was asked"), responses)
    }

    pub(super) fn parked(&self) -> Option<usize> {
        match self.holder {
            Holder::Parked(mark, _) | Holder::Stored(mark, ..) => Some(mark),
            _ => None,
        }
    }

    /// What comes of a call whose client did not come back.
    pub(super) fn given_up(&mut self) -> Seen {
        let Some(mark) = self.parked() else { return Seen::default() };
        let spent = self.coming_back(mark, "{}");
        self.spent.push(spent);
        self.ledger.clients[mark].has_left = true;
        let mut expected = Seen::default();
        for id in std::mem::take(&mut self.open) {
            expected.replies.push((
                id,
                match self.ledger.questions[&id].kind {
                    0 | 1 => Reply::Value(r#"{"action":"cancel"}"#.to_owned()),
                    2 => Reply::Refused(-1),
                    _ => Reply::Refused(-32603),
                },
            ));
        }
        let since = self.ledger.bench.now;
        self.holder = match (&self.holder, self.number(mark)) {
            (Holder::Parked(..), Some(_)) => {
                expected.cancelled = vec![mark];
                Holder::Draining { since, has_place: false, is_retired: false }
            }
            _ => Holder::Nobody,
        };
        expected
    }

    pub(super) fn give_up(&mut self) {
        let routed = self.ledger.bench.give_up();
        let expected = self.given_up();
        self.saw(routed, expected);
    }

    pub(super) fn lose_line(&mut self) {
        let open = self.ledger.streams.iter().filter(|(_, http)| http.is_open).map(|(stream, http)| (*stream, http.mark));
        let open: Vec<(u64, usize)> = open.collect();
        let unheard = |call: &&InChild| {
            !call.is_answered && self.ledger.clients[call.mark].is_leased && !open.iter().any(|(_, mark)| *mark == call.mark)
        };
        let is_alone = self.ledger.child.values().find(unheard).is_none();
        let mut expected = Seen::default();
        if let ([(stream, mark)], true) = (&open[..], is_alone) {
            if self.ledger.clients[*mark].is_leased {
                expected = self.abandoned(*mark);
            } else {
                self.haunts(*mark);
            }
            expected.answers = vec![(*stream, Got::Error(-32603))];
        }
        let routed = self.ledger.bench.lose_line();
        self.saw(routed, expected);
    }

    pub(super) fn die(&mut self) {
        let open = self.ledger.streams.iter().filter(|(_, http)| http.is_open);
        let answers = open.map(|(stream, _)| (*stream, Got::Error(-32603))).collect();
        let away: Vec<usize> = self.parked().into_iter().chain(self.elsewhere.drain(..).map(|(mark, _)| mark)).collect();
        let buried = away.iter().map(|mark| (self.ledger.clients[*mark].lease, self.ledger.clients[*mark].round)).collect();
        let routed = self.ledger.bench.die();
        self.saw(routed, Seen { answers, buried, ..Seen::default() });
        for mark in away {
            let spent = self.coming_back(mark, "{}");
            self.spent.push(spent);
            self.ledger.clients[mark].has_left = true;
        }
        let taken = if let Holder::Taken(mark) = self.holder { Some(mark) } else { None };
        for mark in self.again.drain(..).chain(taken) {
            self.ledger.clients[mark].has_left = true; // it goes to another child
        }
        self.holder = Holder::Nobody;
        // It takes its open calls and questions with it.
        self.ledger.child.values_mut().for_each(|call| call.is_answered = true);
        self.ledger.questions.values_mut().for_each(|question| question.is_open = false);
    }
}

impl Ledger {
    /// The child asks something of that kind, which says which question it is.
    pub(super) fn question(&mut self, kind: usize) -> (String, u64) {
        let id = 1 + self.questions.len() as u64;
        let (method, params) = match kind {
            0 => ("elicitation/create", format!(r#"{{"message":"{id}","requestedSchema":{{}}}}"#)),
            1 => ("elicitation/create", format!(r#"{{"mode":"url","message":"{id}","url":"u","elicitationId":"{id}"}}"#)),
            2 => ("sampling/createMessage", format!(r#"{{"messages":[],"maxTokens":1,"systemPrompt":"{id}"}}"#)),
            _ => ("roots/list", "{}".to_owned()),
        };
        self.questions.insert(id, Open { kind, is_open: true, at: self.bench.now });
        (format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#), id)
    }

    /// What a client answers, which says under which key.
    pub(super) fn value(&self, key: &str, id: u64) -> String {
        match KINDS[self.questions[&id].kind] {
            "elicitation" => format!(r#"{{"action":"accept","content":{{"key":"{key}"}}}}"#),
            "sampling" => format!(r#"{{"role":"assistant","content":{{"key":"{key}"}},"model":"m"}}"#),
            _ => format!(r#"{{"roots":[{{"uri":"file:///{key}"}}]}}"#),
        }
    }

    pub(super) fn assert_refused(&mut self, said: &Said) {
        let ticket = self.bench.ticket(said.state.as_deref().expect("a state"));
        let text = said.text();
        if ticket.kind == TicketKind::Resend {
            assert_eq!(self.bench.router.resume_resend(ticket.lease, ticket.round, &asked(&text)), Err(NotResumed::Unknown));
        } else {
            assert_eq!(self.bench.check(&Principal::Anonymous, said), Err(NotResumed::Unknown));
        }
    }
}
