//! Files of variables as VS Code reads them: the `envFile` of an MCP client's file. Pure. Names lines, and never what stands in
//! them. What `--env-file` names is read by `environment`, which takes every value as it is.

const QUOTES: [char; 3] = ['"', '\'', '`'];

/// What is wrong, each with its line.
type Faults = Vec<(usize, &'static str)>;

/// The variables, a later one after an earlier one of its name; or all that is wrong.
pub(super) fn variables(text: &str) -> Result<Vec<(String, String)>, Faults> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut pairs, mut faults) = (Vec::new(), Vec::new());
    for (at, line) in text.split('\n').enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match assignment(line) {
            Ok(pair) => pairs.push(pair),
            Err(text) => faults.push((at + 1, text)),
        }
    }
    if faults.is_empty() { Ok(pairs) } else { Err(faults) }
}

fn assignment(line: &str) -> Result<(String, String), &'static str> {
    if line.contains('\0') {
        return Err("has a NUL character in it; leave it out");
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim);
    let Some(end) = outside_quotes(line, &['=', ':']) else { return Err("has no = in it; write NAME=VALUE") };
    let (name, value) = (line[..end].trim(), line[end + 1..].trim());
    if name.is_empty() || name.contains('=') {
        return Err("has no name of a variable before its =; write NAME=VALUE");
    }
    let value = outside_quotes(value, &['#']).map_or(value, |comment| value[..comment].trim());
    Ok((name.to_owned(), plain(value)?))
}

/// A value without its quotes.
fn plain(value: &str) -> Result<String, &'static str> {
    let Some(quote) = value.chars().next().filter(|c| QUOTES.contains(c)) else { return Ok(value.to_owned()) };
    match value[1..].strip_suffix(quote) {
        Some(inner) if quote == '"' => Ok(inner.replace("\\n", "\n").replace("\\r", "\r")),
        Some(inner) => Ok(inner.to_owned()),
        None if is_closed(value, quote) => Ok(value.to_owned()),
        None => Err("has a quote that is not closed; close it on the same line (in double quotes, \\n is the end of a line)"),
    }
}

fn is_closed(value: &str, quote: char) -> bool {
    value.as_bytes().windows(2).any(|pair| char::from(pair[1]) == quote && pair[0] != b'\\')
}

/// Where the first of the characters stands that is in no quotes.
fn outside_quotes(text: &str, wanted: &[char]) -> Option<usize> {
    let (mut open, mut before) = (None, ' ');
    for (at, c) in text.char_indices() {
        match open {
            Some(quote) if c == quote && before != '\\' => open = None,
            Some(_) => {}
            None if QUOTES.contains(&c) => open = Some(c),
            None if wanted.contains(&c) => return Some(at),
            None => {}
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_vs_code_reads_them() {
        for (line, name, value) in [
            ("A=1", "A", "1"),
            ("  A = x y  ", "A", "x y"),
            ("A=", "A", ""),
            ("A=x=y", "A", "x=y"),
            ("A: x", "A", "x"),
            ("export A=1", "A", "1"),
            ("export  A=1", "A", "1"),
            ("exported=1", "exported", "1"),
            ("A=\"x y\"", "A", "x y"),
            ("A='x \"y\" '", "A", "x \"y\" "),
            ("A=`x`", "A", "x"),
            ("A=''", "A", ""),
            ("A=\"1\\n2\\r3\\t\"", "A", "1\n2\r3\\t"),
            ("A='1\\n2'", "A", "1\\n2"),
            ("A=\"x\\\"y\"", "A", "x\\\"y"),
            ("A=\"C:\\\"", "A", "C:\\"),
            ("A=x # why", "A", "x"),
            ("A=x#why", "A", "x"),
            ("A=\"x # y\" # why", "A", "x # y"),
            ("A=# why", "A", ""),
            ("A=don't # x", "A", "don't # x"),
            ("A=\"x\" y", "A", "\"x\" y"),
            ("Ä=ö", "Ä", "ö"),
        ] {
            assert_eq!(variables(line), Ok(vec![(name.to_owned(), value.to_owned())]), "{line}");
        }
    }

    #[test]
    fn comments_empty_lines_and_ends_of_lines_are_passed_over() {
        let pairs = variables("# A=0\r\n\r\n   # B=0\rA=1\n\t\nB=2\nA=3\n").expect("it is good");
        let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(pairs, ["A=1", "B=2", "A=3"]);
    }

    #[test]
    fn every_faulty_line_is_told_by_its_number() {
        let told = variables("A=1\nsecret\r\n=secret\n\"b=c\"=secret\nexport C\nD=se\0cret\nE=\"secret\nF='secret # x\nG='\n");
        let lines: Vec<usize> = told.as_ref().expect_err("it is faulty").iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9]);
        let texts: Vec<&str> = told.expect_err("it is faulty").iter().map(|(_, text)| &text[..14]).collect();
        let (none, name, quote) = ("has no = in it", "has no name of", "has a quote th");
        assert_eq!(texts, [none, name, name, none, "has a NUL char", quote, quote, quote]);
    }
}
