//! Requests of modern clients as a legacy child reads them, and its answers as modern clients do.

use crate::bridge::discover::Facts;
use crate::bridge::{Asked, RESERVED, code_of};
use crate::protocol::jsonrpc::{self, Envelope};
use crate::protocol::meta::{Ask, CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, PROTOCOL_VERSION, SERVER_INFO};
use crate::protocol::object::{self, Edit};
use crate::protocol::pieces::Pieces;
use crate::protocol::scan::Value;
use crate::protocol::splice::{self, Spliced};

/// The line for the child: without the modern envelope, which some refuse, and with private numbers.
pub(super) fn request(asked: &Asked<'_>, number: u64) -> Spliced {
    let private = number.to_string();
    let meta = |meta: &[u8]| {
        let own = |name| object::member(meta, name).is_some();
        let trace = asked.trace.filter(|_| !own("traceparent"));
        let parent = trace.map(|trace| object::quoted(trace.parent));
        let state = trace.and_then(|trace| trace.state).filter(|_| !own("tracestate")).map(object::quoted);
        let mut added: Vec<(&str, &[u8])> = Vec::new();
        added.extend(parent.as_deref().map(|parent| ("traceparent", parent)));
        added.extend(state.as_deref().map(|state| ("tracestate", state)));
        let edit = |member: &object::Member<'_>| {
            let is_envelope = [PROTOCOL_VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL].iter().any(|name| member.is(name));
            if is_envelope {
                Edit::Drop
            } else if member.is("progressToken") && asked.token.is_some() {
                Edit::Put(private.clone().into_bytes())
            } else {
                Edit::Keep
            }
        };
        object::rewrite(meta, &[], edit, &added)
    };
    let params = object::compose(
        asked.request.params,
        &[],
        |member| {
            if member.is("inputResponses") || member.is("requestState") {
                return Edit::Drop;
            }
            if !member.is("_meta") || member.kind != Value::Object {
                return Edit::Keep;
            }
            match meta(member.value) {
                meta if meta == b"{}" => Edit::Drop,
                meta => Edit::Put(meta),
            }
        },
        &[],
    );
    let edits = vec![(asked.id.0, private.into_bytes().into()), (asked.span_of(asked.request.params), params)];
    splice::compose(asked.text, edits, b"\n")
}

/// A request of the gateway's own.
pub(super) fn own_request(method: &str, params: &str, number: u64) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"{method}\",\"params\":{params}}}\n").into_bytes()
}

/// The child's answer, for the client whose request has this id.
pub(super) fn answer(text: &[u8], envelope: &Envelope, ask: Ask, client_id: &[u8], facts: &Facts) -> Spliced {
    let Some(id) = envelope.id else { return Spliced::Whole(text.to_vec()) };
    let (span, new) = match (envelope.result, envelope.error) {
        (Some(result), _) => match complete(ask, result.of(text), facts) {
            Some(complete) => (result, complete),
            None => {
                let text = "the server's result is not an object";
                return Spliced::Whole(jsonrpc::error(Some(client_id), jsonrpc::INTERNAL_ERROR, text, None));
            }
        },
        (None, Some(error)) => (error, modern_error(error.of(text)).into()),
        (None, None) => return Spliced::Whole(text.to_vec()),
    };
    splice::compose(text, vec![(id, client_id.to_vec().into()), (span, new)], b"")
}

/// 2026-07-28, Basic, ResultType; Caching, Cacheable Results; General fields, Per-response protocol fields.
fn complete<'a>(ask: Ask, result: &'a [u8], facts: &Facts) -> Option<Pieces<'a>> {
    if result.first() != Some(&b'{') {
        return None;
    }
    let mut last: Vec<(&str, &[u8])> = Vec::new();
    if ask.is_cacheable() {
        // What a legacy server lists depends on the capabilities that it was told, which a client's cache does not know.
        last.extend([("ttlMs", &b"0"[..]), ("cacheScope", b"\"private\"")]);
    }
    let has_meta = object::member(result, "_meta").is_some_and(|meta| meta.kind == Value::Object);
    let meta = facts.meta().filter(|_| !has_meta);
    last.extend(meta.as_deref().map(|meta| ("_meta", meta)));
    let edit = |member: &object::Member<'a>| {
        if member.is("resultType") || ask.is_cacheable() && (member.is("ttlMs") || member.is("cacheScope")) {
            Edit::Drop
        } else if member.is("_meta") && member.kind == Value::Object {
            let info = facts.server_info.as_deref().filter(|_| object::member(member.value, SERVER_INFO).is_none());
            info.map_or(Edit::Keep, |info| Edit::Put(object::rewrite(member.value, &[], |_| Edit::Keep, &[(SERVER_INFO, info)])))
        } else if ask == Ask::ListTools && member.is("tools") && member.kind == Value::Array {
            Edit::Put(object::map_elements(member.value, without_execution))
        } else {
            Edit::Keep
        }
    };
    Some(object::compose(result, &[("resultType", b"\"complete\"")], edit, &last))
}

