//! What options come to without a file.

use super::*;

fn config(words: &[&str]) -> Result<Config, Fault> {
    Config::load(&given(words), &demo())
}

fn refusal(words: &[&str]) -> String {
    config(words).expect_err("it is refused").to_string()
}

#[test]
fn an_exposed_address_is_refused_with_the_line_to_add() {
    let text = refusal(&["--demo", "--listen", "0.0.0.0:8080"]);
    assert!(text.contains("add: --insecure-no-auth --allowed-host NAME"), "{text}");
    let text = refusal(&["--demo", "--listen", "[::]:8080", "--insecure-no-auth"]);
    assert!(text.contains("add: --allowed-host NAME"), "{text}");
    assert!(config(&["--demo", "--listen", "0.0.0.0:8080", "--insecure-no-auth", "--allowed-host", "*"]).is_ok());
    for local in ["127.0.0.1:0", "127.8.9.1:1", "[::1]:8080", "localhost:80", "unix:/tmp/x.sock"] {
        assert!(config(&["--demo", "--listen", local]).is_ok(), "{local}");
    }
    assert!(refusal(&["--demo", "--admin-listen", "0.0.0.0:9"]).contains("--admin-allowed-host"));
    assert!(
        refusal(&["--demo", "--listen", "0.0.0.0:1", "--insecure-no-auth", "--allowed-host", "x", "--expose-stderr"])
            .contains("--expose-stderr")
    );
}

#[test]
fn a_command_is_split_as_a_shell_would_and_named_once() {
    let config = config(&["--cmd", "sh -c 'echo \"a b\"' c\\ d"]).expect("a command");
    let [server] = config.servers.as_slice() else { panic!("one server") };
    assert!(server.command.program.is_absolute());
    assert_eq!(server.command.args, ["-c", "echo \"a b\"", "c d"]);
    assert!(refusal(&[]).contains("--cmd"));
    assert!(refusal(&["--demo", "--cmd", "sh"]).contains("once"));
    assert!(refusal(&["--cmd", "sh 'open"]).contains("not closed"));
    assert!(refusal(&["--cmd", " "]).contains("empty"));
    assert!(refusal(&["--demo", "--children", "shared", "--prewarm", "1"]).contains("leave out --prewarm"));
}

#[test]
fn a_program_that_cannot_be_started_is_refused_before_anything_is_served() {
    for (words, reason) in [
        (&["--", "/nonexistent/server"][..], "does not exist"),
        (&["--", "/etc/passwd"], "not an executable file"),
        (&["--", "no-such-program-anywhere"], "not on the PATH"),
        (&["--cwd", "/nonexistent", "--", "sh"], "not a directory"),
    ] {
        assert!(matches!(config(words), Err(Fault::Unavailable(text)) if text.contains(reason)), "{words:?}");
    }
}

#[test]
fn a_wrong_address_says_what_to_write() {
    assert!(refusal(&["--demo", "--listen", ":3000"]).contains("127.0.0.1:3000"));
    assert!(refusal(&["--demo", "--listen", "8080"]).contains("127.0.0.1:8080"));
    assert!(refusal(&["--demo", "--listen", "unix:"]).contains("unix:/run"));
    assert!(refusal(&["--demo", "--endpoint", "mcp"]).contains("/mcp"));
    assert!(refusal(&["--demo", "--allowed-origin", "app.example.com"]).contains("https://"));
}

#[test]
fn tokens_are_not_sent_over_clear_text_without_being_asked_for() {
    let open = ["--demo", "--listen", "0.0.0.0:1", "--allowed-host", "x", "--bearer-tokens", "/dev/null"];
    assert!(refusal(&open).contains("--insecure-cleartext-tokens"));
    let asked = config(&[&open[..], &["--insecure-cleartext-tokens"]].concat());
    assert!(asked.is_ok() && config(&[&open[..], &["--tls-cert", "/dev/null", "--tls-key", "/dev/null"]].concat()).is_ok());
    assert!(config(&["--demo", "--bearer-tokens", "/dev/null"]).is_ok(), "this machine is no network");
}
