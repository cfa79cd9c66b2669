//! The files of other programs.

use std::path::Path;

use super::*;
use crate::config::expand::Values;
use crate::config::layers::Files;
use crate::config::mcp_json::read_with;
use crate::config::place::Source;
use crate::config::settings::Value;

/// What is read of a text, where KEY is set, the folder is /srv, and a file that is named holds nothing.
fn read(text: &str) -> Files {
    read_beside("", text)
}

/// The same, where a file that is named holds `variables`.
fn read_beside(variables: &str, text: &str) -> Files {
    let file = |path: &Path| Source::new(&path.to_string_lossy(), variables.into());
    let variable = |name: &str| match name {
        "KEY" => Some("secret".to_owned()),
        "HOME" => Some("/home/ada".to_owned()),
        "PATH" => Some("/bin".to_owned()),
        _ => None,
    };
    let source = Source::new("mcp.json", text.as_bytes().to_vec()).expect("UTF-8");
    let mut files = Files::default();
    read_with(&source, &Values { variable: &variable, folder: "/srv".into() }, &file, &mut files);
    files
}

fn words(files: &Files, server: &str, key: &str) -> Vec<String> {
    match &files.servers[server].settings[key].value {
        Value::Words(words) => words.iter().map(|word| word.to_str().expect("UTF-8").to_owned()).collect(),
        other => panic!("{other:?}"),
    }
}

fn faults(text: &str) -> Vec<String> {
    read(text).wrong.iter().map(ToString::to_string).collect()
}

#[test]
fn the_servers_of_claude_and_cursor_are_read() {
    let files = read(
        r#"{"mcpServers": {
            "plain": {"command": "npx", "args": ["-y", "x", "--key=${KEY}"], "env": {"A": "${KEY}", "B": "${NONE:-b}", "C": 8080}},
            "off": {"command": "${NONE}", "disabled": true},
            "far": {"url": "https://example.com/mcp", "headers": {"Authorization": "Bearer ${NONE}"}},
            "away": {"type": "http", "url": "https://example.com"},
            "here": {"args": [], "command": "./run", "cwd": "sub", "envFile": "${workspaceFolder}/.env", "alwaysAllow": ["x"], "timeout": 60}
        }, "globalShortcut": ""}"#,
    );
    assert_eq!(files.wrong.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(files.servers.keys().collect::<Vec<_>>(), ["here", "plain"]);
    assert_eq!(words(&files, "plain", "program"), ["npx", "-y", "x", "--key=secret"]);
    assert_eq!(words(&files, "plain", "env"), ["A=secret", "B=b", "C=8080"]);
    assert_eq!(words(&files, "plain", "cwd"), ["/srv"], "relative paths are meant from there");
    assert_eq!(words(&files, "here", "program"), ["./run"]);
    assert_eq!(words(&files, "here", "cwd"), ["/srv/sub"]);
    assert_eq!(
        files.warnings,
        [
            "mcp.json:1:1: not used by the gateway: globalShortcut",
            "mcp.json:4:13: mcpServers.far: is a remote server, and is left out: the gateway runs programs",
            "mcp.json:5:13: mcpServers.away: is a remote server, and is left out: the gateway runs programs",
            "mcp.json:6:13: mcpServers.here: not used by the gateway: alwaysAllow, timeout",
        ]
    );
}

#[test]
fn the_servers_of_vs_code_are_read_with_comments_and_last_commas() {
    let files = read(
        "// mine\n{\"inputs\": [{\"id\": \"key\", \"type\": \"promptString\"}],\n \"servers\": {\n  /* one */ \"one\": {\"type\": \"stdio\", \
         \"command\": \"${workspaceFolder}/run\", \"args\": [\"${env:KEY}\",],},\n },\n}",
    );
    assert!(files.wrong.is_empty() && files.warnings.is_empty(), "{files:?}");
    assert_eq!(words(&files, "one", "program"), ["/srv/run", "secret"]);
}

