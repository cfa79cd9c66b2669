//! `subscriptions/listen` in front of legacy children: what one principal's clients want to hear, and what of that a child's
//! notification is (2026-07-28, Subscriptions). One client's listen hears all children of its principal: a tool that runs on
//! another child changes the lists there.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::capabilities::{Capabilities, Declared};
use super::discover::Facts;
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::meta::SUBSCRIPTION_ID;
use crate::protocol::object::{self, Edit};
use crate::protocol::scan::Value;
use crate::protocol::sse::StreamId;

/// Changes of one kind within this time become one frame.
const MERGE: Duration = Duration::from_millis(50);
/// What a client may subscribe to at once.
pub(crate) const MAX_URIS: usize = 1024;

/// What a client wants to hear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) tools: bool,
    pub(crate) prompts: bool,
    pub(crate) resources: bool,
    pub(crate) uris: Vec<String>,
}

/// Why a filter is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadFilter {
    /// What is wrong with it.
    Shape(&'static str),
    /// It wants tasks, which the client did not declare.
    NoTasks,
}

impl Filter {
    pub(crate) fn read(params: &[u8], declared: Declared) -> Result<Filter, BadFilter> {
        let given = object::member(params, "notifications").filter(|given| given.kind == Value::Object);
        let given = given.ok_or(BadFilter::Shape("params.notifications must be an object"))?;
        let mut filter = Filter::default();
        for member in object::members(given.value) {
            let flag = || match member.value {
                b"true" => Ok(true),
                b"false" => Ok(false),
                _ => Err(BadFilter::Shape("a flag of params.notifications must be true or false")),
            };
            if member.is("toolsListChanged") {
                filter.tools = flag()?;
            } else if member.is("promptsListChanged") {
                filter.prompts = flag()?;
            } else if member.is("resourcesListChanged") {
                filter.resources = flag()?;
            } else if member.is("resourceSubscriptions") {
                filter.uris = uris(member.kind, member.value)?;
            } else if member.is("taskIds") && !declared.tasks {
                return Err(BadFilter::NoTasks);
            }
        }
        Ok(filter)
    }

    /// What a server of these capabilities can honour, its resources not yet asked.
    pub(crate) fn honoured(mut self, facts: &Facts) -> Filter {
        self.tools &= facts.declares(&["tools", "listChanged"]);
        self.prompts &= facts.declares(&["prompts", "listChanged"]);
        self.resources &= facts.declares(&["resources", "listChanged"]);
        if !facts.declares(&["resources", "subscribe"]) {
            self.uris.clear();
        }
        self
    }

    fn to_json(&self) -> String {
        let mut members: Vec<String> = Vec::new();
        for (wanted, name) in
            [(self.tools, "toolsListChanged"), (self.prompts, "promptsListChanged"), (self.resources, "resourcesListChanged")]
        {
            members.extend(wanted.then(|| format!("\"{name}\":true")));
        }
        if !self.uris.is_empty() {
            members.push(format!("\"resourceSubscriptions\":{}", serde_json::json!(self.uris)));
        }
        format!("{{{}}}", members.join(","))
    }
}

fn uris(kind: Value, value: &[u8]) -> Result<Vec<String>, BadFilter> {
    let shape = BadFilter::Shape("params.notifications.resourceSubscriptions must be an array of at most 1024 strings");
    let elements = object::elements(value);
    if kind != Value::Array || elements.len() > MAX_URIS {
        return Err(shape);
    }
    let mut uris: Vec<String> = elements.into_iter().map(object::string).collect::<Option<_>>().ok_or(shape)?;
    uris.sort_unstable();
    uris.dedup();
    Ok(uris)
}

/// What a change is about; equal ones are merged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subject {
    Tools,
    Prompts,
    Resources,
    Resource(String),
}

impl Subject {
    /// What a notification of a child is about; `None` if it tells of no change.
    pub(crate) fn of(text: &[u8], envelope: &Envelope) -> Option<Subject> {
        if envelope.is_method(text, "notifications/resources/updated") {
            let uri = object::member(envelope.params?.of(text), "uri")?;
            return object::string(uri.value).map(Subject::Resource);
        }
        let known = [
            ("notifications/tools/list_changed", Subject::Tools),
            ("notifications/prompts/list_changed", Subject::Prompts),
            ("notifications/resources/list_changed", Subject::Resources),
        ];
        known.into_iter().find(|(word, _)| envelope.is_method(text, word)).map(|(_, subject)| subject)
    }

    /// The notification that tells of it.
    pub(crate) fn line(&self) -> Vec<u8> {
        let text = match self {
            Subject::Tools => r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#.to_owned(),
            Subject::Prompts => r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#.to_owned(),
            Subject::Resources => r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#.to_owned(),
            Subject::Resource(uri) => {
                let params = serde_json::json!({ "uri": uri });
                format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{params}}}"#)
            }
        };
        text.into_bytes()
    }
}

