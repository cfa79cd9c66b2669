//! The options as a table, read from the definition of the command line: what a file may say, and how, is not listed again.

use std::any::TypeId;
use std::ffi::OsString;
use std::sync::LazyLock;
use std::time::Duration;

use clap::builder::{OsStr, Resettable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Args as _, Command};

use super::Flags;

/// What an option is about that belongs to no server; all others may stand in `[servers.NAME]` too.
pub(super) const OF_THE_GATEWAY: [&str; 25] = [
    "config",
    "mcp_json",
    "listen",
    "socket_mode",
    "endpoint",
    "admin_listen",
    "ready_file",
    "drain",
    "replica",
    "threads",
    "exit_with_parent",
    "tls_cert",
    "tls_key",
    "insecure_cleartext_tokens",
    "allowed_host",
    "allowed_origin",
    "admin_allowed_host",
    "insecure_no_auth",
    "memory_gate",
    "max_connections",
    "max_headers",
    "log_bytes_total",
    "access_log",
    "log_format",
    "log",
];
/// What says which program runs, and where: never taken from one server to another.
pub(super) const OF_A_COMMAND: [&str; 6] = ["cmd", "program", "demo", "cwd", "env", "env_file"];
/// The ones of these that are a program.
pub(super) const PROGRAMS: [&str; 3] = ["cmd", "program", "demo"];
/// No keys of a file: the file itself, and what a file calls `cmd` too.
const NO_KEYS: [&str; 2] = ["config", "program"];
/// Values that show how an option is written, where nothing shorter says it.
const EXAMPLES: [(&str, &str); 23] = [
    ("mcp_json", "/etc/mcp-http-gateway/mcp.json"),
    ("cmd", "npx -y @modelcontextprotocol/server-everything"),
    ("cwd", "/srv/my-server"),
    ("env_file", "/etc/mcp-http-gateway/my-server.env"),
    ("pass_env", "HTTPS_PROXY"),
    ("hibernate_after", "15m"),
    ("listen", "127.0.0.1:8080"),
    ("admin_listen", "127.0.0.1:9090"),
    ("ready_file", "/run/mcp-http-gateway/ready"),
    ("max_stream_age", "1h"),
    ("replica", "a"),
    ("threads", "4"),
    ("tls_cert", "/etc/mcp-http-gateway/cert.pem"),
    ("tls_key", "/etc/mcp-http-gateway/key.pem"),
    ("client_ca", "/etc/mcp-http-gateway/clients.pem"),
    ("bearer_tokens", "/etc/mcp-http-gateway/tokens"),
    ("allowed_host", "mcp.example.com"),
    ("allowed_origin", "https://app.example.com"),
    ("admin_allowed_host", "gateway.example.com"),
    ("max_principal_sessions", "8"),
    ("max_principal_calls", "16"),
    ("max_principal_rate", "20"),
    ("endpoint", "/mcp"),
];

/// How an option is written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true` or `false`.
    Switch,
    /// A number of things.
    Number,
    /// `64KiB`, or a number of bytes.
    Size,
    /// `30s`.
    Duration,
    /// One of a few words.
    Choice,
    Text,
    /// One text or several.
    List,
    /// One text, or the words of a command.
    Command,
    /// A table of names and values.
    Variables,
}

pub(super) struct Opt {
    /// As in a file; also its id on the command line.
    pub(super) key: String,
    /// As on the command line, its dashes included. None for what stands behind `--`.
    pub(super) flag: Option<String>,
    pub(super) kind: Kind,
    pub(super) default: Option<String>,
    pub(super) choices: Vec<String>,
    pub(super) heading: String,
    pub(super) placeholder: String,
    pub(super) argument: Arg,
}

/// All options, in the order of the command line's help.
pub(super) fn all() -> &'static [Opt] {
    static ALL: LazyLock<Vec<Opt>> = LazyLock::new(|| command().get_arguments().map(Opt::of).collect());
    &ALL
}

/// The option of that key, or id.
pub(super) fn find(key: &str) -> Option<&'static Opt> {
    all().iter().find(|opt| opt.key == key)
}

/// The command line without what is around it, and deaf to the environment.
pub(super) fn command() -> Command {
    let command = Command::new("options").no_binary_name(true).disable_help_flag(true);
    Flags::augment_args(command).mut_args(|arg| arg.env(Resettable::<OsStr>::Reset))
}

