//! The log: tracing events on stderr, as text or JSON. stdout is never used.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Begins to log. Calling it again changes nothing. An access log is there whatever the level, unless it is named in `--log`.
///
/// # Errors
/// The filter is not one.
pub fn start(config: &Config) -> Result<(), String> {
    let told = &config.log;
    let wanted = if config.has_access_log { format!("access=info,{told}") } else { told.clone() };
    let filter =
        EnvFilter::try_new(wanted).map_err(|error| format!("--log {told:?}: {error}; write info, or info,child=warn"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // An error means that somebody else logs already, as tests do.
    let _ = match config.log_format {
        LogFormat::Text => log.with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    Ok(())
}
