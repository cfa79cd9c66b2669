//! What messages are written anew as between a legacy client and a modern child, against plain lists of their members.

use super::json;
use crate::bridge::discover::Facts;
use crate::bridge::legacy_on_modern::{Retry, initialize_result};
use crate::protocol::jsonrpc::{self, Envelope, Unreadable};
use crate::protocol::meta::Ask;
use crate::protocol::revision::Revision;

/// One JSON value without white space around it.
pub(super) fn is_whole(text: &[u8]) -> bool {
    json::value(text) == Some(text)
}

type Members<'a> = Vec<(&'a [u8], &'a [u8])>;

/// The members of an object whose name is none of these; none if it is no object.
fn without<'a>(object: &'a [u8], names: &[&str]) -> Members<'a> {
    if !object.starts_with(b"{") {
        return Vec::new();
    }
    let is_kept = |member: &json::Member<'_>| member.name.as_deref().is_none_or(|name| !names.contains(&name));
    json::members(object).into_iter().filter(is_kept).map(|member| (member.token, member.value)).collect()
}

/// A client's request as a modern child gets it: one envelope at the end, which is the gateway's; everything else as it was.
pub(super) fn enveloped(text: &[u8], envelope: &Envelope, ask: Ask, told: &[u8], retry: Option<&Retry>) {
    assert!(is_whole(told), "JSON: {}", String::from_utf8_lossy(told));
    let given = json::value(text).expect("a message");
    assert_eq!(without(told, &["params"]), without(given, &["params"]), "what is beside the params stays");
    let params = json::member(told, "params").expect("params");
    let own = envelope.params.map_or(&b"{}"[..], |params| params.of(text));
    let mut gone = vec!["_meta"];
    gone.extend(ask.may_ask().then_some(["inputResponses", "requestState"]).into_iter().flatten());
    gone.extend((ask == Ask::CallTool).then_some("task"));
    let mut expected = without(own, &gone);
    if let Some(retry) = retry {
        expected.extend(retry.responses.as_deref().map(|responses| (&b"\"inputResponses\""[..], responses)));
        expected.extend(retry.state.as_deref().map(|state| (&b"\"requestState\""[..], state)));
    }
    let meta = json::member(params, "_meta").expect("an envelope");
    expected.push((b"\"_meta\"", meta));
    assert_eq!(without(params, &[]), expected, "what is in the params stays");
    let own = json::member(own, "_meta").filter(|meta| meta.starts_with(b"{")).unwrap_or(b"{}");
    assert_eq!(without(meta, &OURS), without(own, &OURS), "what is beside the envelope stays");
    let ours = json::members(meta);
    for name in &OURS[..3] {
        assert_eq!(ours.iter().filter(|member| member.name.as_deref() == Some(name)).count(), 1, "{name} stands once");
    }
    assert_eq!(json::member(meta, OURS[0]), Some(&b"\"2026-07-28\""[..]));
    match jsonrpc::read(told) {
        Ok(again) => {
            let (then, now) = (envelope.id.map(|id| id.of(text)), again.id.map(|id| id.of(told)));
            assert!(again.has_claim && then == now);
            assert_eq!(envelope.asked_token.map(|token| token.of(text)), again.asked_token.map(|token| token.of(told)));
        }
        Err(fault) => assert_eq!(fault, Unreadable::TooDeep),
    }
}

/// A child's answer as a legacy client gets it: without what only modern results have, in shapes that were always there.
pub(super) fn answered(text: &[u8], ask: Ask, told: &[u8]) {
    let given = json::member(text, "result");
    let Some(result) = given else { return assert_eq!(told, text, "an error stays") };
    if !result.starts_with(b"{") {
        return assert!(json::member(told, "error").is_some(), "a result is an object");
    }
    assert_eq!(without(told, &["result"]), without(text, &["result"]), "what is beside the result stays");
    let shaped = json::member(told, "result").expect("a result");
    let mut gone = vec!["resultType", "_meta"];
    gone.extend(ask.is_cacheable().then_some(["ttlMs", "cacheScope"]).into_iter().flatten());
    let changes: &[&str] = match ask {
        Ask::ListTools => &["tools"],
        Ask::CallTool => &["content", "structuredContent"],
        Ask::GetPrompt => &["messages"],
        _ => &[],
    };
    gone.extend(changes);
    assert_eq!(without(shaped, &gone), without(result, &gone), "what is in the result stays");
    for name in &gone[..gone.len() - changes.len()] {
        let is_there = json::member(shaped, name).is_some();
        assert!(!is_there || *name == "_meta", "{name} is of modern results only");
    }
    let meta = json::member(shaped, "_meta").filter(|meta| meta.starts_with(b"{")).unwrap_or(b"{}");
    assert!(json::member(meta, SERVER_INFO).is_none(), "{SERVER_INFO} is of modern results only");
    match ask {
        Ask::ListTools => {
            let tools = json::member(shaped, "tools").filter(|tools| tools.starts_with(b"[")).unwrap_or(b"[]");
            for schema in json::elements(tools).into_iter().filter_map(|tool| json::member(tool, "outputSchema")) {
                assert_eq!(json::member(schema, "type"), Some(&b"\"object\""[..]), "a result is described as an object");
            }
        }
        Ask::CallTool => {
            let content = json::member(shaped, "structuredContent");
            assert!(content.is_none_or(|content| content.starts_with(b"{")), "a structured result is an object");
        }
        _ => {}
    }
}

/// What a server says of itself, whatever that is, can be told in both eras.
pub(super) fn described(facts: &Facts, revision: Revision) {
    for can_listen in [true, false] {
        let told = initialize_result(facts, revision, "x", can_listen);
        assert!(is_whole(&told), "JSON: {}", String::from_utf8_lossy(&told));
        assert_eq!(json::member(&told, "protocolVersion"), Some(format!("\"{}\"", revision.as_str()).as_bytes()));
        assert!(json::member(json::member(&told, "capabilities").unwrap_or_default(), "tasks").is_none(), "tasks do not cross");
    }
    let told = facts.clone().for_stateless().discover_result();
    assert!(is_whole(&told) && json::member(&told, "supportedVersions").is_some(), "JSON: {}", String::from_utf8_lossy(&told));
}

const OURS: [&str; 4] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
];
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
