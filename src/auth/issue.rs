//! New tokens: made, written down as a hash, and told once. Several processes may do it to one file at a time.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::file::{self, Contents, Fault, MAX_SIZE, MAX_TOKENS, NAMES, TokensFault};
use super::tokens::Key;
use super::{PREFIX, Secret};

/// Why there is no new token. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotMade {
    #[error("that cannot be a name; {NAMES}")]
    BadName,
    #[error(transparent)]
    BadFile(#[from] TokensFault),
    #[error("{}: {error}", path.display())]
    NotWritten { path: PathBuf, error: io::Error },
    #[error("the system gives no random bytes: {0}")]
    NoRandomness(#[from] getrandom::Error),
}

/// Makes a token for that name and adds it to the file, which is made if it is not there.
pub(crate) fn new_token(name: &str, path: &Path) -> Result<Secret<String>, NotMade> {
    if !file::is_name(name) {
        return Err(NotMade::BadName);
    }
    let not_written = |error| NotMade::NotWritten { path: path.to_owned(), error };
    let bad = |faults| TokensFault::new(path, faults);
    let opened = open(path).map_err(not_written)?;
    let metadata = opened.file.metadata().map_err(not_written)?;
    let (contents, text) = file::examine(&opened.file, &metadata).map_err(bad)?;
    if let Some(fault) = full_or_open(&contents, &metadata) {
        return Err(bad(vec![fault]).into());
    }
    let (token, lines) = lines(name, &text, contents.key)?;
    append(&opened, &lines, text.len() as u64, path).map_err(not_written)?;
    Ok(token)
}

/// Why nothing can be added to a good file.
fn full_or_open(contents: &Contents, metadata: &Metadata) -> Option<Fault> {
    // A key, a name and their spaces are below 256 bytes.
    if contents.entries.len() >= MAX_TOKENS || metadata.len() + 256 > MAX_SIZE {
        return Some(Fault::of_all(format!("is full; it may have {MAX_TOKENS} tokens in 1 MiB")));
    }
    let is_open = contents.key.is_none() && metadata.mode() & 0o077 != 0;
    is_open.then(|| Fault::of_all("would get a key that others may read; write chmod go= , or let this command make the file"))
}

/// A new token, and what it adds to a file that has this text.
fn lines(name: &str, text: &[u8], key: Option<Secret<[u8; 32]>>) -> Result<(Secret<String>, String), getrandom::Error> {
    // A last line without its end would swallow the next.
    let mut lines = if matches!(text, [] | [.., b'\n']) { String::new() } else { "\n".to_owned() };
    let key = match key {
        Some(key) => key,
        None => {
            let key = random()?;
            lines.extend(["key ", &file::hex(key.reveal()), "\n"]);
            key
        }
    };
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random()?.reveal()));
    lines.extend([name, " ", &file::hex(&Key::new(&key).hash(token.as_bytes())), "\n"]);
    Ok((Secret::new(token), lines))
}

fn random() -> Result<Secret<[u8; 32]>, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(Secret::new(bytes))
}

struct Opened {
    /// Nobody else appends until it is closed.
    file: File,
    is_new: bool,
}

/// Opens the file, or makes it, and waits until nobody else writes it.
fn open(path: &Path) -> io::Result<Opened> {
    let mut options = OpenOptions::new();
    // Opening a pipe would wait for its reader.
    options.read(true).append(true).mode(0o600).custom_flags(libc::O_NONBLOCK);
    for _ in 0..ATTEMPTS {
        let (file, is_new) = match options.create_new(true).open(path) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match options.create_new(false).open(path) {
                // It went meanwhile, or is a link to nothing: what a link names is never made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => (opened?, false),
            },
            Err(error) => return Err(error),
        };
        file.lock()?;
        // While we waited another file may have taken its name, as editors do it.
        let (own, there) = (file.metadata()?, std::fs::metadata(path));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
            return Ok(Opened { file, is_new });
        }
    }
    Err(io::Error::other("is there and is not: a link to nothing, or a file that is replaced all the time"))
}

/// More than one is needed only if somebody else makes, replaces or removes the file at this moment.
const ATTEMPTS: usize = 16;

