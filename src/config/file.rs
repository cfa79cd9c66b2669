//! The file of `--config`: TOML, whose keys are the options. Every fault of it is told with its place; what is good of a
//! faulty file is read on, for the faults that only show when options are checked together.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeInteger, DeString, DeTable, DeValue};

use super::layers::{Files, Foreign, Server};
use super::names;
use super::options::{self, Kind, Opt};
use super::place::{Place, Source, Wrong};
use super::settings::{Origin, Setting, Settings, Value};
use super::syntax;

pub(super) const SERVERS: &str = "servers";
const GUESSES: usize = 1000;

type Key<'a> = Spanned<DeString<'a>>;
type Item<'a> = Spanned<DeValue<'a>>;

pub(super) fn read(source: &Arc<Source>) -> Files {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    let mut reader = Reader { source, wrong: Vec::new() };
    let mut servers = BTreeMap::new();
    let mut top = Settings::new();
    for (key, item) in document.get_ref() {
        if key.get_ref() == SERVERS {
            servers = reader.servers(key, item);
        } else {
            reader.setting("", key, item, &mut top);
        }
    }
    let (syntax, spoiled) = syntax::faults(source, &errors);
    let is_broken = !syntax.is_empty();
    reader.wrong.retain(|wrong| !spoiled.iter().any(|part| wrong.place.at.is_some_and(|at| part.contains(&at))));
    let wrong = [syntax, reader.wrong].concat();
    Files { source: Some(Arc::clone(source)), top, servers, wrong, warnings: Vec::new(), is_broken }
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    wrong: Vec<Wrong>,
}

impl Reader<'_> {
    fn place(&self, at: usize, key: &str) -> Place {
        Place { source: Arc::clone(self.source), at: Some(at), key: key.to_owned() }
    }

    fn wrong(&mut self, at: usize, key: &str, text: impl Into<String>) {
        let place = self.place(at, key);
        self.wrong.push(Wrong { place, text: text.into(), is_unavailable: false });
    }

    fn servers(&mut self, key: &Key, item: &Item) -> BTreeMap<String, Server> {
        let mut servers = BTreeMap::new();
        let DeValue::Table(table) = item.get_ref() else {
            let text = format!("is {}; write [servers.NAME], and the server's options below it", called(item.get_ref()));
            self.wrong(key.span().start, SERVERS, text);
            return servers;
        };
        for (name, item) in table {
            let (at, path) = (name.span().start, format!("{SERVERS}.{}", shown(name.get_ref())));
            let DeValue::Table(table) = item.get_ref() else {
                let what = called(item.get_ref());
                let text = match options::find(name.get_ref()) {
                    Some(opt) if opt.is_key() => {
                        format!("is an option where a server is to be; write [servers.NAME], and {} below it", opt.key)
                    }
                    _ => format!("is {what}; write [servers.NAME], and the server's options below it"),
                };
                self.wrong(at, &path, text);
                continue;
            };
            if let Err(text) = names::check_server(name.get_ref()) {
                self.wrong(at, &path, text);
            }
            let mut settings = Settings::new();
            for (key, item) in table {
                self.setting(&path, key, item, &mut settings);
            }
            let place = self.place(at, &path);
            servers.insert(name.get_ref().clone().into_owned(), Server { settings, place, foreign: Foreign::default() });
        }
        servers
    }

    /// Reads one key. `table` is the server's; empty at the top level.
    fn setting(&mut self, table: &str, key: &Key, item: &Item, settings: &mut Settings) {
        let (at, name) = (key.span().start, key.get_ref());
        let path = if table.is_empty() { shown(name) } else { format!("{table}.{}", shown(name)) };
        let Some(opt) = options::find(name).filter(|opt| opt.is_key()) else {
            // A file that is something else altogether need not be guessed at.
            let (text, meant) = unknown(if self.wrong.len() < GUESSES { name } else { "" }, table.is_empty());
            if let Some(opt) = meant {
                let origin = Origin::File(self.place(at, &path));
                settings.entry(&opt.key).or_insert(Setting { value: Value::Wrong, origin });
            }
            return self.wrong(at, &path, text);
        };
        if !table.is_empty() && opt.is_of_the_gateway() {
            let text =
                format!("is of the whole gateway, not of one server; write it at the top of the file, before [{SERVERS}.NAME]");
            return self.wrong(at, &path, text);
        }
        let before = self.wrong.len();
        let value = self.value(opt, at, &path, item);
        let value = if self.wrong.len() == before { value } else { Value::Wrong };
        let key = if opt.kind == Kind::Command && matches!(item.get_ref(), DeValue::Array(_)) { "program" } else { &opt.key };
        settings.insert(key, Setting { value, origin: Origin::File(self.place(at, &path)) });
    }

    fn value(&mut self, opt: &Opt, at: usize, path: &str, item: &Item) -> Value {
        match (opt.kind, item.get_ref()) {
            (Kind::Switch, DeValue::Boolean(is_on)) => return Value::Switch(*is_on),
            (Kind::Variables, DeValue::Table(table)) => return self.variables(path, table),
            (Kind::Switch | Kind::Variables, _) => {}
            (_, DeValue::String(text)) => return self.words(opt, path, &[(at, text)]),
            (Kind::List, DeValue::Array(items)) => return self.elements(opt, path, items),
            (Kind::Command, DeValue::Array(items)) if items.is_empty() => {
                self.wrong(at, path, format!("is empty; write {}", opt.shown()));
                return Value::Wrong;
            }
            (Kind::Command, DeValue::Array(items)) => return self.elements(opt, path, items),
            (Kind::Number | Kind::Size | Kind::Duration | Kind::Choice | Kind::Text, DeValue::Integer(number)) => {
                return self.words(opt, path, &[(at, &digits(opt, number))]);
            }
            _ => {}
        }
        self.wrong(at, path, format!("is {}; write {}", called(item.get_ref()), opt.shown()));
        Value::Wrong
    }

    fn elements(&mut self, opt: &Opt, path: &str, items: &toml::de::DeArray) -> Value {
        let mut words = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => words.push((item.span().start, text.as_ref())),
                other => {
                    let text = format!("has {} in it; write texts, each in quotes: {}", called(other), opt.shown());
                    self.wrong(item.span().start, path, text);
                }
            }
        }
        self.words(opt, path, &words)
    }

    /// Texts, each with its place, as the command line would take them.
    fn words(&mut self, opt: &Opt, path: &str, words: &[(usize, &str)]) -> Value {
        for (at, word) in words {
            // Of a command each word is taken as it is.
            let checked = if opt.kind == Kind::Command { Ok(()) } else { opt.check(word) };
            if word.contains('\0') {
                self.wrong(*at, path, "has a NUL character in it, which no text of a system can have; leave it out");
            } else if let Err(text) = checked {
                self.wrong(*at, path, text);
            }
        }
        Value::Words(words.iter().map(|(_, word)| OsString::from(word)).collect())
    }

    fn variables(&mut self, path: &str, table: &DeTable) -> Value {
        let mut pairs = Vec::new();
        for (name, item) in table {
            let (at, name) = (name.span().start, name.get_ref());
            let path = format!("{path}.{}", shown(name));
            // The value may be a secret: it is not repeated.
            let value = match item.get_ref() {
                DeValue::String(text) => text.as_ref().to_owned(),
                DeValue::Integer(number) => number.to_string(),
                other => {
                    self.wrong(at, &path, format!("is {}; write {} = \"value\"", called(other), shown(name)));
                    continue;
                }
            };
            if let Err(text) = check_variable(name, &value) {
                self.wrong(at, &path, text);
            }
            pairs.push(format!("{name}={value}").into());
        }
        Value::Words(pairs)
    }
}

