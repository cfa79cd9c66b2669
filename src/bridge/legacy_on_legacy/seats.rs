//! Who uses a shared legacy child, and what they want to hear: the child is told of the most verbose level, and of a resource as
//! long as anybody wants it.

use std::collections::HashSet;

use super::LegacyOnLegacy;
use crate::bridge::capabilities::Declared;
use crate::bridge::subscriptions::covers;
use crate::link::route::Routed;
use crate::protocol::meta::Level;
use crate::protocol::sse::StreamId;

/// Requests of the gateway's own that may be unanswered.
const MAX_TOLD: usize = 1024;
/// In the place of the call that a wish hangs on: on none any more.
const SETTLED: u64 = 0;

/// A session that uses the child.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sitter {
    pub(crate) number: u64,
    pub(crate) declared: Declared,
    /// What its client chose with `logging/setLevel`.
    pub(crate) level: Option<Level>,
    /// What its client subscribed to.
    pub(crate) uris: Vec<String>,
}

/// A session's place.
pub(super) struct Seat {
    /// Where it hears of what is about no call.
    pub(super) standing: StreamId,
    pub(super) level: Option<Level>,
}

/// A session's wish to hear of a resource.
pub(super) struct Wish {
    session: u64,
    /// The call that it began with, and the newest that says it.
    first: u64,
    newest: u64,
}

impl LegacyOnLegacy {
    pub(crate) fn has_seat(&self, session: u64) -> bool {
        self.seats.contains_key(&session)
    }

    /// A session begins to use the child, perhaps after it used another: its level and subscriptions are what they were.
    pub(crate) fn sit(&mut self, sitter: &Sitter, standing: StreamId, out: &mut Vec<Routed>) {
        self.seats.insert(sitter.number, Seat { standing, level: None });
        if let Some(level) = sitter.level {
            self.set_level(sitter.number, level, out);
        }
        for uri in &sitter.uris {
            if self.want(sitter.number, uri, SETTLED) {
                self.tell_resource("resources/subscribe", uri, out);
            }
        }
    }

    /// A session's client chose a level: the child gets the most verbose of them.
    pub(crate) fn set_level(&mut self, session: u64, level: Level, out: &mut Vec<Routed>) {
        if let Some(seat) = self.seats.get_mut(&session) {
            seat.level = Some(level);
        }
        self.level_child(out);
    }

    fn level_child(&mut self, out: &mut Vec<Routed>) {
        let most = self.seats.values().filter_map(|seat| seat.level).min();
        if let Some(level) = most.filter(|most| self.level != Some(*most)) {
            self.level = Some(level);
            let params = serde_json::json!({ "level": level.as_str() }).to_string();
            self.tell_own("logging/setLevel", &params, out);
        }
    }

    /// Whether other sessions want to hear of a resource, so that the child must not hear that this one does not.
    pub(crate) fn is_wanted_by_others(&self, session: u64, uri: &str) -> bool {
        self.wanted.get(uri).is_some_and(|wishes| wishes.iter().any(|wish| wish.session != session))
    }

    pub(super) fn is_wanted(&self, uri: &str) -> bool {
        self.wanted.contains_key(uri)
    }

    /// Who wants to hear of a resource that has changed.
    pub(super) fn wanted_by(&self, updated: &str) -> HashSet<u64> {
        let wishes = self.wanted.iter().filter(|(uri, _)| covers(uri, updated)).flat_map(|(_, wishes)| wishes);
        wishes.map(|wish| wish.session).collect()
    }

    /// A session's client wants to hear of a resource since that call; says whether it is the first that does.
    pub(super) fn want(&mut self, session: u64, uri: &str, call: u64) -> bool {
        let wishes = self.wanted.entry(uri.to_owned()).or_default();
        let is_first = wishes.is_empty();
        match wishes.iter_mut().find(|wish| wish.session == session) {
            Some(wish) if wish.newest == SETTLED => {}
            Some(wish) => wish.newest = call,
            None => wishes.push(Wish { session, first: call, newest: call }),
        }
        is_first
    }

    /// The child has taken a session's subscription by that call. One that was taken back since is none of this wish's.
    pub(super) fn is_settled(&mut self, session: u64, uri: &str, call: u64) {
        let wish = self.wanted.get_mut(uri).and_then(|wishes| wishes.iter_mut().find(|wish| wish.session == session));
        if let Some(wish) = wish.filter(|wish| call >= wish.first) {
            wish.newest = SETTLED;
        }
    }

    /// Takes a wish back, if it is that call's where one is named. Says whether nobody wants the resource any more.
    pub(crate) fn want_no_more(&mut self, session: u64, uri: &str, call: Option<u64>) -> bool {
        let Some(wishes) = self.wanted.get_mut(uri) else { return false };
        let before = wishes.len();
        wishes.retain(|wish| wish.session != session || call.is_some_and(|call| call != wish.newest));
        let is_last = wishes.is_empty() && before > 0;
        if is_last {
            self.wanted.remove(uri);
        }
        is_last
    }

    /// A request of the gateway's own whose answer changes nothing.
    pub(super) fn own_line(&mut self, method: &str, params: &str) -> Vec<u8> {
        let number = self.next;
        self.next += 1;
        if self.told.len() >= MAX_TOLD {
            self.told.clear(); // a child that answers nothing: late answers are counted as nobody's
        }
        self.told.insert(number);
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"{method}\",\"params\":{params}}}\n").into_bytes()
    }

    fn tell_own(&mut self, method: &str, params: &str, out: &mut Vec<Routed>) {
        let line = self.own_line(method, params);
        out.push(Routed::ToChild(line));
    }

    pub(super) fn tell_resource(&mut self, method: &str, uri: &str, out: &mut Vec<Routed>) {
        self.tell_own(method, &resource(uri), out);
    }

    /// Nobody uses the child any more: who did looks for another.
    pub(crate) fn end_seats(&mut self, out: &mut Vec<Routed>) {
        self.wanted.clear();
        out.extend(self.seats.drain().map(|(_, seat)| Routed::End(seat.standing)));
    }

    /// A session is over, or uses the child no more.
    pub(super) fn leave(&mut self, session: u64, out: &mut Vec<Routed>) {
        self.seats.remove(&session);
        let mut own: Vec<String> =
            self.wanted.iter().filter(|(_, wishes)| has_wish(wishes, session)).map(|(uri, _)| uri.clone()).collect();
        own.sort_unstable();
        for uri in own {
            if self.want_no_more(session, &uri, None) {
                self.tell_resource("resources/unsubscribe", &uri, out);
            }
        }
        self.level_child(out);
    }
}

fn has_wish(wishes: &[Wish], session: u64) -> bool {
    wishes.iter().any(|wish| wish.session == session)
}

/// The `params` of a request about a resource.
pub(super) fn resource(uri: &str) -> String {
    serde_json::json!({ "uri": uri }).to_string()
}