/// Adds whole lines, or nothing.
fn append(opened: &Opened, lines: &str, size: u64, path: &Path) -> io::Result<()> {
    let mut file = &opened.file;
    let written = file
        .write(lines.as_bytes())
        .and_then(|count| if count == lines.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) });
    if let Err(error) = written.and_then(|()| file.sync_all()) {
        // Whether this succeeds or not, the first error is the one to tell.
        let _ = file.set_len(size);
        return Err(error);
    }
    if opened.is_new {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Tokens;
    use crate::principal::Principal;
    use std::collections::HashSet;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens");
        (folder, path)
    }

    fn made(name: &str, path: &Path) -> String {
        new_token(name, path).expect("a token").reveal().clone()
    }

    fn refused(name: &str, path: &Path) -> String {
        new_token(name, path).expect_err("refused").to_string()
    }

    #[test]
    fn a_new_token_is_good_and_not_in_the_file() {
        let (_folder, path) = folder();
        let (first, second) = (made("alice", &path), made("bob", &path));
        assert!(first != second && [&first, &second].iter().all(|token| token.len() == 49 && token.starts_with("mcpgw_")));
        let text = fs::read_to_string(&path).expect("a text");
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
        assert_eq!(lines.iter().map(|line| line[0]).collect::<Vec<_>>(), ["key", "alice", "bob"]);
        assert!(lines.iter().all(|line| line.len() == 2 && line[1].len() == 64) && text.ends_with('\n'));
        assert!(!text.contains("mcpgw_") && !text.contains(&first[6..]));
        let tokens = Tokens::read(&path).expect("a good file");
        assert_eq!(tokens.find(first.as_bytes()), Some(&Principal::named("alice")));
        assert_eq!(tokens.find(second.as_bytes()), Some(&Principal::named("bob")));
    }

    #[test]
    fn a_new_file_is_its_owners_only() {
        let (_folder, path) = folder();
        made("alice", &path);
        assert_eq!(fs::metadata(&path).expect("a file").mode() & 0o7777, 0o600);
    }

    #[test]
    fn what_is_in_the_file_stays() {
        let (_folder, path) = folder();
        let old = made("alice", &path);
        let before = format!("# who may enter\r\n{}\n\n# bob\nlast", fs::read_to_string(&path).expect("a text"));
        let before = before.replace("last", "# no end of line");
        fs::write(&path, &before).expect("written");
        let new = made("alice", &path);
        let after = fs::read_to_string(&path).expect("a text");
        assert!(after.starts_with(&format!("{before}\nalice ")) && after.matches("key ").count() == 1, "{after}");
        let tokens = Tokens::read(&path).expect("a good file");
        assert!(tokens.find(old.as_bytes()).is_some() && tokens.find(old.as_bytes()) == tokens.find(new.as_bytes()));
    }

    #[test]
    fn an_empty_file_gets_a_key() {
        let (_folder, path) = folder();
        for text in ["", "# only a comment"] {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("allowed");
            let token = made("alice", &path);
            assert!(Tokens::read(&path).expect("a good file").find(token.as_bytes()).is_some());
        }
    }

    #[test]
    fn nothing_is_added_to_what_is_no_good_file() {
        let (folder, path) = folder();
        assert!(refused("a b", &path).contains("1 to 64") && refused("", &path).contains("1 to 64") && !path.exists());
        fs::write(&path, "alice\nbob x\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).expect("allowed");
        assert_eq!(refused("alice", &path).lines().count(), 3);
        assert_eq!(fs::read_to_string(&path).expect("a text"), "alice\nbob x\n");
        assert!(refused("alice", &folder.path().join("none/tokens")).contains("No such file"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).expect("a link");
        assert!(refused("alice", &link).contains("a link to nothing") && !folder.path().join("elsewhere").exists());
        let full = (0..MAX_TOKENS).map(|at| format!("n {at:064x}\n")).collect::<String>();
        fs::write(&path, format!("key {}\n{full}", file::hex(&[1; 32]))).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("allowed");
        assert!(refused("alice", &path).contains("is full; it may have 4096 tokens"));
    }

    #[test]
    fn a_key_that_others_could_read_is_not_written() {
        let (_folder, path) = folder();
        fs::write(&path, "").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("allowed");
        assert!(refused("alice", &path).contains("chmod go= "));
        assert_eq!(fs::read(&path).expect("a file"), b"");
    }

    #[test]
    fn tokens_that_are_made_at_once_are_all_good() {
        let (_folder, path) = folder();
        let names: Vec<String> = (0..8).map(|at| format!("n{at}")).collect();
        let all: Vec<(String, String)> = std::thread::scope(|threads| {
            let make = |name: &String| (0..4).map(|_| (name.clone(), made(name, &path))).collect::<Vec<_>>();
            let started: Vec<_> = names.iter().map(|name| threads.spawn(move || make(name))).collect();
            started.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        let tokens = Tokens::read(&path).expect("a good file");
        for (name, token) in &all {
            assert_eq!(tokens.find(token.as_bytes()), Some(&Principal::named(name)));
        }
        assert_eq!(all.iter().map(|(_, token)| token).collect::<HashSet<_>>().len(), 32);
        let text = fs::read_to_string(&path).expect("a text");
        assert_eq!((text.lines().count(), text.matches("key ").count()), (33, 1));
    }
}
