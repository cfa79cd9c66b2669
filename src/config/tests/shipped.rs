//! The files that are shipped: `config/`, and the schema that editors read. They are made of the options themselves, and are
//! written anew by `WRITE_SHIPPED=1 cargo test shipped`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::*;
use crate::config::check;
use crate::config::options::{self, Kind, Opt};

const WIDTH: usize = 118;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The file says what it should, or is made to.
fn is_kept(path: &str, expected: &str) {
    let file = root(path);
    if std::env::var_os("WRITE_SHIPPED").is_some() {
        std::fs::write(&file, expected).expect("written");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == expected, "{path} is not what the options make of it; run: WRITE_SHIPPED=1 cargo test shipped");
}

fn is_at_default(opt: &Opt) -> bool {
    opt.default.is_some() || opt.kind == Kind::List
}

/// The line of an option: at its default, or commented out with an example.
fn line(opt: &Opt) -> String {
    match (&opt.default, opt.kind) {
        (None, Kind::List) => format!("{} = []", opt.key),
        (None, _) => format!("# {}", opt.shown()),
        (Some(default), Kind::Number | Kind::Switch) => format!("{} = {default}", opt.key),
        (Some(default), _) => format!("{} = {default:?}", opt.key),
    }
}

/// Words in lines that begin with `# `.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is one");
        if last.len() + 1 + word.len() > WIDTH {
            lines.push(format!("# {word}"));
        } else {
            last.push(' ');
            last.push_str(word);
        }
    }
    lines.join("\n")
}

/// What is said of an option, its names written as a file has them.
fn explained(opt: &Opt) -> String {
    let mut text = opt.argument.get_help().expect("it is explained").to_string();
    let mut flags: Vec<&Opt> = options::all().iter().filter(|opt| opt.flag.is_some()).collect();
    flags.sort_by_key(|opt| std::cmp::Reverse(opt.key.len()));
    for other in flags {
        text = text.replace(other.flag.as_deref().unwrap_or_default(), &other.key);
    }
    text.push('.');
    let choices: Vec<String> = opt.choices.iter().map(|choice| format!("{choice:?}")).collect();
    if !choices.is_empty() {
        text.push_str(&format!(" One of {}.", choices.join(", ")));
    }
    if opt.kind == Kind::List {
        text.push_str(&format!(" Such as {}.", opt.example()));
    }
    text
}

fn gateway_toml() -> String {
    let mut out = String::from(
        "#:schema ../docs/gateway.schema.json\n\n\
         # Every option of mcp-http-gateway, at its default. What has none is commented out, with an example.\n#\n\
         # A flag (--max-sessions 10) wins over a variable (MCP_GATEWAY_MAX_SESSIONS=10), that over a key of [servers.NAME], that\n\
         # over a key at the top of this file. Durations are 250ms, 30s, 5m or 1h; sizes 64KiB, 8MiB, 1GiB or a number of bytes.\n\
         # Relative paths begin in the folder where the gateway was started. SIGHUP reads this file again; check-config says\n\
         # what is wrong with it, and print-config what comes of it.\n",
    );
    let of_one = "Of the server at the endpoint itself, if there is one: none of this is handed on to [servers.NAME].";
    let of_all = "Of every server that does not say otherwise.";
    let of_gateway = "Of the whole gateway.";
    let part = |opt: &Opt| match (opt.is_of_a_command(), opt.is_of_the_gateway()) {
        (true, _) => of_one,
        (_, true) => of_gateway,
        _ => of_all,
    };
    for title in [of_one, of_gateway, of_all] {
        out.push_str(&format!("\n{}\n", "#".repeat(WIDTH)));
        out.push_str(&format!("{}\n", comment(title)));
        let mut heading = "";
        for opt in options::all().iter().filter(|opt| opt.is_key() && part(opt) == title) {
            if opt.heading != heading && title != of_one {
                heading = &opt.heading;
                out.push_str(&format!("\n# {heading}\n"));
            }
            out.push_str(&format!("\n{}\n{}\n", comment(&explained(opt)), line(opt)));
        }
    }
    out.push_str(&format!("\n{}\n", "#".repeat(WIDTH)));
    out.push_str(
        "# Servers by name, each at /servers/NAME/mcp. Each may have any option from above that is not of the whole gateway.\n\n\
         # [servers.files]\n\
         # cmd = [\"npx\", \"-y\", \"@modelcontextprotocol/server-filesystem\", \"/srv/files\"]\n\
         # env = { NODE_OPTIONS = \"--max-old-space-size=128\" }\n\
         # max_sessions = 16\n",
    );
    out
}

