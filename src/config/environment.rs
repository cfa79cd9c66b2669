//! The environment of a child: little is passed on, and what belongs to the gateway never is.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Passed on without being asked; a name that ends in `*` is a prefix.
const DEFAULT: [&str; 9] = ["PATH", "HOME", "LANG", "LC_*", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL"];
/// Never passed on: they speak to the gateway itself, or hold its secrets.
const NEVER: [&str; 5] = ["NOTIFY_SOCKET", "LISTEN_*", "CREDENTIALS_DIRECTORY", "MCP_GATEWAY_*", "OTEL_*"];

/// The whole environment of a child: what is passed on and is not to be unset, then the file's variables, then `--env`; the
/// later wins. A fault names the option that it is about.
pub(super) fn child(
    pass: &[String],
    file: Option<&Path>,
    set: &[String],
    unset: &[String],
) -> Result<Vec<(OsString, OsString)>, (&'static str, String)> {
    let is_kept = |name: &OsStr, value: &OsStr| is_passed(name, value, pass) && !unset.iter().any(|unset| name == unset.as_str());
    let mut env: Vec<(OsString, OsString)> = std::env::vars_os().filter(|(name, value)| is_kept(name, value)).collect();
    if let Some(file) = file {
        let fault = |text: String| ("env-file", format!("--env-file {}{text}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| fault(format!(": {error}")))?;
        for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let pair = assignment(line).ok_or_else(|| fault(format!(", line {at}: write NAME=VALUE")))?;
            replace(&mut env, pair);
        }
    }
    for text in set {
        // The value may be a secret: it is not repeated.
        let pair = assignment(text).ok_or(("env", "--env needs a name and a value; write --env NAME=VALUE".to_owned()))?;
        replace(&mut env, pair);
    }
    Ok(env)
}

fn is_passed(name: &OsStr, value: &OsStr, pass: &[String]) -> bool {
    let is = |pattern: &str| match pattern.strip_suffix('*') {
        Some(prefix) => name.as_bytes().starts_with(prefix.as_bytes()),
        None => name == pattern,
    };
    // Old shells run what such a value defines.
    let is_function = value.as_bytes().starts_with(b"()");
    let wanted = DEFAULT.into_iter().any(is) || pass.iter().any(|name| is(name));
    wanted && !is_function && !NEVER.into_iter().any(is)
}

fn assignment(text: &str) -> Option<(OsString, OsString)> {
    let (name, value) = text.split_once('=')?;
    (!name.is_empty() && !text.contains('\0')).then(|| (name.into(), value.into()))
}

fn replace(env: &mut Vec<(OsString, OsString)>, pair: (OsString, OsString)) {
    env.retain(|(name, _)| *name != pair.0);
    env.push(pair);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(name: &str, value: &str, pass: &[&str]) -> bool {
        let pass: Vec<String> = pass.iter().map(|name| (*name).to_owned()).collect();
        is_passed(name.as_ref(), value.as_ref(), &pass)
    }

    #[test]
    fn only_the_listed_names_are_passed_on() {
        for name in ["PATH", "HOME", "LC_ALL", "LC_TIME", "TZ"] {
            assert!(passed(name, "x", &[]), "{name}");
        }
        for name in ["AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "PATHX", "LC", "home"] {
            assert!(!passed(name, "x", &[]), "{name}");
        }
        assert!(passed("API_KEY", "x", &["API_KEY"]));
        assert!(passed("ANYTHING", "x", &["*"]));
    }

    #[test]
    fn what_is_the_gateways_own_is_never_passed_on() {
        for name in [
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "LISTEN_PID",
            "CREDENTIALS_DIRECTORY",
            "MCP_GATEWAY_LISTEN",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ] {
            assert!(!passed(name, "x", &["*"]), "{name}");
            assert!(!passed(name, "x", &[name]), "{name}");
        }
        assert!(!passed("HOME", "() { :; }; evil", &["*"]));
    }

    #[test]
    fn the_later_source_wins_and_a_bad_line_is_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "# a comment\n\nA=1\nB=x=y\n").expect("written");
        let env = child(&[], Some(file.path()), &["A=2".into()], &[]).expect("an environment");
        let value = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.to_string_lossy().into_owned());
        assert_eq!((value("A").as_deref(), value("B").as_deref()), (Some("2"), Some("x=y")));
        std::fs::write(file.path(), "A=1\nexport\n").expect("written");
        assert!(child(&[], Some(file.path()), &[], &[]).expect_err("refused").1.contains("line 2"));
        assert!(!child(&[], None, &["SECRET".into()], &[]).expect_err("refused").1.contains("SECRET"));
    }
}
