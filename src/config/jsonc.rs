//! JSON as editors write it: with comments, and with commas behind the last element. Every value knows where it stands.

/// Deeper than any configuration goes.
const MAX_DEPTH: usize = 64;

#[derive(Debug, PartialEq)]
pub(super) struct Node {
    /// In bytes.
    pub(super) at: usize,
    pub(super) json: Json,
}

#[derive(Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// As it was written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

#[derive(Debug, PartialEq)]
pub(super) struct Member {
    /// Where its name stands.
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) node: Node,
}

/// What is wrong with a text, and where.
pub(super) type Fault = (usize, &'static str);

impl Node {
    pub(super) fn called(&self) -> &'static str {
        match self.json {
            Json::Null => "null",
            Json::Bool(_) => "true or false",
            Json::Number(_) => "a number",
            Json::Text(_) => "a text",
            Json::List(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    let mut reader = Reader { text, at: 0 };
    let node = reader.value(0)?;
    reader.space()?;
    if reader.at < text.len() { Err((reader.at, "there is more behind the end; leave it out")) } else { Ok(node) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&mut self) -> Result<Option<u8>, Fault> {
        self.space()?;
        Ok(self.text.as_bytes().get(self.at).copied())
    }

    /// Passes over white space and comments.
    fn space(&mut self) -> Result<(), Fault> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
            let comment = match &rest[blank..] {
                rest if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
                rest if rest.starts_with("/*") => match rest.find("*/") {
                    Some(end) if end > 1 => end + 2,
                    _ => return Err((self.at + blank, "this comment does not end; write */ behind it")),
                },
                _ => 0,
            };
            self.at += blank + comment;
            if comment == 0 {
                return Ok(());
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            return Err((self.at, "this is nested too deep"));
        }
        let first = self.peek()?;
        let at = self.at;
        let json = match first {
            Some(b'{') => Json::Object(self.object(depth)?),
            Some(b'[') => Json::List(self.list(depth)?),
            Some(b'"') => Json::Text(self.text()?),
            Some(b'-' | b'0'..=b'9') => Json::Number(self.number()?),
            Some(b'\'') => return Err((at, "a text stands in double quotes; write \" in place of '")),
            Some(_) => self.word()?,
            None => return Err((at, "a value is missing")),
        };
        Ok(Node { at, json })
    }

    fn word(&mut self) -> Result<Json, Fault> {
        for (word, json) in [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))] {
            if self.rest().strip_prefix(word).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')) {
                self.at += word.len();
                return Ok(json);
            }
        }
        Err((self.at, "this is no value; a text stands in double quotes"))
    }

    fn number(&mut self) -> Result<String, Fault> {
        let end = self.rest().find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(self.rest().len());
        let number = self.rest()[..end].to_owned();
        if serde_json::from_str::<serde_json::Number>(&number).is_err() {
            return Err((self.at, "this is no number"));
        }
        self.at += end;
        Ok(number)
    }

    fn text(&mut self) -> Result<String, Fault> {
        let at = self.at;
        let mut end = None;
        let mut is_escaped = false;
        for (place, byte) in self.rest().bytes().enumerate().skip(1) {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => {
                    end = Some(place + 1);
                    break;
                }
                b'\n' => break,
                _ => {}
            }
        }
        let end = end.ok_or((at, "this text does not end on its line; write \" behind it, and \\n for a new line"))?;
        let token = &self.rest()[..end];
        let text =
            serde_json::from_str(token).map_err(|_| (at, "this text has an escape or a character that JSON does not have"))?;
        self.at += end;
        Ok(text)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Fault> {
        let mut nodes = Vec::new();
        self.at += 1;
        while self.peek()? != Some(b']') {
            nodes.push(self.value(depth + 1)?);
            if self.peek()? != Some(b']') {
                self.pass(b',', "a comma or ] is missing here")?;
            }
        }
        self.at += 1;
        Ok(nodes)
    }

    fn object(&mut self, depth: usize) -> Result<Vec<Member>, Fault> {
        let mut members = Vec::new();
        self.at += 1;
        loop {
            match self.peek()? {
                Some(b'}') => break,
                Some(b'"') => {}
                _ => return Err((self.at, "a name in double quotes, or }, is missing here")),
            }
            let at = self.at;
            let name = self.text()?;
            self.pass(b':', "a colon is missing here")?;
            members.push(Member { at, name, node: self.value(depth + 1)? });
            if self.peek()? != Some(b'}') {
                self.pass(b',', "a comma or } is missing here")?;
            }
        }
        self.at += 1;
        Ok(members)
    }

    fn pass(&mut self, byte: u8, otherwise: &'static str) -> Result<(), Fault> {
        if self.peek()? != Some(byte) {
            return Err((self.at, otherwise));
        }
        self.at += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(node: &Node) -> serde_json::Value {
        match &node.json {
            Json::Null => serde_json::Value::Null,
            Json::Bool(is) => (*is).into(),
            Json::Number(number) => serde_json::from_str(number).expect("a number"),
            Json::Text(text) => text.as_str().into(),
            Json::List(nodes) => nodes.iter().map(plain).collect(),
            Json::Object(members) => members.iter().map(|member| (member.name.clone(), plain(&member.node))).collect(),
        }
    }

    #[test]
    fn comments_and_last_commas_are_passed_over() {
        let text = "// first\n{ /* a, \"b\" */ \"a\": [1, 2,], // \"c\"\r\n \"b\": {\"c\": null,},\n}/**/";
        assert_eq!(plain(&parse(text).expect("JSON")), serde_json::json!({"a": [1, 2], "b": {"c": null}}));
        let node = parse("\n[true, \"//\", -1.5e3]").expect("JSON");
        let Json::List(nodes) = &node.json else { panic!("an array") };
        assert_eq!((node.at, nodes.iter().map(|node| node.at).collect::<Vec<_>>()), (1, vec![2, 8, 14]));
        assert_eq!(nodes[1].json, Json::Text("//".to_owned()));
    }

    #[test]
    fn what_is_no_json_is_told_where_it_stands() {
        for (text, at, hint) in [
            ("", 0, "missing"),
            ("{", 1, "missing"),
            ("{'a': 1}", 1, "double quotes"),
            ("{\"a\" 1}", 5, "colon"),
            ("{\"a\": 1 \"b\": 2}", 8, "comma"),
            ("[1 2]", 3, "comma"),
            ("[,]", 1, "no value"),
            ("[1,,2]", 3, "no value"),
            ("['a']", 1, "double quotes"),
            ("\"a", 0, "does not end"),
            ("\"a\nb\"", 0, "does not end"),
            ("\"\\x\"", 0, "escape"),
            ("01", 0, "no number"),
            ("[1-2]", 1, "no number"),
            ("nul", 0, "no value"),
            ("nulls", 0, "no value"),
            ("{} {}", 3, "behind the end"),
            ("/* {}", 0, "does not end"),
            ("/*/ {}", 0, "does not end"),
            ("{\"a\":", 5, "missing"),
        ] {
            let (place, told) = parse(text).expect_err(text);
            assert_eq!(place, at, "{text}: {told}");
            assert!(told.contains(hint), "{text}: {told}");
        }
        assert_eq!(parse(&"[".repeat(100_000)).expect_err("too deep").1, "this is nested too deep");
    }

    proptest! {
        #[test]
        fn any_text_ends_in_an_answer(text in r#"[\[\]{}":,/*\\0-9a-e \n-]{0,40}"#) {
            let read = parse(&text);
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
                prop_assert_eq!(read.map(|node| plain(&node)), Ok(value));
            }
        }
    }
}
