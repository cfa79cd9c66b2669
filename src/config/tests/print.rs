//! What is in force, printed.

use super::*;
use crate::config::print::print;
use crate::config::probe::{Probe, probe};
use crate::config::{Listen, check};

/// A configuration without what tells where it came from.
fn plain(config: &Config) -> String {
    format!("{config:?}")
}

#[test]
fn what_is_printed_makes_the_same_configuration() {
    let file = File::toml(
        "listen = \"unix:/tmp/a \\\"b\\\".sock\"\nmax_calls = 7\npass_env = [\"A\", \"B\"]\nstateless = true\nmax_body = \"2MiB\"\n\
         [servers.one]\ncmd = [\"sh\", \"a b\", \"\\\\\", \"é\"]\npass_env = []\nstateless = false\nhibernate_after = \"5m\"\n\
         [servers.\"two.x\"]\ndemo = true\nmax_sessions = 3\n",
    );
    for words in
        [&[][..], &["--demo", "--max-sessions", "9"], &["--cmd", "sh 'a b' \"c\"", "--cwd", "/"], &["--", "sh", "-c", "x y"]]
    {
        let words = [&["--config", file.path()], words].concat();
        let config = Config::load(&given(&words), &demo()).expect("a configuration");
        let (text, _) = print(&given(&words), &demo()).expect("a configuration");
        let again = File::toml(&text).load(&[]).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
        assert_eq!(plain(&again), plain(&config), "{text}");
        let (text_again, _) = print(&given(&["--config", File::toml(&text).path()]), &demo()).expect("a configuration");
        assert_eq!(text_again, text);
    }
}

#[test]
fn values_of_the_childrens_environment_are_hidden() {
    let json = File::new("mcp.json", r#"{"mcpServers": {"b": {"command": "sh", "env": {"B": "secret"}}}}"#);
    let file = File::toml(
        "cmd = \"sh\"\nenv = { A = \"secret\", \"x y\" = \"secret\" }\n[servers.a]\ncmd = \"sh\"\n[servers.a.env]\nC = \"secret\"\n",
    );
    let words = ["--config", file.path(), "--mcp-json", json.path()];
    let (text, _) = print(&given(&words), &demo()).expect("a configuration");
    assert!(!text.contains("secret"), "{text}");
    assert!(text.contains("env = { A = \"(hidden)\", \"x y\" = \"(hidden)\" }  # the values are not shown\n"), "{text}");
    assert!(text.contains("[servers.b]\ncwd = "), "{text}");
    assert!(text.contains("env = { B = \"(hidden)\" }") && text.contains("env = { C = \"(hidden)\" }"), "{text}");
    let (text, _) = print(&given(&["--cmd", "sh", "--env", "A=secret", "--env", "A=secret"]), &demo()).expect("a configuration");
    assert!(text.contains("env = { A = \"(hidden)\" }"), "{text}");
    assert!(check(&File::toml(text).path, &demo(), |_| Vec::new()).is_ok());
}

#[test]
fn what_was_put_into_a_command_is_not_printed() {
    // What is set wherever this runs.
    let secret = std::env::var("PATH").expect("it is set");
    let json = File::new(
        "mcp.json",
        r#"{"servers": {"a": {"command": "sh", "args": ["-c", "exit", "--key=${PATH}", "${env:PATH}", "${NONE:-x}", "${workspaceFolder}/x"]}}}"#,
    );
    let (text, _) = print(&given(&["--mcp-json", json.path()]), &demo()).expect("a configuration");
    let folder = json.path.parent().expect("its folder").display();
    let line =
        format!("cmd = [\"sh\", \"-c\", \"exit\", \"--key=${{PATH}}\", \"${{env:PATH}}\", \"${{NONE:-x}}\", \"{folder}/x\"]");
    assert!(text.lines().any(|found| found == line) && !text.contains(&secret), "{text}");
    let (again, _) = print(&given(&["--config", File::toml(&text).path()]), &demo()).expect("it can be read");
    assert_eq!(again, text);
}

#[test]
fn what_is_faulty_is_not_printed() {
    let file = File::toml("cmd = \"sh\"\nmax_calls = 0\n");
    assert!(matches!(print(&given(&["--config", file.path()]), &demo()), Err(Fault::Configuration(_))));
}

#[test]
fn the_admin_listener_is_found_where_the_gateway_finds_it() {
    let found = |words: &[&str], environment: &[&str], text: &str| {
        let file = File::toml(text);
        let probe = probe(&given_with(&[&["--config", file.path()], words].concat(), environment));
        probe.map(|Probe { address, host }| format!("{address} {host}")).map_err(|fault| file.lines(&fault.to_string()).join("|"))
    };
    let ok = |text: &str| Ok(text.to_owned());
    assert_eq!(found(&[], &[], "admin_listen = \"127.0.0.1:1\""), ok("127.0.0.1:1 localhost"));
    assert_eq!(found(&[], &["--admin-listen", "127.0.0.1:2"], "admin_listen = \"127.0.0.1:1\""), ok("127.0.0.1:2 localhost"));
    assert_eq!(found(&["--admin-listen", "[::1]:3"], &["--admin-listen", "127.0.0.1:2"], ""), ok("[::1]:3 localhost"));
    assert_eq!(found(&[], &[], "admin_listen = \"unix:/run/x\"\nmax_calls = oops\n"), ok("unix:/run/x localhost"));
    let everywhere = "admin_listen = \"0.0.0.0:1\"\nadmin_allowed_host = ";
    assert_eq!(found(&[], &[], &format!("{everywhere}\"*\"")), ok("127.0.0.1:1 127.0.0.1:1"));
    assert_eq!(found(&[], &[], &format!("{everywhere}[\"*\", \"probe.example\"]")), ok("127.0.0.1:1 probe.example"));
    assert_eq!(found(&["--admin-listen", "[::]:1"], &[], "admin_allowed_host = \"a,b\""), ok("[::1]:1 a"));
    let none =
        "there is no admin listener to ask; add: --admin-listen 127.0.0.1:9090, or admin_listen = \"127.0.0.1:9090\" in the file";
    assert_eq!(found(&[], &[], ""), Err(none.to_owned()));
    let zero = "--admin-listen 127.0.0.1:0: port 0 is another port at each start; write 127.0.0.1:9090";
    assert_eq!(found(&["--admin-listen", "127.0.0.1:0"], &[], ""), Err(zero.to_owned()));
    let text = "admin_listen = 5.5\n";
    assert_eq!(
        found(&[], &[], text),
        Err("gateway.toml:1:1: admin_listen: is a number with a fraction; write admin_listen = \"127.0.0.1:9090\"".into())
    );
    let words = ["--config", "/none", "--admin-listen", "127.0.0.1:4"];
    assert_eq!(
        probe(&given(&words)).expect("the file does not matter").address,
        Listen::Tcp("127.0.0.1:4".parse().expect("an address"))
    );
}
