//! What servers of this protocol were warned of, where it takes the real program to show: transcripts named `cve_…` have the rest.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gateway::{Gateway, Start, path_in};
use crate::support::http::Request;
use crate::support::modern;
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
    let query = format!("command={WORDS}&args={WORDS}&env={WORDS}&cwd={WORDS}");
    let dressed = |request: Request| {
        let names = ["x-command", "x-args", "x-env", "x-cwd", "x-mcp-command", "mcp-command", "mcp-env", "mcp-param-command"];
        let names = names.into_iter().chain(["mcp-param-cwd", "user-agent", "forwarded", "cookie"]);
        names.fold(request, |request, name| request.with(name, WORDS))
    };
    let taken = |request: Request| {
        let reply = gateway.ask(&dressed(request));
        assert_eq!(reply.status(), 200, "{}", reply.text());
    };
    let with_own = |mut params: Value| {
        params.as_object_mut().expect("an object").extend(own.as_object().expect("an object").clone());
        params["mcpServers"] = json!({ WORDS: own });
        params
    };
    let hello = |revision: &str| {
        let about = json!({
            "protocolVersion": revision, "capabilities": { "experimental": own }, "_meta": own,
            "clientInfo": { "name": WORDS, "version": WORDS },
        });
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": with_own(about) }).to_string()
    };
    taken(Request::post(hello("2025-11-25")).to(&format!("/mcp?{query}")));
    // Calls of a session, and a batch.
    let asked = |id: u64, tool: &str| {
        let params = with_own(json!({ "name": tool, "arguments": with_own(json!({ "text": WORDS })), "_meta": own }));
        json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
    };
    let session = Session::open_as(&gateway, "2025-03-26");
    for body in [asked(1, "echo"), asked(2, WORDS), json!([asked(3, "echo"), asked(4, WORDS)])] {
        taken(session.post(body.to_string()).to(&format!("/mcp?{query}")));
    }
    // A modern client's.
    for tool in ["echo", WORDS] {
        let mut meta = with_own(json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": { "experimental": own, "elicitation": {} },
            "io.modelcontextprotocol/clientInfo": { "name": WORDS, "version": WORDS },
        }));
        meta[WORDS] = json!(WORDS);
        let mut body = asked(5, tool);
        body["params"]["_meta"] = meta;
        let request = Request::post(body.to_string()).with("mcp-protocol-version", "2026-07-28");
        taken(request.with("mcp-method", "tools/call").with("mcp-name", tool).to(&format!("/mcp?{query}")));
    }
    // One of HTTP with SSE.
    let (_, mut events) = gateway.connect().stream(&dressed(Request::get().to(&format!("/mcp/sse?{query}"))));
    let messages = String::from_utf8(events.message().expect("an endpoint").data).expect("text");
    for body in [hello("2024-11-05"), asked(6, "echo").to_string(), asked(7, WORDS).to_string()] {
        let reply = gateway.ask(&dressed(Request::post(body).to(&format!("{messages}&{query}"))));
        assert_eq!(reply.status(), 202, "{}", reply.text());
        assert!(events.message().is_some_and(|answer| answer.json()["id"].is_u64()));
    }
    let children = gateway.descendants();
    assert!(children.len() >= 4, "{children:?}");
    for child in &children {
        for name in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{}/{name}", child.pid)).expect("it runs");
            assert!(!text.is_empty() && memchr::memmem::find(&text, WORDS.as_bytes()).is_none(), "{name} of {child:?}");
        }
        let folder = fs::read_link(format!("/proc/{}/cwd", child.pid)).expect("it runs");
        assert_eq!(folder, std::env::current_dir().expect("a folder"));
    }
    // Nor is there another place that starts something.
    for target in ["/servers/x/mcp", "/mcp/sse/x", "/admin", "/command", "/mcp/../../x"] {
        assert_eq!(gateway.ask(&initialize("2025-11-25").to(target)).status(), 404, "{target}");
    }
    assert_eq!(gateway.descendants().len(), children.len());
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

/// A gateway in front of a server that has one result for each of these methods.
fn in_front_of(dir: &TempDir, era: &str, results: &[(&str, Value)]) -> Gateway {
    let answers: String = results
        .iter()
        .map(|(method, result)| {
            format!("*'\"method\":\"{method}\"'*) echo '{{\"jsonrpc\":\"2.0\",\"id\":'$id',\"result\":{result}}}';;\n")
        })
        .collect();
    let (path, script) = path_in(dir, "server.sh");
    let text = format!(
        "while IFS= read -r line; do\nid=${{line#*'\"id\":'}}; id=${{id%%[,\\}}]*}}\ncase \"$line\" in\n{answers}esac\ndone\n"
    );
    fs::write(path, text).expect("written");
    Start::new(&["--child-era", era]).child(&["--", "sh", &script]).run()
}

