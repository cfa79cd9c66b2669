//! `check-config FILE`: all that is wrong with a file, before anything runs by it.

use std::ffi::OsString;
use std::path::Path;

use super::{Outcome, warned};
use crate::auth::Tokens;
use crate::config::{self, Config, DEFAULT_SERVER, Finding, ServerConfig};
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
    let name = |server: &ServerConfig| Some(server.name.clone()).filter(|name| name != DEFAULT_SERVER);
    for server in &config.servers {
        if let Some(Err(fault)) = server.bearer_tokens.as_deref().map(Tokens::read) {
            found.extend(fault.to_string().lines().map(|line| (name(server), "bearer-tokens", line.to_owned())));
        }
    }
    let Some(Err(fault)) = config.tls.as_ref().map(|files| Tls::read(&files.cert, &files.key, config.client_cas())) else {
        return found;
    };
    for line in &fault.lines {
        let believes = |server: &&ServerConfig| {
            server.client_ca.as_ref().is_some_and(|file| line.starts_with(&format!("--client-ca {}: ", file.display())))
        };
        let believers: Vec<_> = config.servers.iter().filter(believes).collect();
        found.extend(believers.iter().map(|server| (name(server), "client-ca", line.clone())));
        if believers.is_empty() {
            found.push((None, if line.starts_with("--tls-key") { "tls-key" } else { "tls-cert" }, line.clone()));
        }
    }
    found
}
