//! Texts of files, and places in them: whatever is said of a file says where, counted as editors count.

use std::cmp::Ordering;
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// The largest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// A file that was read: its name as it was given, and its text without the mark that some editors put before it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

/// Where something stands, and what it is called there.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) source: Arc<Source>,
    /// In bytes. None for what stands nowhere.
    pub(super) at: Option<usize>,
    /// `servers.NAME.KEY`; empty for what has no name.
    pub(super) key: String,
}

/// Something wrong with a file.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub(super) place: Place,
    /// What is wrong, and what to write.
    pub(super) text: String,
    /// The file is good, and a child cannot be started.
    pub(super) is_unavailable: bool,
}

impl Source {
    /// Reads a file that is called `name`.
    ///
    /// # Errors
    /// `NAME: what is wrong`, with line and column if it is in the text.
    pub(super) fn read(name: &str, path: &Path) -> Result<Arc<Source>, String> {
        let unread = |error| format!("{name}: cannot be read: {error}");
        let file = File::open(path).map_err(unread)?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unread)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(format!("{name}: is larger than 1 MiB; it is no configuration"));
        }
        Source::new(name, bytes)
    }

    pub(super) fn new(name: &str, bytes: Vec<u8>) -> Result<Arc<Source>, String> {
        let name = name.to_owned();
        match String::from_utf8(bytes) {
            Ok(text) => {
                let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
                Ok(Arc::new(Source { name, text }))
            }
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
                let place = Place { source: Arc::new(Source { name, text }), at: Some(good), key: String::new() };
                Err(format!("{place}: is not UTF-8; save the file in that encoding"))
            }
        }
    }

    /// Line and column of a byte, from 1 on; columns are characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // Of a character, the first byte only counts.
        let column = before[start..].iter().filter(|byte| **byte & 0xc0 != 0x80).count() + 1;
        (line, column)
    }
}

impl Place {
    /// The same file, as a whole.
    pub(super) fn whole(source: &Arc<Source>) -> Place {
        Place { source: Arc::clone(source), at: None, key: String::new() }
    }

    pub(super) fn order(&self, other: &Place) -> Ordering {
        (&self.source.name, self.at).cmp(&(&other.source.name, other.at))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source.name)?;
        if let Some(at) = self.at {
            let (line, column) = self.source.position(at);
            write!(f, ":{line}:{column}")?;
        }
        if self.key.is_empty() { Ok(()) } else { write!(f, ": {}", self.key) }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, at: usize, key: &str) -> String {
        let source = Source::new("f.toml", text.as_bytes().to_vec()).expect("UTF-8");
        Place { source, at: Some(at), key: key.to_owned() }.to_string()
    }

    #[test]
    fn places_are_counted_as_editors_count() {
        assert_eq!(place("", 0, ""), "f.toml:1:1");
        assert_eq!(place("a = 1\nb = 2", 6, "b"), "f.toml:2:1: b");
        assert_eq!(place("a = 1\r\nb = 2", 11, "b"), "f.toml:2:5: b");
        assert_eq!(place("ä = 'ö' x", 10, ""), "f.toml:1:9");
        assert_eq!(place("\u{feff}a", 0, "a"), "f.toml:1:1: a");
        assert_eq!(place("a", 99, ""), "f.toml:1:2");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let missing = dir.path().join("none.toml");
        let text = Source::read("none.toml", &missing).expect_err("it is missing");
        assert_eq!(text, "none.toml: cannot be read: No such file or directory (os error 2)");
        let text = Source::read("dir", dir.path()).expect_err("it is a folder");
        assert_eq!(text, "dir: cannot be read: Is a directory (os error 21)");
        let large = dir.path().join("large.toml");
        std::fs::write(&large, vec![b'#'; 1 << 20]).expect("written");
        assert!(Source::read("large.toml", &large).is_ok(), "1 MiB is not too much");
        std::fs::write(&large, vec![b'#'; (1 << 20) + 1]).expect("written");
        let text = Source::read("large.toml", &large).expect_err("it is too large");
        assert_eq!(text, "large.toml: is larger than 1 MiB; it is no configuration");
        let text = Source::new("f", b"a = 1\nb = \xff".to_vec()).expect_err("it is no text");
        assert_eq!(text, "f:2:5: is not UTF-8; save the file in that encoding");
    }
}
