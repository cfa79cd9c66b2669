//! The file of tokens: a line with the key, then a name and the hash of a token a line. Every fault of it is told at once, by its
//! line and without what stands there, which may be secret. Never written here.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::{PREFIX, Secret};

/// What a file may hold: more is no file of tokens, and is looked through for every request that is not the last one's.
pub(super) const MAX_SIZE: u64 = 1 << 20;
pub(super) const MAX_TOKENS: usize = 4096;
/// Of a file that is something else altogether.
const MAX_FAULTS: usize = 100;

/// What is wrong with a file of tokens, a line a fault.
#[derive(Debug)]
pub(crate) struct TokensFault {
    path: PathBuf,
    faults: Vec<Fault>,
}

impl fmt::Display for TokensFault {
    fn fmt(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        for (at, fault) in self.faults.iter().enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            match fault.line {
                Some(line) => write!(text, "{end}{path}, line {line}: {}", fault.text)?,
                None => write!(text, "{end}{path}: {}", fault.text)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for TokensFault {}

impl TokensFault {
    pub(super) fn new(path: &Path, faults: Vec<Fault>) -> Self {
        TokensFault { path: path.to_owned(), faults }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Lines count from 1. `None` is said of the whole file.
    line: Option<usize>,
    text: String,
}

impl Fault {
    pub(super) fn of_all(text: impl Into<String>) -> Fault {
        Fault { line: None, text: text.into() }
    }
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// A file that is just being made has none.
    pub(super) key: Option<Secret<[u8; 32]>>,
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) hash: Secret<[u8; 32]>,
}

impl Contents {
    /// With its key.
    pub(super) fn whole(mut self) -> Result<(Secret<[u8; 32]>, Contents), Fault> {
        let key = self.key.take().ok_or_else(|| {
            Fault::of_all("has no key; let `mcp-http-gateway token new NAME --file FILE` make the file, or its first token")
        })?;
        Ok((key, self))
    }
}

/// Opens, checks and reads the file.
pub(super) fn read(path: &Path) -> Result<(Secret<[u8; 32]>, Contents), TokensFault> {
    // Opening a pipe would wait for its writer.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let read = opened.and_then(|file| Ok((file.metadata()?, file))).map_err(|error| vec![unreadable(&error)]);
    let whole = read.and_then(|(metadata, file)| {
        let (contents, _) = examine(&file, &metadata)?;
        let whole = contents.whole().map_err(|fault| vec![fault])?;
        if metadata.mode() & 0o004 != 0 {
            warn!(path = %path.display(), "everybody on this machine may read the tokens file; chmod o-r takes that away");
        }
        Ok(whole)
    });
    whole.map_err(|faults| TokensFault::new(path, faults))
}

/// What the file says, with its text, or everything that is wrong with it.
pub(super) fn examine(file: &File, metadata: &Metadata) -> Result<(Contents, Vec<u8>), Vec<Fault>> {
    if !metadata.is_file() {
        return Err(vec![Fault::of_all("is not a regular file")]);
    }
    let mut faults = Vec::new();
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        let text = format!("others than its owner may write it (mode {mode:04o}), and so let themselves in; write chmod go-w");
        faults.push(Fault::of_all(text));
    }
    match text_of(file).and_then(|text| Ok((parse(&text)?, text))) {
        Ok(examined) if faults.is_empty() => Ok(examined),
        Ok(_) => Err(faults),
        Err(more) => {
            faults.extend(more);
            Err(faults)
        }
    }
}

fn text_of(file: &File) -> Result<Vec<u8>, Vec<Fault>> {
    let mut text = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut text).map_err(|error| vec![unreadable(&error)])?;
    if text.len() as u64 > MAX_SIZE {
        return Err(vec![Fault::of_all("is larger than 1 MiB, and so no file of tokens")]);
    }
    Ok(text)
}

fn unreadable(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound => {
            Fault::of_all("is not there; `mcp-http-gateway token new NAME --file FILE` makes it, with a first token")
        }
        _ => Fault::of_all(format!("cannot be read: {error}")),
    }
}

