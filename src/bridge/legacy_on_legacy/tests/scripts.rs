//! Several sessions and their child, played from random scripts, against a small model: whose each number is, who wants to hear
//! what, and what the child was told of that. A step must give exactly what the model says.

use std::collections::{BTreeMap, BTreeSet};

use super::turns::{Wish, word};
use super::*;

/// So many sessions use the child at once.
pub(super) const SLOTS: usize = 5;
pub(super) const URIS: [&str; 3] = ["file:///a", "file:///a/b", "x:"];
const DECLARES: [&[u8]; 3] = [ALL, br#"{"elicitation":{}}"#, b"{}"];

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A session takes a slot: what it declared, its level and, as a mask, what it wants from before. One may not be heard of.
    Sit(usize, usize, Option<Level>, u8, bool),
    /// A session is over; its calls are given up before or after its seat.
    Leave(usize, bool),
    /// A call: its id and token of few.
    Send(usize, u8, Option<u8>, bool),
    /// And whether the child will take it.
    Subscribe(usize, usize, bool),
    /// And whether it crosses what others want: it was sent before they did.
    Unsubscribe(usize, usize, bool),
    SetLevel(usize, Level),
    /// The child answers a call with a result or an error.
    Answer(usize, bool),
    /// The child answers what the gateway told it.
    AnswerOwn(usize),
    Progress(usize),
    Log(Level),
    Note,
    Change,
    Update(usize),
    /// A question: its id of few, its kind, and whether there is room for it.
    Ask(u8, usize, bool),
    Withdraw(u8),
    Reply(u8),
    /// A call is cancelled by its client.
    Cancel(usize),
    LoseLine,
    Wait(u64),
}

pub(super) struct Member {
    pub(super) sitter: Sitter,
    /// `None` for one without a stream for what is about no call.
    pub(super) standing: Option<u64>,
    pub(super) level: Option<Level>,
}

/// A call in flight.
pub(super) struct Open {
    pub(super) session: u64,
    pub(super) declared: Declared,
    pub(super) stream: u64,
    pub(super) id: String,
    pub(super) token: Option<String>,
    pub(super) carries: Carries,
    /// To what it subscribes, and whether the child takes that.
    pub(super) subscribes: Option<(&'static str, bool)>,
    pub(super) began: Instant,
    pub(super) alive: Instant,
}

/// A question that is open.
pub(super) struct Asked {
    pub(super) call: u64,
    pub(super) stream: u64,
    pub(super) at: Instant,
}

pub(super) struct World {
    pub(super) bench: Bench,
    pub(super) slots: Vec<Option<Member>>,
    pub(super) sessions: u64,
    /// The next private number.
    pub(super) next: u64,
    pub(super) open: BTreeMap<u64, Open>,
    pub(super) over: Vec<u64>,
    /// Calls that were given up and may go on in the child: whose, and since when.
    pub(super) fading: BTreeMap<u64, (u64, Instant)>,
    pub(super) asked: BTreeMap<u8, Asked>,
    pub(super) wanted: BTreeMap<&'static str, BTreeMap<u64, Wish>>,
    /// What the gateway told the child, unanswered and answered.
    pub(super) told: Vec<u64>,
    pub(super) heard: Vec<u64>,
    pub(super) child_level: Option<Level>,
    pub(super) child_uris: BTreeSet<&'static str>,
    /// What a session brought rests on another's subscription, which the child may still refuse.
    rests: BTreeSet<&'static str>,
}

impl World {
    pub(super) fn new() -> World {
        World {
            bench: Bench::new(),
            slots: (0..SLOTS).map(|_| None).collect(),
            sessions: 0,
            next: 1,
            open: BTreeMap::new(),
            over: Vec::new(),
            fading: BTreeMap::new(),
            asked: BTreeMap::new(),
            wanted: BTreeMap::new(),
            told: Vec::new(),
            heard: Vec::new(),
            child_level: None,
            child_uris: BTreeSet::new(),
            rests: BTreeSet::new(),
        }
    }

