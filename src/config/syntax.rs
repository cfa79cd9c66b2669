//! What is no TOML, in words for the one who wrote it.

use std::ops::Range;
use std::sync::Arc;

use toml::de::Error;

use super::file::quoted;
use super::place::{Place, Source, Wrong};

/// One fault a line, in the order of the text; and the parts of the text that they spoil: what was read there was not meant so.
pub(super) fn faults(source: &Arc<Source>, errors: &[Error]) -> (Vec<Wrong>, Vec<Range<usize>>) {
    let mut errors: Vec<(usize, &Error)> = errors.iter().map(|error| (error.span().unwrap_or_default().start, error)).collect();
    errors.sort_by_key(|(at, _)| *at);
    let mut faults: Vec<Wrong> = Vec::new();
    let mut spoiled: Vec<Range<usize>> = Vec::new();
    for (at, error) in errors {
        let line = line_around(&source.text, at);
        let is_double = error.message() == "duplicate key";
        let is_spoiled = |at: usize| spoiled.last().is_some_and(|last| last.contains(&at));
        if is_double && is_spoiled(at) || faults.last().is_some_and(|last| last.place.at >= Some(line.start)) {
            continue;
        }
        let text = &source.text[line.clone()];
        let header = text.trim().strip_prefix('[').map(|rest| rest.split(']').next().unwrap_or_default());
        // With a header, the keys below it are in another table than they seem to be.
        let below = header.map(|_| source.text[line.end..].find("\n[").map_or(source.text.len(), |end| line.end + end));
        spoiled.push(line.start..below.unwrap_or(line.end.max(line.start + 1)));
        let (key, told) = match header {
            Some(header) if is_double => {
                (header.trim_matches('[').trim(), "stands here a second time; leave one of them out".to_owned())
            }
            None if is_double => {
                let key = source.text.get(error.span().unwrap_or_default()).unwrap_or_default();
                (key.trim_matches(['"', '\'']), "stands here a second time; leave one of them out".to_owned())
            }
            _ => ("", format!("is not TOML: {}", told(text, error.message()))),
        };
        let place = Place { source: Arc::clone(source), at: Some(at), key: key.to_owned() };
        faults.push(Wrong { place, text: told, is_unavailable: false });
    }
    (faults, spoiled)
}

/// The usual slips by name, and others in the parser's words.
fn told(line: &str, message: &str) -> String {
    let value = line.split_once('=').map(|(_, value)| value.split('#').next().unwrap_or_default().trim());
    match value {
        Some("") => "a value is missing behind =".to_owned(),
        Some(value) if value.starts_with(|c: char| c.is_alphabetic() || matches!(c, '/' | '.' | '~')) => {
            format!("a text stands in quotes; write {}", quoted(value))
        }
        _ => message.to_owned(),
    }
}

fn line_around(text: &str, at: usize) -> Range<usize> {
    let at = at.min(text.len());
    let start = text.as_bytes()[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = text.as_bytes()[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| at + end);
    start..end
}
