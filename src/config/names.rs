//! Names of servers, and names that were meant.

use super::build::DEFAULT;

const MAX_NAME: usize = 64;
/// What other programs call it, and what it is called here.
const ELSEWHERE: [(&str, &str); 9] = [
    ("command", "cmd"),
    ("args", "cmd"),
    ("program", "cmd"),
    ("environment", "env"),
    ("envfile", "env_file"),
    ("host", "listen"),
    ("port", "listen"),
    ("path", "endpoint"),
    ("timeout", "request_timeout"),
];

/// A name can stand in a path, a header field and a label as it is; if this cannot, what to write.
pub(super) fn check_server(name: &str) -> Result<(), String> {
    if name == DEFAULT {
        return Err("is what the server at the top of the file and of the command line is called; write another name".to_owned());
    }
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_plain) && !matches!(name, "." | "..") {
        return Ok(());
    }
    let plain = plain(name).unwrap_or_else(|| "my-server".to_owned());
    Err(format!("a server's name is 1 to {MAX_NAME} letters, digits, '.', '_' or '-'; write {plain:?}"))
}

/// What a server of another program's file is called here, where a name may be any text: what cannot stand in a path is a `-`.
pub(super) fn served_as(name: &str) -> Result<String, String> {
    match check_server(name) {
        Ok(()) => Ok(name.to_owned()),
        Err(text) if name == DEFAULT => Err(text),
        Err(text) => plain(name).ok_or(text),
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// A name that can stand in a path, if anything of this one can.
fn plain(name: &str) -> Option<String> {
    let plain: String = name.trim().chars().map(|c| if is_plain(c) { c } else { '-' }).take(MAX_NAME).collect();
    let plain = plain.trim_matches(['-', '.']);
    (!plain.is_empty() && plain != DEFAULT).then(|| plain.to_owned())
}

/// The one of the names that was meant, if it can be guessed.
pub(super) fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let plain = given.trim_start_matches('-').replace('-', "_").to_ascii_lowercase();
    let elsewhere = ELSEWHERE.iter().find(|(name, _)| *name == plain).map(|(_, here)| *here);
    if let Some(name) = names.clone().find(|name| Some(*name) == elsewhere) {
        return Some(name);
    }
    let most = 1 + plain.len() / 5;
    let near = names.filter(|name| plain.len().abs_diff(name.len()) <= most).map(|name| (distance(&plain, name), name));
    near.min().filter(|(distance, _)| *distance <= most).map(|(_, name)| name)
}

/// How many letters are to be added, left out, changed or exchanged with the next to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows: [Vec<usize>; 3] = [Vec::new(), Vec::new(), (0..=other.len()).collect()];
    for i in 0..one.len() {
        rows.rotate_left(1);
        let [before, above, row] = &mut rows;
        row.clear();
        row.push(i + 1);
        for j in 0..other.len() {
            let same = usize::from(one[i] != other[j]);
            let mut least = (above[j] + same).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && one[i] == other[j - 1] && one[i - 1] == other[j] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
    }
    rows[2].last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_typing_errors() {
        for (one, other, count) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "", 2),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("kitten", "sitting", 3),
            ("ä", "a", 1),
        ] {
            assert_eq!(distance(one, other), count, "{one} {other}");
        }
    }

    #[test]
    fn what_was_meant_is_guessed_from_near() {
        let names = ["max_sessions", "max_children", "listen", "cmd", "env_file", "cwd"];
        for (given, meant) in [
            ("max_session", Some("max_sessions")),
            ("max-sessions", Some("max_sessions")),
            ("--max-sessions", Some("max_sessions")),
            ("MAX_SESSIONS", Some("max_sessions")),
            ("max_childern", Some("max_children")),
            ("lisen", Some("listen")),
            ("port", Some("listen")),
            ("command", Some("cmd")),
            ("envFile", Some("env_file")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, names.into_iter()), meant, "{given}");
        }
        assert_eq!(nearest(&"x".repeat(1 << 20), names.into_iter()), None);
    }

    #[test]
    fn a_name_of_a_server_can_stand_anywhere_as_it_is() {
        for name in ["a", "my-server", "my_server.2", &"x".repeat(64)] {
            assert_eq!(check_server(name), Ok(()), "{name}");
        }
        for (name, meant) in [
            ("my server", "write \"my-server\""),
            ("@scope/server", "write \"scope-server\""),
            ("", "write \"my-server\""),
            ("..", "write \"my-server\""),
            ("größe", "write \"gr--e\""),
            ("default", "write another name"),
            (" default ", "write \"my-server\""),
        ] {
            assert!(check_server(name).is_err_and(|text| text.ends_with(meant)), "{name}");
        }
        assert!(check_server(&"x".repeat(65)).is_err());
    }

    #[test]
    fn any_other_name_is_served_as_one_that_can() {
        for (name, served) in [
            ("my-server", "my-server"),
            ("io.github.owner/name", "io.github.owner-name"),
            ("My Server", "My-Server"),
            ("@scope/server", "scope-server"),
            ("größe", "gr--e"),
            ("../../x", "x"),
            ("x".repeat(99).as_str(), "x".repeat(64).as_str()),
        ] {
            assert_eq!(served_as(name).as_deref(), Ok(served), "{name}");
        }
        for name in ["", " ", "/", "..", "サーバー", "default", " default "] {
            assert!(served_as(name).is_err_and(|text| text.contains("; write ")), "{name}");
        }
    }
}
