//! The longer steps of the scripts.

use super::scripts::{Asked, Open, World};
use super::*;

const KINDS: [(&str, &str); 5] = [
    ("elicitation/create", "{}"),
    ("elicitation/create", r#"{"mode":"url"}"#),
    ("sampling/createMessage", "{}"),
    ("ping", "{}"),
    ("x/y", "{}"),
];

/// An id or token of few.
pub(super) fn word(of: u8) -> String {
    if of.is_multiple_of(2) { (of % 3).to_string() } else { format!("\"{}\"", of % 3) }
}

/// A session's wish to hear of a resource: the call that it began with, and the newest that says it; 0 once the child took one.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    pub(super) first: u64,
    pub(super) newest: u64,
}

impl World {
    pub(super) fn subscribe(&mut self, slot: usize, uri: &'static str, takes: bool) {
        let Some((session, true)) = self.member(slot) else { return };
        let number = self.next;
        let wish = self.wanted.entry(uri).or_default().entry(session).or_insert(Wish { first: number, newest: number });
        if wish.newest != 0 {
            wish.newest = number;
        }
        if takes {
            self.child_uris.insert(uri);
        }
        self.send(slot, (word(1), None), Carries::Events, Some((uri, takes)), |id, _| about(id, "subscribe", uri), None);
    }

    /// The child hears of it only if nobody else wants it; where it was on its way already, that others still do.
    pub(super) fn unsubscribe(&mut self, slot: usize, uri: &'static str, crosses: bool) {
        let Some((session, _)) = self.member(slot) else { return };
        let is_wanted = self.wanted.get(uri).is_some_and(|all| all.keys().any(|other| *other != session));
        assert_eq!(self.bench.router.is_wanted_by_others(session, uri), is_wanted);
        self.forget(session, uri, None);
        if is_wanted && !crosses {
            assert!(!self.bench.router.want_no_more(session, uri, None));
            return;
        }
        if !is_wanted {
            self.child_uris.remove(uri);
        }
        let again = is_wanted.then(|| own_about(self.next + 1, "subscribe", uri));
        self.send(slot, (word(2), None), Carries::Events, None, |id, _| about(id, "unsubscribe", uri), again);
        if is_wanted {
            self.own();
            self.child_uris.insert(uri);
        }
    }

    /// A slot's session, and whether it is heard of what is about no call.
    fn member(&self, slot: usize) -> Option<(u64, bool)> {
        let member = self.slots[slot].as_ref()?;
        Some((member.sitter.number, member.standing.is_some()))
    }

    pub(super) fn answer(&mut self, pick: usize, is_result: bool) {
        let Some(number) = self.pick(pick) else { return };
        let outcome = self.open.get(&number).and_then(|open| open.subscribes).map(|(_, takes)| takes);
        let line = |id: &str| if outcome.unwrap_or(is_result) { result(id) } else { error(id, -5, "no", "") };
        let mut expected = Vec::new();
        if self.open.contains_key(&number) {
            let open = self.finish(number);
            match open.subscribes {
                Some((uri, true)) => {
                    let wish = self.wanted.get_mut(uri).and_then(|all| all.get_mut(&open.session));
                    wish.into_iter().filter(|wish| number >= wish.first).for_each(|wish| wish.newest = 0);
                }
                Some((uri, false)) => expected.extend(self.unwant(open.session, uri, Some(number))),
                None => {}
            }
            expected.push(answer(open.stream, &line(&open.id)));
            expected.extend(self.drop_questions(number));
        } else {
            self.fading.remove(&number);
            expected.push(Routed::Dropped("answer_without_call"));
        }
        same_set(&self.bench.hear(&line(&number.to_string())), &expected);
    }

    /// The newest call of the only session that has any, best one that carries events; nobody's where a call that was given up
    /// may still speak.
    fn only_session(&self) -> Option<&Open> {
        let mut busy: Vec<u64> = self.open.values().map(|open| open.session).chain(self.ghosts()).collect();
        busy.sort_unstable();
        busy.dedup();
        let [session] = busy[..] else { return None };
        let own = || self.open.values().rev().filter(|open| open.session == session);
        own().find(|open| open.carries == Carries::Events).or_else(|| own().next())
    }

    /// Whose the calls were that were given up and may still speak.
    pub(super) fn ghosts(&self) -> impl Iterator<Item = u64> {
        let fades = |(_, since): &&(u64, Instant)| self.bench.now - *since < PATIENCE.grace;
        self.fading.values().filter(fades).map(|(session, _)| *session)
    }