    pub(super) fn play(&mut self, step: &Step) {
        match *step {
            Step::Sit(slot, declares, level, mask, hears) => self.sit(slot, declares, level, mask, hears),
            Step::Leave(slot, calls_first) => self.leave(slot, calls_first),
            Step::Send(slot, id, token, events) => {
                let carries = if events { Carries::Events } else { Carries::AnswerOnly };
                let (id, token) = (word(id), token.map(word));
                let line = |id: &str, token: Option<&str>| call(id, token);
                self.send(slot, (id, token), carries, None, line, None);
            }
            Step::Subscribe(slot, uri, takes) => self.subscribe(slot, URIS[uri], takes),
            Step::Unsubscribe(slot, uri, crosses) => self.unsubscribe(slot, URIS[uri], crosses),
            Step::SetLevel(slot, level) => {
                let Some(member) = &mut self.slots[slot] else { return };
                if member.standing.is_some() {
                    member.level = Some(level);
                }
                let number = member.sitter.number;
                let expected = self.level_child();
                same(&self.bench.set_level(number, level), &expected);
            }
            Step::Answer(pick, is_result) => self.answer(pick, is_result),
            Step::AnswerOwn(pick) => {
                let known: Vec<u64> = self.told.iter().chain(&self.heard).copied().collect();
                let Some(number) = known.get(pick % known.len().max(1)).copied() else { return };
                let is_open = self.told.contains(&number);
                self.told.retain(|told| *told != number);
                self.heard.push(number);
                let expected = if is_open { vec![] } else { vec![Routed::Dropped("answer_without_call")] };
                same(&self.bench.hear(&result(&number.to_string())), &expected);
            }
            Step::Progress(pick) => {
                let Some(number) = self.pick(pick) else { return };
                let mut expected = Routed::Dropped("progress_without_call");
                if let Some(open) = self.open.get_mut(&number) {
                    open.alive = self.bench.now;
                    match (&open.token, open.carries) {
                        (Some(token), Carries::Events) => expected = note(open.stream, &progress(token)),
                        (Some(_), _) => expected = Routed::Dropped("progress_in_json_mode"),
                        (None, _) => {}
                    }
                }
                same(&self.bench.hear(&progress(&number.to_string())), &[expected]);
            }
            Step::Log(level) => {
                let line = log_line(level.as_str());
                let expected = self.about_no_call(&line, Some(level));
                same(&self.bench.hear(&line), &[expected]);
            }
            Step::Note => {
                let line = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
                let expected = self.about_no_call(line, None);
                same(&self.bench.hear(line), &[expected]);
            }
            Step::Change => self.change(&changed("prompts"), |_| true),
            Step::Update(uri) => {
                let wanted = std::mem::take(&mut self.wanted);
                let covering = |own: &str| own == URIS[uri] || (own, URIS[uri]) == ("file:///a", "file:///a/b");
                let hears = |session: u64| wanted.iter().any(|(own, all)| covering(own) && all.contains_key(&session));
                self.change(&updated(URIS[uri]), hears);
                self.wanted = wanted;
            }
            Step::Ask(id, kind, has_room) => self.ask(id, kind, has_room),
            Step::Withdraw(id) => {
                let line = withdraws(&word(id));
                let expected = self.asked.remove(&id).map(|asked| note(asked.stream, &line));
                same(&self.bench.hear(&line), &[expected.unwrap_or(Routed::Dropped("cancel_without_question"))]);
            }
            Step::Reply(id) => {
                let expected = match self.asked.remove(&id) {
                    Some(_) => Routed::ToChild(b"what it said\n".to_vec()),
                    None => Routed::Dropped("answer_without_question"),
                };
                assert_eq!(self.bench.reply(&word(id)), expected);
            }
            Step::Cancel(pick) => {
                if let Some(number) = self.pick(pick).filter(|number| self.open.contains_key(number)) {
                    self.cancel(number);
                }
            }
            Step::LoseLine => {
                let mut expected = Vec::new();
                let only = self.open.keys().next().copied().filter(|_| self.open.len() == 1 && self.ghosts().next().is_none());
                if let Some(number) = only {
                    let open = self.finish(number);
                    expected.push(answer(open.stream, &error(&open.id, -32603, "too long", "")));
                    expected.extend(self.let_go(number, &open));
                }
                same_set(&self.bench.lose_line(), &expected);
            }
            Step::Wait(time) => self.wait(Duration::from_millis(time)),
        }
        self.check();
    }

