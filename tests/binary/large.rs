//! Large messages take little more memory than their size: nothing of them is copied whole more than once.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Start, stub};
use crate::support::modern;
use crate::support::proc::{self, eventually_true};
use crate::support::session::{call, text_of};

const LARGE: usize = 64 << 20;
const BOUNDS: [&str; 6] = ["--max-body", "80MiB", "--max-line", "80MiB", "--log-bytes-total", "1GiB"];

/// The memory that a call took beyond what the gateway had before, as a part of the large message's size.
fn beyond(
    gateway: &Gateway,
    ask: impl Fn(&str, &Value) -> String,
    tool: &str,
    arguments: &Value,
    is_whole: impl Fn(&str) -> bool,
) -> f64 {
    assert_eq!(ask("length", &json!({ "text": "a" })), "1");
    let idle = proc::resident(gateway.pid());
    assert!(is_whole(&ask(tool, arguments)));
    proc::peak(gateway.pid()).saturating_sub(idle) as f64 / LARGE as f64
}

/// A message of 64 MiB in one direction, with little in the other; each on a gateway of its own.
fn crosses(start: impl Fn() -> Gateway, ask: impl Fn(&Gateway, &str, &Value) -> String) {
    let (up, down) = (start(), start());
    let ask_up = |tool: &str, arguments: &Value| ask(&up, tool, arguments);
    let ask_down = |tool: &str, arguments: &Value| ask(&down, tool, arguments);
    let up = beyond(&up, ask_up, "length", &json!({ "text": "x".repeat(LARGE) }), |text| text == LARGE.to_string());
    let down = beyond(&down, ask_down, "big", &json!({ "bytes": LARGE }), |text| text.len() == LARGE);
    eprintln!("64 MiB toward the server took {up:.3} times their size, toward the client {down:.3}");
    assert!(up <= 1.25 && down <= 1.25, "{up} {down}");
}

/// The answer of a child in a session of its own.
fn in_a_session(gateway: &Gateway, tool: &str, arguments: &Value) -> String {
    let id = "\"an id that is longer than the number in its place\"";
    let session = gateway.open();
    let (head, events) = session.stream(&call(id, "1", tool, arguments));
    assert!(head.is_event_stream());
    let answer = events.filter(|event| !event.data.is_empty()).last().expect("an answer");
    assert!(answer.data.windows(id.len()).any(|window| window == id.as_bytes()));
    text_of(&answer.json())
}

#[test]
fn a_message_of_64_mib_takes_little_more_memory_than_its_size() {
    crosses(|| Gateway::start(&[&BOUNDS[..], &["--response", "sse"]].concat()), in_a_session);
}

#[test]
fn a_message_of_64_mib_takes_little_more_memory_with_a_shared_child() {
    crosses(|| Gateway::start(&[&BOUNDS[..], &["--response", "sse", "--children", "shared"]].concat()), in_a_session);
}

/// The answer to a modern client that can be asked this.
fn modern(capabilities: Value) -> impl Fn(&Gateway, &str, &Value) -> String {
    move |gateway, tool, arguments| {
        let reply = gateway.connect().exchange(&modern::call(7, tool, arguments, &capabilities, &json!({})));
        assert_eq!(reply.status(), 200);
        text_of(&reply.json())
    }
}

#[test]
fn a_message_of_64_mib_takes_little_more_memory_between_modern_sides() {
    let start = || Start::new(&[&BOUNDS[..], &["--child-era", "modern"]].concat()).child(&["--", &stub(), "modern"]).run();
    crosses(start, modern(json!({})));
}

#[test]
fn a_message_of_64_mib_takes_little_more_memory_from_a_modern_client_to_a_legacy_child() {
    crosses(|| Gateway::start(&BOUNDS), modern(json!({})));
    crosses(|| Gateway::start(&BOUNDS), modern(json!({ "elicitation": {} })));
}

#[test]
fn a_message_of_64_mib_takes_little_more_memory_from_a_legacy_client_to_a_modern_child() {
    let options = [&BOUNDS[..], &["--response", "sse", "--child-era", "modern"]].concat();
    crosses(|| Start::new(&options).child(&["--", &stub(), "modern"]).run(), in_a_session);
}

#[test]
fn an_answer_that_comes_while_its_client_is_away_takes_little_more_memory_than_its_size() {
    let gateway = Gateway::start(&BOUNDS);
    let ask = |bytes: usize, more: &Value| {
        let arguments = json!({ "bytes": bytes });
        let request = modern::call(7, "impatient", &arguments, &json!({ "elicitation": {} }), more);
        gateway.connect().exchange(&request).json()
    };
    // A server that has answered hears that its question is not open any more.
    let ended = || gateway.log().iter().filter(|line| line.contains("the question has been answered")).count();
    let returned = |bytes: usize| {
        let before = ended();
        let asked = ask(bytes, &json!({}));
        assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
        eventually_true(Duration::from_secs(20), "the server answers meanwhile", || ended() > before);
        text_of(&ask(bytes, &json!({ "requestState": asked["result"]["requestState"], "inputResponses": {} }))).len()
    };
    assert_eq!(returned(1), 1);
    let idle = proc::resident(gateway.pid());
    assert_eq!(returned(LARGE), LARGE);
    let taken = proc::peak(gateway.pid()).saturating_sub(idle) as f64 / LARGE as f64;
    eprintln!("64 MiB that waited for their client took {taken:.3} times their size");
    assert!(taken <= 1.25, "{taken}");
}

#[test]
fn an_answer_that_is_kept_for_its_client_counts_in_what_is_kept_in_all() {
    let gateway = Gateway::start(&["--log-bytes-total", "1MiB"]);
    let ask = |more: &Value| {
        let request = modern::call(7, "impatient", &json!({ "bytes": 2 << 20 }), &json!({ "elicitation": {} }), more);
        gateway.connect().exchange(&request).json()
    };
    let state = ask(&json!({}))["result"]["requestState"].clone();
    let is_told = |line: &String| line.contains("the question has been answered");
    eventually_true(Duration::from_secs(20), "the server answers meanwhile", || gateway.log().iter().any(is_told));
    let answer = ask(&json!({ "requestState": state, "inputResponses": {} }));
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    assert!(answer["error"]["message"].as_str().expect("a text").contains("--log-bytes-total"), "{answer}");
}
