//! The file of `--mcp-json`: the servers of an MCP client, as Claude Desktop, Claude Code and Cursor (`mcpServers`) or VS Code
//! (`servers`) write them. Those that are programs become servers of the gateway, beside the ones of its own file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::env_file;
use super::expand::{self, Text, Values};
use super::file::check_variable;
use super::jsonc::{self, Json, Member, Node};
use super::layers::{Files, Foreign, Server};
use super::names;
use super::place::{Place, Source, Wrong};
use super::settings::{Origin, Setting, Settings, Value};

const SERVERS: [&str; 2] = ["mcpServers", VS_CODE];
/// What VS Code calls them. Some of what it reads, the others do not.
const VS_CODE: &str = "servers";
/// What is of no use to the gateway, and does not change what a server is.
const PASSED: [&str; 2] = ["$schema", "inputs"];
/// How remote servers say where they are.
const ADDRESSES: [&str; 3] = ["url", "serverUrl", "httpUrl"];
const REMOTE: [&str; 5] = ["http", "sse", "streamable-http", "streamableHttp", "ws"];

/// Adds the servers of the file that stands at `path`.
pub(super) fn read(source: &Arc<Source>, path: &Path, files: &mut Files) {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let file = |path: &Path| Source::read(&path.to_string_lossy(), path);
    read_with(source, &Values { variable: &variable, folder: expand::folder_of(path) }, &file, files);
}

/// Reads a file that the file names.
pub(super) type ReadFile<'a> = &'a dyn Fn(&Path) -> Result<Arc<Source>, String>;
/// A variable, and its value; none for one that is not to be set.
type Variable = (String, Option<String>);

/// The same, where variables, folder and files are given.
pub(super) fn read_with(source: &Arc<Source>, values: &Values, file: ReadFile, files: &mut Files) {
    let mut reader = Reader { source, values, file, is_of_vs_code: false, files };
    match jsonc::parse(&source.text) {
        Ok(root) => reader.root(&root),
        Err((at, text)) => {
            reader.wrong(at, "", format!("is not JSON: {text}"));
            reader.files.is_broken = true;
        }
    }
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    values: &'a Values<'a>,
    file: ReadFile<'a>,
    is_of_vs_code: bool,
    files: &'a mut Files,
}

