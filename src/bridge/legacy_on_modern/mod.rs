//! Legacy clients on a modern child: what the gateway says in the child's place when a session opens, the envelope that it
//! adds to every request, and (`results`, `questions`) what older clients cannot read otherwise. Pure.

use super::Asked;
use super::capabilities::{Capabilities, Declared, without_changes};
use super::discover::Facts;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::meta::{Ask, CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, Level, PROTOCOL_VERSION, TASKS};
use crate::protocol::object::{self, Edit};
use crate::protocol::revision::Revision;
use crate::protocol::scan::{Scanner, Value};
use crate::protocol::splice::{self, Spliced};

pub(crate) mod questions;
pub(crate) mod results;
mod shapes;

/// Who opened a session, as its `initialize` told.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    /// The revision of the session.
    pub(crate) revision: Revision,
    pub(crate) declared: Declared,
    capabilities: Capabilities,
    /// `clientInfo`, if it is an object.
    info: Option<Vec<u8>>,
}

impl Speaker {
    /// Of the `params` of `initialize`. Whoever asks for a revision that we do not know gets the newest (2025-11-25, Lifecycle,
    /// Version Negotiation).
    pub(crate) fn read(params: &[u8]) -> Speaker {
        let own = |name| object::member(params, name);
        let date = own("protocolVersion").and_then(|date| object::string(date.value));
        let given = own("capabilities").filter(|given| given.kind == Value::Object).map_or(&b"{}"[..], |given| given.value);
        Speaker {
            revision: date.as_deref().and_then(Revision::parse).unwrap_or(Revision::NEWEST_LEGACY),
            declared: Declared::of(given),
            capabilities: Capabilities::of(given),
            info: own("clientInfo").filter(|info| info.kind == Value::Object).map(|info| info.value.to_vec()),
        }
    }

    /// What it declared, in the one form that equal declarations have.
    pub(crate) fn capabilities(&self) -> &[u8] {
        self.capabilities.as_bytes()
    }

    /// A client that never said who it is.
    pub(crate) fn unknown(revision: Revision) -> Speaker {
        Speaker { revision, declared: Declared::default(), capabilities: Capabilities::none(), info: None }
    }

    /// 2026-07-28, Basic, General fields, `_meta`: the members of the envelope. A client's own copies are not kept.
    fn envelope(&self, meta: &[u8], level: Option<Level>, token: Option<&[u8]>) -> Vec<u8> {
        let is_own = |member: &object::Member<'_>| {
            [PROTOCOL_VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL].iter().any(|name| member.is(name))
        };
        let version = object::quoted(Revision::MODERN[0]);
        let level = level.map(|level| object::quoted(level.as_str()));
        let own_info = super::discover::own_info();
        let info = self.info.as_deref().unwrap_or(own_info.as_bytes());
        let mut added: Vec<(&str, &[u8])> =
            vec![(PROTOCOL_VERSION, &version), (CLIENT_INFO, info), (CLIENT_CAPABILITIES, self.capabilities.as_bytes())];
        added.extend(level.as_deref().map(|level| (LOG_LEVEL, level)));
        let edit = |member: &object::Member<'_>| match token {
            _ if is_own(member) => Edit::Drop,
            Some(token) if member.is("progressToken") => Edit::Put(token.to_vec()),
            _ => Edit::Keep,
        };
        object::rewrite(meta, &[], edit, &added)
    }

    /// A client's message with the envelope.
    pub(crate) fn enveloped(
        &self,
        text: &[u8],
        envelope: &Envelope,
        ask: Ask,
        level: Option<Level>,
        round: Option<&Retry>,
    ) -> Vec<u8> {
        let retried = round.map_or((None, None), |round| (round.responses.as_deref(), round.state.as_deref()));
        self.line(text, envelope, (ask, level), retried, None).joined(text)
    }

    /// The same as the line for a child, with a private number in place of id and progress token. A retry also carries the answers
    /// and the state of its round.
    fn line(
        &self,
        text: &[u8],
        envelope: &Envelope,
        (ask, level): (Ask, Option<Level>),
        (responses, state): (Option<&[u8]>, Option<&[u8]>),
        private: Option<&[u8]>,
    ) -> Spliced {
        let given = envelope.params.map_or(&b"{}"[..], |params| params.of(text));
        let meta = object::member(given, "_meta").filter(|meta| meta.kind == Value::Object).map_or(&b"{}"[..], |meta| meta.value);
        let meta = self.envelope(meta, level, private.filter(|_| envelope.asked_token.is_some()));
        let mut last: Vec<(&str, &[u8])> = Vec::new();
        last.extend(responses.map(|responses| ("inputResponses", responses)));
        last.extend(state.map(|state| ("requestState", state)));
        last.push(("_meta", &meta));
        let is_dropped = |member: &object::Member<'_>| {
            member.is("_meta")
                || ask.may_ask() && (member.is("inputResponses") || member.is("requestState"))
                || ask == Ask::CallTool && member.is("task")
        };
        let params = object::compose(given, &[], |member| if is_dropped(member) { Edit::Drop } else { Edit::Keep }, &last);
        let id = private.zip(envelope.id);
        let end = if private.is_some() { &b"\n"[..] } else { b"" };
        if let Some(span) = envelope.params {
            let id = id.map(|(private, id)| (id, private.to_vec().into()));
            return splice::compose(text, id.into_iter().chain([(span, params)]).collect(), end);
        }
        // There are none, or they are null.
        let params = params.joined();
        let edit = |member: &object::Member<'_>| match id {
            Some((private, _)) if member.is("id") => Edit::Put(private.to_vec()),
            _ if member.is("params") => Edit::Put(params.clone()),
            _ => Edit::Keep,
        };
        let missing = object::member(text, "params").is_none().then_some(("params", params.as_slice()));
        object::compose(text, &[], edit, missing.as_slice()).line(text, end)
    }

    /// A request of the gateway's own in this client's name, under this id.
    pub(crate) fn own_request(&self, id: &str, method: &str, members: &[(&str, &[u8])]) -> Vec<u8> {
        let meta = self.envelope(b"{}", None, None);
        let params = object::rewrite(b"{}", members, |_| Edit::Keep, &[("_meta", &meta)]);
        let (id, method) = (id.as_bytes(), object::quoted(method));
        let members: [(&str, &[u8]); 4] = [("jsonrpc", b"\"2.0\""), ("id", id), ("method", &method), ("params", &params)];
        object::rewrite(b"{}", &members, |_| Edit::Keep, &[])
    }
}