    pub(super) fn about_no_call(&self, line: &str, level: Option<Level>) -> Routed {
        let nobody = Routed::Dropped("notification_for_nobody");
        let Some(open) = self.only_session() else { return nobody };
        let member = self.slots.iter().flatten().find(|member| member.sitter.number == open.session);
        let seated = member.filter(|member| member.standing.is_some());
        if level.zip(seated.and_then(|member| member.level)).is_some_and(|(level, least)| level < least) {
            return Routed::Dropped("log_below_level");
        }
        match (open.carries, seated.and_then(|member| member.standing)) {
            (Carries::Events, _) => note(open.stream, line),
            (Carries::AnswerOnly, Some(standing)) => note(standing, line),
            (Carries::AnswerOnly, None) => nobody,
        }
    }

    /// A change, on the standing streams of those that hear it.
    pub(super) fn change(&mut self, line: &str, hears: impl Fn(u64) -> bool) {
        let members = self.slots.iter().flatten().filter(|member| hears(member.sitter.number));
        let mut expected: Vec<Routed> =
            members.filter_map(|member| member.standing).map(|standing| note(standing, line)).collect();
        if expected.is_empty() {
            expected.push(Routed::Dropped("change_for_nobody"));
        }
        same_set(&self.bench.hear(line), &expected);
    }

    pub(super) fn ask(&mut self, id: u8, kind: usize, has_room: bool) {
        let (method, params) = KINDS[kind];
        let line = question(&word(id), method, params);
        let can = |declared: Declared| [declared.form, declared.url, declared.sampling, false, false][kind];
        let call = self.only_session().filter(|open| can(open.declared));
        let call = call.map(|open| (open.stream, open.id.clone()));
        let stream = call.as_ref().map(|(stream, _)| *stream);
        let number = self.open.iter().find(|(_, open)| Some(open.stream) == stream).map(|(number, _)| *number);
        let is_open = self.asked.contains_key(&id);
        let expected = match (method, number.zip(stream)) {
            ("ping", _) => to_child(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, word(id))),
            (_, None) => refusal(&word(id), -32601, NOBODY),
            (_, Some(_)) if is_open => refusal(&word(id), -32600, "a request with this id is still open"),
            (_, Some((call, stream))) => {
                self.asked.insert(id, Asked { call, stream, at: self.bench.now });
                event(stream, EventKind::Question, &line)
            }
        };
        let routed = self.bench.hear(&line);
        same(&routed, &[expected]);
        if matches!(routed[..], [Routed::Event(..)]) && !has_room {
            self.asked.remove(&id);
            let full = "the gateway's log is full (--log-bytes, --log-bytes-total)";
            let told = self.bench.router.unasked(line.as_bytes()).map(Routed::ToChild);
            assert_eq!(told, Some(refusal(&word(id), -32603, full)));
        }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        let routed = self.bench.after(time);
        let (now, mut expected) = (self.bench.now, Vec::new());
        for asked in self.asked.values() {
            self.open.get_mut(&asked.call).expect("its call is in flight").alive = now;
        }
        let is_late = |open: &Open| now - open.alive >= PATIENCE.request || now - open.began >= PATIENCE.hard;
        let late: Vec<u64> = self.open.iter().filter(|(_, open)| is_late(open)).map(|(number, _)| *number).collect();
        for number in late {
            let open = self.give_up(number);
            expected.push(Routed::Expired("request"));
            expected.push(answer(open.stream, &error(&open.id, -32603, jsonrpc::LATE, "")));
            expected.push(cancelled(number, "timed out"));
            expected.extend(self.let_go(number, &open));
        }
        let old: Vec<u8> = self.asked.iter().filter(|(_, asked)| now - asked.at >= QUESTION).map(|(id, _)| *id).collect();
        for id in old {
            let stream = self.asked.remove(&id).expect("it is open").stream;
            expected.push(Routed::Expired("question"));
            expected.push(expired(stream, &word(id)));
            expected.push(refusal(&word(id), -32603, "the client did not answer in time (--question-timeout)"));
        }
        same_set(&routed, &expected);
    }

    pub(super) fn die(&mut self) {
        let lost = |id: &str| error(id, -32603, "it died", r#"{"reason":"child_exited"}"#);
        let mut expected: Vec<Routed> = self.open.values().map(|open| answer(open.stream, &lost(&open.id))).collect();
        expected.extend(self.slots.iter().flatten().filter_map(|member| member.standing).map(end));
        same_set(&self.bench.die(), &expected);
        assert_eq!((self.bench.router.calls_in_flight(), self.bench.router.is_held()), (0, false));
        for line in [changed("tools"), updated(super::scripts::URIS[0])] {
            same(&self.bench.hear(&line), &[Routed::Dropped("change_for_nobody")]);
        }
    }
}