#[test]
fn a_name_that_cannot_stand_in_a_path_is_served_as_one_that_can_and_this_is_told() {
    let json = File::new(
        "mcp.json",
        "{\"servers\": {\n\"microsoft/markitdown\": {\"command\": \"sh\"},\n\"My Server\": {\"command\": \"sh\"},\n\"io.github.owner/name\": \
         {\"url\": \"https://example.com\"},\n\"plain\": {\"command\": \"sh\"}}}",
    );
    let config = json.load(&[]).expect("a configuration");
    assert_eq!(
        config.servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>(),
        ["My-Server", "microsoft-markitdown", "plain"]
    );
    assert_eq!(server(&config, "microsoft-markitdown").endpoint, "/servers/microsoft-markitdown/mcp");
    assert_eq!(
        json.lines(&config.warnings.join("\n")),
        [
            "mcp.json:2:1: servers.microsoft/markitdown: is served as microsoft-markitdown, below /servers/microsoft-markitdown",
            "mcp.json:3:1: servers.My Server: is served as My-Server, below /servers/My-Server",
            "mcp.json:4:1: servers.io.github.owner/name: is a remote server, and is left out: the gateway runs programs",
        ]
    );
    assert!(File::toml("[servers.\"microsoft/markitdown\"]\ncmd = \"sh\"\n").load(&[]).is_err(), "its own file can be mended");
}

#[test]
fn a_tilde_is_the_home_folder_where_it_is_for_vs_code() {
    let server =
        r#"{"a": {"command": "~/run", "args": ["~", "~/x", "--in=~/x"], "cwd": "~/y", "env": {"A": "~/z"}, "envFile": "~/e"}}"#;
    let files = read_beside("no variable", &format!("{{\"servers\": {server}}}"));
    assert_eq!(words(&files, "a", "program"), ["/home/ada/run", "/home/ada", "/home/ada/x", "--in=~/x"]);
    assert_eq!((words(&files, "a", "cwd"), words(&files, "a", "env")), (vec!["/home/ada/y".into()], vec!["A=~/z".into()]));
    assert!(files.wrong[0].text.starts_with("/srv/~/e:1: "), "{files:?}");
    let files = read(&format!("{{\"mcpServers\": {server}}}"));
    assert_eq!(words(&files, "a", "program"), ["~/run", "~", "~/x", "--in=~/x"]);
    assert_eq!(words(&files, "a", "cwd"), ["/srv/~/y"]);
}

#[test]
fn a_file_of_variables_is_read_as_vs_code_reads_it_and_what_stands_beside_it_wins() {
    let variables = "# mine\nexport A=\"a b\" # why\nB='b'\nC=${KEY}\n";
    let text = |own: &str| {
        format!("{{\"servers\": {{\"a\": {{{own}, \"command\": \"x\", \"envFile\": \"${{workspaceFolder}}/.env\"}}}}}}")
    };
    let files = read_beside(variables, &text("\"env\": {\"B\": \"2\", \"D\": \"${KEY}\"}"));
    assert_eq!(words(&files, "a", "env"), ["A=a b", "B=2", "C=${KEY}", "D=secret"]);
    assert!(!files.servers["a"].settings.contains_key("env_file"), "it is not read a second time, in another way");
    assert_eq!(words(&read_beside(variables, &text("\"args\": []")), "a", "env"), ["A=a b", "B=b", "C=${KEY}"]);
}

#[test]
fn a_variable_that_is_null_for_vs_code_is_not_set_even_if_it_would_be_passed_on() {
    let json = File::new(
        "mcp.json",
        r#"{"servers": {
            "a": {"command": "/bin/sh", "env": {"PATH": null, "A": null, "B": 8080}, "envFile": "variables"},
            "b": {"command": "/bin/sh"}
        }}"#,
    );
    std::fs::write(json.path.with_file_name("variables"), "A=1\nC=1\n").expect("written");
    let config = json.load(&["--pass-env", "*"]).expect("a configuration");
    let value = |name: &str, variable: &str| {
        let env = &server(&config, name).command.env;
        env.iter().find(|(name, _)| name == variable).map(|(_, value)| value.to_string_lossy().into_owned())
    };
    assert_eq!(["PATH", "A", "B", "C"].map(|name| value("a", name)), [None, None, Some("8080".into()), Some("1".into())]);
    assert!(value("b", "PATH").is_some(), "the other server has what is passed on");
}

