//! The command line, which scripts depend on: exit codes, what is printed where, what is served on which socket.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::gateway::{Gateway, Start, path_in, program};
use crate::support::http::Request;
use crate::support::proc::{self, eventually_true};
use crate::support::session::{call, text_of};

const SECOND: Duration = Duration::from_secs(1);

/// Runs it to its end, which must come by itself.
fn run(words: &[&str]) -> (i32, String, Output) {
    let output = program().args(words).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().expect("an exit code"), text, output)
}

#[test]
fn a_wrong_command_line_ends_with_64_and_says_what_to_write() {
    for (words, hint) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&[], "--cmd"),
        (&["--demo", "--cmd", "sh"], "once"),
        (&["--demo", "--listen", ":8080"], "127.0.0.1:8080"),
        (&["--demo", "--idle-timeout", "5"], "5s"),
        (&["--demo", "--max-body", "1"], "1KiB"),
        (&["--demo", "--log", "child=loud"], "--log"),
        (&["--demo", "--env", "=x"], "NAME=VALUE"),
        (&["--demo", "--listen", "0.0.0.0:0"], "add: --insecure-no-auth --allowed-host NAME"),
        (&["--demo", "--listen", "[::]:0", "--insecure-no-auth"], "add: --allowed-host NAME"),
        (&["--demo", "--admin-listen", "0.0.0.0:0"], "add: --admin-allowed-host NAME"),
    ] {
        let (code, text, output) = run(words);
        assert_eq!(code, 64, "{words:?}: {text}");
        assert!(text.contains(hint), "{words:?}: {text}");
        assert!(output.stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn a_program_that_cannot_be_started_ends_with_69_before_anything_is_served() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    for (words, hint) in [
        (&["--cmd", "/nonexistent/server"][..], "does not exist"),
        (&["--", path], "chmod +x"),
        (&["--", "no-such-program-anywhere"], "PATH"),
    ] {
        let (code, text, _) = run(&[&["--listen", "127.0.0.1:0"], words].concat());
        assert_eq!(code, 69, "{words:?}: {text}");
        assert!(text.contains(hint), "{words:?}: {text}");
    }
}

#[test]
fn a_port_in_use_or_a_file_that_cannot_be_written_ends_with_71() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for words in [
        ["--demo", "--listen", &address, "--ready-file", "/dev/null"],
        ["--demo", "--listen", "127.0.0.1:0", "--admin-listen", &address],
        ["--demo", "--listen", "127.0.0.1:0", "--ready-file", "/nonexistent/ready"],
        ["--demo", "--listen", "unix:/nonexistent/socket", "--ready-file", "/dev/null"],
    ] {
        let (code, text, _) = run(&words);
        assert_eq!(code, 71, "{words:?}: {text}");
    }
    assert!(run(&["--demo", "--listen", &address]).1.contains("port 0"));
}

#[test]
fn help_and_version_are_printed_and_are_no_failure() {
    for (word, expected) in [("--help", "--listen"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let (code, text, output) = run(&[word]);
        assert_eq!((code, text.as_str()), (0, ""));
        assert!(String::from_utf8_lossy(&output.stdout).contains(expected));
    }
}

#[test]
fn a_flag_wins_over_the_environment() {
    let gateway =
        Start::new(&["--max-sessions", "3"]).env("MCP_GATEWAY_MAX_SESSIONS", "5").env("MCP_GATEWAY_MAX_CALLS", "7").run();
    assert_eq!(gateway.metric("limit", "max_sessions"), 3);
    assert_eq!(gateway.metric("limit", "max_calls"), 7);
}

#[test]
fn stopped_as_asked_it_ends_with_0_and_has_printed_nothing() {
    let mut gateway = Gateway::start(&[]);
    gateway.open().echoes("it works");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.exit_code(5 * SECOND), 0);
    assert_eq!(gateway.stdout(), "");
}

