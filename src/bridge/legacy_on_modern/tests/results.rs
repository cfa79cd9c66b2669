//! The edges of results: their types, what is dropped, what is put into an object and what is not.

use super::*;
use crate::bridge::legacy_on_modern::results::{self, Kind, Wrapped, is_structured};

const NEWEST: Revision = Revision::V2025_11_25;

fn answered(ask: Ask, name: Option<&str>, wrapped: &mut Wrapped, result: &str) -> String {
    let text = format!(r#"{{"jsonrpc":"2.0","id":"x","result":{result}}}"#);
    let envelope = jsonrpc::read(text.as_bytes()).expect("a message");
    let told = results::answer(text.as_bytes(), &envelope, ask, name.map(str::as_bytes), NEWEST, wrapped);
    let told = String::from_utf8(told.joined(text.as_bytes())).expect("UTF-8");
    match told.strip_prefix(r#"{"jsonrpc":"2.0","id":"x","result":"#).and_then(|rest| rest.strip_suffix('}')) {
        Some(result) => result.to_owned(),
        None => told,
    }
}

/// A tool's schema of results, as clients read it.
fn schema(given: &str) -> Option<String> {
    let mut wrapped = Wrapped::default();
    let list = format!(r#"{{"tools":[{{"name":"t","outputSchema":{given}}}]}}"#);
    let told = answered(Ask::ListTools, None, &mut wrapped, &list);
    let kept = told.strip_prefix(r#"{"tools":[{"name":"t","outputSchema":"#)?.strip_suffix("}]}")?;
    let is_wrapped = kept.contains(r#""required":["result"]"#);
    assert_eq!(wrapped.is_wrapped(b"\"t\""), Some(is_wrapped), "{kept}");
    Some(kept.to_owned())
}

/// What a client expects of a tool whose results are described by that.
fn inside(schema: &str, more: &str) -> Option<String> {
    Some(format!(r#"{{"type":"object","properties":{{"result":{schema}}},"required":["result"]{more}}}"#))
}

#[test]
fn a_result_is_complete_unless_it_says_otherwise() {
    for (given, expected) in [
        ("{}", Kind::Complete),
        (r#"{"resultType":"complete"}"#, Kind::Complete),
        (r#"{"resultType":"input_required"}"#, Kind::InputRequired),
        (r#"{"resultType":"task"}"#, Kind::Unknown),
        (r#"{"resultType":null}"#, Kind::Unknown),
    ] {
        assert_eq!(results::kind(given.as_bytes()), expected, "{given}");
    }
}

#[test]
fn an_error_passes_and_a_result_that_is_no_object_is_one() {
    let error = br#"{ "jsonrpc":"2.0","error":{"code":-5,"message":"no","data":1e400},"id":"x"}"#;
    let envelope = jsonrpc::read(error).expect("a message");
    let told = results::answer(error, &envelope, Ask::CallTool, None, NEWEST, &mut Wrapped::default());
    assert_eq!(told.joined(error), error);
    for odd in ["[]", "1", "null", "\"{}\""] {
        let told = answered(Ask::CallTool, None, &mut Wrapped::default(), odd);
        assert_eq!(
            told,
            r#"{"jsonrpc":"2.0","id":"x","error":{"code":-32603,"message":"the server's result is not an object"}}"#
        );
    }
}

#[test]
fn what_may_be_cached_may_be_no_more_and_other_results_keep_their_members() {
    let given = r#"{"resultType":"complete","ttlMs":1,"cacheScope":"public"}"#;
    for ask in [Ask::ListTools, Ask::ListPrompts, Ask::ListResources, Ask::ListTemplates, Ask::ReadResource] {
        assert_eq!(answered(ask, None, &mut Wrapped::default(), given), "{}", "{ask:?}");
    }
    for ask in [Ask::CallTool, Ask::GetPrompt, Ask::Other] {
        let told = answered(ask, None, &mut Wrapped::default(), given);
        assert_eq!(told, r#"{"ttlMs":1,"cacheScope":"public"}"#, "{ask:?}");
    }
    for (meta, expected) in [
        ("{}", r#"{"_meta":{}}"#),
        ("1", r#"{"_meta":1}"#),
        (r#"{"io.modelcontextprotocol/serverInfo":{}}"#, "{}"),
        (r#"{"a":1,"io.modelcontextprotocol/serverInfo":{}}"#, r#"{"_meta":{"a":1}}"#),
    ] {
        let given = format!(r#"{{"_meta":{meta}}}"#);
        assert_eq!(answered(Ask::Other, None, &mut Wrapped::default(), &given), expected);
    }
}

#[test]
fn a_schema_that_describes_no_object_is_put_into_one_with_what_it_refers_to() {
    assert_eq!(schema(r#"{"type":"array"}"#), inside(r#"{"type":"array"}"#, ""));
    assert_eq!(schema("true"), inside("{}", ""));
    assert_eq!(schema("false"), inside(r#"{"not":{}}"#, ""));
    assert_eq!(schema(r#"{"type":["object","null"]}"#), inside(r#"{"type":["object","null"]}"#, ""));
    let refers = |to: &str| format!(r#"{{"anyOf":[{{"$ref":"{to}"}}]}}"#);
    for (kind, to) in [("$defs", "#/$defs/a"), ("definitions", "#/definitions/a")] {
        let more = format!(r#","{kind}":{{"a":{{}}}}"#);
        let given = refers(to).replacen('{', &format!("{{{},", &more[1..]), 1);
        assert_eq!(schema(&given), inside(&refers(to), &more), "{given}");
    }
    let elsewhere = refers("other.json#/a");
    assert_eq!(schema(&elsewhere), inside(&elsewhere, ""));
    assert_eq!(
        schema(r#"{"type":"object","properties":{"a":true,"b":false}}"#).as_deref(),
        Some(r#"{"type":"object","properties":{"a":{},"b":{"not":{}}}}"#)
    );
}

#[test]
fn a_schema_that_cannot_be_moved_is_dropped() {
    for given in [
        r#"{"$id":"x","type":"array"}"#,
        r##"{"oneOf":[{"$ref":"#"}]}"##,
        r##"{"oneOf":[{"$ref":"#/oneOf/0"}]}"##,
        r##"{"items":{"$dynamicRef":"#a"}}"##,
        r##"{"items":{"$recursiveRef":"#"}}"##,
        r##"{"allOf":[[{"a":{"$ref":"#/x"}}]]}"##,
    ] {
        assert_eq!(schema(given), None, "{given}");
    }
}

#[test]
fn a_structured_result_is_in_an_object_where_its_client_expects_one() {
    let mut wrapped = Wrapped::default();
    wrapped.learn(br#"{"tools":[{"name":"in","outputSchema":{"type":"array"}},{"name":"as"}]}"#);
    assert_eq!(wrapped.is_wrapped(b"\"other\""), None);
    let mut told = |name: &str, given: &str| answered(Ask::CallTool, Some(&format!("\"{name}\"")), &mut wrapped, given);
    let object = r#"{"structuredContent":{"a":1}}"#;
    let inside = r#"{"structuredContent":{"result":{"a":1}},"content":[{"type":"text","text":"{\"a\":1}"}]}"#;
    assert_eq!(told("in", object), inside);
    assert_eq!(told("as", object), object);
    assert_eq!(told("other", object), object);
    assert_eq!(
        told("in", r#"{"structuredContent":null}"#),
        r#"{"structuredContent":{"result":null},"content":[{"type":"text","text":"null"}]}"#
    );
    for (content, expected) in [
        ("[]", r#"[{"type":"text","text":"7"}]"#),
        ("[1]", r#"[1,{"type":"text","text":"7"}]"#),
        (r#"[{"type":"image"}]"#, r#"[{"type":"image"},{"type":"text","text":"7"}]"#),
        (r#"[{"type":"image"},{"type":"text","text":"t"}]"#, r#"[{"type":"image"},{"type":"text","text":"t"}]"#),
    ] {
        let given = format!(r#"{{"content":{content},"structuredContent":7}}"#);
        assert_eq!(told("as", &given), format!(r#"{{"content":{expected},"structuredContent":{{"result":7}}}}"#));
    }
    assert!(is_structured(object.as_bytes()) && !is_structured(b"{}") && !is_structured(br#"{"structuredContent":[]}"#));
}

#[test]
fn so_many_tools_are_remembered_and_those_that_are_may_change() {
    let mut wrapped = Wrapped::default();
    (0..5_000_u32).for_each(|at| wrapped.set(at.to_string().as_bytes(), true));
    assert_eq!((wrapped.is_wrapped(b"4095"), wrapped.is_wrapped(b"4096")), (Some(true), None));
    wrapped.set(b"7", false);
    assert_eq!(wrapped.is_wrapped(b"7"), Some(false));
}