#[test]
fn a_path_of_vs_code_is_put_behind_the_one_that_is_there() {
    let server = r#"{"a": {"command": "x", "env": {"PATH": "/opt"}, "envFile": "e"}}"#;
    let (theirs, others) = (format!("{{\"servers\": {server}}}"), format!("{{\"mcpServers\": {server}}}"));
    for (variables, text, path) in [
        ("", &theirs, "PATH=/bin:/opt"),
        ("PATH=/a", &theirs, "PATH=/a:/opt"),
        ("PATH=", &theirs, "PATH=/opt"),
        ("PATH=/a", &others, "PATH=/opt"),
    ] {
        assert_eq!(words(&read_beside(variables, text), "a", "env"), [path], "{variables} {text}");
    }
}

#[test]
fn every_faulty_line_of_a_file_of_variables_is_told_and_nothing_that_stands_there() {
    let text = "{\"servers\": {\"a\": {\"command\": \"x\",\n\"envFile\": \".env\"}}}";
    let files = read_beside("A=1\nhidden\nB=\"hidden\nC=2\n", text);
    let told: Vec<String> = files.wrong.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "mcp.json:2:1: servers.a.envFile: /srv/.env:2: has no = in it; write NAME=VALUE",
            "mcp.json:2:1: servers.a.envFile: /srv/.env:3: has a quote that is not closed; close it on the same line (in double \
             quotes, \\n is the end of a line)",
        ]
    );
    let missing = File::new("mcp.json", text.replace("\"x\"", "\"sh\"")).faults(&[]);
    assert_eq!(missing, ["mcp.json:2:1: servers.a.envFile: .env: cannot be read: No such file or directory (os error 2)"]);
}

