//! From what was given, and the files that it names, to a [`Config`], or to all that is wrong: each fault where the one who
//! reads it can mend it.

use std::ffi::OsString;
use std::path::Path;

use super::build::{self, Complaint};
#[cfg(any(test, fuzzing))]
use super::expand::Values;
use super::given::Given;
use super::layers::{self, Entry, Files, Merged};
use super::options::{self, Kind, Opt, PROGRAMS};
use super::place::{Place, Source, Wrong};
use super::settings::{Origin, Setting, Settings, Value, flags};
use super::{Config, Fault, Flags, command, file, mcp_json};

/// Of more faults than this only the number is told.
const MOST_SHOWN: usize = 100;

impl Config {
    /// Reads the files that were named, puts what was given over them, and checks all of it. `demo` is the program that
    /// `--demo` runs. What was given can be loaded again, at any time.
    ///
    /// # Errors
    /// All that is wrong, each with what to write instead.
    pub fn load(given: &Given, demo: &[OsString]) -> Result<Config, Fault> {
        let mut files = read(given)?;
        let merged = layers::merge(given, &files);
        let (config, faults) = checked(&mut files, &merged, demo);
        match config {
            Some(config) if faults.is_empty() => Ok(Config { warnings: files.warnings, ..config }),
            _ => Err(faults.into_fault()),
        }
    }
}