/// What a text says, or everything that is wrong with it.
pub(super) fn parse(text: &[u8]) -> Result<Contents, Vec<Fault>> {
    let mut reading = Reading::default();
    for (at, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        if let Err(text) = reading.take(line.strip_suffix(b"\r").unwrap_or(line), at) {
            if reading.faults.len() == MAX_FAULTS {
                reading.faults.push(Fault::of_all("has more faults than these; is it a file of tokens?"));
                break;
            }
            reading.faults.push(Fault { line: Some(at), text });
        }
    }
    if reading.contents.entries.len() > MAX_TOKENS {
        let count = reading.contents.entries.len();
        let text = format!("has {count} tokens, and may have {MAX_TOKENS}; take out those that nobody uses");
        reading.faults.push(Fault::of_all(text));
    }
    if reading.faults.is_empty() { Ok(reading.contents) } else { Err(reading.faults) }
}

#[derive(Default)]
struct Reading {
    contents: Contents,
    /// Where the key is, good or not.
    key_line: Option<usize>,
    /// Where each hash is.
    lines: HashMap<[u8; 32], usize>,
    has_entries: bool,
    faults: Vec<Fault>,
}

impl Reading {
    fn take(&mut self, line: &[u8], at: usize) -> Result<(), String> {
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        let words = [words.next(), words.next(), words.next()];
        match words {
            [None, ..] => Ok(()),
            [Some([b'#', ..]), ..] => Ok(()),
            _ if words.iter().flatten().any(|word| word.starts_with(PREFIX.as_bytes())) => {
                Err("has a token itself; whoever read the file knows it: take the line out, and make a new token".to_owned())
            }
            [Some(b"key"), hex, None] => self.key(hex, at),
            [Some(name), Some(hash), None] => self.entry(name, hash, at),
            _ => Err("is neither a name and a hash nor a comment; write NAME HASH, or # before it".to_owned()),
        }
    }

    fn key(&mut self, hex: Option<&[u8]>, at: usize) -> Result<(), String> {
        if let Some(first) = self.key_line.replace(at) {
            self.key_line = Some(first);
            return Err(format!("has a second key, and no token is good with both; the first is in line {first}"));
        }
        if self.has_entries {
            return Err("has the key behind tokens; make it the first line".to_owned());
        }
        let key = hex.and_then(digits).ok_or("has no good key; write key and 64 hexadecimal digits")?;
        self.contents.key = Some(Secret::new(key));
        Ok(())
    }

    fn entry(&mut self, name: &[u8], hash: &[u8], at: usize) -> Result<(), String> {
        let is_first = !std::mem::replace(&mut self.has_entries, true);
        if is_first && self.key_line.is_none() {
            return Err("has a token before the key; the first line is key and 64 hexadecimal digits".to_owned());
        }
        let name =
            std::str::from_utf8(name).ok().filter(|name| is_name(name)).ok_or_else(|| format!("has no good name; {NAMES}"))?;
        let hash = digits(hash).ok_or("has no good hash; write 64 hexadecimal digits, as `token new` does")?;
        if let Some(first) = self.lines.insert(hash, at) {
            self.lines.insert(hash, first);
            return Err(format!("has the token of line {first} again; take one of them out"));
        }
        self.contents.entries.push(Entry { name: name.to_owned(), hash: Secret::new(hash) });
        Ok(())
    }
}

pub(super) const NAMES: &str = "write 1 to 64 of A-Z a-z 0-9 . _ @ -, but not `key`, `anonymous` or a token";

/// What may be a principal's name: nothing that a log, a line of the file or a label would have to quote.
pub(super) fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
    matches!(name.len(), 1..=64)
        && name.bytes().all(is_allowed)
        && !matches!(name, "key" | "anonymous")
        && !name.starts_with(PREFIX)
}

/// 32 bytes in 64 hexadecimal digits of either case.
fn digits(hex: &[u8]) -> Option<[u8; 32]> {
    let hex: &[u8; 64] = hex.try_into().ok()?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_chunks::<2>().0) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

/// The same in small letters.
pub(super) fn hex(bytes: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
