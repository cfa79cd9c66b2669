//! What is said of a faulty file: all of it, each with its place and what to write.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::config::check;
use crate::config::load::reading;

/// What is wrong with a text, beside that it may name no server.
fn faults(text: &str) -> Vec<String> {
    let file = File::toml(text);
    match check(&file.path, &demo(), |_| Vec::new()) {
        Ok(_) => Vec::new(),
        Err(fault) => {
            assert_eq!(fault.exit_code(), 78);
            file.lines(&fault.to_string())
        }
    }
}

#[test]
fn every_fault_of_a_file_is_told_with_its_place_and_what_to_write() {
    let text = "max_sessions = 0\n\
                max_session = 3\n\
                listen = \"0.0.0.0:80\"\n\
                stateless = \"yes\"\n\
                [servers.a]\n\
                listen = \"127.0.0.1:1\"\n\
                cmd = \"/nonexistent/server\"\n\
                response = \"jsom\"\n\
                [servers.\"my server\"]\n\
                [servers.b]\n  drain = 5\n";
    assert_eq!(
        faults(text),
        [
            "gateway.toml:1:1: max_sessions: must be between 1 and 1048576",
            "gateway.toml:2:1: max_session: is no option; write max_sessions",
            "gateway.toml:3:1: listen: 0.0.0.0:80 can be reached from other machines, and whoever reaches it can use the tools of \
             server \"a\"; to allow that, add: insecure_no_auth = true, allowed_host = [\"NAME\"] (or bearer_tokens = \"FILE\" in \
             place of insecure_no_auth = true) (NAME is the host name that clients use, '*' allows any)",
            "gateway.toml:4:1: stateless: is a text; write stateless = true",
            "gateway.toml:6:1: servers.a.listen: is of the whole gateway, not of one server; write it at the top of the file, before \
             [servers.NAME]",
            "gateway.toml:7:1: servers.a.cmd: the server's program /nonexistent/server does not exist",
            "gateway.toml:8:1: servers.a.response: \"jsom\" is not one of its values; write \"json\"",
            "gateway.toml:9:10: servers.\"my server\": a server's name is 1 to 64 letters, digits, '.', '_' or '-'; write \"my-server\"",
            "gateway.toml:9:10: servers.\"my server\": has no program to run; write cmd = \"COMMAND LINE\" below it",
            "gateway.toml:10:10: servers.b: has no program to run; write cmd = \"COMMAND LINE\" below it",
            "gateway.toml:11:3: servers.b.drain: is of the whole gateway, not of one server; write it at the top of the file, before \
             [servers.NAME]",
        ]
    );
}