#[test]
fn the_demo_echoes_reports_progress_and_asks() {
    let gateway = Start::new(&[]).child(&["--demo"]).run();
    let session = gateway.open();
    session.echoes("hello");
    let (_, events) = session.stream(&call("\"s\"", "\"t\"", "slow", &json!({ "seconds": 2 })));
    let messages: Vec<Value> = events.filter(|event| !event.data.is_empty()).map(|event| event.json()).collect();
    let progress: Vec<&Value> = messages.iter().map(|message| &message["params"]["progress"]).collect();
    assert_eq!(progress, [&json!(1), &json!(2), &Value::Null]);
    assert_eq!(text_of(&messages[2]), "took 2 s");
    let (_, mut events) = session.stream(&call("7", "\"t\"", "ask", &json!({})));
    let question = events.message().expect("a question").json();
    let answer =
        json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept", "content": { "name": "Ada" } } });
    assert_eq!(session.tell(answer.to_string()).status(), 202);
    assert_eq!(text_of(&events.message().expect("an answer").json()), "Hello, Ada!");
    session.delete();
    eventually_true(3 * SECOND, "it leaves nothing behind", || gateway.descendants().is_empty());
}

#[test]
fn a_unix_socket_is_its_owners_alone_and_is_taken_away_at_the_end() {
    let dir = TempDir::new().expect("a directory");
    let (path, text) = path_in(&dir, "mcp.sock");
    let listen = format!("unix:{text}");
    // What a gateway that was killed leaves there is replaced.
    for end in [Signal::KILL, Signal::TERM] {
        let mut gateway = Gateway::start(&["--listen", &listen]);
        assert_eq!(gateway.address(), listen);
        let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{mode:o}");
        gateway.open().echoes("it works");
        gateway.signal(end);
        gateway.exit_code(5 * SECOND);
    }
    assert!(!path.exists());
    // What somebody listens on is not.
    let _taken = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    assert_eq!(run(&["--demo", "--listen", &listen]).0, 71);
}

#[test]
fn the_admin_listener_tells_life_readiness_metrics_and_version_and_nothing_else() {
    let gateway = Gateway::start(&["--max-sessions", "1"]);
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/metrics", 200), ("/version", 200), ("/", 404), ("/mcp", 404)] {
        assert_eq!(gateway.admin(path).status(), status, "{path}");
    }
    assert_eq!(gateway.admin("/version").json()["version"], env!("CARGO_PKG_VERSION"));
    let session = gateway.open();
    assert_eq!(gateway.admin("/readyz").status(), 503, "no session can be opened");
    for path in ["/livez", "/readyz", "/metrics", "/version"] {
        assert_eq!(gateway.ask(&Request::new("GET", path)).status(), 404, "{path} is not on the MCP port");
    }
    session.echoes("it works");
    let metrics = gateway.admin("/metrics").text();
    assert!(!metrics.contains(&session.id), "no secret in the metrics");
    for line in metrics.lines() {
        let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ").trim_start_matches("# UNIT ");
        assert!(name.starts_with("mcp_gateway_") || line == "# EOF", "{line}");
    }
}

#[test]
fn the_log_is_json_when_asked_and_never_shows_a_whole_session_id() {
    let gateway = Gateway::start(&["--log-format", "json", "--log", "trace,h2=info"]);
    let session = gateway.open();
    session.echoes("a body with a secret");
    session.call("stderr", &json!({ "count": 3 }));
    session.call("write", &json!({ "text": "not\u{1b}[2J a message\n" }));
    let id = session.id.clone();
    session.delete();
    eventually_true(3 * SECOND, "the end is logged", || gateway.log().iter().any(|line| line.contains("session ended")));
    let log = gateway.log();
    for line in &log {
        let event: Value = serde_json::from_str(line).expect("JSON");
        assert!(event["level"].is_string() && event["timestamp"].is_string(), "{line}");
        assert!(!line.contains(&id[..9]), "{line}");
        assert!(!line.contains("a body with a secret"), "{line}");
    }
    assert!(log.iter().any(|line| line.contains(&id[..8])), "its beginning is there");
}

#[test]
fn another_endpoint_is_served_in_place_of_the_usual_one() {
    let gateway = Gateway::start(&["--endpoint", "/servers/one"]);
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(gateway.ask(&Request::post(ping)).status(), 404);
    assert_eq!(gateway.ask(&Request::new("GET", "/servers/one").with("accept", "text/event-stream")).status(), 400);
}

#[test]
fn it_serves_within_a_second_of_its_start() {
    let began = Instant::now();
    let gateway = Start::new(&[]).child(&["--demo"]).run();
    gateway.open().echoes("it works");
    eprintln!("started and answered in {:?}", began.elapsed());
    proc::was_prompt(began.elapsed(), SECOND);
}
