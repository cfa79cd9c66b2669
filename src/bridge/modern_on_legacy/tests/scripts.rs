//! A script of what clients and a child do, and a small model of what each step must give, no more and no less. The model knows
//! whose turn it is (BRIDGE 3.3, 6.8, 6.9) and nothing of the router's inside; times are in `clock`.

use super::ledger::{Got, KINDS, Ledger, Reply, Seen};
use super::*;

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A call that can be asked nothing; whether it is one that could ask, and whether it wants progress.
    Share(bool, bool),
    /// A call that may be asked takes the lease; progress, logs.
    Take(bool, Option<&'static str>),
    /// …and is sent, or not after all.
    Send,
    Untake,
    /// The child asks; one of four kinds.
    Ask(usize),
    AskWithOpenId(usize),
    Withdraw(usize),
    /// The child answers one of its calls: with a result, an error, or a refusal that sends the user elsewhere.
    Answer(usize, u8),
    Progress(usize),
    Log(&'static str),
    Change,
    Leave(usize),
    /// A client comes back with these of its answers; with or without token, level, and what it declared at first.
    Retry(usize, u16, bool, Option<&'static str>, bool),
    BadRetry(usize, u8),
    Wait(Duration),
    GiveUp,
    LoseLine,
}

/// Who has the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    Taken(usize),
    /// Its client waits; when the first and the last of its questions came.
    Waits(usize, Option<(Instant, Instant)>),
    Parked(usize, Instant),
    /// The number of the child's line that answers it; `None` if that sends the user elsewhere.
    Stored(usize, Instant, Option<u64>),
    /// Whether it still has its place, and whether the child was retired for it.
    Draining {
        since: Instant,
        has_place: bool,
        is_retired: bool,
    },
}

pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) holder: Holder,
    /// The holder's questions, and those that wait for one.
    pub(super) open: Vec<u64>,
    pub(super) strays: Vec<u64>,
    /// Kept for the holder's client: logs, the last progress; and the level of its last request.
    pub(super) kept_logs: Vec<(Level, u64)>,
    pub(super) kept_progress: Option<u64>,
    pub(super) level: Option<Level>,
    /// What the last request of the holder's client declared.
    pub(super) declared: Declared,
    /// Clients that are to be sent again, and those that were sent elsewhere, with the time.
    pub(super) again: Vec<usize>,
    pub(super) elsewhere: Vec<(usize, Instant)>,
    /// Calls that shared, could ask, and were given up, with the time: they may go on in the child.
    pub(super) ghosts: Vec<(usize, Instant)>,
    /// Retries that are good no longer.
    pub(super) spent: Vec<Said>,
    pub(super) serial: u64,
}

impl World {
    pub(super) fn new(capabilities: &'static str) -> World {
        World {
            ledger: Ledger::new(capabilities),
            holder: Holder::Nobody,
            open: Vec::new(),
            strays: Vec::new(),
            kept_logs: Vec::new(),
            kept_progress: None,
            level: None,
            declared: Declared::default(),
            again: Vec::new(),
            elsewhere: Vec::new(),
            ghosts: Vec::new(),
            spent: Vec::new(),
            serial: 0,
        }
    }

