//! Files of the configuration, and the subcommands about them.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::gateway::{Gateway, Start, program, stub};
use crate::support::http::Request;
use crate::support::proc::eventually_true;

const SECOND: Duration = Duration::from_secs(1);

/// A folder with files in it.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("written");
        }
        Files(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs it there, to its end.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        let output: Output = program().current_dir(self.0.path()).args(words).output().expect("it starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
    }
}

#[test]
fn check_config_tells_all_faults_and_ends_with_78() {
    let files = Files::new(&[
        ("good.toml", "[servers.a]\ncmd = \"sh\"\n[servers.b]\ndemo = true\n"),
        ("bad.toml", "max_session = 1\n[servers.a]\ncmd = \"/none\"\nprewarm = \"x\"\n"),
        ("good.json", "{\"mcpServers\": {\"a\": {\"command\": \"sh\"}, \"b\": {\"url\": \"https://example.com\"}}}"),
    ]);
    assert_eq!(files.run(&["check-config", "good.toml"]), (0, "good.toml: ok, 2 servers\n".to_owned(), String::new()));
    let (code, out, warning) = files.run(&["check-config", "good.json"]);
    assert_eq!((code, out.as_str()), (0, "good.json: ok, 1 server\n"));
    assert!(warning.starts_with("warning: good.json:1:41: mcpServers.b: is a remote server"), "{warning}");
    let told = "bad.toml:1:1: max_session: is no option; write max_sessions\n\
                bad.toml:3:1: servers.a.cmd: the server's program /none does not exist\n\
                bad.toml:4:1: servers.a.prewarm: \"x\" is not a whole number; write 0\n";
    assert_eq!(files.run(&["check-config", "bad.toml"]), (78, String::new(), told.to_owned()));
    assert_eq!(files.run(&["--config", "bad.toml"]), (78, String::new(), told.to_owned()));
    assert_eq!(files.run(&["check-config", "none.toml"]).0, 78);
    assert_eq!(files.run(&["check-config"]).0, 64);
}

#[test]
fn check_config_looks_into_the_files_of_tokens_and_tls() {
    let files = Files::new(&[
        ("a.toml", "tls_cert = \"pem\"\ntls_key = \"pem\"\n[servers.a]\ncmd = \"sh\"\nbearer_tokens = \"tokens\"\n"),
        ("pem", "no certificate"),
        ("tokens", "no key\n"),
    ]);
    let (code, out, told) = files.run(&["check-config", "a.toml"]);
    assert_eq!((code, out.as_str()), (78, ""));
    let begins: Vec<&str> = told.lines().map(|line| line.split(" pem").next().unwrap_or_default()).collect();
    assert!(begins.contains(&"a.toml:1:1: tls_cert:") && begins.contains(&"a.toml:2:1: tls_key:"), "{told}");
    assert!(told.contains("a.toml:5:1: servers.a.bearer_tokens: tokens"), "{told}");
}

#[test]
fn print_config_prints_what_config_reads_and_no_value_of_a_variable() {
    let files =
        Files::new(&[("a.toml", "max_calls = 7\n[servers.a]\ncmd = [\"sh\", \"-c\", \"exit\"]\nenv = { KEY = \"secret\" }\n")]);
    let (code, text, told) = files.run(&["print-config", "--config", "a.toml", "--max-sessions", "3"]);
    assert_eq!((code, told.as_str()), (0, ""));
    assert!(!text.contains("secret") && text.contains("KEY = \"(hidden)\""), "{text}");
    for line in ["max_calls = 7", "max_sessions = 3", "listen = \"127.0.0.1:8080\"", "[servers.a]"] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    std::fs::write(files.path("b.toml"), &text).expect("written");
    assert_eq!(files.run(&["print-config", "--config", "b.toml"]), (0, text, String::new()));
    assert_eq!(files.run(&["print-config", "--max-calls", "0", "--demo"]).0, 64);
}

#[test]
fn healthcheck_asks_the_admin_listener_that_the_same_options_name() {
    let gateway = Gateway::start(&["--max-sessions", "1"]);
    let admin = gateway.admin_address().to_owned();
    let files = Files::new(&[("a.toml", &format!("admin_listen = \"{admin}\"\n"))]);
    let ready = (0, String::new(), String::new());
    assert_eq!(files.run(&["healthcheck", "--admin-listen", &admin]), ready);
    assert_eq!(files.run(&["healthcheck", "--config", "a.toml"]), ready);
    let _session = gateway.open();
    let (code, out, told) = files.run(&["healthcheck", "--config", "a.toml"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(told.contains("not ready"), "{told}");
    drop(gateway);
    let (code, _, told) = files.run(&["healthcheck", "--config", "a.toml"]);
    assert!(code == 1 && told.contains("cannot be asked"), "{told}");
    let (code, _, told) = files.run(&["healthcheck", "--demo"]);
    assert!(code == 64 && told.contains("--admin-listen 127.0.0.1:9090"), "{told}");
}

#[test]
fn a_variable_names_the_file_and_the_options_of_all_servers() {
    let files = Files::new(&[("a.toml", "listen = \"127.0.0.1:0\"\nmax_sessions = 5\nmax_calls = 4\n")]);
    let file = files.path("a.toml");
    let gateway = Start::new(&["--max-sessions", "3"]).env("MCP_GATEWAY_CONFIG", file.to_str().expect("UTF-8")).run();
    assert_eq!(gateway.metric("limit", "max_sessions"), 3);
    assert_eq!(gateway.metric("limit", "max_calls"), 4);
    gateway.open().echoes("it works");
}

#[test]
fn servers_of_an_mcp_client_are_served_by_name_and_what_is_left_out_is_logged() {
    let json =
        format!("{{\"mcpServers\": {{\"stub\": {{\"command\": {:?}}}, \"far\": {{\"url\": \"https://example.com\"}}}}}}", stub());
    let files = Files::new(&[("mcp.json", &json)]);
    let path = files.path("mcp.json");
    let gateway = Start::new(&["--mcp-json", path.to_str().expect("UTF-8")]).child(&[]).run();
    eventually_true(3 * SECOND, "it is logged", || gateway.log().iter().any(|line| line.contains("far: is a remote server")));
    for (path, status) in [("/servers/stub/mcp", 400), ("/servers/far/mcp", 404), ("/mcp", 404)] {
        assert_eq!(gateway.ask(&Request::new("GET", path).with("accept", "text/event-stream")).status(), status, "{path}");
    }
}