    /// What must hold whatever came before.
    fn check(&self) {
        let router = &self.bench.router;
        assert_eq!(router.calls_in_flight(), self.open.len());
        let seated: Vec<&Member> = self.slots.iter().flatten().filter(|member| member.standing.is_some()).collect();
        assert_eq!(router.is_held(), !seated.is_empty());
        if let Some(most) = seated.iter().filter_map(|member| member.level).min() {
            assert_eq!(self.child_level, Some(most), "the child was told another level");
        }
        for uri in URIS {
            let wanted = self.wanted.get(uri).is_some_and(|all| !all.is_empty());
            let is_doubtful = self.rests.contains(uri) || self.open.values().any(|open| open.subscribes == Some((uri, false)));
            assert!(wanted || !self.child_uris.contains(uri), "nobody wants {uri}");
            assert!(!wanted || is_doubtful || self.child_uris.contains(uri), "somebody wants {uri}");
        }
    }

    /// One of the calls in flight, or of those that are over.
    pub(super) fn pick(&self, pick: usize) -> Option<u64> {
        let known: Vec<u64> = self.open.keys().chain(&self.over).copied().collect();
        known.get(pick % known.len().max(1)).copied()
    }

    pub(super) fn finish(&mut self, number: u64) -> Open {
        self.over.push(number);
        self.open.remove(&number).expect("it is in flight")
    }

    /// Nobody waits for it any more; it may go on in the child.
    pub(super) fn give_up(&mut self, number: u64) -> Open {
        let open = self.finish(number);
        self.fading.insert(number, (open.session, self.bench.now));
        open
    }

    /// What a call that was given up leaves: its questions, and the subscription that it may have made.
    pub(super) fn let_go(&mut self, number: u64, open: &Open) -> Vec<Routed> {
        let mut expected = self.drop_questions(number);
        if let Some((uri, _)) = open.subscribes {
            expected.extend(self.unwant(open.session, uri, Some(number)));
        }
        expected
    }

    pub(super) fn drop_questions(&mut self, call: u64) -> Vec<Routed> {
        let of_it: Vec<u8> = self.asked.iter().filter(|(_, asked)| asked.call == call).map(|(id, _)| *id).collect();
        self.asked.retain(|_, asked| asked.call != call);
        of_it.into_iter().map(|id| refusal(&word(id), -32603, OVER)).collect()
    }

    pub(super) fn own(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        self.told.push(number);
        number
    }

    /// The child is told the level of who wants most, if it is another.
    fn level_child(&mut self) -> Vec<Routed> {
        let seated = self.slots.iter().flatten().filter(|member| member.standing.is_some());
        let most = seated.filter_map(|member| member.level).min();
        match most.filter(|most| self.child_level != Some(*most)) {
            Some(most) => {
                self.child_level = Some(most);
                vec![own_level(self.own(), most.as_str())]
            }
            None => Vec::new(),
        }
    }

    /// A session wants a resource no more; the child is told if it was the last.
    pub(super) fn unwant(&mut self, session: u64, uri: &'static str, call: Option<u64>) -> Vec<Routed> {
        if self.forget(session, uri, call) {
            self.child_uris.remove(uri);
            return vec![own_about(self.own(), "unsubscribe", uri)];
        }
        Vec::new()
    }

