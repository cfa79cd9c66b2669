//! The edges of a round: how much may be asked, what of whom, and what comes back.

use super::*;
use crate::bridge::legacy_on_modern::questions::{Question, Round, elicitation_complete, failed};

fn round_of(count: usize) -> String {
    let entries: Vec<String> = (0..count).map(|at| format!(r#""k{at}":{{"method":"roots/list"}}"#)).collect();
    format!(r#"{{"inputRequests":{{{}}}}}"#, entries.join(","))
}

fn question(method: &str, params: &str) -> Question {
    let result = format!(r#"{{"inputRequests":{{"k":{{"method":"{method}","params":{params}}}}}}}"#);
    Round::read(result.as_bytes()).expect("a round").questions.remove(0)
}

fn asked(question: &Question, elicitation: Option<&str>, revision: Revision) -> String {
    String::from_utf8(question.request(3, elicitation, revision)).expect("UTF-8")
}

#[test]
fn a_round_has_at_most_64_questions_and_something_to_say() {
    assert_eq!(Round::read(round_of(64).as_bytes()).expect("a round").questions.len(), 64);
    assert_eq!(Round::read(round_of(65).as_bytes()), Err("the server asks more than 64 questions at once"));
    let silent = Err("the server wants something and does not say what");
    for nothing in ["{}", r#"{"inputRequests":[]}"#, r#"{"inputRequests":"x"}"#, r#"{"inputRequests":{}}"#] {
        assert_eq!(Round::read(nothing.as_bytes()), silent, "{nothing}");
    }
    let both = Round::read(br#"{"inputRequests":{},"requestState":null}"#).expect("a round");
    assert_eq!(both.retry(&[]), Retry { responses: None, state: Some(b"null".to_vec()) });
}

#[test]
fn answers_come_back_under_their_keys_as_these_were_written() {
    let round = Round::read(br#"{"inputRequests":{"\u0061":{"method":"roots/list"},"b":{"method":"roots/list"}}}"#);
    let retry = round.expect("a round").retry(&[b"1".to_vec(), b"{ }".to_vec()]);
    assert_eq!(retry, Retry { responses: Some(br#"{"\u0061":1,"b":{ }}"#.to_vec()), state: None });
}

#[test]
fn a_question_is_put_as_its_revision_has_it() {
    let newest = Revision::V2025_11_25;
    let roots = question("roots/list", r#"{"odd":1}"#);
    assert_eq!(asked(&roots, None, newest), r#"{"jsonrpc":"2.0","id":3,"method":"roots/list","params":{}}"#);
    let url = question("elicitation/create", r#"{"mode":"url","elicitationId":"theirs","url":"u"}"#);
    assert_eq!(
        asked(&url, Some("ours"), newest),
        r#"{"jsonrpc":"2.0","id":3,"method":"elicitation/create","params":{"mode":"url","url":"u","elicitationId":"ours"}}"#
    );
    let form = question("elicitation/create", "1");
    assert_eq!(asked(&form, None, newest), r#"{"jsonrpc":"2.0","id":3,"method":"elicitation/create","params":{}}"#);
    // A choice of no constants is none of ours to rewrite, nor is one without titles to be given any.
    let odd = r#"{"requestedSchema":{"properties":{"a":{"oneOf":[{"const":1},{"title":"x"}]},"b":{"oneOf":"x"},"c":{"oneOf":[{"const":"y"}]}}}}"#;
    let told = asked(&question("elicitation/create", odd), None, Revision::V2025_06_18);
    let expected = r#"{"properties":{"a":{"oneOf":[{"const":1},{"title":"x"}]},"b":{"oneOf":"x"},"c":{"enum":["y"]}}}"#;
    assert!(told.contains(expected), "{told}");
}

#[test]
fn what_a_revision_cannot_say_is_told() {
    let several = r#"{"requestedSchema":{"properties":{"a":{"type":"array"}}}}"#;
    let one = r#"{"requestedSchema":{"properties":{"a":{"type":"string"}}}}"#;
    let blocks = |kind: &str, more: &str| format!(r#"{{"messages":[{{"content":{{"type":"{kind}"}}}}]{more}}}"#);
    for (method, params, older, newest) in [
        ("elicitation/create", several.to_owned(), true, false),
        ("elicitation/create", one.to_owned(), false, false),
        ("sampling/createMessage", blocks("tool_use", ""), true, false),
        ("sampling/createMessage", blocks("tool_use", r#","tools":[]"#), true, false),
        ("sampling/createMessage", blocks("audio", ""), false, false),
        ("roots/list", several.to_owned(), false, false),
    ] {
        let question = question(method, &params);
        assert_eq!(question.fault(Revision::V2025_06_18).is_some(), older, "{params}");
        assert_eq!(question.fault(Revision::V2025_11_25).is_some(), newest, "{params}");
    }
    let audio = question("sampling/createMessage", &blocks("audio", ""));
    assert!(audio.fault(Revision::V2024_11_05).is_some());
}

#[test]
fn results_of_tools_in_a_question_are_objects() {
    for (content, expected) in [
        (r#"{"structuredContent":[1]}"#, r#"{"structuredContent":{"result":[1]}}"#),
        (r#"{"structuredContent":{"a":1}}"#, r#"{"structuredContent":{"a":1}}"#),
        (
            r#"[{"structuredContent":1},{"structuredContent":{}}]"#,
            r#"[{"structuredContent":{"result":1}},{"structuredContent":{}}]"#,
        ),
        (r#""text""#, r#""text""#),
    ] {
        let params = |content: &str| format!(r#"{{"messages":[{{"role":"user","content":{content}}}]}}"#);
        let told = asked(&question("sampling/createMessage", &params(content)), None, Revision::V2025_11_25);
        assert!(told.contains(&params(expected)), "{told}");
    }
}

#[test]
fn a_client_that_fails_cancels_a_form_and_fails_the_rest() {
    let cancel = || Ok(br#"{"action":"cancel"}"#.to_vec());
    let error = br#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#;
    let result = br#"{"id":1,"jsonrpc":"2.0","result":{ "n":1e400 }}"#;
    for (method, params, is_form) in [
        ("elicitation/create", "{}", true),
        ("elicitation/create", r#"{"mode":"url"}"#, true),
        ("sampling/createMessage", "{}", false),
        ("sampling/createMessage", r#"{"tools":[]}"#, false),
        ("roots/list", "{}", false),
    ] {
        let question = question(method, params);
        let read = |text| jsonrpc::read(text).expect("a message");
        assert_eq!(question.response(result, &read(result)), Ok(br#"{ "n":1e400 }"#.to_vec()));
        let (refused, silent) = (question.response(error, &read(error)), question.unanswered());
        if is_form {
            assert_eq!((refused, silent), (cancel(), cancel()));
        } else {
            assert_eq!(refused, Err(format!("the client refused {method}: no")));
            assert_eq!(silent, Err(format!("the client did not answer {method} in time (--question-timeout)")));
        }
    }
}

#[test]
fn what_the_gateway_says_itself_is_whole() {
    assert_eq!(
        String::from_utf8_lossy(&failed(Ask::CallTool, b"\"x\"", "w")),
        r#"{"jsonrpc":"2.0","id":"x","result":{"content":[{"text":"w","type":"text"}],"isError":true}}"#
    );
    assert_eq!(
        String::from_utf8_lossy(&failed(Ask::ReadResource, b"\"x\"", "w")),
        r#"{"jsonrpc":"2.0","id":"x","error":{"code":-32603,"message":"w"}}"#
    );
    assert_eq!(
        String::from_utf8_lossy(&elicitation_complete("e")),
        r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e"}}"#
    );
    assert_eq!(
        String::from_utf8_lossy(&crate::protocol::jsonrpc::withdrawal(b"7", "w")),
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"reason":"w"}}"#
    );
}
