//! What the envelope replaces and what it leaves, and what a session is told in a modern server's place.

use super::*;

/// What becomes of a request's `params`.
fn params_of(given: &str, ask: Ask, level: Option<Level>, round: Option<&Retry>) -> String {
    let params = if given.is_empty() { String::new() } else { format!(r#","params":{given}"#) };
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m"{params}}}"#);
    let envelope = jsonrpc::read(text.as_bytes()).expect("a message");
    let told = speaker().enveloped(text.as_bytes(), &envelope, ask, level, round);
    let envelope = jsonrpc::read(&told).expect("a message");
    assert_eq!(told.windows(8).filter(|window| *window == b"\"params\"").count(), 1, "{}", String::from_utf8_lossy(&told));
    String::from_utf8_lossy(envelope.params.expect("an object").of(&told)).into_owned()
}

const META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"roots":{}}"#;

#[test]
fn a_clients_own_copies_of_the_envelope_are_overwritten() {
    let own = r#"{"_meta":{"a":1,"io.modelcontextprotocol/clientInfo":{},"io.modelcontextprotocol/clientCapabilities":{"sampling":{}},"io.modelcontextprotocol/logLevel":"debug","io.modelcontextprotocol/protocolVersion":"1","z":[]},"x":1}"#;
    let expected = format!(r#"{{"x":1,"_meta":{{"a":1,"z":[],{META}}}}}"#);
    assert_eq!(params_of(own, Ask::Other, None, None), expected);
    let level = r#","io.modelcontextprotocol/logLevel":"alert""#;
    let expected = format!(r#"{{"x":1,"_meta":{{"a":1,"z":[],{META}{level}}}}}"#);
    assert_eq!(params_of(own, Ask::Other, Some(Level::Alert), None), expected);
}

#[test]
fn a_request_without_an_envelope_of_any_kind_gets_one() {
    let bare = format!(r#"{{"_meta":{{{META}}}}}"#);
    for given in ["", "{}", r#"{"_meta":1}"#, r#"{"_meta":[]}"#] {
        assert_eq!(params_of(given, Ask::Other, None, None), bare, "{given}");
    }
    // Members behind the params do not make them new ones.
    let text = br#"{"params":{"a":1},"jsonrpc":"2.0","id":1,"method":"m"}"#;
    let told = speaker().enveloped(text, &jsonrpc::read(text).expect("a message"), Ask::Other, None, None);
    let expected = format!(r#"{{"params":{{"a":1,"_meta":{{{META}}}}},"jsonrpc":"2.0","id":1,"method":"m"}}"#);
    assert_eq!(String::from_utf8_lossy(&told), expected);
}

#[test]
fn a_retry_carries_the_answers_and_the_state_of_its_round_and_no_others() {
    let given = r#"{"name":"t","inputResponses":{"mine":1},"requestState":"mine","task":{}}"#;
    let meta = format!(r#""_meta":{{{META}}}"#);
    let round = Retry { responses: Some(br#"{"a":{}}"#.to_vec()), state: Some(b"\"s\"".to_vec()) };
    let only_state = Retry { responses: None, ..round.clone() };
    let only_answers = Retry { state: None, ..round.clone() };
    for (ask, round, expected) in [
        (Ask::CallTool, None, format!(r#"{{"name":"t",{meta}}}"#)),
        (Ask::GetPrompt, None, format!(r#"{{"name":"t","task":{{}},{meta}}}"#)),
        (Ask::CallTool, Some(&round), format!(r#"{{"name":"t","inputResponses":{{"a":{{}}}},"requestState":"s",{meta}}}"#)),
        (Ask::CallTool, Some(&only_state), format!(r#"{{"name":"t","requestState":"s",{meta}}}"#)),
        (Ask::CallTool, Some(&only_answers), format!(r#"{{"name":"t","inputResponses":{{"a":{{}}}},{meta}}}"#)),
        (Ask::Other, None, format!(r#"{{"name":"t","inputResponses":{{"mine":1}},"requestState":"mine","task":{{}},{meta}}}"#)),
    ] {
        assert_eq!(params_of(given, ask, None, round), expected, "{ask:?}");
    }
}

#[test]
fn who_said_what_is_no_object_said_nothing() {
    let odd = Speaker::read(br#"{"protocolVersion":1,"capabilities":"all","clientInfo":"me"}"#);
    assert_eq!((odd.revision, odd.declared), (Revision::V2025_11_25, Declared::default()));
    let unknown = Speaker::unknown(Revision::V2025_11_25);
    assert_eq!(odd.capabilities(), b"{}");
    let told = |speaker: &Speaker| String::from_utf8_lossy(&speaker.own_request("\"x\"", "m", &[])).into_owned();
    assert_eq!(told(&odd), told(&unknown));
    assert!(told(&odd).contains(r#"clientInfo":{"name":"mcp-http-gateway""#), "{}", told(&odd));
}

#[test]
fn a_request_of_the_gateways_own_is_in_the_clients_name_and_asks_for_no_logs() {
    let told = speaker().own_request("\"x\"", "subscriptions/listen", &[("notifications", b"{}")]);
    let expected = format!(
        r#"{{"jsonrpc":"2.0","id":"x","method":"subscriptions/listen","params":{{"notifications":{{}},"_meta":{{{META}}}}}}}"#
    );
    assert_eq!(String::from_utf8_lossy(&told), expected);
}

#[test]
fn tasks_are_not_offered_and_other_extensions_are() {
    let told = |extensions: &str| {
        let text = format!(r#"{{"capabilities":{{"tasks":{{}},"logging":{{}},"extensions":{extensions}}}}}"#);
        let told = initialize_result(&Facts::of(text.as_bytes()), Revision::V2025_11_25, "x", true);
        let envelope = [br#"{"jsonrpc":"2.0","id":1,"result":"#, told.as_slice(), b"}"].concat();
        let json: serde_json::Value = serde_json::from_slice(&envelope).expect("JSON");
        json["result"]["capabilities"].to_string()
    };
    assert_eq!(told(r#"{"io.modelcontextprotocol/tasks":{}}"#), r#"{"logging":{}}"#);
    assert_eq!(told(r#"{"io.modelcontextprotocol/tasks":{},"a/b":{}}"#), r#"{"extensions":{"a/b":{}},"logging":{}}"#);
}
