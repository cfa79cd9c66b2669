//! What another child has to be told to take up a session's place: the client's own `initialize`, its log level and its
//! subscriptions, as it wrote them. Pure, behind the session's lock; bounded, and what does not fit cannot be taken up.

use std::collections::BTreeMap;

use crate::bridge::subscriptions::Subject;
use crate::protocol::jsonrpc::{Envelope, Method};
use crate::protocol::object;

/// A message as the client wrote it.
type Text = Box<[u8]>;

/// Subscriptions and bytes of all that is kept; a session beyond them ends with its child.
const MAX_SUBSCRIPTIONS: usize = 1024;
const MAX_BYTES: usize = 256 << 10;

/// The messages of the client that count, each as it wrote it.
#[derive(Default)]
pub(crate) struct Recall {
    initialize: Option<Text>,
    /// The child's result of it.
    result: Option<Text>,
    initialized: Option<Text>,
    /// The same, held until the next child is there.
    is_held: Option<Text>,
    level: Option<Text>,
    subscriptions: BTreeMap<String, Text>,
    is_beyond: bool,
}

/// What a request changes if the child grants it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Initialize(Text),
    Level(Text),
    Subscribe(String, Text),
    Unsubscribe(String),
}

impl Change {
    /// What a request of the client would change.
    pub(crate) fn of(text: &[u8], envelope: &Envelope) -> Option<Change> {
        if envelope.method == Method::Initialize {
            return Some(Change::Initialize(text.into()));
        }
        let uri = || {
            let params = envelope.params?.of(text);
            object::member(params, "uri").and_then(|uri| object::string(uri.value))
        };
        if envelope.is_method(text, "logging/setLevel") {
            Some(Change::Level(text.into()))
        } else if envelope.is_method(text, "resources/subscribe") {
            Some(Change::Subscribe(uri()?, text.into()))
        } else if envelope.is_method(text, "resources/unsubscribe") {
            Some(Change::Unsubscribe(uri()?))
        } else {
            None
        }
    }
}

impl Recall {
    /// The child has granted a request.
    pub(crate) fn granted(&mut self, change: Change, result: &[u8]) {
        match change {
            Change::Initialize(text) => (self.initialize, self.result) = (Some(text), Some(result.into())),
            Change::Level(text) => self.level = Some(text),
            Change::Subscribe(uri, text) => drop(self.subscriptions.insert(uri, text)),
            Change::Unsubscribe(uri) => drop(self.subscriptions.remove(&uri)),
        }
        let subscriptions: usize = self.subscriptions.iter().map(|(uri, text)| uri.len() + text.len()).sum();
        let others = [&self.initialize, &self.result, &self.level];
        let bytes: usize = others.into_iter().flatten().map(|text| text.len()).sum::<usize>() + subscriptions;
        self.is_beyond |= self.subscriptions.len() > MAX_SUBSCRIPTIONS || bytes > MAX_BYTES;
        if self.is_beyond {
            *self = Recall { is_beyond: true, ..Recall::default() };
        }
    }

    /// The client has said that it is initialized.
    pub(crate) fn initialized(&mut self, text: &[u8], is_held: bool) {
        match (self.is_beyond, is_held) {
            (true, _) => {}
            (false, true) => self.is_held = Some(text.into()),
            (false, false) => self.initialized = Some(text.into()),
        }
    }

    /// What was held has gone to a child.
    pub(crate) fn released(&mut self) {
        if let Some(text) = self.is_held.take() {
            self.initialized = Some(text);
        }
    }

    /// Whether another child can take up the session's place.
    pub(crate) fn is_enough(&self) -> bool {
        self.result.is_some()
    }

    /// Whether the child may be stopped until it is needed: the handshake is over, and the client waits for no news.
    pub(crate) fn lets_sleep(&self) -> bool {
        self.is_enough() && self.initialized.is_some() && self.subscriptions.is_empty()
    }

