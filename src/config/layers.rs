//! The places that say something of an option, one over the other: flag, environment, `[servers.NAME]`, the file's top level.
//! What says which program runs stays with the server that it was said of.

use super::given::Given;
use super::options::{self, PROGRAMS};
use super::place::{Place, Source, Wrong};
use super::settings::{Setting, Settings, Value};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

/// What was read of files.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The file of `--config`.
    pub(super) source: Option<Arc<Source>>,
    pub(super) top: Settings,
    pub(super) servers: BTreeMap<String, Server>,
    pub(super) wrong: Vec<Wrong>,
    /// What is not used, and does no harm.
    pub(super) warnings: Vec<String>,
    /// The texts could not be read to their ends: what seems to be missing may be there.
    pub(super) is_broken: bool,
}

/// A server of a file.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) settings: Settings,
    /// Its name.
    pub(super) place: Place,
    pub(super) foreign: Foreign,
}

/// What the file of an MCP client says of a server, and no option can say.
#[derive(Clone, Debug, Default)]
pub(super) struct Foreign {
    /// Variables that the child does not get.
    pub(super) unset: Vec<String>,
    /// The words of its program without what may be secret.
    pub(super) shown: Vec<OsString>,
}

/// What is in force.
#[derive(Debug)]
pub(super) struct Merged {
    /// What is not about a server; beside it, whatever was said of all of them.
    pub(super) top: Settings,
    /// The server of the command line, or of the file's top level, has no name.
    pub(super) servers: Vec<Entry>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Option<String>,
    pub(super) settings: Settings,
    pub(super) place: Option<Place>,
    pub(super) foreign: Foreign,
}

pub(super) fn merge(given: &Given, files: &Files) -> Merged {
    let mut top = files.top.clone();
    put_over(&mut top, &given.environment);
    put_over(&mut top, &given.flags);
    let has_program = PROGRAMS.iter().any(|key| top.get(key).is_some_and(Setting::is_on));
    let mut servers = Vec::new();
    if has_program || files.servers.is_empty() {
        servers.push(Entry { name: None, settings: top.clone(), place: None, foreign: Foreign::default() });
    }
    for (name, server) in &files.servers {
        let mut settings = of_all(&files.top);
        settings.extend(server.settings.clone());
        settings.extend(of_all(&given.environment));
        settings.extend(of_all(&given.flags));
        let (place, foreign) = (Some(server.place.clone()), server.foreign.clone());
        servers.push(Entry { name: Some(name.clone()), settings, place, foreign });
    }
    Merged { top, servers }
}

/// What is said over it wins. A program takes the place of another, however that one is named.
fn put_over(settings: &mut Settings, over: &Settings) {
    if PROGRAMS.iter().any(|key| over.get(key).is_some_and(Setting::is_on)) {
        PROGRAMS.iter().for_each(|key| drop(settings.remove(key)));
    }
    settings.extend(over.clone());
}

/// What a server has of those above and below it.
fn of_all(settings: &Settings) -> Settings {
    let concerns = |key: &str| options::find(key).is_some_and(|opt| !opt.is_of_a_command() && !opt.is_of_the_gateway());
    settings.iter().filter(|(key, _)| concerns(key)).map(|(key, setting)| (*key, setting.clone())).collect()
}

impl Merged {
    pub(super) fn entry(&self, name: Option<&str>) -> Option<&Entry> {
        self.servers.iter().find(|entry| entry.name.as_deref() == name)
    }

    /// What is said of a program that is not there: the option, and who said it.
    pub(super) fn stray(&self) -> Vec<(&'static str, &Setting)> {
        if self.entry(None).is_some() {
            return Vec::new();
        }
        let is_stray = |key: &str, setting: &Setting| {
            options::OF_A_COMMAND.contains(&key) && setting.is_on() && setting.value != Value::Wrong
        };
        self.top.iter().filter(|(key, setting)| is_stray(key, setting)).map(|(key, setting)| (*key, setting)).collect()
    }
}
