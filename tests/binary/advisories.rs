//! What servers of this protocol were warned of, where it takes the real program to show: transcripts named `cve_…` have the rest.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Start};
use crate::support::http::Request;
use crate::support::proc::eventually_true;
use crate::support::session::{Session, call, initialize, text_of};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn ox_2026_04_stdio_rce_no_request_chooses_a_program_an_argument_a_folder_or_a_variable() {
    // The family that was told of in April 2026: what a request said became a command line. Every place that a client writes to has
    // the same words; none of them reaches the process.
    const WORDS: &str = "canary-of-a-client";
    let gateway = Gateway::start(&["--access-log"]);
    let own = json!({ "command": WORDS, "args": [WORDS], "env": { WORDS: WORDS }, "cwd": WORDS });
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": { "experimental": own }, "clientInfo": { "name": WORDS, "version": WORDS },
        "command": WORDS, "args": [WORDS], "env": { WORDS: WORDS }, "cwd": WORDS, "_meta": own, "mcpServers": { WORDS: own },
    });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    let mut request = Request::post(body.to_string()).to(&format!("/mcp?command={WORDS}&args={WORDS}&env={WORDS}&cwd={WORDS}"));
    for name in
        ["x-command", "x-args", "x-env", "x-cwd", "x-mcp-command", "mcp-param-command", "user-agent", "forwarded", "cookie"]
    {
        request = request.with(name, WORDS);
    }
    let reply = gateway.ask(&request);
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let child = gateway.child();
    for name in ["cmdline", "environ"] {
        let text = std::fs::read(format!("/proc/{child}/{name}")).expect("it runs");
        assert!(!text.is_empty() && memchr::memmem::find(&text, WORDS.as_bytes()).is_none(), "{name}");
    }
    let folder = std::fs::read_link(format!("/proc/{child}/cwd")).expect("it runs");
    assert_eq!(folder, std::env::current_dir().expect("a folder"));
    // Nor is there another place that starts something.
    for target in ["/servers/x/mcp", "/mcp/sse/x", "/admin", "/command", "/mcp/../../x"] {
        assert_eq!(gateway.ask(&initialize("2025-11-25").to(target)).status(), 404, "{target}");
    }
    assert_eq!(gateway.children().len(), 1);
}

#[test]
fn what_clients_and_servers_write_is_one_line_in_the_log_and_no_label_of_a_metric() {
    let gateway = Start::new(&["--access-log", "--log", "debug", "--log-format", "json"]).run();
    let session = Session::open(&gateway);
    let evil = "a\r\n{\"level\":\"ERROR\"}\u{1b}[31m\u{0}\u{202e}b";
    let long = "x".repeat(1 << 20);
    for name in [evil, &long] {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name } });
        gateway.ask(&session.post(body.to_string()));
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": name, "params": {} });
        gateway.ask(&session.post(body.to_string()));
    }
    gateway.ask(&session.post(call("2", "2", "stderr", &json!({ "text": evil, "bytes": 10, "count": 1 }))));
    gateway.ask(&initialize("2025-11-25").with("host", "evil\u{202e}.example.com"));
    gateway.ask(&Request::new("BREW", "/mcp"));
    let lines = || gateway.log();
    eventually_true(5 * SECOND, "all calls are logged", || {
        lines().iter().filter(|line| line.contains("\"target\":\"access\"")).count() >= 8
    });
    for line in lines() {
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(event["level"].is_string() && event["timestamp"].is_string(), "{line}");
        assert!(line.len() < 4096, "a line of {} bytes", line.len());
        assert!(!line.contains(['\u{1b}', '\u{0}']), "{line:?}");
    }
    let text = gateway.admin("/metrics").text();
    assert!(!text.contains("xxxx") && !text.contains("BREW") && !text.contains("31m"), "{text}");
    assert!(text.contains("method=\"_OTHER\""), "{text}");
    assert_eq!(text_of(&session.call("echo", &json!({ "text": "as before" }))), "as before");
}