/// A tool without what 2025-11-25 says of tasks, which 2026-07-28 does not have.
fn without_execution(tool: &[u8]) -> Vec<u8> {
    if object::member(tool, "execution").is_none() {
        return tool.to_vec();
    }
    object::rewrite(tool, &[], |member| if member.is("execution") { Edit::Drop } else { Edit::Keep }, &[])
}

/// 2026-07-28, Basic, Error Codes: a resource not found is invalid params now, and codes of the reserved range are not a legacy
/// server's to give.
fn modern_error(error: &[u8]) -> Vec<u8> {
    let code = code_of(error);
    let put = |code: i32| code.to_string().into_bytes();
    if code == i64::from(jsonrpc::RESOURCE_NOT_FOUND) {
        let edit = |member: &object::Member<'_>| {
            if member.is("code") { Edit::Put(put(jsonrpc::INVALID_PARAMS)) } else { Edit::Keep }
        };
        return object::rewrite(error, &[], edit, &[]);
    }
    if RESERVED.contains(&code) && code != i64::from(jsonrpc::MISSING_CAPABILITY) {
        let data = serde_json::json!({ "code": code }).to_string().into_bytes();
        let edit = |member: &object::Member<'_>| {
            if member.is("code") {
                Edit::Put(put(jsonrpc::INTERNAL_ERROR))
            } else if member.is("data") {
                Edit::Drop
            } else {
                Edit::Keep
            }
        };
        return object::rewrite(error, &[], edit, &[("data", &data)]);
    }
    error.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts::of(br#"{"capabilities":{},"serverInfo":{"name":"x","version":"1"}}"#)
    }

    fn answered(ask: Ask, text: &str) -> String {
        let envelope = jsonrpc::read(text.as_bytes()).expect("a message");
        let answer = answer(text.as_bytes(), &envelope, ask, b"\"mine\"", &facts());
        String::from_utf8(answer.joined(text.as_bytes())).expect("UTF-8")
    }

    #[test]
    fn a_result_says_what_modern_ones_must_and_keeps_the_rest() {
        assert_eq!(
            answered(Ask::Other, r#"{"result":{"n": 1e400,"resultType":"odd"},"jsonrpc":"2.0","id":1}"#),
            r#"{"result":{"resultType":"complete","n": 1e400,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"x","version":"1"}}},"jsonrpc":"2.0","id":"mine"}"#
        );
        assert_eq!(
            answered(
                Ask::ListTools,
                r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","execution":{"taskSupport":"optional"}},{"name":"b"}],"_meta":{"k":1}}}"#
            ),
            r#"{"jsonrpc":"2.0","id":"mine","result":{"resultType":"complete","tools":[{"name":"a"},{"name":"b"}],"_meta":{"k":1,"io.modelcontextprotocol/serverInfo":{"name":"x","version":"1"}},"ttlMs":0,"cacheScope":"private"}}"#
        );
        assert!(answered(Ask::Other, r#"{"jsonrpc":"2.0","id":1,"result":null}"#).contains("-32603"));
    }

    #[test]
    fn codes_are_those_of_the_modern_era() {
        for (given, expected) in [
            (r#"{"code":-32002,"message":"m","data":{"uri":"u"}}"#, r#"{"code":-32602,"message":"m","data":{"uri":"u"}}"#),
            (r#"{"code":-32601,"message":"m"}"#, r#"{"code":-32601,"message":"m"}"#),
            (r#"{"code":-32000,"message":"m"}"#, r#"{"code":-32000,"message":"m"}"#),
            (r#"{"code":-32050,"message":"m","data":1}"#, r#"{"code":-32603,"message":"m","data":{"code":-32050}}"#),
            (r#"{"code":-32022,"message":"m"}"#, r#"{"code":-32603,"message":"m","data":{"code":-32022}}"#),
            (r#"{"code":-32021,"message":"m"}"#, r#"{"code":-32021,"message":"m"}"#),
        ] {
            assert_eq!(String::from_utf8_lossy(&modern_error(given.as_bytes())), expected);
        }
    }
}