/// Whose option, as a flag without its dashes, and what is wrong with what it names.
pub(crate) type Finding = (Option<String>, &'static str, String);

/// What is said of a file by itself, as `check-config` wants it.
#[derive(Debug)]
pub(crate) struct Checked {
    /// How many servers it names.
    pub(crate) servers: usize,
    pub(crate) warnings: Vec<String>,
}

/// Checks a file of `--config`, or of `--mcp-json` if that is what it is called. It need not name a server.
/// `look` tells what is wrong with the files that the options name, by server (none for the gateway's own) and option.
pub(crate) fn check(path: &Path, demo: &[OsString], look: impl Fn(&Config) -> Vec<Finding>) -> Result<Checked, Fault> {
    let mut files = read(&Given::file(path))?;
    let merged = layers::merge(&Given::nothing(), &files);
    let (config, mut faults) = checked(&mut files, &merged, demo);
    for (server, option, text) in config.iter().flat_map(look) {
        let complaint = Complaint { server, option, text, is_unavailable: false };
        faults.complaint(&complaint, &files, &merged);
    }
    faults.usage.retain(|text| text != command::NONE);
    faults.wrong.retain(|wrong| wrong.text != NAMES_NONE);
    let is_server =
        |entry: &&Entry| entry.name.is_some() || PROGRAMS.iter().any(|key| entry.settings.get(key).is_some_and(Setting::is_on));
    match faults.is_empty() {
        true => Ok(Checked { servers: merged.servers.iter().filter(is_server).count(), warnings: files.warnings }),
        false => Err(Fault::Configuration(faults.into_fault().to_string())),
    }
}

/// What is in force, once it has been found good.
pub(super) fn effective(given: &Given, demo: &[OsString]) -> Result<(Merged, Vec<String>), Fault> {
    let mut files = read(given)?;
    let merged = layers::merge(given, &files);
    let (_, faults) = checked(&mut files, &merged, demo);
    if faults.is_empty() { Ok((merged, files.warnings)) } else { Err(faults.into_fault()) }
}

/// What is said of options of the whole gateway, if the first of them is there. What else is wrong with a file does not matter
/// then.
pub(super) fn lookup(given: &Given, keys: &[&'static str]) -> Result<Settings, Fault> {
    let wanted = |settings: &Settings| -> Settings {
        let settings = settings.iter().filter(|(key, _)| keys.contains(key));
        settings.map(|(key, setting)| (*key, setting.clone())).collect()
    };
    let mut given_here = wanted(&given.environment);
    given_here.extend(wanted(&given.flags));
    let is_there =
        |settings: &Settings| keys.first().and_then(|key| settings.get(key)).is_some_and(|setting| setting.value != Value::Wrong);
    let files = match read_config(given) {
        Err(_) if is_there(&given_here) => return Ok(given_here),
        files => files?,
    };
    let mut settings = wanted(&files.top);
    settings.extend(given_here);
    if !is_there(&settings) && !files.wrong.is_empty() {
        return Err(Faults { wrong: files.wrong, ..Faults::default() }.into_fault());
    }
    Ok(settings)
}

fn read(given: &Given) -> Result<Files, Fault> {
    let mut files = read_config(given)?;
    let named = [&files.top, &given.environment, &given.flags].into_iter().rev().find_map(|settings| settings.get("mcp_json"));
    let Some(setting) = named.cloned() else { return Ok(files) };
    let Some(name) = setting.text() else { return Ok(files) };
    match Source::read(&Path::new(name).to_string_lossy(), &given.resolve(Path::new(name))) {
        Ok(source) => mcp_json::read(&source, &given.resolve(Path::new(name)), &mut files),
        Err(text) => match setting.origin {
            Origin::File(place) => files.wrong.push(Wrong { place, text, is_unavailable: false }),
            Origin::Flag | Origin::Environment => return Err(Fault::Configuration(text)),
        },
    }
    Ok(files)
}

fn read_config(given: &Given) -> Result<Files, Fault> {
    let named = given.flags.get("config").or_else(|| given.environment.get("config"));
    let Some(name) = named.and_then(Setting::text) else { return Ok(Files::default()) };
    let source = Source::read(&Path::new(name).to_string_lossy(), &given.resolve(Path::new(name)));
    source.map(|source| file::read(&source)).map_err(Fault::Configuration)
}

/// What is told of a text, and if nothing is, what is printed of it: for tests, and to be read again by this.
#[cfg(any(test, fuzzing))]
pub(crate) fn reading(text: &[u8], is_json: bool) -> Result<String, Vec<String>> {
    let source = Source::new("f", text.to_vec()).map_err(|text| vec![text])?;
    let mut files = if is_json { Files::default() } else { file::read(&source) };
    if is_json {
        let values = Values { variable: &|name| std::env::var(name).ok(), folder: "/".into() };
        mcp_json::read_with(&source, &values, &|path| Err(format!("{}: is not there", path.display())), &mut files);
    }
    let merged = layers::merge(&Given::nothing(), &files);
    if !files.wrong.is_empty() {
        return Err(files.wrong.iter().map(ToString::to_string).collect());
    }
    for settings in merged.servers.iter().map(|entry| &entry.settings).chain([&merged.top]) {
        flags(settings).expect("each value was checked");
    }
    Ok(super::print::file(&merged))
}

/// Faults by who made them.
#[derive(Default)]
struct Faults {
    wrong: Vec<Wrong>,
    usage: Vec<String>,
    unavailable: Vec<String>,
}

impl Faults {
    fn is_empty(&self) -> bool {
        self.wrong.is_empty() && self.usage.is_empty() && self.unavailable.is_empty()
    }

    fn into_fault(mut self) -> Fault {
        self.wrong.sort_by(|one, other| one.place.order(&other.place));
        let is_configuration = self.wrong.iter().any(|wrong| !wrong.is_unavailable);
        let is_usage = !self.usage.is_empty();
        let mut lines: Vec<String> = self.wrong.iter().take(MOST_SHOWN).map(ToString::to_string).collect();
        if self.wrong.len() > MOST_SHOWN {
            lines.push(format!("…and {} more", self.wrong.len() - MOST_SHOWN));
        }
        lines.append(&mut self.usage);
        lines.append(&mut self.unavailable);
        // The lines of a file stand for themselves; others follow a word that they are indented by.
        let text = lines.join(if is_configuration { "\n" } else { "\n       " });
        match (is_configuration, is_usage) {
            (true, _) => Fault::Configuration(text),
            (false, true) => Fault::Usage(text),
            (false, false) => Fault::Unavailable(text),
        }
    }
}

/// What comes of it, and all that is wrong with it.
fn checked(files: &mut Files, merged: &Merged, demo: &[OsString]) -> (Option<Config>, Faults) {
    let mut faults = Faults { wrong: files.wrong.clone(), ..Faults::default() };
    if files.is_broken {
        return (None, faults);
    }
    for (key, setting) in merged.stray() {
        stray(key, setting, &mut faults, &mut files.warnings);
    }
    let read = |settings: &Settings| flags(settings);
    let entry = |entry: &Entry| -> Result<build::Entry, String> {
        let flags = Flags { unset: entry.foreign.unset.clone(), ..read(&entry.settings)? };
        Ok(build::Entry { name: entry.name.clone(), flags })
    };
    let entries: Result<Vec<build::Entry>, String> = merged.servers.iter().map(entry).collect();
    let built = match (read(&merged.top), entries) {
        (Ok(gateway), Ok(entries)) => build::build(&gateway, &entries, demo),
        (Err(text), _) | (_, Err(text)) => {
            faults.usage.push(text);
            return (None, faults);
        }
    };
    match built {
        Ok(config) => (Some(config), faults),
        Err(complaints) => {
            complaints.iter().for_each(|complaint| faults.complaint(complaint, files, merged));
            (None, faults)
        }
    }
}

const NAMES_NONE: &str = "names no server; write cmd = \"COMMAND LINE\" or [servers.NAME], or name one on the command line";

impl Faults {
    /// Says it where the option was said.
    fn complaint(&mut self, complaint: &Complaint, files: &Files, merged: &Merged) {
        let key = complaint.option.replace('-', "_");
        let entry = complaint.server.as_deref().and_then(|name| merged.entry(Some(name)));
        let settings = entry.map_or(&merged.top, |entry| &entry.settings);
        let keys = if key == "cmd" { &PROGRAMS[..] } else { &[key.as_str()] };
        match keys.iter().filter_map(|key| settings.get(key)).find(|setting| setting.is_on() || key != "cmd") {
            Some(Setting { value: Value::Wrong, .. }) => {}
            Some(Setting { origin: Origin::File(place), .. }) => {
                let text = if complaint.text == command::TWICE { TWICE.to_owned() } else { as_keys(&complaint.text, &key) };
                self.push(Wrong { place: place.clone(), text, is_unavailable: complaint.is_unavailable });
            }
            Some(_) => self.plain(complaint),
            None => match (entry.and_then(|entry| entry.place.clone()), &files.source) {
                (Some(place), _) => {
                    let text =
                        if complaint.text == command::NONE { NO_PROGRAM.to_owned() } else { as_keys(&complaint.text, &key) };
                    self.push(Wrong { place, text, is_unavailable: complaint.is_unavailable });
                }
                (None, _) if complaint.text == command::NONE && files.wrong.iter().any(is_about_servers) => {}
                (None, Some(source)) if complaint.text == command::NONE => {
                    self.push(Wrong { place: Place::whole(source), text: NAMES_NONE.to_owned(), is_unavailable: false });
                }
                (None, _) => self.plain(complaint),
            },
        }
    }

    fn push(&mut self, wrong: Wrong) {
        let is_same = |other: &Wrong| other.text == wrong.text && other.place.order(&wrong.place).is_eq();
        if !self.wrong.iter().any(is_same) {
            self.wrong.push(wrong);
        }
    }

    /// What was not said by a file, and so was said of all servers.
    fn plain(&mut self, complaint: &Complaint) {
        let lines = if complaint.is_unavailable { &mut self.unavailable } else { &mut self.usage };
        if !lines.contains(&complaint.text) {
            lines.push(complaint.text.clone());
        }
    }
}

/// What is said of a program where there is none: wrong in a file, and of no use on a command line.
fn stray(key: &str, setting: &Setting, faults: &mut Faults, warnings: &mut Vec<String>) {
    match &setting.origin {
        Origin::File(place) => faults.push(Wrong { place: place.clone(), text: STRAY.to_owned(), is_unavailable: false }),
        Origin::Flag | Origin::Environment => {
            let flag = options::find(key).and_then(|opt| opt.flag.as_deref()).unwrap_or_default();
            warnings.push(format!(
                "{flag} is of the server of --cmd, and there is none; write it into the file, below [servers.NAME]"
            ));
        }
    }
}

/// A server may be there that could not be read.
fn is_about_servers(wrong: &Wrong) -> bool {
    wrong.place.key.starts_with("server") || wrong.place.key.starts_with("mcp")
}

const STRAY: &str = "is of the server at the top of the file, and there is no cmd; write it below [servers.NAME], or add: \
                     cmd = \"COMMAND LINE\"";
const NO_PROGRAM: &str = "has no program to run; write cmd = \"COMMAND LINE\" below it";
const TWICE: &str = "is not the only program of this server; write either cmd or demo";

/// A text that names options as flags, for a reader who writes keys. `own` is the key that it is about.
fn as_keys(text: &str, own: &str) -> String {
    let own = options::find(own).and_then(|opt| opt.flag.as_deref()).unwrap_or_default();
    let mut rest = text.strip_prefix(own).and_then(|rest| rest.strip_prefix(' ')).unwrap_or(text);
    let mut out = String::new();
    while let Some(at) = rest.find("--") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = from[2..]
            .find(|c: char| !c.is_ascii_lowercase() && c != '-' && !c.is_ascii_digit())
            .map_or(from.len(), |end| end + 2);
        let (flag, after) = from.split_at(end);
        let found = options::all().iter().find(|opt| opt.flag.as_deref() == Some(flag));
        let Some(opt) = found.filter(|_| !out.ends_with(|c: char| c.is_alphanumeric() || c == '"')) else {
            out.push_str(flag);
            rest = after;
            continue;
        };
        let (value, after) = split_value(after);
        match (is_to_be_written(&out), value) {
            (true, _) if opt.kind == Kind::Switch => {
                out.push_str(&format!("{} = true", opt.key));
                rest = from.split_at(end).1;
            }
            (true, Some(value)) => {
                out.push_str(&assignment(opt, value));
                rest = after;
            }
            _ => {
                out.push_str(&opt.key);
                rest = from.split_at(end).1;
                continue;
            }
        }
        if rest.starts_with(" --") {
            out.push(',');
        }
    }
    out + rest
}

/// What follows is what the reader is to write.
fn is_to_be_written(before: &str) -> bool {
    before.contains("add: ") || before.contains("write ")
}

/// A placeholder or quoted text that follows a flag, and what comes after it.
fn split_value(after: &str) -> (Option<&str>, &str) {
    let Some(from) = after.strip_prefix(' ') else { return (None, after) };
    if let Some((value, rest)) = from.strip_prefix('\'').and_then(|from| from.split_once('\'')) {
        return (Some(value), rest);
    }
    let (value, rest) = from.split_at(from.find([' ', ',', ';', ')']).unwrap_or(from.len()));
    if value.starts_with(|c: char| c.is_ascii_uppercase()) { (Some(value), rest) } else { (None, after) }
}

fn assignment(opt: &Opt, value: &str) -> String {
    match opt.kind {
        Kind::List => format!("{} = [{value:?}]", opt.key),
        Kind::Number => format!("{} = {value}", opt.key),
        _ => format!("{} = {value:?}", opt.key),
    }
}
