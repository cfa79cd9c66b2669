//! Which files are good, and what is said of those that are not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::auth::Tokens;
use crate::principal::Principal;

/// A file with these names and tokens.
fn text(tokens: &[(&str, &str)]) -> String {
    let tokens: Vec<(&str, &[u8])> = tokens.iter().map(|(name, token)| (*name, token.as_bytes())).collect();
    Tokens::lines(&tokens).join("\n") + "\n"
}

/// What the file has behind the name.
fn hash_of(token: &str) -> String {
    text(&[("", token)]).split_whitespace().last().expect("a hash").to_owned()
}

const KEY: [u8; 32] = [1; 32];

fn names(text: &str) -> Vec<String> {
    parse(text.as_bytes()).expect("a good file").entries.into_iter().map(|entry| entry.name).collect()
}

/// Each fault: its line (0: the whole file), and what is said.
fn faults(text: &str) -> Vec<(usize, String)> {
    let faults = parse(text.as_bytes()).expect_err("a bad file");
    faults.into_iter().map(|fault| (fault.line.unwrap_or(0), fault.text)).collect()
}

/// A file in a folder that goes with it.
fn file(text: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens");
    fs::write(&path, text).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("allowed");
    (folder, path)
}

fn refused(path: &Path) -> String {
    Tokens::read(path).expect_err("refused").to_string()
}

#[test]
fn comments_white_space_line_ends_and_case_do_not_matter() {
    let plain = text(&[("alice", "a"), ("bob", "b")]);
    let (hash, key) = (hash_of("a"), hex(&KEY));
    for text in [
        plain.clone(),
        plain.trim_end().to_owned(),
        plain.replace('\n', "\r\n"),
        plain.replace(' ', "\t \t"),
        plain.replace('\n', " \t\n"),
        plain.replace('\n', "\n\n# a comment, key, and mcpgw_ in it\n   \t\n\t#\n"),
        format!("# a comment\n\n{plain}"),
        plain.replace(&hash, &hash.to_uppercase()).replace(&key, &key.to_uppercase()),
    ] {
        assert_eq!(names(&text), ["alice", "bob"], "{text}");
        let (key, contents) = parse(text.as_bytes()).expect("a good file").whole().expect("a key");
        assert_eq!(Tokens::new(&key, contents).find(b"a"), Some(&Principal::named("alice")), "{text}");
    }
}

#[test]
fn a_file_may_have_no_tokens_and_one_that_is_being_made_no_key() {
    assert!(names(&text(&[])).is_empty());
    for text in ["", "\n", "# nothing yet\n"] {
        let contents = parse(text.as_bytes()).expect("no fault");
        assert!(contents.key.is_none() && contents.entries.is_empty());
        assert!(contents.whole().expect_err("no key").text.contains("token new NAME --file FILE"));
    }
}

#[test]
fn names_have_a_small_alphabet() {
    let longest = "x".repeat(64);
    for name in ["a", "alice@example.com", "ci-runner_2.prod", "-", ".", "Key", "keys", &longest] {
        assert!(is_name(name), "{name}");
    }
    let longer = "x".repeat(65);
    for name in ["", "a b", "a:b", "a/b", "ä", "a\u{7f}", "a\n", "#a", "a\"", "key", "anonymous", "mcpgw_x", &longer] {
        assert!(!is_name(name), "{name}");
    }
}

