//! BRIDGE 3.5: the child's own `requestState`, wrapped so that a retry finds the process that made it, and nobody else's call.

use super::*;

const ANONYMOUS: Principal = Principal::Anonymous;

/// The child wants something first; `state` is a member with its comma.
fn required(id: &str, state: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"input_required",{state} "inputRequests":{{}}}}}}"#)
}

fn text_of(routed: &[Routed]) -> String {
    let [Routed::Event(_, EventKind::Answer, text)] = routed else { panic!("not one answer: {:?}", shown(routed)) };
    String::from_utf8(text.clone()).expect("UTF-8")
}

/// A call that is to come back, and the state that its client got.
fn waiting(bench: &mut Bench, said: &Said<'_>) -> String {
    let number = bench.send(said, 1).to_string();
    let text = text_of(&bench.hear(&required(&number, r#""requestState":"theirs \u00e9","#)));
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["result"]["requestState"].as_str().expect("a state").to_owned()
}

#[test]
fn a_state_is_wrapped_and_the_rest_kept() {
    let mut bench = Bench::new();
    let state = waiting(&mut bench, &call("\"a\""));
    let mut again = Bench::new();
    let number = again.send(&call("\"a\""), 1).to_string();
    let text = text_of(&again.hear(&required(&number, r#""requestState":"theirs \u00e9","#)));
    let (before, after) = text.split_once("g1.").expect("a state of ours");
    assert_eq!(before, r#"{"jsonrpc":"2.0","id":"a","result":{"resultType":"input_required","requestState":""#);
    assert!(after.ends_with(r#"", "inputRequests":{}}}"#), "{after}");
    let ticket = bench.open(&ANONYMOUS, &call("2"), &state).expect("our own");
    let text = call("1").text();
    let expected = Ticket {
        kind: TicketKind::Pass,
        replica: bench.seal.replica(),
        slot: SLOT,
        lease: 0,
        round: 0,
        principal: ANONYMOUS.tag(),
        digest: asked(&text).digest(),
        rest: br#""theirs \u00e9""#.to_vec(),
    };
    assert_eq!(ticket, expected);
}

#[test]
fn a_retry_carries_the_childs_own_state_byte_for_byte() {
    let mut bench = Bench::new();
    let state = waiting(&mut bench, &call("1"));
    let params =
        format!(r#""name":"n","requestState" : "{state}","arguments":{{"x":1}},"inputResponses":{{"k":{{"action":"accept"}}}},"#);
    let retry = Said { params: &params, token: Some("\"t\""), ..call("\"b\"") };
    let ticket = bench.open(&ANONYMOUS, &retry, &state).expect("a good state");
    let theirs = String::from_utf8(ticket.rest).expect("UTF-8");
    let line = bench.line_with(&retry, 2, Some(&theirs), true);
    let expected = retry
        .text()
        .replace(&format!("\"{state}\""), r#""theirs \u00e9""#)
        .replace("\"id\":\"b\"", "\"id\":2")
        .replace("\"progressToken\":\"t\"", "\"progressToken\":2");
    assert_eq!(line, expected);
}

#[test]
fn without_a_state_of_the_child_none_is_added() {
    let mut bench = Bench::new();
    let number = bench.send(&call("\"a\""), 1).to_string();
    same(&bench.hear(&required(&number, "")), &[answer(1, &required("\"a\"", ""))]);
}

#[test]
fn a_state_in_anything_but_a_demand_for_input_passes() {
    for said in [call("1"), Said { method: "tools/list", ..call("1") }] {
        let mut bench = Bench::new();
        let number = bench.send(&said, 1).to_string();
        let line =
            |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","requestState":"theirs"}}}}"#);
        same(&bench.hear(&line(&number)), &[answer(1, &line("1"))]);
    }
    let mut bench = Bench::new();
    let number = bench.send(&Said { method: "tools/list", ..call("1") }, 1).to_string();
    let line = required(&number, r#""requestState":"theirs","#);
    same(&bench.hear(&line), &[answer(1, &line)]);
}

#[test]
fn another_principal_another_call_and_another_byte_are_refused() {
    let mut bench = Bench::new();
    let state = waiting(&mut bench, &call("1"));
    let good = call("2");
    assert!(bench.open(&ANONYMOUS, &good, &state).is_some());
    for other in [Principal::named("alice"), Principal::named("anonymous"), Principal::named("")] {
        assert_eq!(bench.open(&other, &good, &state), None);
    }
    for params in [
        r#""name":"n","arguments":{"x":2},"#,
        r#""name":"n","arguments":{"x":1.0},"#,
        r#""name":"n","arguments":{},"#,
        r#""name":"n","#,
        r#""name":"m","arguments":{"x":1},"#,
    ] {
        assert_eq!(bench.open(&ANONYMOUS, &Said { params, ..call("2") }, &state), None, "{params}");
    }
    assert_eq!(bench.open(&ANONYMOUS, &Said { method: "prompts/get", ..call("2") }, &state), None);
    let spelled = r#""\u006eame":"n","arguments":{ "\u0078" : 1 },"#;
    assert!(bench.open(&ANONYMOUS, &Said { params: spelled, ..call("2") }, &state).is_some());
    for at in 0..state.len() {
        for other in ["A", "b", "-"] {
            let mut changed = state.clone();
            changed.replace_range(at..=at, other);
            assert_eq!(bench.open(&ANONYMOUS, &good, &changed).is_some(), changed == state, "{at}");
        }
    }
    for junk in [format!("{state}junk"), format!("{state}="), "theirs".to_owned(), String::new()] {
        assert_eq!(bench.open(&ANONYMOUS, &good, &junk), None);
    }
    let foreign = waiting(&mut Bench::new(), &call("1"));
    assert_eq!(bench.open(&ANONYMOUS, &good, &foreign), None, "of another gateway");
}
