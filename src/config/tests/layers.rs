//! What was said in one place, over what was said in another.

use super::*;
use crate::config::{ChildEra, Command, Response};

const BASE: &str = "max_sessions = 2\nstateless = true\npass_env = [\"TOP\"]\nresponse = \"json\"\ncmd = \"sh top\"\n\
                    [servers.own]\ncmd = \"sh own\"\nmax_sessions = 3\nstateless = false\npass_env = []\nresponse = \"sse\"\n\
                    [servers.plain]\ncmd = \"sh plain\"\n";

fn load(words: &[&str], environment: &[&str], text: &str) -> Config {
    let file = File::toml(text);
    let words = [&["--config", file.path()], words].concat();
    Config::load(&given_with(&words, environment), &demo()).expect("a configuration")
}

fn args(command: &Command) -> Vec<&str> {
    command.args.iter().map(|word| word.to_str().expect("UTF-8")).collect()
}

#[test]
fn a_flag_wins_over_a_variable_over_a_server_over_the_top_over_the_default() {
    for (words, environment, [default, own, plain]) in [
        (&[][..], &[][..], [2, 3, 2]),
        (&[], &["--max-sessions", "4"], [4, 4, 4]),
        (&["--max-sessions", "5"], &["--max-sessions", "4"], [5, 5, 5]),
    ] {
        let config = load(words, environment, BASE);
        let sessions = |name| server(&config, name).limits.max_sessions;
        assert_eq!([sessions("default"), sessions("own"), sessions("plain")], [default, own, plain]);
        assert_eq!(server(&config, "own").limits.max_calls, 1024, "the default");
    }
}

#[test]
fn a_switch_is_off_where_the_nearer_place_says_so() {
    let stateless = |words: &[&str], environment: &Given| {
        let file = File::toml(BASE);
        let mut given = given(&[&["--config", file.path()], words].concat());
        given.environment = environment.environment.clone();
        let config = Config::load(&given, &demo()).expect("a configuration");
        ["default", "own", "plain"].map(|name| server(&config, name).is_stateless)
    };
    let mut variable = given_with(&[], &["--stateless"]);
    assert_eq!(stateless(&[], &given(&[])), [true, false, true]);
    assert_eq!(stateless(&["--stateless"], &given(&[])), [true, true, true]);
    assert_eq!(stateless(&[], &variable), [true, true, true]);
    let setting = variable.environment.get_mut("stateless").expect("it is given");
    setting.value = crate::config::settings::Value::Switch(false);
    assert_eq!(stateless(&[], &variable), [false, false, false], "the variable is `false`");
    assert_eq!(stateless(&["--stateless"], &variable), [true, true, true]);
}

#[test]
fn a_list_or_a_choice_takes_the_place_of_the_one_below() {
    let flags = |words: &[&str]| {
        let file = File::toml(BASE);
        let given = given(&[&["--config", file.path()], words].concat());
        let (merged, _) = crate::config::load::effective(&given, &demo()).expect("a configuration");
        let of = |name| crate::config::settings::flags(&merged.entry(name).expect("a server").settings).expect("options");
        [of(None), of(Some("own")), of(Some("plain"))].map(|flags| (flags.pass_env.join(" "), flags.response))
    };
    let pair = |list: &str, response| (list.to_owned(), response);
    assert_eq!(flags(&[]), [pair("TOP", Response::Json), pair("", Response::Sse), pair("TOP", Response::Json)]);
    assert_eq!(flags(&["--pass-env", "A,B", "--response", "auto"]), [(); 3].map(|()| pair("A B", Response::Auto)));
}

#[test]
fn what_says_which_program_runs_is_one_servers_alone() {
    let text = "cmd = \"sh top\"\ncwd = \"/\"\nenv = { TOP = \"1\" }\n[servers.own]\ncmd = [\"sh\", \"own server\"]\n";
    let env = |server: &ServerConfig, name: &str| server.command.env.iter().any(|(key, _)| key == name);
    let config = load(&[], &[], text);
    let (top, own) = (server(&config, "default"), server(&config, "own"));
    assert_eq!((args(&top.command), args(&own.command)), (vec!["top"], vec!["own server"]));
    assert!(env(top, "TOP") && !env(own, "TOP"));
    assert_eq!((top.command.cwd.as_deref(), own.command.cwd.as_deref()), (Some("/".as_ref()), None));
    assert_eq!((top.endpoint.as_str(), own.endpoint.as_str()), ("/mcp", "/servers/own/mcp"));

    let config = load(&["--env", "FLAG=1", "--cwd", "/tmp"], &[], text);
    let (top, own) = (server(&config, "default"), server(&config, "own"));
    assert!(env(top, "FLAG") && !env(top, "TOP") && !env(own, "FLAG"), "of two lists the nearer one counts");
    assert_eq!((top.command.cwd.as_deref(), own.command.cwd.as_deref()), (Some("/tmp".as_ref()), None));
}

#[test]
fn a_program_takes_the_place_of_another_however_it_is_named() {
    let names = |words: &[&str], environment: &[&str], text: &str| {
        let config = load(words, environment, text);
        args(&server(&config, "default").command).join(" ")
    };
    for file in ["cmd = \"sh file\"\n", "cmd = [\"sh\", \"file\"]\n", "demo = true\n"] {
        assert_eq!(names(&["--cmd", "sh flag"], &[], file), "flag");
        assert_eq!(names(&["--", "sh", "words"], &[], file), "words");
        assert_eq!(names(&[], &["--cmd", "sh variable"], file), "variable");
        assert_eq!(names(&["--demo"], &["--cmd", "sh variable"], file), "");
    }
    assert_eq!(names(&[], &[], "cmd = [\"sh\", \"a b\", \"'\"]\n"), "a b '");
}

#[test]
fn without_a_program_at_the_top_there_are_only_the_named_servers() {
    let config = load(&[], &[], "endpoint = \"/x\"\nmax_calls = 9\n[servers.b]\ndemo = true\n[servers.a]\ncmd = \"sh\"\n");
    let served: Vec<_> = config.servers.iter().map(|server| (server.name.as_str(), server.endpoint.as_str())).collect();
    assert_eq!(served, [("a", "/servers/a/x"), ("b", "/servers/b/x")]);
    assert!(config.servers.iter().all(|server| server.limits.max_calls == 9 && server.child_era == ChildEra::Auto));
}

#[test]
fn numbers_are_written_as_toml_has_them() {
    let config = load(
        &[],
        &[],
        "demo = true\nmax_sessions = 0x10\nmax_calls = 1_000\nsocket_mode = 0o660\nmax_body = 4096\nmax_leases = \"3\"\n",
    );
    let limits = &server(&config, "default").limits;
    assert_eq!((limits.max_sessions, limits.max_calls, limits.max_body, limits.max_leases), (16, 1000, 4096, 3));
    assert_eq!(config.socket_mode, 0o660);
    assert_eq!(load(&[], &[], "demo = true\nsocket_mode = 640").socket_mode, 0o640);
}

#[test]
fn a_file_is_found_again_where_it_was() {
    let file = File::toml("demo = true\nmax_calls = 7\n");
    let given = given(&["--config", file.path()]);
    assert_eq!(server(&Config::load(&given, &demo()).expect("good"), "default").limits.max_calls, 7);
    std::fs::write(&file.path, "demo = true\nmax_calls = 8\n").expect("written");
    assert_eq!(server(&Config::load(&given, &demo()).expect("good"), "default").limits.max_calls, 8);
    std::fs::write(&file.path, "max_calls = oops").expect("written");
    assert!(matches!(Config::load(&given, &demo()), Err(Fault::Configuration(_))));
}