#[test]
fn every_fault_is_told_by_its_line_and_without_what_stands_there() {
    let (key, hash, other) = (format!("key {}", hex(&KEY)), hash_of("a"), hash_of("b"));
    let cases: &[(String, &[(usize, &str)])] = &[
        (format!("alice {hash}\n{key}\n"), &[(1, "before the key"), (2, "behind tokens")]),
        (format!("alice {hash}\nbob {other}\n"), &[(1, "before the key")]),
        ("key\n".to_owned(), &[(1, "64 hexadecimal digits")]),
        (format!("{key}0\n"), &[(1, "64 hexadecimal digits")]),
        (format!("key {}g\nalice {hash}\n", &hash[1..]), &[(1, "64 hexadecimal digits")]),
        (format!("{key}\n# \n{key}\n"), &[(3, "the first is in line 1")]),
        (format!("key {hash} x\n"), &[(1, "NAME HASH")]),
        (format!("{key}\nalice\n"), &[(2, "NAME HASH")]),
        (format!("{key}\nalice {hash} a laptop\n"), &[(2, "NAME HASH")]),
        (format!("{key}\nalice:{hash}\n"), &[(2, "NAME HASH")]),
        (format!("{key}\nal/ice {hash}\n"), &[(2, "1 to 64 of")]),
        (format!("{key}\nanonymous {hash}\n"), &[(2, "1 to 64 of")]),
        (format!("{key}\nalice {}\n", &hash[1..]), &[(2, "no good hash")]),
        (format!("{key}\nalice {hash}\n\nbob {hash}\ncarol {hash}\n"), &[(4, "of line 2"), (5, "of line 2")]),
        (format!("{key}\nalice mcpgw_secret\n"), &[(2, "make a new token")]),
        (format!("{key}\nmcpgw_secret\n"), &[(2, "make a new token")]),
        (format!("{key}\nsecret!\n\nbob {hash}\n/ {hash}\nx y\n"), &[(2, "NAME HASH"), (5, "1 to 64"), (6, "no good hash")]),
        (format!("\u{feff}{key}\n"), &[(1, "before the key")]),
    ];
    for (text, expected) in cases {
        let found = faults(text);
        let is_expected = found.iter().zip(*expected).all(|((line, text), (at, part))| line == at && text.contains(part));
        assert!(found.len() == expected.len() && is_expected, "{text}: {found:#?}");
        let told = format!("{found:?}");
        assert!(!told.contains(&hash[..8]) && !told.contains("secret"), "{told}");
    }
}

#[test]
fn text_that_is_not_utf_8_is_a_fault_or_a_comment() {
    let mut text = text(&[]).into_bytes();
    text.extend(b"# \xff\n");
    assert!(parse(&text).is_ok());
    text.extend([b"\xff ", hash_of("a").as_bytes()].concat());
    assert_eq!(parse(&text).expect_err("refused").len(), 1);
}

#[test]
fn a_file_of_something_else_is_told_to_be_one() {
    let found = faults(&"x\n".repeat(10_000));
    assert_eq!(found.len(), MAX_FAULTS + 1);
    assert!(found.last().is_some_and(|(line, text)| *line == 0 && text.contains("is it a file of tokens?")));
}

#[test]
fn a_file_has_at_most_4096_tokens() {
    let all = (0..MAX_TOKENS + 1).map(|at| format!("n {at:064x}\n")).collect::<Vec<_>>();
    let with = |count: usize| format!("key {}\n{}", hex(&KEY), all[..count].concat());
    assert_eq!(names(&with(MAX_TOKENS)).len(), 4096);
    let found = faults(&with(MAX_TOKENS + 1));
    assert!(found.len() == 1 && found[0].1.contains("has 4097 tokens, and may have 4096"), "{found:?}");
}

#[test]
fn a_file_that_others_may_write_is_refused_whatever_it_says() {
    for mode in [0o620, 0o602, 0o666, 0o622] {
        let (_folder, path) = file(text(&[]).as_bytes(), mode);
        let told = refused(&path);
        assert!(told.ends_with("write chmod go-w") && told.lines().count() == 1, "{told}");
    }
    for mode in [0o600, 0o400, 0o640, 0o644, 0o755] {
        let (_folder, path) = file(text(&[]).as_bytes(), mode);
        assert!(Tokens::read(&path).is_ok(), "{mode:o}");
    }
    let (_folder, path) = file(b"x\n\ny\n", 0o666);
    let told = refused(&path);
    assert!(told.lines().count() == 3 && told.lines().all(|line| line.starts_with(&*path.to_string_lossy())), "{told}");
    assert!(told.contains("tokens, line 3: "), "{told}");
}

#[test]
fn what_is_no_file_of_tokens_at_all_is_refused_at_once() {
    let (folder, path) = file(&vec![b'#'; (1 << 20) + 1], 0o600);
    assert!(refused(&path).ends_with("is larger than 1 MiB, and so no file of tokens"));
    fs::write(&path, vec![b'#'; 1 << 20]).expect("written");
    assert!(refused(&path).contains("has no key"));
    assert!(refused(folder.path()).contains("is not a regular file"));
    assert!(refused(&folder.path().join("other")).contains("token new NAME --file FILE"));
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).expect("a pipe");
    assert!(refused(&pipe).contains("is not a regular file"));
}