fn schema_of(opt: &Opt) -> Json {
    let text = || json!({ "type": "string" });
    let texts = || json!({ "type": "array", "items": { "type": "string" } });
    let mut schema = match opt.kind {
        Kind::Switch => json!({ "type": "boolean" }),
        Kind::Number => json!({ "type": "integer", "minimum": 0 }),
        Kind::Size => json!({ "type": ["string", "integer"], "pattern": "^[0-9]+(B|K|KiB|k|M|MiB|G|GiB)?$", "minimum": 1024 }),
        Kind::Duration => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" }),
        Kind::Choice => json!({ "type": "string", "enum": opt.choices }),
        Kind::Text if opt.placeholder == "MODE" => json!({ "type": ["string", "integer"] }),
        Kind::Text => text(),
        Kind::List => json!({ "anyOf": [texts(), text()] }),
        Kind::Command => json!({ "anyOf": [text(), { "type": "array", "items": { "type": "string" }, "minItems": 1 }] }),
        Kind::Variables => json!({ "type": "object", "additionalProperties": { "type": ["string", "integer"] } }),
    };
    schema["description"] = explained(opt).into();
    match (&opt.default, opt.kind) {
        (Some(default), Kind::Number | Kind::Switch) => schema["default"] = default.parse().expect("a number or a claim"),
        (Some(default), _) => schema["default"] = default.as_str().into(),
        (None, _) => {}
    }
    schema
}

fn schema() -> String {
    let keys = |is_wanted: &dyn Fn(&Opt) -> bool| -> Map<String, Json> {
        let opts = options::all().iter().filter(|opt| opt.is_key() && is_wanted(opt));
        opts.map(|opt| (opt.key.clone(), schema_of(opt))).collect()
    };
    let mut properties = keys(&|_| true);
    properties.insert(
        "servers".to_owned(),
        json!({
            "type": "object",
            "description": "Servers by name, each at /servers/NAME/mcp.",
            "propertyNames": { "pattern": "^[A-Za-z0-9._-]{1,64}$" },
            "additionalProperties": {
                "type": "object",
                "properties": keys(&|opt| !opt.is_of_the_gateway()),
                "additionalProperties": false
            }
        }),
    );
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Configuration of mcp-http-gateway",
        "type": "object",
        "properties": properties,
        "additionalProperties": false
    });
    format!("{}\n", serde_json::to_string_pretty(&schema).expect("JSON"))
}

#[test]
fn the_shipped_file_and_the_schema_are_made_of_the_options() {
    is_kept("config/gateway.toml", &gateway_toml());
    is_kept("docs/gateway.schema.json", &schema());
}

#[test]
fn every_option_stands_in_the_shipped_file_once_and_at_its_default() {
    let text = std::fs::read_to_string(root("config/gateway.toml")).expect("it is there");
    let top = text.split("\n# [servers.").next().unwrap_or_default();
    for opt in options::all().iter().filter(|opt| opt.is_key()) {
        let given = top.lines().filter(|line| line.starts_with(&format!("{} = ", opt.key))).count();
        let commented = top.lines().filter(|line| line.starts_with(&format!("# {} = ", opt.key))).count();
        let expected = if is_at_default(opt) { (1, 0) } else { (0, 1) };
        assert_eq!((given, commented), expected, "{}", opt.key);
    }
    let file = File::toml(&text);
    let (shipped, plain) =
        (file.load(&["--demo"]).expect("it is good"), Config::load(&given(&["--demo"]), &demo()).expect("it is good"));
    assert_eq!(format!("{shipped:?}"), format!("{plain:?}"));
    assert_eq!(check(&file.path, &demo(), |_| Vec::new()).expect("it is good").servers, 0);
}

#[test]
fn what_is_commented_out_can_be_taken_in() {
    let text = std::fs::read_to_string(root("config/gateway.toml")).expect("it is there");
    let is_line =
        |line: &str| line.starts_with("[servers.") || line.split(" = ").next().is_some_and(|key| options::find(key).is_some());
    let taken: Vec<&str> =
        text.lines().map(|line| line.strip_prefix("# ").filter(|line| is_line(line)).unwrap_or(line)).collect();
    let faults =
        check(&File::toml(taken.join("\n")).path, &demo(), |_| Vec::new()).expect_err("its files are not here").to_string();
    let is_about_files = |line: &&str| {
        ["cannot be read", "is not there", "not a directory", "No such file", "not on the PATH"]
            .iter()
            .any(|text| line.contains(text))
    };
    assert_eq!(faults.lines().filter(|line| !is_about_files(line)).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn the_shipped_examples_are_good() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut servers = BTreeMap::new();
    for name in ["minimal", "production"] {
        let text = std::fs::read_to_string(root(&format!("config/{name}.toml"))).expect("it is there");
        let own = format!("{}/", dir.path().display());
        // The files that they name are elsewhere on other machines.
        let text = text.replace("/etc/mcp-http-gateway/", &own).replace("/srv/", &own);
        for file in text.split('"').filter(|word| word.starts_with(&own)) {
            std::fs::write(file, "").expect("written");
        }
        let config = File::toml(text).load(&[]).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        servers.insert(name, config.servers.iter().map(|server| server.name.clone()).collect::<Vec<_>>());
    }
    assert_eq!(servers["minimal"], ["default"]);
    assert_eq!(servers["production"].len(), 2);
}