impl Opt {
    fn of(arg: &Arg) -> Opt {
        let text = |text: &str| text.to_owned();
        let placeholder = arg.get_value_names().and_then(|names| names.first()).map(|name| text(name));
        let mut opt = Opt {
            key: arg.get_id().as_str().to_owned(),
            flag: arg.get_long().map(|name| format!("--{name}")),
            kind: Kind::Text,
            default: arg.get_default_values().first().and_then(|value| value.to_str()).map(text),
            choices: arg.get_possible_values().iter().map(|value| text(value.get_name())).collect(),
            heading: arg.get_help_heading().unwrap_or_default().to_owned(),
            placeholder: placeholder.unwrap_or_default(),
            argument: arg.clone(),
        };
        opt.kind = opt.kind_of(arg);
        if opt.kind == Kind::Switch {
            opt.choices.clear();
            opt.default = Some("false".to_owned());
        }
        opt
    }

    fn kind_of(&self, arg: &Arg) -> Kind {
        let is = |of: TypeId| arg.get_value_parser().type_id() == of;
        match self.key.as_str() {
            "cmd" => return Kind::Command,
            "env" => return Kind::Variables,
            _ => {}
        }
        match arg.get_action() {
            ArgAction::SetTrue => Kind::Switch,
            ArgAction::Append => Kind::List,
            _ if !self.choices.is_empty() => Kind::Choice,
            _ if is(TypeId::of::<Duration>()) => Kind::Duration,
            _ if self.placeholder == "SIZE" => Kind::Size,
            _ if self.placeholder != "MODE"
                && [TypeId::of::<usize>(), TypeId::of::<u32>(), TypeId::of::<u8>()].map(is).contains(&true) =>
            {
                Kind::Number
            }
            _ => Kind::Text,
        }
    }

    /// Whether a file can have it.
    pub(super) fn is_key(&self) -> bool {
        !NO_KEYS.contains(&self.key.as_str())
    }

    pub(super) fn is_of_the_gateway(&self) -> bool {
        OF_THE_GATEWAY.contains(&self.key.as_str())
    }

    pub(super) fn is_of_a_command(&self) -> bool {
        OF_A_COMMAND.contains(&self.key.as_str())
    }

    /// A value that it may have, as TOML.
    pub(super) fn example(&self) -> String {
        let given = EXAMPLES.iter().find(|(key, _)| *key == self.key).map(|(_, value)| *value);
        let value = given.or(self.default.as_deref()).unwrap_or(&self.placeholder);
        match self.kind {
            Kind::Switch => "true".to_owned(),
            Kind::Variables => "{ NAME = \"value\" }".to_owned(),
            Kind::List => format!("[{value:?}]"),
            Kind::Number => value.to_owned(),
            Kind::Size | Kind::Duration | Kind::Choice | Kind::Text | Kind::Command => format!("{value:?}"),
        }
    }

    /// `KEY = VALUE`, with a value that it may have.
    pub(super) fn shown(&self) -> String {
        format!("{} = {}", self.key, self.example())
    }

    /// The words that say this on a command line.
    pub(super) fn words(&self, value: &std::ffi::OsStr) -> Option<OsString> {
        let mut word = OsString::from(self.flag.as_ref()?);
        if self.kind != Kind::Switch {
            word.push("=");
            word.push(value);
        }
        Some(word)
    }

    /// Whether the command line takes this value; if not, what is wrong with it, and what to write.
    pub(super) fn check(&self, value: &str) -> Result<(), String> {
        let Some(word) = self.words(value.as_ref()) else { return Ok(()) };
        let alone = Command::new("option").no_binary_name(true).disable_help_flag(true).arg(self.argument.clone());
        let Err(error) = alone.try_get_matches_from([word]) else { return Ok(()) };
        if value.is_empty() {
            return Err(format!("is empty; write {}", self.shown()));
        }
        let own = std::error::Error::source(&error).map(ToString::to_string);
        Err(match (error.kind(), own) {
            (ErrorKind::InvalidValue, _) => format!("{value:?} is not one of its values; write {}", self.choice(&error)),
            (_, Some(_)) if self.kind == Kind::Number && value.parse::<u128>().is_err() => {
                format!("{value:?} is not a whole number; write {}", self.example())
            }
            (_, Some(text)) if text.contains(value) => text,
            (_, text) => {
                format!(
                    "{value:?} cannot be its value ({}); write {}",
                    text.unwrap_or_else(|| error.kind().to_string()),
                    self.shown()
                )
            }
        })
    }

