//! What configurations come to, from the words of a command line, an environment, and files.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser as _;
use tempfile::TempDir;

use super::given::Given;
use super::settings::{Origin, Setting};
use super::{Cli, Config, Fault, ServerConfig};

mod faults;
mod layers;
mod mcp_json;
mod options;
mod print;
mod shipped;

fn demo() -> Vec<OsString> {
    vec!["/bin/true".into()]
}

fn given(words: &[&str]) -> Given {
    Cli::try_parse_from([&["mcp-http-gateway"], words].concat()).expect("the words are options").given
}

/// The same, and variables, which are written as the options that they stand for.
fn given_with(words: &[&str], environment: &[&str]) -> Given {
    let mut given = given(words);
    let of_environment = |setting| Setting { origin: Origin::Environment, ..setting };
    given.environment = self::given(environment).flags.into_iter().map(|(key, setting)| (key, of_environment(setting))).collect();
    given
}

/// A folder with a file in it.
struct File {
    _dir: TempDir,
    path: PathBuf,
}

impl File {
    fn new(name: &str, text: impl AsRef<[u8]>) -> File {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        File { _dir: dir, path }
    }

    fn toml(text: impl AsRef<[u8]>) -> File {
        File::new("gateway.toml", text)
    }

    fn path(&self) -> &str {
        self.path.to_str().expect("UTF-8")
    }

    /// Loaded with these options too.
    fn load(&self, words: &[&str]) -> Result<Config, Fault> {
        let option = if self.path.ends_with("gateway.toml") { "--config" } else { "--mcp-json" };
        Config::load(&given(&[&[option, self.path()], words].concat()), &demo())
    }

    /// What is wrong, the folder's name left out.
    fn faults(&self, words: &[&str]) -> Vec<String> {
        self.lines(&self.load(words).expect_err("something is wrong").to_string())
    }

    fn lines(&self, text: &str) -> Vec<String> {
        let folder = format!("{}/", self.path.parent().expect("its folder").display());
        text.replace(&folder, "").lines().map(|line| line.trim_start().to_owned()).collect()
    }
}

fn server<'a>(config: &'a Config, name: &str) -> &'a ServerConfig {
    config.servers.iter().find(|server| server.name == name).expect("the server is there")
}