#[test]
fn cve_2026_116686_no_reference_in_a_schema_is_followed() {
    // A server's schemas are read here: for the header fields of its tools, and to be written anew for older clients.
    let (dir, elsewhere) = (TempDir::new().expect("a folder"), TcpListener::bind("127.0.0.1:0").expect("a port"));
    elsewhere.set_nonblocking(true).expect("a flag");
    let url = |name: &str| format!("http://{}/{name}.json", elsewhere.local_addr().expect("an address"));
    let input = json!({
        "$schema": url("meta"), "$id": url("id"), "type": "object", "$ref": url("whole"),
        "properties": { "region": { "$ref": url("property"), "x-mcp-header": "Region" }, "open": true },
        "$defs": { "there": { "$dynamicRef": url("definition") } },
    });
    let output = json!({ "type": "array", "items": { "$ref": url("items") }, "$defs": { "there": { "$ref": url("output") } } });
    let tools = json!({ "tools": [{ "name": "t", "inputSchema": input, "outputSchema": output }] });
    let capabilities = json!({ "tools": {} });
    let hello =
        json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": { "name": "s", "version": "0" } });
    let modern_tools = json!({ "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": tools["tools"] });
    let discover = json!({
        "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": capabilities, "ttlMs": 0, "cacheScope": "private",
    });
    let result = json!({ "content": [], "structuredContent": [1] });
    let legacy = [("initialize", hello), ("tools/list", tools), ("tools/call", result)];
    let complete = json!({ "resultType": "complete", "content": [], "structuredContent": [1] });
    let modern = [("server/discover", discover), ("tools/list", modern_tools), ("tools/call", complete)];
    for (era, results) in [("legacy", &legacy), ("modern", &modern)] {
        let gateway = in_front_of(&dir, era, results);
        let session = Session::open(&gateway);
        let list = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/list" });
        let listed = gateway.ask(&session.post(list.to_string())).json();
        assert_eq!(listed["result"]["tools"][0]["inputSchema"]["$ref"], url("whole"), "{listed}");
        assert!(session.call("t", &json!({}))["result"].is_object());
        let listed = gateway.ask(&modern::ask(1, "tools/list", json!({}), &json!({}))).json();
        assert_eq!(listed["result"]["tools"][0]["inputSchema"]["$ref"], url("whole"), "{listed}");
        let call = modern::call(2, "t", &json!({ "region": "here" }), &json!({}), &json!({}));
        assert!(gateway.ask(&call.with("mcp-param-region", "here")).json()["result"].is_object());
        let asked = elsewhere.accept().expect_err("nobody came");
        assert_eq!(asked.kind(), io::ErrorKind::WouldBlock, "{era}");
    }
}

#[test]
fn cve_2026_0621_a_uri_template_is_a_text_like_others() {
    // Matched as a pattern, this takes longer than anybody lives.
    let dir = TempDir::new().expect("a folder");
    let (template, uri) = (format!("a://{}", "{/x*}{,y*}".repeat(500)), format!("a://{}!", "/a,".repeat(12_000)));
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": { "resources": {} }, "serverInfo": { "name": "s", "version": "0" } });
    let templates = json!({ "resourceTemplates": [{ "uriTemplate": template, "name": "t" }] });
    let contents = json!({ "contents": [{ "uri": uri, "text": "read" }] });
    let results = [("initialize", hello), ("resources/templates/list", templates), ("resources/read", contents)];
    let gateway = in_front_of(&dir, "legacy", &results);
    let session = Session::open(&gateway);
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/templates/list" });
    let read = json!({ "jsonrpc": "2.0", "id": 2, "method": "resources/read", "params": { "uri": uri } });
    let [listed, text] = [list, read].map(|body| gateway.ask(&session.post(body.to_string())).json());
    assert_eq!(listed["result"]["resourceTemplates"][0]["uriTemplate"], template);
    assert_eq!(text["result"]["contents"][0]["text"], "read");
    let listed = gateway.ask(&modern::ask(1, "resources/templates/list", json!({}), &json!({}))).json();
    assert_eq!(listed["result"]["resourceTemplates"][0]["uriTemplate"], template);
    let read = modern::ask(2, "resources/read", json!({ "uri": uri }), &json!({})).and("mcp-name", &uri);
    assert_eq!(gateway.ask(&read).status(), 431, "no field is as long as that");
    let read = modern::ask(2, "resources/read", json!({ "uri": &uri[..4_000] }), &json!({})).and("mcp-name", &uri[..4_000]);
    assert_eq!(gateway.ask(&read).json()["result"]["contents"][0]["text"], "read");
}

#[test]
fn python_sdk_2328_bytes_that_are_no_utf_8_end_nothing() {
    let gateway = Gateway::start(&[]);
    let session = Session::open(&gateway);
    let child = gateway.child();
    let bytes = b"\xff\xfe\n{\"jsonrpc\":\"2.0\",\"method\":\"notifications/\xc3\x28\"}\n\xed\xa0\x80\n".to_vec();
    assert!(session.call("write", &json!({ "text": "", "bytes": bytes }))["result"].is_object());
    let mut body = call("1", "1", "echo", &json!({ "text": "?" })).into_bytes();
    let at = body.iter().position(|byte| *byte == b'?').expect("a text");
    body[at] = 0xff;
    let refused = gateway.ask(&session.post(body));
    assert_eq!((refused.status(), &refused.json()["error"]["code"]), (400, &json!(-32700)));
    session.echoes("as before");
    assert_eq!(gateway.child(), child, "the same process");
}