/// One open subscription.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    /// The id of its request, as the client wrote it.
    pub(crate) id: Box<[u8]>,
    /// Whose lists it hears of first: the children of this key.
    pub(crate) key: Capabilities,
    pub(crate) filter: Filter,
}

impl Listen {
    fn wants(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Tools => self.filter.tools,
            Subject::Prompts => self.filter.prompts,
            Subject::Resources => self.filter.resources,
            Subject::Resource(uri) => self.filter.uris.iter().any(|own| covers(own, uri)),
        }
    }
}

/// The resource itself, or one below it (2026-07-28, Resources, Subscriptions, lets a server tell of either).
pub(super) fn covers(subscribed: &str, updated: &str) -> bool {
    updated
        .strip_prefix(subscribed)
        .is_some_and(|rest| rest.is_empty() || subscribed.ends_with('/') || rest.starts_with(['/', '#', '?']))
}

/// The subscriptions of one principal.
#[derive(Default)]
pub(crate) struct Listens {
    open: HashMap<StreamId, Listen>,
    /// Changes that are not told yet, with the child's line.
    waiting: Vec<(Subject, Vec<u8>)>,
    since: Option<Instant>,
}

impl Listens {
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (StreamId, &Listen)> {
        self.open.iter().map(|(stream, listen)| (*stream, listen))
    }

    /// Opens one: the first frame of its stream. A `true` that the server cannot honour, and a resource that it did not let us
    /// subscribe to, are not in it.
    pub(crate) fn open(&mut self, stream: StreamId, listen: Listen) -> Vec<u8> {
        let id = String::from_utf8_lossy(&listen.id);
        let frame = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"{SUBSCRIPTION_ID}":{id}}},"notifications":{}}}}}"#,
            listen.filter.to_json()
        );
        self.open.insert(stream, listen);
        frame.into_bytes()
    }

    pub(crate) fn close(&mut self, stream: StreamId) -> Option<Listen> {
        self.open.remove(&stream)
    }

    /// A child tells of a change. Says when it is due, if nothing was waiting before; `None` also if nobody wants it.
    pub(crate) fn changed(&mut self, subject: Subject, line: &[u8], now: Instant) -> Changed {
        if !self.open.values().any(|listen| listen.wants(&subject)) {
            return Changed::Unwanted;
        }
        match self.waiting.iter_mut().find(|(waiting, _)| *waiting == subject) {
            Some((_, waiting)) => line.clone_into(waiting),
            None => self.waiting.push((subject, line.to_vec())),
        }
        if self.since.is_some() {
            return Changed::Waiting;
        }
        self.since = Some(now);
        Changed::Due(now + MERGE)
    }

    /// The frames that are due.
    pub(crate) fn take_due(&mut self) -> Vec<(StreamId, Vec<u8>)> {
        self.since = None;
        let mut frames = Vec::new();
        for (subject, line) in std::mem::take(&mut self.waiting) {
            let wanted = self.open.iter().filter(|(_, listen)| listen.wants(&subject));
            frames.extend(wanted.map(|(stream, listen)| (*stream, framed(&line, &listen.id))));
        }
        frames
    }
}

/// What becomes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Unwanted,
    Waiting,
    /// It and what comes until then goes out at this time.
    Due(Instant),
}

/// A child's notification on a subscription: its id is added.
fn framed(line: &[u8], id: &[u8]) -> Vec<u8> {
    let meta = |meta: &[u8]| {
        object::rewrite(
            meta,
            &[(SUBSCRIPTION_ID, id)],
            |member| if member.is(SUBSCRIPTION_ID) { Edit::Drop } else { Edit::Keep },
            &[],
        )
    };
    let with_meta = |params: &[u8]| {
        let own = object::member(params, "_meta").map_or_else(|| meta(b"{}"), |own| meta(own.value));
        object::rewrite(params, &[], |member| if member.is("_meta") { Edit::Drop } else { Edit::Keep }, &[("_meta", &own)])
    };
    let mut has_params = false;
    let framed = object::rewrite(
        line,
        &[],
        |member| {
            let is_params = member.is("params") && member.kind == Value::Object;
            has_params |= is_params;
            if is_params { Edit::Put(with_meta(member.value)) } else { Edit::Keep }
        },
        &[],
    );
    let line = if has_params { framed } else { object::rewrite(line, &[], |_| Edit::Keep, &[("params", &with_meta(b"{}"))]) };
    crate::protocol::splice::splice(&line, &mut [], b"")
}

/// A frame of a subscription as older clients read it.
pub(crate) fn without_subscription(line: &[u8]) -> Vec<u8> {
    let drop_empty = |written: Vec<u8>| if written == b"{}" { Edit::Drop } else { Edit::Put(written) };
    let meta =
        |meta: &[u8]| object::rewrite(meta, &[], |member| if member.is(SUBSCRIPTION_ID) { Edit::Drop } else { Edit::Keep }, &[]);
    let params = |params: &[u8]| {
        let edit = |member: &object::Member<'_>| if member.is("_meta") { drop_empty(meta(member.value)) } else { Edit::Keep };
        object::rewrite(params, &[], edit, &[])
    };
    let edit = |member: &object::Member<'_>| if member.is("params") { drop_empty(params(member.value)) } else { Edit::Keep };
    object::rewrite(line, &[], edit, &[])
}

