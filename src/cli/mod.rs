//! What the program does beside serving: each subcommand is a function that says what to print, and how to end.

use crate::config::Fault;

pub use self::check_config::check_config;
pub use self::healthcheck::healthcheck;
pub use self::print_config::print_config;

mod check_config;
mod healthcheck;
mod print_config;
pub(crate) mod token;

/// What a subcommand came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For stdout, as it is.
    pub stdout: String,
    /// For stderr, as it is.
    pub stderr: String,
    /// How the program ends.
    pub code: u8,
}

impl From<Fault> for Outcome {
    fn from(fault: Fault) -> Outcome {
        Outcome { stderr: fault.report(), code: fault.exit_code(), ..Outcome::default() }
    }
}

/// Lines that say what was not used.
fn warned(warnings: &[String]) -> String {
    warnings.iter().map(|warning| format!("warning: {warning}\n")).collect()
}
