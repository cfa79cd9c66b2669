//! What one place says of the options: the command line, the environment, a file, or a table of it. Places are put over each
//! other in `layers`; what comes of that is read once more as a command line, so that there is one reading of every value.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::FromArgMatches as _;

use super::place::Place;
use super::{Flags, options};

/// By key.
pub(super) type Settings = BTreeMap<&'static str, Setting>;

#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Switch(bool),
    /// One, or for a list as many as there are.
    Words(Vec<OsString>),
    /// It is wrong, and that has been said.
    Wrong,
}

#[derive(Clone, Debug)]
pub(super) enum Origin {
    Flag,
    Environment,
    File(Place),
}

impl Setting {
    pub(super) fn is_on(&self) -> bool {
        !matches!(self.value, Value::Switch(false))
    }

    /// Its first word.
    pub(super) fn text(&self) -> Option<&OsString> {
        match &self.value {
            Value::Words(words) => words.first(),
            Value::Switch(_) | Value::Wrong => None,
        }
    }
}

/// The options that come of it.
///
/// # Errors
/// They were not checked one by one.
pub(super) fn flags(settings: &Settings) -> Result<Flags, String> {
    let mut words: Vec<OsString> = Vec::new();
    let mut program: &[OsString] = &[];
    for (key, setting) in settings {
        let Some(opt) = options::find(key) else { continue };
        match &setting.value {
            Value::Words(given) if opt.flag.is_none() => program = given,
            Value::Words(given) => words.extend(given.iter().filter_map(|word| opt.words(word))),
            Value::Switch(true) => words.extend(opt.words("".as_ref())),
            Value::Switch(false) | Value::Wrong => {}
        }
    }
    if !program.is_empty() {
        words.push("--".into());
        words.extend(program.iter().cloned());
    }
    let read = options::command().try_get_matches_from(words).and_then(|matches| Flags::from_arg_matches(&matches));
    read.map_err(|error| error.to_string())
}