    /// The value that was meant, or all of them.
    fn choice(&self, error: &clap::Error) -> String {
        match error.get(ContextKind::SuggestedValue) {
            Some(ContextValue::String(value)) => format!("{value:?}"),
            _ => alternatives(&self.choices),
        }
    }
}

/// `"a", "b" or "c"`.
fn alternatives(words: &[String]) -> String {
    let Some((last, rest)) = words.split_last() else { return String::new() };
    let rest: Vec<String> = rest.iter().map(|word| format!("{word:?}")).collect();
    if rest.is_empty() { format!("{last:?}") } else { format!("{} or {last:?}", rest.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_that_is_listed_by_name_is_one() {
        let examples = EXAMPLES.iter().map(|(key, _)| key);
        for key in OF_THE_GATEWAY.iter().chain(&OF_A_COMMAND).chain(&NO_KEYS).chain(&PROGRAMS).chain(examples) {
            assert!(find(key).is_some(), "{key}");
        }
        assert!(OF_A_COMMAND.iter().all(|key| !OF_THE_GATEWAY.contains(key)));
    }

    #[test]
    fn what_an_option_is_follows_from_its_definition() {
        for (key, kind) in [
            ("stateless", Kind::Switch),
            ("max_sessions", Kind::Number),
            ("memory_gate", Kind::Number),
            ("max_principal_rate", Kind::Number),
            ("max_body", Kind::Size),
            ("drain", Kind::Duration),
            ("hibernate_after", Kind::Duration),
            ("response", Kind::Choice),
            ("listen", Kind::Text),
            ("socket_mode", Kind::Text),
            ("tls_cert", Kind::Text),
            ("pass_env", Kind::List),
            ("cmd", Kind::Command),
            ("program", Kind::List),
            ("env", Kind::Variables),
        ] {
            assert_eq!(find(key).expect("an option").kind, kind, "{key}");
        }
        let texts = all().iter().filter(|opt| opt.is_key() && opt.kind == Kind::Text && opt.default.is_none());
        let paths = texts.filter(|opt| !matches!(opt.placeholder.as_str(), "FILE" | "DIR" | "PATH" | "ADDR" | "NAME"));
        assert_eq!(paths.map(|opt| &opt.key).collect::<Vec<_>>(), Vec::<&String>::new());
    }

    #[test]
    fn every_example_is_a_value() {
        for opt in all().iter().filter(|opt| opt.is_key() && opt.kind != Kind::Switch && opt.kind != Kind::Variables) {
            let value = opt.example();
            let value = value.trim_matches(['[', ']']).trim_matches('"');
            assert_eq!(opt.check(value), Ok(()), "{}", opt.key);
            assert!(opt.argument.get_help().is_some() && !opt.heading.is_empty(), "{}", opt.key);
        }
    }

    #[test]
    fn a_value_is_refused_as_the_command_line_refuses_it() {
        for (key, value, text) in [
            ("max_sessions", "many", "\"many\" is not a whole number; write 64"),
            ("max_sessions", "-1", "\"-1\" is not a whole number; write 64"),
            ("max_sessions", "", "is empty; write max_sessions = 64"),
            ("max_principal_rate", "4294967296", "4294967296 is not in 0..=4294967295"),
            ("memory_gate", "101", "101 is not in 1..=100"),
            ("drain", "30", "\"30\" has no unit of time; write 30s, 30m, 30h or 30ms"),
            ("max_body", "8MB", "\"8MB\" has an unknown unit; write 8KiB or 8MiB"),
            ("response", "josn", "\"josn\" is not one of its values; write \"json\""),
            ("response", "?", "\"?\" is not one of its values; write \"auto\", \"sse\" or \"json\""),
            ("socket_mode", "rw", "\"rw\" is not a mode; write 600 or 660"),
            ("cwd", "", "is empty; write cwd = \"/srv/my-server\""),
        ] {
            assert_eq!(find(key).expect("an option").check(value), Err(text.to_owned()), "{key} {value}");
        }
        for (key, value) in [("listen", "anything"), ("max_sessions", "0"), ("allowed_host", "a,b"), ("cwd", "-x"), ("cmd", "")] {
            assert_eq!(find(key).expect("an option").check(value), Ok(()), "{key} {value}");
        }
    }
}