impl Reader<'_> {
    fn place(&self, at: usize, key: &str) -> Place {
        Place { source: Arc::clone(self.source), at: Some(at), key: key.to_owned() }
    }

    fn wrong(&mut self, at: usize, key: &str, text: impl Into<String>) {
        let place = self.place(at, key);
        self.files.wrong.push(Wrong { place, text: text.into(), is_unavailable: false });
    }

    fn warn(&mut self, at: usize, key: &str, text: &str) {
        let place = self.place(at, key);
        self.files.warnings.push(format!("{place}: {text}"));
    }

    fn root(&mut self, root: &Node) {
        let members = match &root.json {
            Json::Object(members) => members.as_slice(),
            _ => &[],
        };
        let mut found = members.iter().filter(|member| SERVERS.contains(&member.name.as_str()));
        let Some(servers) = found.next() else {
            return self.wrong(root.at, "", "names no servers; write {\"mcpServers\": {\"NAME\": {\"command\": \"PROGRAM\"}}}");
        };
        if let Some(second) = found.next() {
            return self.wrong(second.at, &second.name, format!("stands beside {}; leave one of them out", servers.name));
        }
        self.is_of_vs_code = servers.name == VS_CODE;
        self.warn_unused(root.at, "", members, &SERVERS);
        let Json::Object(entries) = &servers.node.json else {
            let text = format!("is {}; write {{\"NAME\": {{\"command\": \"PROGRAM\"}}}}", servers.node.called());
            return self.wrong(servers.node.at, &servers.name, text);
        };
        let (mut count, faults) = (0, self.files.wrong.len());
        for entry in entries {
            count += usize::from(self.entry(&servers.name, entry));
        }
        if count == 0 && self.files.wrong.len() == faults {
            self.wrong(
                servers.at,
                &servers.name,
                "has no server that the gateway can run; name a program: {\"NAME\": {\"command\": \"PROGRAM\"}}",
            );
        }
    }

    /// Tells which members say nothing to the gateway.
    fn warn_unused(&mut self, at: usize, key: &str, members: &[Member], used: &[&str]) {
        let is_unused = |name: &&str| !used.contains(name) && !PASSED.contains(name);
        let unused: Vec<&str> = members.iter().map(|member| member.name.as_str()).filter(is_unused).collect();
        if !unused.is_empty() {
            self.warn(at, key, &format!("not used by the gateway: {}", unused.join(", ")));
        }
    }

    /// One server; whether it is one.
    fn entry(&mut self, table: &str, entry: &Member) -> bool {
        let path = format!("{table}.{}", entry.name);
        let Json::Object(members) = &entry.node.json else {
            self.wrong(entry.at, &path, format!("is {}; write {{\"command\": \"PROGRAM\"}}", entry.node.called()));
            return false;
        };
        let member = |name: &str| members.iter().find(|member| member.name == name);
        if member("disabled").is_some_and(|member| member.node.json == Json::Bool(true)) {
            return false;
        }
        let kind = member("type").or_else(|| member("transport")).and_then(|member| match &member.node.json {
            Json::Text(text) => Some((member.at, text.as_str())),
            _ => None,
        });
        let has_address = member("command").is_none() && ADDRESSES.iter().any(|name| member(name).is_some());
        match kind {
            Some((_, "stdio")) => {}
            Some((_, kind)) if REMOTE.contains(&kind) => {
                self.warn(entry.at, &path, "is a remote server, and is left out: the gateway runs programs");
                return false;
            }
            None if has_address => {
                self.warn(entry.at, &path, "is a remote server, and is left out: the gateway runs programs");
                return false;
            }
            Some((at, kind)) => {
                self.wrong(at, &format!("{path}.type"), format!("{kind:?} is none that the gateway knows; write \"stdio\""))
            }
            None => {}
        }
        self.program(&path, entry, members);
        true
    }

    fn program(&mut self, path: &str, entry: &Member, members: &[Member]) {
        let name = names::served_as(&entry.name).unwrap_or_else(|text| {
            self.wrong(entry.at, path, text);
            entry.name.clone()
        });
        let place = self.place(entry.at, path);
        let mut settings = Settings::new();
        let mut seen: Vec<&str> = Vec::new();
        let mut words: Vec<Text> = Vec::new();
        let (mut of_file, mut own) = (Vec::new(), Vec::new());
        let cwd = self.values.folder.clone().into();
        settings.insert("cwd", Setting { value: Value::Words(vec![cwd]), origin: Origin::File(place.clone()) });
        for member in members {
            let key = format!("{path}.{}", member.name);
            let origin = Origin::File(self.place(member.at, &key));
            if seen.contains(&member.name.as_str()) {
                self.wrong(member.at, &key, "stands here a second time; leave one of them out");
            }
            seen.push(&member.name);
            let faults = self.files.wrong.len();
            let (option, value) = match member.name.as_str() {
                "command" => {
                    words.splice(0..0, self.word(member.at, &key, &member.node));
                    ("program", Vec::new())
                }
                "args" => {
                    words.extend(self.texts(&key, &member.node));
                    continue;
                }
                "env" => {
                    own = self.variables(&key, &member.node);
                    continue;
                }
                "envFile" => {
                    of_file = self.env_file(member.at, &key, &member.node);
                    continue;
                }
                "cwd" => ("cwd", self.word(member.at, &key, &member.node).map(|text| self.path(&text)).into_iter().collect()),
                _ => continue,
            };
            let is_good = self.files.wrong.len() == faults;
            settings.insert(option, Setting { value: if is_good { Value::Words(value) } else { Value::Wrong }, origin });
        }
        self.warn_unused(entry.at, path, members, &["command", "args", "env", "cwd", "envFile", "type", "transport", "disabled"]);
        let mut variables: BTreeMap<String, Option<String>> = of_file.into_iter().collect();
        for (name, value) in own {
            let before = self.path_before(&name, &variables);
            let value = match (before, value) {
                (Some(before), Some(value)) => Some(format!("{before}:{value}")),
                (_, value) => value,
            };
            variables.insert(name, value);
        }
        let (mut pairs, mut foreign) = (Vec::new(), Foreign::default());
        for (name, value) in variables {
            match value {
                Some(value) => pairs.push(format!("{name}={value}").into()),
                None => foreign.unset.push(name),
            }
        }
        if !pairs.is_empty() {
            settings.insert("env", Setting { value: Value::Words(pairs), origin: Origin::File(place.clone()) });
        }
        match settings.get_mut("program") {
            Some(Setting { value: Value::Words(program), .. }) => {
                (*program, foreign.shown) =
                    words.into_iter().map(|word| (OsString::from(word.value), OsString::from(word.shown))).unzip();
            }
            Some(_) => {}
            None => self.wrong(entry.at, path, "has no command; write \"command\": \"PROGRAM\""),
        }
        if let Some(first) = self.files.servers.get(&name).map(|server| server.place.clone()) {
            return self.wrong(entry.at, path, taken(&entry.name, &name, first));
        }
        if name != entry.name {
            self.warn(entry.at, path, &format!("is served as {name}, below /servers/{name}"));
        }
        self.files.servers.insert(name, Server { settings, place, foreign });
    }

    /// The PATH that is there already: VS Code puts another one behind it, and not in its place.
    fn path_before(&self, name: &str, variables: &BTreeMap<String, Option<String>>) -> Option<String> {
        if name != "PATH" || !self.is_of_vs_code {
            return None;
        }
        let of_file = variables.get(name).cloned().flatten();
        of_file.or_else(|| (self.values.variable)(name)).filter(|path| !path.is_empty())
    }

    fn path(&self, text: &Text) -> OsString {
        self.values.folder.join(&text.value).into()
    }

    /// The variables of a file.
    fn env_file(&mut self, at: usize, key: &str, node: &Node) -> Vec<Variable> {
        // VS Code knows no ~ here.
        let Some(path) = self.text(at, key, node).map(|text| self.path(&text)) else { return Vec::new() };
        let read = (self.file)(Path::new(&path)).map_err(|text| vec![text]).and_then(|source| {
            let told = |(line, text): (usize, &str)| format!("{}:{line}: {text}", source.name);
            env_file::variables(&source.text).map_err(|faults| faults.into_iter().map(told).collect())
        });
        match read {
            Ok(pairs) => pairs.into_iter().map(|(name, value)| (name, Some(value))).collect(),
            Err(faults) => {
                faults.into_iter().for_each(|text| self.wrong(at, key, text));
                Vec::new()
            }
        }
    }

    fn texts(&mut self, key: &str, node: &Node) -> Vec<Text> {
        let Json::List(nodes) = &node.json else {
            self.wrong(node.at, key, format!("is {}; write [\"--flag\", \"value\"]", node.called()));
            return Vec::new();
        };
        nodes.iter().filter_map(|node| self.word(node.at, key, node)).collect()
    }

    fn variables(&mut self, key: &str, node: &Node) -> Vec<Variable> {
        let Json::Object(members) = &node.json else {
            self.wrong(node.at, key, format!("is {}; write {{\"NAME\": \"value\"}}", node.called()));
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for member in members {
            let key = format!("{key}.{}", member.name);
            let value = match &member.node.json {
                Json::Null if self.is_of_vs_code => None,
                Json::Null => {
                    self.wrong(member.at, &key, NULL);
                    continue;
                }
                Json::Number(number) => Some(number.clone()),
                _ => match self.text(member.at, &key, &member.node) {
                    Some(text) => Some(text.value),
                    None => continue,
                },
            };
            match check_variable(&member.name, value.as_deref().unwrap_or_default()) {
                Ok(()) => pairs.push((member.name.clone(), value)),
                Err(_) => {
                    self.wrong(member.at, &key, "is no variable: its name is empty or has = in it, or there is a NUL character")
                }
            }
        }
        pairs
    }

    /// A text with its values put in. It may be a secret: nothing of it is repeated but the names of variables.
    fn text(&mut self, at: usize, key: &str, node: &Node) -> Option<Text> {
        let written = self.written(at, key, node)?;
        let text = self.values.expand(written);
        self.good(at, key, text)
    }

    /// The same of a command or a folder, where VS Code knows ~.
    fn word(&mut self, at: usize, key: &str, node: &Node) -> Option<Text> {
        if !self.is_of_vs_code {
            return self.text(at, key, node);
        }
        let written = self.written(at, key, node)?;
        let text = self.values.expand_home(written);
        self.good(at, key, text)
    }

    fn written<'n>(&mut self, at: usize, key: &str, node: &'n Node) -> Option<&'n str> {
        if let Json::Text(text) = &node.json {
            return Some(text);
        }
        self.wrong(at, key, format!("is {}; write a text, in double quotes", node.called()));
        None
    }

    fn good(&mut self, at: usize, key: &str, text: Result<Text, Vec<String>>) -> Option<Text> {
        match text {
            Ok(text) if text.value.contains('\0') => {
                self.wrong(at, key, "has a NUL character in it; leave it out");
                None
            }
            Ok(text) => Some(text),
            Err(wrong) => {
                wrong.into_iter().for_each(|text| self.wrong(at, key, text));
                None
            }
        }
    }
}

const NULL: &str = "is null, which unsets a variable for VS Code only; write a text, in double quotes, or leave the variable out";

/// What to say of a server whose name the one at `first` has already.
fn taken(written: &str, name: &str, first: Place) -> String {
    let is_same = first.key.split_once('.').is_some_and(|(_, key)| key.trim_matches('"') == written);
    if is_same {
        let first = Place { key: String::new(), ..first };
        format!("is named in {first} too; give one of them another name")
    } else {
        format!("would be served as {name}, as {first} is; give one of them another name")
    }
}