#[test]
fn every_fault_is_told_with_its_place_and_no_secret() {
    for (text, told) in [
        ("{\"mcpServers\": {\"a\": {\"command\": \"x\"}", &["1:38: is not JSON: a comma or } is missing here"][..]),
        ("[]", &["1:1: names no servers; write {\"mcpServers\": {\"NAME\": {\"command\": \"PROGRAM\"}}}"]),
        ("{\"a\": 1}", &["1:1: names no servers; write {\"mcpServers\": {\"NAME\": {\"command\": \"PROGRAM\"}}}"]),
        ("{\"servers\": []}", &["1:13: servers: is an array; write {\"NAME\": {\"command\": \"PROGRAM\"}}"]),
        ("{\"servers\": {}, \"mcpServers\": {}}", &["1:17: mcpServers: stands beside servers; leave one of them out"]),
        (
            "{\"servers\": {\"a\": {\"url\": \"x\"}}}",
            &["1:2: servers: has no server that the gateway can run; name a program: {\"NAME\": {\"command\": \"PROGRAM\"}}"],
        ),
        (
            "{\"servers\": {\n\"..\": {\"command\": \"x\"},\n\"c\": 5,\n\"d\": {\"args\": \"x\"},\n\"e\": {\"command\": [\"x\"], \"type\": \"pipe\"}}}",
            &[
                "2:1: servers...: a server's name is 1 to 64 letters, digits, '.', '_' or '-'; write \"my-server\"",
                "3:1: servers.c: is a number; write {\"command\": \"PROGRAM\"}",
                "4:15: servers.d.args: is a text; write [\"--flag\", \"value\"]",
                "4:1: servers.d: has no command; write \"command\": \"PROGRAM\"",
                "5:25: servers.e.type: \"pipe\" is none that the gateway knows; write \"stdio\"",
                "5:7: servers.e.command: is an array; write a text, in double quotes",
            ],
        ),
        (
            "{\"mcpServers\": {\"a\": {\"command\": \"x\", \"args\": [\"hidden ${input:key}\", 5], \"env\": {\"A\": \"${NONE} hidden\", \"B=\": \"hidden\", \"C\": null}}}}",
            &[
                "1:48: mcpServers.a.args: ${input:key} asks the user of an editor, and here is none; write ${env:KEY}, and set that variable",
                "1:71: mcpServers.a.args: is a number; write a text, in double quotes",
                "1:83: mcpServers.a.env.A: ${NONE}: the variable NONE is not set; set it for the gateway, or write ${NONE:-OTHERWISE}",
                "1:106: mcpServers.a.env.B=: is no variable: its name is empty or has = in it, or there is a NUL character",
                "1:122: mcpServers.a.env.C: is null, which unsets a variable for VS Code only; write a text, in double quotes, or \
                 leave the variable out",
            ],
        ),
        (
            "{\"mcpServers\": {\"a\": {\"command\": \"x\"}, \"a\": {\"command\": \"y\", \"command\": \"z\"}}}",
            &[
                "1:62: mcpServers.a.command: stands here a second time; leave one of them out",
                "1:40: mcpServers.a: is named in mcp.json:1:17 too; give one of them another name",
            ],
        ),
        (
            "{\"servers\": {\n\"a/b\": {\"command\": \"x\"},\n\"a b\": {\"command\": \"x\"},\n\"a-b\": {\"command\": \"x\"}}}",
            &[
                "3:1: servers.a b: would be served as a-b, as mcp.json:2:1: servers.a/b is; give one of them another name",
                "4:1: servers.a-b: would be served as a-b, as mcp.json:2:1: servers.a/b is; give one of them another name",
            ],
        ),
    ] {
        let found = faults(text);
        assert_eq!(found, told.iter().map(|line| format!("mcp.json:{line}")).collect::<Vec<_>>(), "{text}");
        assert!(!found.iter().any(|line| line.contains("hidden")), "{found:?}");
    }
}

#[test]
fn its_servers_stand_beside_those_of_the_file_and_have_its_options() {
    let json = File::new("mcp.json", r#"{"mcpServers": {"theirs": {"command": "sh", "args": ["-c", "exit"]}}}"#);
    let toml = |more: &str| File::toml(format!("mcp_json = {:?}\nmax_calls = 5\n{more}", json.path()));
    let file = toml("[servers.ours]\ncmd = \"sh\"\nmax_calls = 6\n");
    let config = file.load(&["--max-sessions", "3"]).expect("a configuration");
    let limits = |name| (server(&config, name).limits.max_calls, server(&config, name).limits.max_sessions);
    assert_eq!((limits("ours"), limits("theirs"), config.servers.len()), ((6, 3), (5, 3), 2));
    assert_eq!(server(&config, "theirs").endpoint, "/servers/theirs/mcp");
    assert_eq!(server(&config, "theirs").command.cwd.as_deref(), json.path.parent());
    assert_eq!(json.load(&[]).expect("alone it is enough").servers.len(), 1);
    assert_eq!(json.load(&["--demo"]).expect("a program beside it").servers.len(), 2);

    let faults = toml("[servers.theirs]\ncmd = \"sh\"\n").faults(&[]);
    let told = "mcpServers.theirs: is named in gateway.toml:3:10 too; give one of them another name";
    assert!(faults.len() == 1 && faults[0].ends_with(told), "{faults:?}");
    let missing = File::toml("mcp_json = \"/none.json\"\ndemo = true\n").faults(&[]);
    assert_eq!(missing, ["gateway.toml:1:1: mcp_json: /none.json: cannot be read: No such file or directory (os error 2)"]);
    let fault = File::new("mcp.json", r#"{"mcpServers": {"a": {"command": "/none"}}}"#);
    assert_eq!(fault.faults(&[]), ["mcp.json:1:23: mcpServers.a.command: the server's program /none does not exist"]);
}
