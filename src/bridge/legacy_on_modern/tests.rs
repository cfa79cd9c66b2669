use super::*;
use crate::protocol::jsonrpc;

mod envelopes;
mod results;
mod rounds;

fn speaker() -> Speaker {
    Speaker::read(br#"{"protocolVersion":"2025-06-18","capabilities":{"roots":{"listChanged":true},"tasks":{}},"clientInfo":{"name":"c","version":"1"}}"#)
}

#[test]
fn a_request_gets_the_envelope_and_keeps_the_rest() {
    let text = br#"{ "jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"n":1e400},"task":{},"_meta":{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"odd"}}}"#;
    let envelope = jsonrpc::read(text).expect("a message");
    let told = speaker().enveloped(text, &envelope, Ask::CallTool, Some(Level::Debug), None);
    assert_eq!(
        String::from_utf8_lossy(&told),
        r#"{ "jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{"n":1e400},"_meta":{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/logLevel":"debug"}}}"#
    );
    let bare = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let envelope = jsonrpc::read(bare).expect("a message");
    let told = speaker().enveloped(bare, &envelope, Ask::ListTools, None, None);
    let again = jsonrpc::read(&told).expect("a message");
    assert!(again.has_claim, "{}", String::from_utf8_lossy(&told));
}

#[test]
fn whoever_asks_for_an_unknown_revision_gets_the_newest() {
    let of = |date: &str| Speaker::read(format!(r#"{{"protocolVersion":"{date}"}}"#).as_bytes()).revision;
    assert_eq!(of("2024-11-05"), Revision::V2024_11_05);
    assert_eq!(of("2031-01-01"), Revision::V2025_11_25);
}

#[test]
fn a_modern_server_is_described_as_a_legacy_one() {
    let facts = Facts::of(br#"{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"extensions":{"io.modelcontextprotocol/tasks":{}}},"instructions":"do","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"2"}}}"#);
    assert_eq!(
        String::from_utf8_lossy(&initialize_result(&facts, Revision::V2025_03_26, "x", true)),
        r#"{"protocolVersion":"2025-03-26","capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true}},"serverInfo":{"name":"s","version":"2"},"instructions":"do"}"#
    );
    let unnamed = Facts::of(br#"{"capabilities":{"tools":{"listChanged":true}}}"#);
    assert_eq!(
        String::from_utf8_lossy(&initialize_result(&unnamed, Revision::V2025_11_25, "x", false)),
        r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"x","version":"0"}}"#
    );
}

mod shapes {
    use super::super::questions::{Round, failed};
    use super::super::results::{self, Wrapped};
    use super::*;

    fn converted(ask: Ask, name: Option<&str>, revision: Revision, wrapped: &mut Wrapped, result: &str) -> String {
        let text = format!(r#"{{"result":{result},"jsonrpc":"2.0","id":"x"}}"#);
        let envelope = jsonrpc::read(text.as_bytes()).expect("a message");
        let name = name.map(|name| format!("\"{name}\"").into_bytes());
        let told = results::answer(text.as_bytes(), &envelope, ask, name.as_deref(), revision, wrapped);
        let told = told.joined(text.as_bytes());
        let envelope = jsonrpc::read(&told).expect("a message");
        String::from_utf8_lossy(envelope.result.expect("a result").of(&told)).into_owned()
    }

    #[test]
    fn what_only_modern_results_have_goes() {
        let given = r#"{"resultType":"complete","contents":[{"n":1e400}],"ttlMs":5,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{}}}"#;
        let told = converted(Ask::ReadResource, None, Revision::V2025_11_25, &mut Wrapped::default(), given);
        assert_eq!(told, r#"{"contents":[{"n":1e400}]}"#);
        let given = r#"{"ttlMs":1,"_meta":{"k":1,"io.modelcontextprotocol/serverInfo":{}}}"#;
        assert_eq!(
            converted(Ask::Other, None, Revision::V2025_11_25, &mut Wrapped::default(), given),
            r#"{"ttlMs":1,"_meta":{"k":1}}"#
        );
    }

    #[test]
    fn a_result_that_is_no_object_is_put_into_one() {
        let mut wrapped = Wrapped::default();
        let given = r##"{"tools":[{"name":"l","inputSchema":{"type":"object","properties":{"a":true,"b":false,"c":{}}},"outputSchema":{"$schema":"s","type":"array","items":{"$ref":"#/$defs/x"},"$defs":{"x":{}}}},{"name":"r","outputSchema":{"oneOf":[{"$ref":"#/oneOf/1"}]}},{"name":"o","outputSchema":{"type":"object"}}]}"##;
        assert_eq!(
            converted(Ask::ListTools, None, Revision::V2025_11_25, &mut wrapped, given),
            r##"{"tools":[{"name":"l","inputSchema":{"type":"object","properties":{"a":{},"b":{"not":{}},"c":{}}},"outputSchema":{"type":"object","properties":{"result":{"type":"array","items":{"$ref":"#/$defs/x"}}},"required":["result"],"$schema":"s","$defs":{"x":{}}}},{"name":"r"},{"name":"o","outputSchema":{"type":"object"}}]}"##
        );
        let call =
            |wrapped: &mut Wrapped, name, result| converted(Ask::CallTool, Some(name), Revision::V2025_11_25, wrapped, result);
        assert_eq!(
            call(&mut wrapped, "l", r#"{"content":[],"structuredContent":[1]}"#),
            r#"{"content":[{"type":"text","text":"[1]"}],"structuredContent":{"result":[1]}}"#
        );
        assert_eq!(
            call(&mut wrapped, "l", r#"{"content":[{"type":"text","text":"t"}],"structuredContent":{"a":1}}"#),
            r#"{"content":[{"type":"text","text":"t"}],"structuredContent":{"result":{"a":1}}}"#
        );
        let same = r#"{"content":[],"structuredContent":{"a":1}}"#;
        assert_eq!(call(&mut wrapped, "o", same), same);
        assert_eq!(
            call(&mut wrapped, "r", r#"{"structuredContent":7}"#),
            r#"{"structuredContent":{"result":7},"content":[{"type":"text","text":"7"}]}"#
        );
    }

    #[test]
    fn older_clients_get_blocks_that_they_know() {
        let given = r#"{"content":[{"type":"resource_link","name":"n","uri":"u"},{"type":"audio","data":"QQ==","mimeType":"audio/wav"}]}"#;
        let told = |revision| converted(Ask::CallTool, Some("t"), revision, &mut Wrapped::default(), given);
        assert_eq!(told(Revision::V2025_06_18), given);
        assert_eq!(
            told(Revision::V2025_03_26),
            r#"{"content":[{"text":"n: u","type":"text"},{"type":"audio","data":"QQ==","mimeType":"audio/wav"}]}"#
        );
        assert_eq!(
            told(Revision::V2024_11_05),
            r#"{"content":[{"text":"n: u","type":"text"},{"type":"resource","resource":{"uri":"audio:content","mimeType":"audio/wav","blob":"QQ=="}}]}"#
        );
        let prompt = r#"{"messages":[{"role":"user","content":{"type":"resource_link","name":"n","title":"T","uri":"u"}}]}"#;
        assert_eq!(
            converted(Ask::GetPrompt, None, Revision::V2025_03_26, &mut Wrapped::default(), prompt),
            r#"{"messages":[{"role":"user","content":{"text":"T: u","type":"text"}}]}"#
        );
    }

    #[test]
    fn a_round_is_read_asked_and_answered() {
        let result = br#"{"resultType":"input_required","inputRequests":{"name":{"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{"c":{"type":"string","oneOf":[{"const":"a","title":"A"},{"const":"b","title":"B"}]},"d":{"type":"boolean"}}}}},"s":{"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":[{"type":"text","text":"t"}]}],"maxTokens":1}}},"requestState":"st"}"#;
        let round = Round::read(result).expect("a round");
        assert_eq!(
            String::from_utf8_lossy(&round.questions[0].request(7, None, Revision::V2025_06_18)),
            r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{"c":{"type":"string","enum":["a","b"],"enumNames":["A","B"]},"d":{"type":"boolean"}}}}}"#
        );
        assert!(String::from_utf8_lossy(&round.questions[0].request(7, None, Revision::V2025_11_25)).contains("oneOf"));
        assert_eq!(
            String::from_utf8_lossy(&round.questions[1].request(8, None, Revision::V2025_06_18)),
            r#"{"jsonrpc":"2.0","id":8,"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"text","text":"t"}}],"maxTokens":1}}"#
        );
        let retry = round.retry(&[br#"{"action":"accept"}"#.to_vec(), b"{}".to_vec()]);
        assert_eq!(retry.responses.as_deref(), Some(&br#"{"name":{"action":"accept"},"s":{}}"#[..]));
        assert_eq!(retry.state.as_deref(), Some(&b"\"st\""[..]));
    }

    #[test]
    fn a_round_that_cannot_be_one_is_told() {
        for bad in [
            r#"{"resultType":"input_required"}"#,
            r#"{"inputRequests":{}}"#,
            r#"{"inputRequests":{"a":{"method":"x/y"}}}"#,
            r#"{"inputRequests":{"a":1}}"#,
        ] {
            assert!(Round::read(bad.as_bytes()).is_err(), "{bad}");
        }
        let only_state = Round::read(br#"{"requestState":"x"}"#).expect("a round");
        assert!(only_state.questions.is_empty());
        assert_eq!(only_state.retry(&[]), Retry { responses: None, state: Some(b"\"x\"".to_vec()) });
        assert!(String::from_utf8_lossy(&failed(Ask::CallTool, b"1", "w")).contains("isError"));
        assert!(String::from_utf8_lossy(&failed(Ask::GetPrompt, b"1", "w")).contains("-32603"));
    }

    #[test]
    fn an_answer_that_a_retry_cannot_carry_fails_the_call() {
        let round = Round::read(br#"{"inputRequests":{"e":{"method":"elicitation/create"},"r":{"method":"roots/list"}}}"#)
            .expect("a round");
        let error = br#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no"}}"#;
        let envelope = jsonrpc::read(error).expect("a message");
        assert_eq!(round.questions[0].response(error, &envelope), Ok(br#"{"action":"cancel"}"#.to_vec()));
        assert!(round.questions[1].response(error, &envelope).is_err_and(|why| why.contains("no")));
        assert!(round.questions[0].unanswered().is_ok() && round.questions[1].unanswered().is_err());
    }
}
