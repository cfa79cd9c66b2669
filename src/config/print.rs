//! What is in force, as a file that would make it so. Called by `print-config`.

use std::ffi::OsString;

use super::file::{quoted, shown};
use super::layers::{Entry, Merged};
use super::options::{self, Kind, Opt};
use super::settings::{Settings, Value};
use super::{Fault, Given, load};

const HIDDEN: &str = "(hidden)";

/// The file, and what was read and is not used.
pub(crate) fn print(given: &Given, demo: &[OsString]) -> Result<(String, Vec<String>), Fault> {
    let (merged, warnings) = load::effective(given, demo)?;
    Ok((file(&merged), warnings))
}

pub(super) fn file(merged: &Merged) -> String {
    let mut out = String::from(
        "# What is in force: the command line, the environment, the files, and defaults. Not shown: the values of env, and what\n\
         # was put in for ${…} in a command of --mcp-json.\n",
    );
    let mut heading = "";
    for opt in options::all().iter().filter(|opt| opt.is_key() && opt.key != "mcp_json" && !opt.is_of_a_command()) {
        if opt.heading != heading {
            heading = &opt.heading;
            out.push_str(&format!("\n# {heading}\n"));
        }
        let value = merged.top.get(opt.key.as_str()).map(|setting| &setting.value);
        if let Some(value) = value.cloned().or_else(|| by_default(opt)) {
            out.push_str(&line(opt, &value));
        }
    }
    if let Some(entry) = merged.entry(None) {
        out.push_str("\n# The server at the endpoint itself\n");
        out.push_str(&command(entry));
    }
    for entry in &merged.servers {
        if let Some(name) = &entry.name {
            out.push_str(&format!("\n[servers.{}]\n", shown(name)));
            out.push_str(&command(entry));
            out.push_str(&differences(entry, &merged.top));
        }
    }
    out
}

/// What says which program runs.
fn command(entry: &Entry) -> String {
    let mut out = String::new();
    for (key, setting) in &entry.settings {
        let Some(opt) = options::find(key).filter(|opt| opt.is_of_a_command()) else { continue };
        match &setting.value {
            Value::Words(words) if *key == "program" => {
                let words = if entry.foreign.shown.is_empty() { words } else { &entry.foreign.shown };
                out.push_str(&format!("cmd = {}\n", list(words)));
            }
            Value::Switch(false) => {}
            value => out.push_str(&line(opt, value)),
        }
    }
    out
}

/// What a server has of its own.
fn differences(entry: &Entry, top: &Settings) -> String {
    let mut out = String::new();
    for opt in options::all().iter().filter(|opt| !opt.is_of_a_command() && !opt.is_of_the_gateway()) {
        let value =
            |settings: &Settings| settings.get(opt.key.as_str()).map(|setting| setting.value.clone()).or_else(|| by_default(opt));
        let (own, others) = (value(&entry.settings), value(top));
        if let Some(value) = own.filter(|own| others.as_ref() != Some(own)) {
            out.push_str(&line(opt, &value));
        }
    }
    out
}

fn by_default(opt: &Opt) -> Option<Value> {
    match (opt.kind, &opt.default) {
        (Kind::Switch, _) => Some(Value::Switch(false)),
        (Kind::List, _) => Some(Value::Words(Vec::new())),
        (_, default) => default.as_ref().map(|default| Value::Words(vec![default.into()])),
    }
}

fn line(opt: &Opt, value: &Value) -> String {
    let value = match (opt.kind, value) {
        (_, Value::Wrong) => return String::new(),
        (_, Value::Switch(is_on)) => is_on.to_string(),
        (Kind::Variables, Value::Words(pairs)) => format!("{}  # the values are not shown", variables(pairs)),
        (Kind::List, Value::Words(words)) => list(words),
        (kind, Value::Words(words)) => {
            let text = words.first().map(|word| word.to_string_lossy()).unwrap_or_default();
            let is_number =
                matches!(kind, Kind::Number | Kind::Size) && text.parse::<u64>().is_ok_and(|value| value.to_string() == text);
            if is_number { text.into_owned() } else { quoted(&text) }
        }
    };
    format!("{} = {value}\n", opt.key)
}

fn list(words: &[OsString]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(&word.to_string_lossy())).collect();
    format!("[{}]", words.join(", "))
}

fn variables(pairs: &[OsString]) -> String {
    let mut names: Vec<String> = Vec::new();
    for pair in pairs {
        let pair = pair.to_string_lossy();
        let name = shown(pair.split_once('=').map_or("", |(name, _)| name));
        // Of two the later one counts, and a table has each name once.
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let members: Vec<String> = names.iter().map(|name| format!("{name} = \"{HIDDEN}\"")).collect();
    format!("{{ {} }}", members.join(", "))
}