    pub(super) fn play(&mut self, step: &Step) {
        let (was_free, frees) = (self.is_free(), self.ledger.frees);
        match step.clone() {
            Step::Share(asks, token) => self.share(asks && self.ledger.capabilities == "{}", token),
            Step::Take(token, level) => self.take(token, level),
            Step::Send => self.send(),
            Step::Untake => self.untake(),
            Step::Ask(kind) => self.ask(kind % KINDS.len()),
            Step::AskWithOpenId(pick) => self.ask_with_open_id(pick),
            Step::Withdraw(pick) => self.withdraw(pick),
            Step::Answer(pick, how) => self.answer(pick, how),
            Step::Progress(pick) => self.progress(pick),
            Step::Log(level) => self.log(level),
            Step::Change => {
                let line = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
                self.hear(line, &Seen { changes: 1, ..Seen::default() });
            }
            Step::Leave(pick) => self.leave(pick),
            Step::Retry(pick, mask, token, level, less) => self.retry(pick, mask, token, level, less),
            Step::BadRetry(pick, how) => self.bad_retry(pick, how),
            Step::Wait(time) => self.wait(time),
            Step::GiveUp => self.give_up(),
            Step::LoseLine => self.lose_line(),
        }
        let is_news = self.is_free() && !was_free;
        assert!(!is_news || self.ledger.frees > frees, "whoever waits for the lease is told");
        let has_place = match &self.holder {
            Holder::Taken(_) | Holder::Waits(..) => true,
            Holder::Draining { has_place, .. } => *has_place,
            _ => false,
        };
        assert_eq!(self.ledger.bench.free_places(), PLACES - usize::from(has_place), "{:?}", self.holder);
        let open = self.ledger.streams.values().filter(|http| http.is_open).count();
        assert_eq!(self.ledger.bench.router.calls_in_flight(), open);
        let waits_for_nothing = matches!(self.holder, Holder::Nobody | Holder::Draining { is_retired: true, .. });
        assert_eq!(self.ledger.bench.router.is_held(), !waits_for_nothing || !self.elsewhere.is_empty());
        for said in self.spent.iter().rev().take(2) {
            self.ledger.assert_refused(said);
        }
    }

    #[track_caller]
    pub(super) fn saw(&mut self, routed: Vec<Routed>, expected: Seen) {
        let shown = shown(&routed);
        let seen = self.ledger.observe(routed);
        assert_eq!(seen, expected.sorted(), "{:?}: {shown:#?}", self.holder);
    }

    #[track_caller]
    pub(super) fn hear(&mut self, line: &str, expected: &Seen) {
        let routed = self.ledger.bench.hear(line);
        let seen = self.ledger.observe(routed);
        assert_eq!(&seen, expected, "{:?} after {line}", self.holder);
    }

    pub(super) fn number(&self, mark: usize) -> Option<u64> {
        let number = self.ledger.clients[mark].number;
        number.filter(|number| !self.ledger.child[number].is_answered)
    }

    /// Calls that share and could ask, whose clients wait.
    pub(super) fn sharing(&self) -> Vec<usize> {
        let asks = |mark: &usize| !self.ledger.clients[*mark].is_leased && self.ledger.clients[*mark].said.method == "tools/call";
        self.ledger.streams.values().filter(|http| http.is_open).map(|http| http.mark).filter(asks).collect()
    }

    /// Whether a call that may be asked would be alone.
    fn is_free(&self) -> bool {
        self.holder == Holder::Nobody && self.sharing().is_empty() && self.ghosts.is_empty()
    }

    /// The call whose the child's questions are.
    fn asker(&self) -> Option<usize> {
        match self.holder {
            Holder::Waits(mark, _) | Holder::Parked(mark, _) => Some(mark),
            _ => None,
        }
    }

    /// Whether the client that would be asked declared that kind; without one, whether the child was told so.
    pub(super) fn may_be_asked(&self, kind: usize) -> bool {
        let all = Declared::of(self.ledger.capabilities.as_bytes());
        let declared = if self.asker().is_some() { self.declared } else { all };
        [declared.form, declared.url, declared.sampling, declared.roots][kind]
    }

    /// A call that shares is given up.
    pub(super) fn haunts(&mut self, mark: usize) {
        if self.ledger.clients[mark].said.method == "tools/call" {
            self.ghosts.push((mark, self.ledger.bench.now));
        }
    }

    fn share(&mut self, asks: bool, token: bool) {
        let method = if asks { "tools/call" } else { "tools/list" };
        let id = format!("\"s{}\"", self.ledger.streams.len());
        let mut said = Said { method, ..call(&id) };
        said.token = token.then(|| format!("\"t{id}").replace("\"s", "s"));
        let may_share = self.ledger.bench.router.may_share(if asks { Ask::CallTool } else { Ask::ListTools });
        assert_eq!(may_share, self.holder == Holder::Nobody || !asks);
        if !may_share {
            return; // `pool` looks for another child
        }
        let mark = self.ledger.client(false, said);
        let said = self.ledger.clients[mark].said.clone();
        let stream = self.ledger.open(mark, &said);
        let (text, bench) = (said.text(), &mut self.ledger.bench);
        let line = bench.router.request(&asked(&text), StreamId(stream), bench.now);
        self.saw(vec![Routed::told(line)], Seen { sent: vec![mark], ..Seen::default() });
    }