#[test]
fn what_is_no_toml_is_told_beside_the_rest() {
    for (text, told) in [
        (
            "max_calls =\nstateles = true",
            &["1:12: is not TOML: a value is missing behind =", "2:1: stateles: is no option; write stateless"][..],
        ),
        ("cmd = 'sh\nmax_calls = 1\n", &["1:10: is not TOML: invalid literal string, expected `'`"]),
        ("log = info # all", &["1:7: is not TOML: a text stands in quotes; write \"info\""]),
        (
            "cwd = /srv\nmax_calls = x\n",
            &[
                "1:7: is not TOML: a text stands in quotes; write \"/srv\"",
                "2:13: is not TOML: a text stands in quotes; write \"x\"",
            ],
        ),
        (
            "[servers.x\ncmd = \"sh\"\n[servers.y]\ncmd = 5",
            &[
                "1:11: is not TOML: unclosed table, expected `]`",
                "4:1: servers.y.cmd: is a number; write cmd = \"npx -y @modelcontextprotocol/server-everything\"",
            ],
        ),
        ("max_calls = 1\nmax_calls = 2", &["2:1: max_calls: stands here a second time; leave one of them out"]),
        (
            "[servers.x]\ncmd = \"sh\"\n[servers.x]\ncmd = \"sh\"\n[servers.y]\ncmd = 5\ncmd = 6",
            &[
                "3:10: servers.x: stands here a second time; leave one of them out",
                "6:1: servers.y.cmd: is a number; write cmd = \"npx -y @modelcontextprotocol/server-everything\"",
                "7:1: cmd: stands here a second time; leave one of them out",
            ],
        ),
    ] {
        assert_eq!(faults(text), told.iter().map(|line| format!("gateway.toml:{line}")).collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_one_of_the_right_kind() {
    for (text, told) in [
        (
            "cmd = [\"sh\", 5]",
            "1:14: cmd: has a number in it; write texts, each in quotes: cmd = \"npx -y @modelcontextprotocol/server-everything\"",
        ),
        ("cmd = []", "1:1: cmd: is empty; write cmd = \"npx -y @modelcontextprotocol/server-everything\""),
        ("cmd = 5", "1:1: cmd: is a number; write cmd = \"npx -y @modelcontextprotocol/server-everything\""),
        ("cmd = \"sh 'x\"", "1:1: cmd: \"sh 'x\" has a quote that is not closed"),
        ("cmd = \"\"", "1:1: cmd: is empty; write cmd = \"./my-server --flag\""),
        ("cwd = \"a\\u0000\"", "1:1: cwd: has a NUL character in it, which no text of a system can have; leave it out"),
        ("drain = 30", "1:1: drain: \"30\" has no unit of time; write 30s, 30m, 30h or 30ms"),
        ("memory_gate = 1.5", "1:1: memory_gate: is a number with a fraction; write memory_gate = 90"),
        ("memory_gate = 101", "1:1: memory_gate: 101 is not in 1..=100"),
        ("env = [\"A=1\"]", "1:1: env: is an array; write env = { NAME = \"value\" }"),
        ("cmd = \"sh\"\nenv = { A = true }", "2:9: env.A: is true or false; write A = \"value\""),
        ("cmd = \"sh\"\nenv = { \"B=C\" = \"secret\" }", "2:9: env.\"B=C\": is no name of a variable; write NAME = \"value\""),
        ("cmd = \"sh\"\n[env]\nA = \"secret\\u0000\"", "3:1: env.A: has a NUL character in its value; leave it out"),
        (
            "pass_env = [\n\"A\",\n1]",
            "3:1: pass_env: has a number in it; write texts, each in quotes: pass_env = [\"HTTPS_PROXY\"]",
        ),
        ("allowed_host = true", "1:1: allowed_host: is true or false; write allowed_host = [\"mcp.example.com\"]"),
        ("log_format = 2020-01-01", "1:1: log_format: is a date or time; write log_format = \"text\""),
        ("[max_sessions]\na = 1", "1:2: max_sessions: is a table; write max_sessions = 64"),
        ("servers = 5", "1:1: servers: is a number; write [servers.NAME], and the server's options below it"),
        ("[[servers]]", "1:3: servers: is an array; write [servers.NAME], and the server's options below it"),
        ("[servers]\nx = 5", "2:1: servers.x: is a number; write [servers.NAME], and the server's options below it"),
        (
            "[servers]\ncmd = \"sh\"",
            "2:1: servers.cmd: is an option where a server is to be; write [servers.NAME], and cmd below it",
        ),
        ("[server.x]\ncmd = \"sh\"", "1:2: server: is no option; write [servers.NAME]"),
        ("max-calls = 2", "1:1: max-calls: is no option; write max_calls"),
        ("config = \"x\"", "1:1: config: is no option; leave it out (print-config prints all options)"),
        ("\"\" = 1", "1:1: \"\": is no option; leave it out (print-config prints all options)"),
        ("[servers.x]\ncommand = \"sh\"", "2:1: servers.x.command: is no option; write cmd = [\"PROGRAM\", \"ARGUMENT\"]"),
        (
            "[servers.x]\ncmd = \"sh\"\nlisen = \"x\"",
            "3:1: servers.x.lisen: is no option of a server; if listen is meant, write it at the \
                                                       top of the file, before [servers.NAME]",
        ),
        (
            "[servers.default]\ncmd = \"sh\"",
            "1:10: servers.default: is what the server at the top of the file and of the command line is \
                                               called; write another name",
        ),
    ] {
        assert_eq!(faults(text), [format!("gateway.toml:{told}")], "{text}");
    }
}

#[test]
fn options_that_do_not_go_together_are_told_where_they_stand() {
    for (text, told) in [
        ("demo = true\ncmd = \"sh\"", "2:1: cmd: is not the only program of this server; write either cmd or demo"),
        ("cmd = \"sh\"\ntls_cert = \"/dev/null\"", "2:1: tls_cert: has no key; add: tls_key = \"FILE\""),
        ("cmd = \"sh\"\ntls_key = \"/dev/null\"", "2:1: tls_key: has no certificate; add: tls_cert = \"FILE\""),
        (
            "cmd = \"sh\"\nclient_ca = \"/dev/null\"",
            "2:1: client_ca: asks for certificates, which needs TLS; add: tls_cert = \"FILE\", \
                                                       tls_key = \"FILE\"",
        ),
        (
            "cmd = \"sh\"\nprewarm = 1\nchildren = \"shared\"",
            "2:1: prewarm: children shared is for a server of which there may be one \
                                                                process only; leave out prewarm",
        ),
        (
            "cmd = \"sh\"\nlog = \"child=loud\"",
            "2:1: log: \"child=loud\": error parsing level filter: expected one of \"off\", \"error\", \
                                                  \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5; write info, or info,child=warn",
        ),
        (
            "listen = \"0.0.0.0:1\"\nallowed_host = \"*\"\n[servers.x]\ncmd = \"sh\"\nbearer_tokens = \"/dev/null\"",
            "5:1: servers.x.bearer_tokens: with listen 0.0.0.0:1 would send tokens over clear text; add: tls_cert = \"FILE\", tls_key = \
             \"FILE\", or insecure_cleartext_tokens = true where a proxy in front or the network itself keeps them secret",
        ),
        (
            "env = { A = \"secret\" }\n[servers.x]\ncmd = \"sh\"",
            "1:1: env: is of the server at the top of the file, and there is no cmd; \
                                                                   write it below [servers.NAME], or add: cmd = \"COMMAND LINE\"",
        ),
        (
            "admin_listen = \"0.0.0.0:1\"",
            "1:1: admin_listen: is not a loopback address or unix socket; add: admin_allowed_host = [\"NAME\"] \
                                          ('*' allows any)",
        ),
        (
            "bearer_tokens = \"/none\"\ncmd = \"sh\"",
            "1:1: bearer_tokens: /none: is not there; `mcp-http-gateway token new NAME --file /none` makes it, with a first token",
        ),
        (
            "listen = \"unix:/run/x\"\ntls_cert = \"/dev/null\"\ntls_key = \"/dev/null\"",
            "2:1: tls_cert: is for an address: a unix socket has \
                                                                               no TLS; leave it out, or write listen = \"IP:PORT\"",
        ),
    ] {
        assert_eq!(faults(text), [format!("gateway.toml:{told}")], "{text}");
    }
}

#[test]
fn a_fault_of_a_flag_is_told_as_a_flags_and_once_for_all_servers() {
    let file = File::toml("[servers.a]\ncmd = \"sh\"\n[servers.b]\ncmd = \"sh\"\n");
    let fault = file.load(&["--max-sessions", "0"]).expect_err("it is refused");
    assert_eq!(fault, Fault::Usage("--max-sessions must be between 1 and 1048576".to_owned()));
    assert_eq!((fault.exit_code(), fault.report().as_str()), (64, "error: --max-sessions must be between 1 and 1048576\n"));
    let config = file.load(&["--env", "A=secret"]).expect("it does no harm");
    assert_eq!(
        config.warnings,
        ["--env is of the server of --cmd, and there is none; write it into the file, below [servers.NAME]"]
    );
    let file = File::toml("[servers.a]\ncmd = \"/none\"\n");
    assert_eq!(file.load(&[]).expect_err("it cannot be started").exit_code(), 69);
    assert_eq!(
        file.faults(&["--listen", ":1"]),
        [
            "gateway.toml:2:1: servers.a.cmd: the server's program /none does not exist",
            "--listen \":1\" has no host; write \"127.0.0.1:1\"",
        ]
    );
    assert_eq!(
        File::toml("").faults(&[]),
        ["gateway.toml: names no server; write cmd = \"COMMAND LINE\" or [servers.NAME], or name one on the command line",]
    );
    assert_eq!(check(&File::toml("").path, &demo(), |_| Vec::new()).expect("it is good").servers, 0);
}

#[test]
fn marks_line_ends_and_sizes_are_no_faults() {
    for text in [
        "\u{feff}demo = true\n",
        "demo = true\r\nmax_calls = 3\r\n",
        "demo = true",
        &format!("demo = true\n{}", "#\n".repeat(500_000)),
    ] {
        assert!(File::toml(text).load(&[]).is_ok());
    }
    assert_eq!(
        File::toml(b"demo = true\nlog = \"\xff\"").faults(&[]),
        ["gateway.toml:2:8: is not UTF-8; save the file in that encoding"]
    );
    let mut many = String::new();
    (0..20_000).for_each(|at| writeln!(many, "key{at} = {at}").expect("a text"));
    let faults = File::toml(many).faults(&[]);
    assert_eq!((faults.len(), faults.last().map(String::as_str)), (101, Some("…and 19901 more")));
    let missing = Config::load(&given(&["--config", "/none/gateway.toml"]), &demo()).expect_err("it is missing");
    assert_eq!(
        missing,
        Fault::Configuration("/none/gateway.toml: cannot be read: No such file or directory (os error 2)".to_owned())
    );
}

proptest! {
    #[test]
    fn any_text_is_read_to_an_end_and_what_is_good_is_printed_as_it_is_meant(
        text in r#"((max_calls = 3|cmd = "a b"|stateless = true|env = \{ A = "b" \}|\[servers\.[ab]\]|\[?[a-z_.]{0,9}\]? = ["'\[{]?[a-z0-9., =]{0,6}["'\]}]?)\n){0,6}"#
    ) {
        if let Ok(printed) = reading(text.as_bytes(), false) {
            prop_assert_eq!(reading(printed.as_bytes(), false), Ok(printed));
        }
    }

    #[test]
    fn any_bytes_are_read_to_an_end(bytes: Vec<u8>, is_json: bool) {
        let _ = reading(&bytes, is_json);
    }
}