/// A variable of a child's environment.
pub(super) fn check_variable(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("is no name of a variable; write NAME = \"value\"".to_owned());
    }
    if value.contains('\0') { Err("has a NUL character in its value; leave it out".to_owned()) } else { Ok(()) }
}

/// A number as the command line has it: a mode keeps its octal digits, all others are decimal.
fn digits(opt: &Opt, number: &DeInteger) -> String {
    let is_mode = opt.placeholder == "MODE" && number.radix() == 8;
    match i128::from_str_radix(number.as_str(), number.radix()) {
        Ok(value) if !is_mode => value.to_string(),
        _ => number.as_str().to_owned(),
    }
}

/// What to say of a key that is none, and the option that was meant.
fn unknown(name: &str, is_top: bool) -> (String, Option<&'static Opt>) {
    let known = options::all().iter().filter(|opt| opt.is_key() && (is_top || !opt.is_of_the_gateway()));
    let known = known.map(|opt| opt.key.as_str()).chain(is_top.then_some(SERVERS));
    let meant = names::nearest(name, known);
    let text = match meant {
        Some(SERVERS) => "is no option; write [servers.NAME]".to_owned(),
        Some("cmd") => "is no option; write cmd = [\"PROGRAM\", \"ARGUMENT\"]".to_owned(),
        Some(meant) => format!("is no option; write {meant}"),
        None => match names::nearest(name, options::OF_THE_GATEWAY.into_iter()) {
            Some(meant) if !is_top => {
                format!("is no option of a server; if {meant} is meant, write it at the top of the file, before [{SERVERS}.NAME]")
            }
            _ => "is no option; leave it out (print-config prints all options)".to_owned(),
        },
    };
    (text, meant.and_then(options::find))
}

/// A key as TOML wants it.
pub(super) fn shown(key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if is_bare { key.to_owned() } else { quoted(key) }
}

/// A text as TOML has it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn called(value: &DeValue) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