    fn take(&mut self, token: bool, level: Option<&'static str>) {
        let level = level.or((self.ledger.capabilities == "{}").then_some("info"));
        let mark = self.again.pop().unwrap_or_else(|| {
            let id = format!("\"l{}\"", self.ledger.clients.len());
            let said = Said { token: token.then(|| self.ledger.clients.len().to_string()), level, ..call(&id) };
            self.ledger.client(true, said)
        });
        let (lease, said) = (self.ledger.clients[mark].lease, self.ledger.clients[mark].said.clone());
        let taken = self.ledger.bench.take(lease, &said);
        assert_eq!(taken, self.is_free(), "{:?}", self.holder);
        if taken {
            self.holder = Holder::Taken(mark);
        } else if self.ledger.clients[mark].may_write > 1 {
            self.again.push(mark);
        }
    }

    pub(super) fn send(&mut self) {
        let Holder::Taken(mark) = self.holder else { return };
        let said = self.ledger.clients[mark].said.clone();
        let stream = self.ledger.open(mark, &said);
        (self.level, self.kept_progress) = (self.ledger.streams[&stream].level, None);
        self.kept_logs.clear();
        self.declared = said.declared();
        let routed = self.ledger.bench.ask(self.ledger.clients[mark].lease, &said, stream);
        self.open = std::mem::take(&mut self.strays);
        if self.open.is_empty() {
            self.holder = Holder::Waits(mark, None);
            return self.saw(routed, Seen { sent: vec![mark], ..Seen::default() });
        }
        self.holder = Holder::Parked(mark, self.ledger.bench.now);
        let answers = vec![(stream, Got::Asked(self.open.clone()))];
        self.saw(routed, Seen { answers, ..Seen::default() });
    }

    fn untake(&mut self) {
        let lease = match self.holder {
            Holder::Taken(mark) | Holder::Waits(mark, _) | Holder::Parked(mark, _) => self.ledger.clients[mark].lease,
            _ => 9,
        };
        if let Holder::Taken(mark) = self.holder {
            self.ledger.clients[mark].has_left = true;
            self.holder = Holder::Nobody;
        }
        let routed = self.ledger.bench.untake(lease);
        self.saw(routed, Seen::default());
    }

    fn ask(&mut self, kind: usize) {
        let (is_declared, code) = (self.may_be_asked(kind), if kind < 2 { -32602 } else { -32601 });
        let sharing = self.sharing();
        let (line, id) = self.ledger.question(kind);
        let refused = |code: i64| vec![(id, Reply::Refused(code))];
        let mut expected = Seen::default();
        match (self.holder.clone(), &sharing[..]) {
            (Holder::Waits(..) | Holder::Parked(..), _) if is_declared && self.open.len() >= 64 => {
                expected.replies = refused(-32603);
            }
            (Holder::Waits(mark, gathers), _) if is_declared => {
                let now = self.ledger.bench.now;
                self.holder = Holder::Waits(mark, Some((gathers.map_or(now, |(first, _)| first), now)));
                self.open.push(id);
            }
            (Holder::Parked(..), _) if is_declared => self.open.push(id),
            (Holder::Waits(mark, _), _) => {
                expected = self.abandoned(mark);
                expected.replies.extend(refused(code));
                expected.answers = vec![(self.ledger.stream_of(mark).expect("it waits"), Got::Error(-32021))];
            }
            (Holder::Parked(..), _) => expected.replies = refused(code),
            (Holder::Draining { .. }, _) => expected.replies = refused(-32603),
            (_, [only]) if self.ghosts.is_empty() => {
                let only = *only;
                self.ghosts.push((only, self.ledger.bench.now));
                expected.replies = refused(code);
                expected.answers = vec![(self.ledger.stream_of(only).expect("it waits"), Got::Error(-32021))];
                expected.cancelled = vec![only];
            }
            (_, []) if is_declared && self.ghosts.is_empty() && self.strays.len() < 16 => self.strays.push(id),
            _ => expected.replies = refused(code),
        }
        self.hear(&line, &expected.sorted());
    }

