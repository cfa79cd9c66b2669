//! One spelling for all JSON texts that every parser reads alike: which clients a child may serve is told by it, and `fingerprint`
//! holds to it. Never passed on, only compared. Numbers are never parsed.

use super::scan::{Fault, Scanner, Value};
use super::splice;

/// The one spelling: no white space, the members of an object sorted by their names, strings with their escapes undone where
/// JSON lets them. Numbers stay as written (`1` and `1.0` differ to some parsers), and so does the order of members of one
/// name, of which some parsers keep the first and some the last.
///
/// A text that the scanner does not take has no other spelling than itself.
pub(crate) fn canonical(text: &[u8]) -> Vec<u8> {
    let mut scanner = Scanner::new(text);
    let mut out = Vec::with_capacity(text.len());
    match spell(&mut scanner, text, 0, &mut out).and_then(|()| scanner.end()) {
        Ok(()) => out,
        Err(_) => text.to_vec(),
    }
}

/// Appends the value that begins here, `depth` containers deep. The scanner refuses what is deeper than `MAX_DEPTH`.
fn spell(scanner: &mut Scanner<'_>, text: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    match scanner.peek()? {
        Value::Object => {
            let start = out.len();
            let mut members = Vec::new();
            scanner.object(depth, |scanner, name| {
                let name = splice::canonical(name.token.of(text));
                let member = out.len();
                out.extend_from_slice(&name);
                out.push(b':');
                spell(scanner, text, depth + 1, out)?;
                members.push((name, member..out.len()));
                Ok(())
            })?;
            members.sort_by(|(one, _), (other, _)| one.cmp(other)); // stable: one name's members stay in order
            let sorted: Vec<&[u8]> = members.into_iter().map(|(_, member)| &out[member]).collect();
            let sorted = sorted.join(&b","[..]);
            out.truncate(start);
            out.push(b'{');
            out.extend_from_slice(&sorted);
            out.push(b'}');
        }
        Value::Array => {
            out.push(b'[');
            let mut separator = None;
            scanner.array(depth, |scanner| {
                out.extend(separator.replace(b','));
                spell(scanner, text, depth + 1, out)
            })?;
            out.push(b']');
        }
        Value::String => out.extend_from_slice(&splice::canonical(scanner.string()?.token.of(text))),
        _ => out.extend_from_slice(scanner.value(depth)?.1.of(text)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn fingerprint(text: &[u8]) -> [u8; 32] {
        crate::protocol::fingerprint::fingerprint("", &[Some(text)])
    }

    fn spelled(text: &str) -> String {
        String::from_utf8(canonical(text.as_bytes())).expect("UTF-8")
    }

    #[test]
    fn texts_that_mean_the_same_have_one_spelling() {
        for (text, one) in [
            (" null\r\n", "null"),
            ("\t[ 1 , [ ] ,{ } , true,false ]", "[1,[],{},true,false]"),
            (r#"{ "b" : 1 , "a" : { "d":[ ], "c":"" } }"#, r#"{"a":{"c":"","d":[]},"b":1}"#),
            (r#"{"\u0062":1,"a":2}"#, r#"{"a":2,"b":1}"#),
            (r#""\u00e9\/\u0022\u005c\u000a\ud83d\ude00""#, "\"é/\\\"\\\\\\n😀\""),
            (r#"{"a":{"z":1},"a":{"y":1},"A":0}"#, r#"{"A":0,"a":{"z":1},"a":{"y":1}}"#),
            (r#"[1,1.0,1e0,10E-1,-0,9007199254740993,1e999]"#, r#"[1,1.0,1e0,10E-1,-0,9007199254740993,1e999]"#),
            (r#"{"\ud800b":1,"\ud800a": "\udc00"}"#, r#"{"\ud800a":"\udc00","\ud800b":1}"#),
        ] {
            assert_eq!(spelled(text), one);
            assert_eq!(fingerprint(text.as_bytes()), fingerprint(one.as_bytes()));
            assert_eq!(spelled(one), one);
        }
    }

    #[test]
    fn texts_that_some_parser_tells_apart_have_two() {
        for (one, other) in [
            ("1", "1.0"),
            ("1", "\"1\""),
            ("0", "-0"),
            ("[]", "{}"),
            ("[1,2]", "[2,1]"),
            ("[[1],2]", "[[1,2]]"),
            ("null", "\"null\""),
            (r#""a""#, r#""A""#),
            (r#""\ud800""#, r#""\ud801""#),
            (r#""\\ud800""#, r#""\ud800""#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#),
            (r#"{"a":{"b":1}}"#, r#"{"a":{},"b":1}"#),
            (r#"{"a":null}"#, "{}"),
        ] {
            assert_ne!(spelled(one), spelled(other));
            assert_ne!(fingerprint(one.as_bytes()), fingerprint(other.as_bytes()), "{one} {other}");
        }
    }

    #[test]
    fn a_fingerprint_counts_what_is_not_there_and_where_texts_end() {
        let of = crate::protocol::fingerprint::fingerprint;
        let texts: [&[Option<&[u8]>]; 8] = [
            &[],
            &[None],
            &[None, Some(b"1")],
            &[Some(b"1"), None],
            &[Some(b"1"), Some(b"2")],
            &[Some(b"12"), None],
            &[Some(b"1 2")],
            &[Some(b"12")],
        ];
        for (at, one) in texts.iter().enumerate() {
            assert!(texts[..at].iter().all(|other| of("a", one) != of("a", other)), "{one:?}");
            assert_ne!(of("a", one), of("b", one));
        }
    }

    #[test]
    fn what_is_not_json_stays_as_it_is() {
        let deep = format!("{}{}", " [".repeat(129), "]".repeat(129));
        for text in ["", " ", "{ ", " [1,]", " {\"b\":1,}", "1 2", "{\"b\": 1, \"a\"}", "\"\\x\"", &deep] {
            assert_eq!(spelled(text), text);
        }
        let deep = format!("{}{}", " [".repeat(128), "]".repeat(128));
        assert_eq!(spelled(&deep), deep.replace(' ', ""));
    }

    /// A JSON value, with members in the order they are written.
    #[derive(Clone, Debug)]
    enum Tree {
        Token(&'static str),
        String(String),
        Array(Vec<Tree>),
        Object(Vec<(String, Tree)>),
    }

    fn tree() -> impl Strategy<Value = Tree> {
        let token = prop::sample::select(vec!["null", "true", "false", "0", "-0", "1", "1.0", "1e400", "9007199254740993"]);
        let string = "[ab\\\\\"\u{1}/é😀]{0,3}";
        let leaf = prop_oneof![token.prop_map(Tree::Token), string.prop_map(Tree::String)];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Tree::Array),
                vec((string, inner), 0..4).prop_map(|mut members| {
                    // Names stand once: the order of two of one name may not change.
                    members.sort_by(|(one, _), (other, _)| one.cmp(other));
                    members.dedup_by(|(one, _), (other, _)| one == other);
                    Tree::Object(members)
                }),
            ]
        })
    }

    /// Some spelling of the tree; each draw of `dice` decides one thing.
    fn write(tree: &Tree, dice: &mut impl FnMut(usize) -> usize, out: &mut String) {
        let space = |dice: &mut dyn FnMut(usize) -> usize| ["", "", " ", "\t", "\r\n", "  \n"][dice(6)];
        out.push_str(space(dice));
        match tree {
            Tree::Token(token) => out.push_str(token),
            Tree::String(text) => write_string(text, dice, out),
            Tree::Array(elements) => {
                for (at, element) in elements.iter().enumerate() {
                    out.push(if at == 0 { '[' } else { ',' });
                    write(element, dice, out);
                }
                out.push_str(if elements.is_empty() { "[\n]" } else { "]" });
            }
            Tree::Object(members) => {
                let mut left: Vec<&(String, Tree)> = members.iter().collect();
                let mut opener = '{';
                while !left.is_empty() {
                    let (name, value) = left.remove(dice(left.len()));
                    out.push(std::mem::replace(&mut opener, ','));
                    out.push_str(space(dice));
                    write_string(name, dice, out);
                    out.push_str(space(dice));
                    out.push(':');
                    write(value, dice, out);
                }
                out.push_str(if members.is_empty() { "{ }" } else { "}" });
            }
        }
        out.push_str(space(dice));
    }

    fn write_string(text: &str, dice: &mut impl FnMut(usize) -> usize, out: &mut String) {
        out.push('"');
        for character in text.chars() {
            let must = character == '"' || character == '\\' || character < ' ';
            match dice(3) {
                0 => character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
                1 => character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04X}"))),
                _ if must => {
                    let short = serde_json::Value::from(character.to_string()).to_string();
                    out.push_str(&short[1..short.len() - 1]);
                }
                _ => out.push(character),
            }
        }
        out.push('"');
    }

    fn written(tree: &Tree, draws: &[usize]) -> String {
        let (mut out, mut draw) = (String::new(), draws.iter().cycle());
        write(tree, &mut |sides| draw.next().map_or(0, |draw| draw % sides), &mut out);
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn the_spelling_does_not_depend_on_how_a_text_was_written(tree in tree(), one in vec(0..60_usize, 1..40), other in vec(0..60_usize, 1..40)) {
            let (one, other) = (written(&tree, &one), written(&tree, &other));
            prop_assert_eq!(spelled(&one), spelled(&other));
            prop_assert_eq!(fingerprint(one.as_bytes()), fingerprint(other.as_bytes()));
            prop_assert_eq!(spelled(&spelled(&one)), spelled(&other));
        }

        #[test]
        fn the_spelling_depends_on_everything_else(one in tree(), other in tree(), draws in vec(0..60_usize, 1..40)) {
            let plain = |tree: &Tree| written(tree, &[2]); // one way of writing: names sorted, no choice taken
            let same = plain(&one) == plain(&other);
            let (one, other) = (written(&one, &draws), written(&other, &draws));
            prop_assert_eq!(spelled(&one) == spelled(&other), same);
            prop_assert_eq!(fingerprint(one.as_bytes()) == fingerprint(other.as_bytes()), same);
        }

        #[test]
        fn any_bytes_end_in_an_answer(text: Vec<u8>) {
            let _ = (canonical(&text), fingerprint(&text));
        }
    }
}
