//! What children write: messages of every kind that matters, well-formed ones and any others. Results, errors and progress are
//! marked with the number of their call, so that one that went astray is seen.

use super::input::Input;
use super::json;

/// One message of a child that was given these numbers. Not always one that can be read.
pub(super) fn message(input: &mut Input<'_>, numbers: &[u64]) -> Vec<u8> {
    let kind = input.below(16);
    let number = if input.below(8) == 7 { u64::from(input.byte()) } else { input.pick(numbers).unwrap_or_default() };
    let told = match kind {
        0..=2 => format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{}}}"#, marked(&value(input), number)),
        3 => {
            let results = [TOOLS, CALLED, PROMPT, ASKING, "{}", "null"];
            let result = marked(results[input.below(results.len())], number);
            format!("{{\"result\":{result},\r \"id\":{number},\"jsonrpc\":\"2.0\"}}")
        }
        4 => {
            let codes = [-32042, -32602, -32002, -32020, -32021, -32022, -32600, -32603, 0, 7];
            let (code, data) = (codes[input.below(codes.len())], marked(&value(input), number));
            format!(r#"{{"jsonrpc":"2.0","id":{number},"error":{{"code":{code},"message":"m","data":{data}}}}}"#)
        }
        5 => {
            let places = r#"[{"mode":"url","elicitationId":"e","url":"u","message":"m"},{"mode":"url","url":"u"}]"#;
            let data = format!(r#"{{"mark":{number},"elicitations":{places}}}"#);
            format!(r#"{{"jsonrpc":"2.0","id":{number},"error":{{"code":-32042,"message":"m","data":{data}}}}}"#)
        }
        6 => note("progress", &format!(r#"{{"progressToken":{number},"progress":{},"mark":{number}}}"#, input.byte())),
        7 => note("message", &format!(r#"{{"level":"{}","data":{}}}"#, LEVELS[input.below(LEVELS.len())], value(input))),
        8..=10 => {
            let (id, method) = (ID[input.below(ID.len())], METHODS[input.below(METHODS.len())]);
            let params = ASKED[input.below(ASKED.len())];
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"{params}}}"#)
        }
        11 => {
            let id = if input.flag() { ID[input.below(ID.len())].to_owned() } else { number.to_string() };
            note("cancelled", &format!(r#"{{"requestId":{id}}}"#))
        }
        12 => {
            let known =
                ["tools/list_changed", "resources/list_changed", "resources/updated", "elicitation/complete", "x", "initialized"];
            note(known[input.below(known.len())], r#"{"uri":"file:///a","elicitationId":"e"}"#)
        }
        13 => {
            let known = ["subscriptions/acknowledged", "tools/list_changed", "resources/updated"];
            let meta = format!(r#"{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{number}}},"mark":{number}}}"#);
            note(known[input.below(known.len())], &meta)
        }
        _ => return raw(input),
    };
    told.into_bytes()
}

/// Any bytes, but none that could be taken for marked ones.
pub(super) fn raw(input: &mut Input<'_>) -> Vec<u8> {
    let text = input.piece();
    if text.windows(4).any(|part| part == b"mark") { Vec::new() } else { text.to_vec() }
}

/// A JSON value: one of these, or any.
pub(super) fn value(input: &mut Input<'_>) -> String {
    let known =
        ["{}", "null", "1", r#""x""#, "[1,{}]", r#"{"a":{"b":1e400}}"#, r#"{"requestState":"s","resultType":"input_required"}"#];
    match known.get(input.below(known.len() + 4)) {
        Some(known) => (*known).to_owned(),
        None => {
            let text = raw(input);
            // What follows it nests it deeper.
            let value = json::value(&text).filter(|value| json::depth(value) <= json::DEPTH - 8);
            value.and_then(|value| std::str::from_utf8(value).ok()).unwrap_or("{}").to_owned()
        }
    }
}

/// The object with the mark of its call as its first member; another value stays.
fn marked(value: &str, number: u64) -> String {
    match value.strip_prefix('{') {
        Some(rest) if rest.trim_start().starts_with('}') => format!(r#"{{"mark":{number}}}"#),
        Some(rest) => format!(r#"{{"mark":{number},{rest}"#),
        None => value.to_owned(),
    }
}

fn note(name: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/{name}","params":{params}}}"#)
}

/// Ids of a child's questions: few, and some of them equal though written otherwise.
const ID: [&str; 8] = ["0", "1", "2", r#""q""#, r#""\u0071""#, r#""1""#, "-1", r#""\ud800""#];
const METHODS: [&str; 6] = ["elicitation/create", "sampling/createMessage", "roots/list", "ping", "elicitation/create", "x"];
const LEVELS: [&str; 4] = ["debug", "info", "error", "loud"];
const ASKED: [&str; 7] = [
    "",
    r#","params":{"message":"m","requestedSchema":{"type":"object","properties":{"a":{"type":"string","oneOf":[{"const":"x","title":"X"}]}}}}"#,
    r#","params":{"mode":"url","message":"m","url":"u","elicitationId":"e"}"#,
    r#","params":{"messages":[{"role":"user","content":[{"type":"text","text":"t"},{"type":"audio"}]}],"maxTokens":1}"#,
    r#","params":{"messages":[],"tools":[{"name":"a","inputSchema":{},"outputSchema":true}],"toolChoice":{}}"#,
    r#","params":{"_meta":{"progressToken":"p"},"task":{}}"#,
    r#","params":null"#,
];

const TOOLS: &str = r##"{"tools":[{"name":"t","inputSchema":{"type":"object","properties":{"a":true,"b":false}},"outputSchema":{"type":"array","$defs":{}}},{"name":"u","execution":{},"outputSchema":{"$ref":"#/a"}},1],"nextCursor":"c","ttlMs":1,"_meta":{"k":1}}"##;
const CALLED: &str = r#"{"content":[{"type":"resource_link","name":"n","uri":"u"},{"type":"audio","data":"","mimeType":"m"},{"type":"x"}],"structuredContent":[1],"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{}}}"#;
const PROMPT: &str =
    r#"{"messages":[{"role":"user","content":{"type":"audio"}},{"role":"user","content":[]}],"resultType":"odd"}"#;
const ASKING: &str = r#"{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"message":"m","requestedSchema":{"type":"object","properties":{"c":{"type":"string","oneOf":[{"const":"a","title":"A"}]}}}}},"b":{"method":"elicitation/create","params":{"mode":"url","url":"u"}},"s":{"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":{"type":"text","text":"t"}}],"maxTokens":1}},"r":{"method":"roots/list"}},"requestState":"st"}"#;