    /// What is left when nobody waits for the holder's call any more: it drains.
    pub(super) fn abandoned(&mut self, mark: usize) -> Seen {
        let replies = self.open.drain(..).map(|id| (id, Reply::Refused(-32603))).collect();
        self.holder = Holder::Draining { since: self.ledger.bench.now, has_place: true, is_retired: false };
        self.level = None;
        Seen { replies, cancelled: vec![mark], ..Seen::default() }
    }

    fn ask_with_open_id(&mut self, pick: usize) {
        let known: Vec<u64> = self.open.iter().chain(&self.strays).copied().collect();
        let Some(id) = known.get(pick % known.len().max(1)) else { return };
        self.ledger.twin = Some(*id);
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"roots/list"}}"#);
        self.hear(&line, &Seen { replies: vec![(*id, Reply::Refused(-32600))], ..Seen::default() });
        self.ledger.twin = None;
    }

    fn withdraw(&mut self, pick: usize) {
        let asked: Vec<u64> = self.ledger.questions.iter().filter(|(_, open)| open.is_open).map(|(id, _)| *id).collect();
        let Some(id) = asked.get(pick % asked.len().max(1)).copied() else { return };
        self.ledger.questions.get_mut(&id).expect("it was asked").is_open = false;
        self.open.retain(|open| *open != id);
        self.strays.retain(|open| *open != id);
        if let (Holder::Waits(mark, Some(_)), []) = (&self.holder, &self.open[..]) {
            self.holder = Holder::Waits(*mark, None);
        }
        let line = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
        self.hear(&line, &Seen::default());
    }

    /// What the holder's client gets when the child has ended its call, with that line or by sending the user elsewhere.
    pub(super) fn ended(&mut self, mark: usize, serial: Option<u64>) -> Got {
        self.holder = Holder::Nobody;
        match serial {
            Some(serial) => Got::Result(serial),
            None if self.declared.url => {
                self.elsewhere.push((mark, self.ledger.bench.now));
                Got::Elsewhere(2)
            }
            None => Got::Error(-32021),
        }
    }

    pub(super) fn answer(&mut self, pick: usize, how: u8) {
        let working: Vec<u64> = self.ledger.child.iter().filter(|(_, call)| !call.is_answered).map(|(id, _)| *id).collect();
        let Some(number) = working.get(pick % working.len().max(1)).copied() else { return };
        let mark = self.ledger.child[&number].mark;
        let (stream, is_leased) = (self.ledger.stream_of(mark), self.ledger.clients[mark].is_leased);
        let is_url = how == 2 && is_leased;
        let serial = self.next();
        let line = match how {
            0 => format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{"serial":{serial}}}}}"#),
            2 if is_url => {
                let places = r#"{"mode":"url","elicitationId":"a","url":"u","message":"0"},{"mode":"url","elicitationId":"b","url":"u","message":"0"}"#;
                format!(
                    r#"{{"jsonrpc":"2.0","id":{number},"error":{{"code":-32042,"message":"","data":{{"elicitations":[{places}]}}}}}}"#
                )
            }
            _ => format!(
                r#"{{"jsonrpc":"2.0","id":{number},"error":{{"code":-32000,"message":"","data":{{"serial":{serial}}}}}}}"#
            ),
        };
        self.ledger.child.get_mut(&number).expect("it works").is_answered = true;
        self.ghosts.retain(|(ghost, _)| *ghost != mark);
        let mut expected = Seen::default();
        match (is_leased, self.holder.clone()) {
            (false, _) => expected.answers.extend(stream.map(|stream| (stream, Got::Result(serial)))),
            (true, Holder::Waits(..)) => {
                expected.replies = self.open.drain(..).map(|id| (id, Reply::Refused(-32603))).collect();
                expected.answers = vec![(stream.expect("it waits"), self.ended(mark, (!is_url).then_some(serial)))];
            }
            (true, Holder::Parked(_, since)) => {
                expected.replies = self.open.drain(..).map(|id| (id, Reply::Refused(-32603))).collect();
                self.holder = Holder::Stored(mark, since, (!is_url).then_some(serial));
            }
            (true, Holder::Draining { is_retired: true, .. }) => {}
            (true, _) => self.holder = Holder::Nobody,
        }
        self.hear(&line, &expected.sorted());
    }
}
