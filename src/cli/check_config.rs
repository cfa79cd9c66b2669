//! `check-config FILE`: all that is wrong with a file, before anything runs by it.

use std::ffi::OsString;
use std::path::Path;

use super::{Outcome, warned};
use crate::auth::Tokens;
use crate::config::{self, Config, DEFAULT_SERVER, Finding};
use crate::tls::Tls;

/// Reads a file by itself: neither options nor the environment count. `demo` is the program that `demo = true` runs.
#[must_use]
pub fn check_config(file: &Path, demo: &[OsString]) -> Outcome {
    match config::check(file, demo, look) {
        Ok(checked) => {
            let plural = if checked.servers == 1 { "" } else { "s" };
            let stdout = format!("{}: ok, {} server{plural}\n", file.display(), checked.servers);
            Outcome { stdout, stderr: warned(&checked.warnings), code: 0 }
        }
        Err(fault) => fault.into(),
    }
}

/// What is wrong with the files of tokens and of TLS.
fn look(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for server in &config.servers {
        if let Some(Err(fault)) = server.bearer_tokens.as_deref().map(Tokens::read) {
            let name = Some(server.name.clone()).filter(|name| name != DEFAULT_SERVER);
            found.extend(fault.to_string().lines().map(|line| (name.clone(), "bearer-tokens", line.to_owned())));
        }
    }
    let tls = config.tls.as_ref().map(|files| Tls::read(&files.cert, &files.key, files.client_ca.as_deref()));
    if let Some(Err(fault)) = tls {
        let option = |line: &str| {
            ["tls-key", "client-ca"].into_iter().find(|option| line.starts_with(&format!("--{option}"))).unwrap_or("tls-cert")
        };
        found.extend(fault.lines.iter().map(|line| (None, option(line), line.clone())));
    }
    found
}