    /// A wish is over, if it is that call's where one is named. Says whether it was the last for that resource.
    pub(super) fn forget(&mut self, session: u64, uri: &'static str, call: Option<u64>) -> bool {
        let Some(all) = self.wanted.get_mut(uri) else { return false };
        let goes = all.get(&session).is_some_and(|wish| call.is_none_or(|call| call == wish.newest));
        let is_last = goes && all.remove(&session).is_some() && all.is_empty();
        self.rests.retain(|other| !is_last || *other != uri);
        is_last
    }

    fn sit(&mut self, slot: usize, declares: usize, level: Option<Level>, mask: u8, hears: bool) {
        if self.slots[slot].is_some() {
            return;
        }
        self.sessions += 1;
        let number = self.sessions;
        let uris: Vec<&'static str> = (0..URIS.len()).filter(|at| mask & 1 << at != 0).map(|at| URIS[at]).collect();
        let sitter = Sitter {
            number,
            declared: Declared::of(DECLARES[declares]),
            level,
            uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
        };
        let mut expected = Vec::new();
        let mut standing = None;
        self.slots[slot] = Some(Member { sitter: sitter.clone(), standing, level: None });
        if hears {
            let (stream, routed) = self.bench.sit(&sitter);
            standing = Some(stream);
            self.slots[slot] = Some(Member { sitter, standing, level });
            if level.is_some() {
                expected.extend(self.level_child());
            }
            for uri in uris {
                let all = self.wanted.entry(uri).or_default();
                let is_first = all.is_empty();
                all.insert(number, Wish { first: 0, newest: 0 });
                if is_first {
                    self.child_uris.insert(uri);
                    expected.push(own_about(self.own(), "subscribe", uri));
                } else if !self.child_uris.contains(uri) {
                    self.rests.insert(uri);
                }
            }
            same(&routed, &expected);
        }
        assert_eq!(self.bench.router.has_seat(number), hears);
    }

    fn leave(&mut self, slot: usize, calls_first: bool) {
        let Some(member) = self.slots[slot].take() else { return };
        let session = member.sitter.number;
        let calls: Vec<u64> = self.open.iter().filter(|(_, open)| open.session == session).map(|(number, _)| *number).collect();
        if calls_first {
            calls.iter().for_each(|number| self.cancel(*number));
        }
        if let Some(standing) = member.standing {
            let mut expected = vec![end(standing)];
            for uri in URIS {
                expected.extend(self.unwant(session, uri, None));
            }
            expected.extend(self.level_child());
            same(&self.bench.leave(standing), &expected);
        }
        if !calls_first {
            calls.iter().for_each(|number| self.cancel(*number));
        }
        assert!(!self.bench.router.has_seat(session));
    }

    fn cancel(&mut self, number: u64) {
        let open = self.give_up(number);
        let mut expected = vec![end(open.stream)];
        expected.extend(self.let_go(number, &open));
        expected.push(cancelled(number, GIVEN_UP));
        same_set(&self.bench.leave(open.stream), &expected);
    }

    pub(super) fn send(
        &mut self,
        slot: usize,
        (id, token): (String, Option<String>),
        carries: Carries,
        subscribes: Option<(&'static str, bool)>,
        text: impl Fn(&str, Option<&str>) -> String,
        behind: Option<Routed>,
    ) {
        let Some(member) = &self.slots[slot] else { return };
        let number = self.next;
        self.next += 1;
        let private = number.to_string();
        let (stream, line) = self.bench.line(&member.sitter, &text(&id, token.as_deref()), carries);
        let mut expected = text(&private, token.as_ref().map(|_| private.as_str()));
        if let Some(Routed::ToChild(line)) = behind {
            expected += &format!("\n{}", String::from_utf8_lossy(&line).trim_end());
        }
        assert_eq!(line, expected);
        let (session, declared, now) = (member.sitter.number, member.sitter.declared, self.bench.now);
        let open = Open { session, declared, stream, id, token, carries, subscribes, began: now, alive: now };
        assert!(self.open.insert(number, open).is_none());
    }
}