/// What a legacy client's request lacks that a modern child needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dress<'a> {
    pub(crate) speaker: &'a Speaker,
    pub(crate) envelope: &'a Envelope,
    pub(crate) retry: Option<&'a Retry>,
}

impl Dress<'_> {
    /// Whether the envelope goes deeper than a message may.
    pub(crate) fn is_too_deep(&self, text: &[u8]) -> bool {
        let given = self.envelope.params.and_then(|params| object::member(params.of(text), "_meta"));
        let given = given.filter(|meta| meta.kind == Value::Object).map_or(&b"{}"[..], |meta| meta.value);
        let meta = self.speaker.envelope(given, None, None);
        let retried = self.retry.into_iter().flat_map(|retry| [retry.responses.as_deref(), retry.state.as_deref()]).flatten();
        [meta.as_slice()].into_iter().chain(retried).any(|value| Scanner::new(value).value(2).is_err())
    }

    /// The line for the child. `state` is the child's own in place of ours; `keeps_level` says whether it may ask for logs.
    pub(crate) fn line(&self, asked: &Asked<'_>, private: &[u8], state: Option<&[u8]>, keeps_level: bool) -> Spliced {
        let level = asked.level.filter(|_| keeps_level || !asked.wants_logs());
        let responses = self.retry.and_then(|retry| retry.responses.as_deref());
        let state = state.or_else(|| self.retry.and_then(|retry| retry.state.as_deref()));
        self.speaker.line(asked.text, self.envelope, (asked.ask, level), (responses, state), Some(private))
    }
}

/// What a retry carries beside its request (2026-07-28, Multi Round-Trip Requests).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retry {
    /// `inputResponses`, JSON.
    pub(crate) responses: Option<Vec<u8>>,
    /// `requestState`, JSON.
    pub(crate) state: Option<Vec<u8>>,
}

/// The `InitializeResult` in the place of a modern server. `name` is for one that did not say its own; `can_listen` says
/// whether it takes subscriptions.
pub(crate) fn initialize_result(facts: &Facts, revision: Revision, name: &str, can_listen: bool) -> Vec<u8> {
    let no_tasks = |extensions: &[u8]| {
        object::rewrite(extensions, &[], |member| if member.is(TASKS) { Edit::Drop } else { Edit::Keep }, &[])
    };
    let edit = |member: &object::Member<'_>| {
        if member.is("tasks") {
            Edit::Drop
        } else if member.is("extensions") && member.kind == Value::Object {
            match no_tasks(member.value) {
                rest if rest == b"{}" => Edit::Drop,
                rest => Edit::Put(rest),
            }
        } else {
            Edit::Keep
        }
    };
    let capabilities = object::rewrite(&facts.capabilities, &[], edit, &[]);
    let capabilities = if can_listen { capabilities } else { without_changes(&capabilities) };
    let version = object::quoted(revision.as_str());
    let unnamed = serde_json::json!({ "name": name, "version": "0" }).to_string().into_bytes();
    let mut members: Vec<(&str, &[u8])> = vec![
        ("protocolVersion", &version),
        ("capabilities", &capabilities),
        ("serverInfo", facts.server_info.as_deref().unwrap_or(&unnamed)),
    ];
    members.extend(facts.instructions.as_deref().map(|text| ("instructions", text)));
    object::rewrite(b"{}", &members, |_| Edit::Keep, &[])
}

#[cfg(test)]
mod tests;