/// 2026-07-28, Subscriptions, Graceful Closure.
pub(crate) fn graceful_end(id: &[u8], facts: Option<&Facts>) -> Vec<u8> {
    let mut members: Vec<(&str, &[u8])> = vec![(SUBSCRIPTION_ID, id)];
    members.extend(facts.and_then(|facts| facts.server_info.as_deref()).map(|info| (crate::protocol::meta::SERVER_INFO, info)));
    let meta = object::rewrite(b"{}", &members, |_| Edit::Keep, &[]);
    jsonrpc::result(id, &object::rewrite(b"{}", &[("resultType", b"\"complete\""), ("_meta", &meta)], |_| Edit::Keep, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Result<Filter, BadFilter> {
        Filter::read(text.as_bytes(), Declared::default())
    }

    fn listen(id: &str, params: &str) -> Listen {
        Listen { id: id.as_bytes().into(), key: Capabilities::none(), filter: filter(params).expect("a filter") }
    }

    #[test]
    fn a_filter_is_read_and_refused() {
        let wanted = filter(
            r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["b","a","b"]}}"#,
        );
        assert_eq!(wanted, Ok(Filter { tools: true, uris: vec!["a".into(), "b".into()], ..Filter::default() }));
        for bad in [
            "{}",
            r#"{"notifications":[]}"#,
            r#"{"notifications":{"toolsListChanged":1}}"#,
            r#"{"notifications":{"resourceSubscriptions":"a"}}"#,
            r#"{"notifications":{"resourceSubscriptions":[1]}}"#,
        ] {
            assert!(matches!(filter(bad), Err(BadFilter::Shape(_))), "{bad}");
        }
        assert_eq!(filter(r#"{"notifications":{"taskIds":["t"]}}"#), Err(BadFilter::NoTasks));
    }

    #[test]
    fn only_what_the_server_can_do_is_honoured() {
        let facts = Facts::of(br#"{"capabilities":{"tools":{"listChanged":true},"prompts":{},"resources":{}}}"#);
        let all = filter(
            r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["a"]}}"#,
        );
        assert_eq!(all.expect("a filter").honoured(&facts), Filter { tools: true, ..Filter::default() });
    }

    #[test]
    fn a_frame_carries_the_id_of_its_own_listen() {
        let (mut listens, now) = (Listens::default(), Instant::now());
        let ack = listens.open(
            StreamId(1),
            listen("\"x\"", r#"{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["file:///a"]}}"#),
        );
        assert_eq!(
            String::from_utf8_lossy(&ack),
            r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"x"},"notifications":{"toolsListChanged":true,"resourceSubscriptions":["file:///a"]}}}"#
        );
        let _ = listens.open(StreamId(2), listen("2", r#"{"notifications":{"promptsListChanged":true}}"#));
        assert_eq!(listens.changed(Subject::Tools, &Subject::Tools.line(), now), Changed::Due(now + MERGE));
        assert_eq!(listens.changed(Subject::Tools, &Subject::Tools.line(), now), Changed::Waiting, "one frame for both");
        assert_eq!(listens.changed(Subject::Resources, &Subject::Resources.line(), now), Changed::Unwanted);
        let frames = listens.take_due();
        assert_eq!(frames.len(), 1);
        assert_eq!(
            String::from_utf8_lossy(&frames[0].1),
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"x"}}}"#
        );
        assert!(listens.take_due().is_empty());
        let update = Subject::Resource("file:///a/b".into());
        assert!(matches!(listens.changed(update.clone(), &update.line(), now), Changed::Due(_)));
        assert_eq!(listens.take_due()[0].0, StreamId(1));
    }

    #[test]
    fn an_older_client_reads_a_frame_without_its_subscription() {
        let told = |line: &str| String::from_utf8(without_subscription(line.as_bytes())).expect("UTF-8");
        assert_eq!(
            told(
                r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"u","_meta":{"io.modelcontextprotocol/subscriptionId":1,"k":2}}}"#
            ),
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"u","_meta":{"k":2}}}"#
        );
        assert_eq!(
            told(r#"{"method":"m","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}},"jsonrpc":"2.0"}"#),
            r#"{"method":"m","jsonrpc":"2.0"}"#
        );
    }

    #[test]
    fn a_resource_covers_what_is_below_it() {
        for (own, updated, covered) in [
            ("file:///a", "file:///a", true),
            ("file:///a", "file:///a/b", true),
            ("file:///a", "file:///a#b", true),
            ("file:///a/", "file:///a/b", true),
            ("file:///a", "file:///ab", false),
            ("file:///a/b", "file:///a", false),
        ] {
            assert_eq!(covers(own, updated), covered, "{own} {updated}");
        }
    }
}