    /// The client's `initialize`, and what a child must answer it.
    pub(crate) fn handshake(&self) -> Option<(Text, Text)> {
        Some((self.initialize.clone()?, self.result.clone()?))
    }

    /// What follows the handshake: a notification, then requests.
    pub(crate) fn rest(&self) -> (Option<Text>, Vec<Text>) {
        (self.initialized.clone(), self.level.iter().chain(self.subscriptions.values()).cloned().collect())
    }

    /// What may have changed with the child: a notification for each list whose changes it tells, and for each subscription.
    pub(crate) fn changes(&self) -> Vec<Vec<u8>> {
        let result = self.result.as_deref().unwrap_or_default();
        let tells =
            |list: &str| object::at(result, &["capabilities", list, "listChanged"]).is_some_and(|told| told.value == b"true");
        let lists = [("tools", Subject::Tools), ("prompts", Subject::Prompts), ("resources", Subject::Resources)];
        let lists = lists.into_iter().filter(|(list, _)| tells(list)).map(|(_, subject)| subject);
        lists.chain(self.subscriptions.keys().cloned().map(Subject::Resource)).map(|subject| subject.line()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::jsonrpc;

    fn grant(recall: &mut Recall, text: &str, result: &str) {
        let envelope = jsonrpc::read(text.as_bytes()).expect("a message");
        let change = Change::of(text.as_bytes(), &envelope).expect("a change");
        recall.granted(change, result.as_bytes());
    }

    fn about(method: &str, uri: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"resources/{method}","params":{{"uri":"{uri}"}}}}"#)
    }

    #[test]
    fn the_last_level_and_the_live_subscriptions_are_kept() {
        let mut recall = Recall::default();
        assert!(!recall.is_enough());
        let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#;
        let result = r#"{"capabilities":{"tools":{"listChanged":true},"prompts":{"listChanged":false},"resources":{}}}"#;
        grant(&mut recall, hello, result);
        recall.initialized(b"initialized", false);
        assert!(recall.lets_sleep());
        for level in ["info", "error"] {
            grant(
                &mut recall,
                &format!(r#"{{"jsonrpc":"2.0","id":2,"method":"logging/setLevel","params":{{"level":"{level}"}}}}"#),
                "{}",
            );
        }
        grant(&mut recall, &about("subscribe", "a"), "{}");
        grant(&mut recall, &about("subscribe", r"\u0062"), "{}");
        grant(&mut recall, &about("unsubscribe", "a"), "{}");
        assert!(!recall.lets_sleep());
        assert_eq!(recall.handshake(), Some((hello.as_bytes().into(), result.as_bytes().into())));
        let (initialized, requests) = recall.rest();
        assert_eq!(initialized.as_deref(), Some(&b"initialized"[..]));
        assert_eq!(requests.len(), 2);
        assert!(String::from_utf8_lossy(&requests[0]).contains("error"));
        assert_eq!(*requests[1], *about("subscribe", r"\u0062").as_bytes());
        let changes: Vec<String> = recall.changes().iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        assert_eq!(
            changes,
            [
                r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
                r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"b"}}"#,
            ]
        );
    }

    #[test]
    fn beyond_its_bounds_nothing_is_kept() {
        for (count, size) in [(MAX_SUBSCRIPTIONS + 1, 1), (2, MAX_BYTES)] {
            let mut recall = Recall::default();
            grant(&mut recall, r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#, "{}");
            assert!(recall.is_enough());
            for at in 0..count {
                grant(&mut recall, &about("subscribe", &format!("{at}{}", "x".repeat(size))), "{}");
            }
            assert!(!recall.is_enough() && !recall.lets_sleep() && recall.handshake().is_none());
        }
    }

    #[test]
    fn what_is_held_is_told_once() {
        let mut recall = Recall::default();
        recall.initialized(b"x", true);
        assert!(recall.rest().0.is_none(), "it goes with what is held");
        recall.released();
        assert_eq!(recall.rest().0.as_deref(), Some(&b"x"[..]));
    }
}
