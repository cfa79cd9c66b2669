//! A file of tokens, and clients that show one.

use std::path::PathBuf;

use tempfile::TempDir;

use super::gateway::{Gateway, path_in, program};
use super::session::Entry;

/// A file of tokens, in a folder of its own.
pub(crate) struct Tokens {
    pub(crate) dir: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) name: String,
}

impl Tokens {
    pub(crate) fn new() -> Tokens {
        let dir = TempDir::new().expect("a folder");
        let (path, name) = path_in(&dir, "tokens");
        Tokens { dir, path, name }
    }

    /// Made as its owner makes it.
    #[track_caller]
    pub(crate) fn add(&self, who: &str) -> String {
        let made = program().args(["token", "new", who, "--file", &self.name]).output().expect("it runs");
        assert!(made.status.success() && made.stderr.is_empty(), "{made:?}");
        let text = String::from_utf8(made.stdout).expect("text");
        let token = text.strip_suffix('\n').expect("a line");
        assert!(!token.contains(char::is_whitespace), "the only line on stdout");
        token.to_owned()
    }

    #[track_caller]
    pub(crate) fn serve(&self, options: &[&str]) -> Gateway {
        Gateway::start(&[&["--bearer-tokens", &self.name], options].concat())
    }
}

/// Who shows that token.
pub(crate) fn by(token: &str) -> Entry {
    Entry::at("/mcp").with(token)
}
