//! What the scripted children of a test recorded in the file that `STUB_LOG` names.

use std::path::Path;

/// The process and its words, line by line.
pub(crate) fn records(path: &Path) -> Vec<(i32, String)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let read = |line: &str| line.split_once(' ').and_then(|(pid, words)| Some((pid.parse().ok()?, words.to_owned())));
    text.lines().filter_map(read).collect()
}
