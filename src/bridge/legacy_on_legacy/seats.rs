//! Who uses a shared legacy child, and what they want to hear: the child is told of the most verbose level, and of a resource as
//! long as anybody wants it.

use super::LegacyOnLegacy;
use crate::bridge::capabilities::Declared;
use crate::link::route::Routed;
use crate::protocol::meta::Level;
use crate::protocol::sse::StreamId;

/// Requests of the gateway's own that may be unanswered.
const MAX_TOLD: usize = 1024;

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

/// What a wish to hear of a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want {
    /// Nobody had it before.
    pub(super) is_first: bool,
    /// The session did not have it before.
    pub(super) is_new: bool,
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
            if self.want(sitter.number, uri).is_first {
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
        self.wanted.get(uri).is_some_and(|sessions| sessions.iter().any(|other| *other != session))
    }

    /// A session's client wants to hear of a resource.
    pub(super) fn want(&mut self, session: u64, uri: &str) -> Want {
        let sessions = self.wanted.entry(uri.to_owned()).or_default();
        let want = Want { is_first: sessions.is_empty(), is_new: !sessions.contains(&session) };
        if want.is_new {
            sessions.push(session);
        }
        want
    }

    /// Says whether it was the last that wanted to.
    pub(crate) fn want_no_more(&mut self, session: u64, uri: &str) -> bool {
        let Some(sessions) = self.wanted.get_mut(uri) else { return false };
        sessions.retain(|other| *other != session);
        let is_last = sessions.is_empty();
        if is_last {
            self.wanted.remove(uri);
        }
        is_last
    }

    /// A request of the gateway's own whose answer changes nothing.
    fn tell_own(&mut self, method: &str, params: &str, out: &mut Vec<Routed>) {
        let number = self.next;
        self.next += 1;
        if self.told.len() >= MAX_TOLD {
            self.told.clear(); // a child that answers nothing: late answers are counted as nobody's
        }
        self.told.insert(number);
        let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"{method}\",\"params\":{params}}}\n");
        out.push(Routed::ToChild(line.into_bytes()));
    }

    pub(super) fn tell_resource(&mut self, method: &str, uri: &str, out: &mut Vec<Routed>) {
        self.tell_own(method, &serde_json::json!({ "uri": uri }).to_string(), out);
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
            self.wanted.iter().filter(|(_, sessions)| sessions.contains(&session)).map(|(uri, _)| uri.clone()).collect();
        own.sort_unstable();
        for uri in own {
            if self.want_no_more(session, &uri) {
                self.tell_resource("resources/unsubscribe", &uri, out);
            }
        }
        self.level_child(out);
    }
}
