//! Objects read by name and written anew: members are found without building a tree, and what is kept keeps its bytes. For
//! texts that the scanner has accepted; on anything else nothing is found. Used by `bridge` and `http::check`.

use super::pieces::Pieces;
use super::scan::{Scanner, Str, Value};

/// A member of an object, as slices of the object's text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    object: &'a [u8],
    name: Str,
    pub(crate) kind: Value,
    pub(crate) value: &'a [u8],
    /// The member as it stands: name, colon, value.
    whole: &'a [u8],
}

impl Member<'_> {
    /// Whether this is its name. `word` must be plain ASCII.
    pub(crate) fn is(&self, word: &str) -> bool {
        self.name.is(self.object, word)
    }

    /// The name's token, quotes included.
    pub(crate) fn name(&self) -> &[u8] {
        self.name.token.of(self.object)
    }
}

/// The members of an object, in order; none if it is no object.
pub(crate) fn members(object: &[u8]) -> Vec<Member<'_>> {
    let mut found = Vec::new();
    let mut scanner = Scanner::new(object);
    let read = scanner.object(0, |scanner, name| {
        let (kind, value) = scanner.value(1)?;
        let whole = &object[name.token.range().start..value.range().end];
        found.push(Member { object, name, kind, value: value.of(object), whole });
        Ok(())
    });
    if read.is_err() {
        found.clear();
    }
    found
}

/// The member of that name; the last one, as most parsers have it.
pub(crate) fn member<'a>(object: &'a [u8], name: &str) -> Option<Member<'a>> {
    let mut found = None;
    let mut scanner = Scanner::new(object);
    let read = scanner.object(0, |scanner, given| {
        let (kind, value) = scanner.value(1)?;
        if given.is(object, name) {
            let whole = &object[given.token.range().start..value.range().end];
            found = Some(Member { object, name: given, kind, value: value.of(object), whole });
        }
        Ok(())
    });
    read.ok().and(found)
}

/// The value at the end of a path of member names.
pub(crate) fn at<'a>(object: &'a [u8], path: &[&str]) -> Option<Member<'a>> {
    let (first, rest) = path.split_first()?;
    let found = member(object, first)?;
    if rest.is_empty() { Some(found) } else { at(found.value, rest) }
}

/// The elements of an array; none if it is no array.
pub(crate) fn elements(array: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let read = Scanner::new(array).array(0, |scanner| {
        found.push(scanner.value(1)?.1.of(array));
        Ok(())
    });
    if read.is_err() {
        found.clear();
    }
    found
}

/// A string value, with its escapes undone; `None` for what is no string, or holds half a character.
pub(crate) fn string(value: &[u8]) -> Option<String> {
    serde_json::from_slice(value).ok()
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> Vec<u8> {
    serde_json::Value::from(text).to_string().into_bytes()
}

/// What becomes of a member.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Edit<'a> {
    Keep,
    Drop,
    Put(Vec<u8>),
    /// The same, with stretches of the object's text.
    Compose(Pieces<'a>),
}

/// The object with its members edited, and more members before and after them (names in plain ASCII, values JSON).
pub(crate) fn rewrite<'a>(
    object: &'a [u8],
    first: &[(&str, &[u8])],
    edit: impl FnMut(&Member<'a>) -> Edit<'a>,
    last: &[(&str, &[u8])],
) -> Vec<u8> {
    compose(object, first, edit, last).joined()
}

/// The same, without copying what is large and stays.
pub(crate) fn compose<'a>(
    object: &'a [u8],
    first: &[(&str, &[u8])],
    mut edit: impl FnMut(&Member<'a>) -> Edit<'a>,
    last: &[(&str, &[u8])],
) -> Pieces<'a> {
    let mut out = Pieces::with_room(object.len() + 128);
    let mut opener = &b"{"[..];
    let mut open = |out: &mut Pieces<'a>| out.add(std::mem::replace(&mut opener, b","));
    let mut put = |out: &mut Pieces<'a>, name: &[u8], value: &[u8]| {
        open(out);
        out.add(name);
        out.add(value);
    };
    for (name, value) in first {
        put(&mut out, format!("\"{name}\":").as_bytes(), value);
    }
    for member in members(object) {
        match edit(&member) {
            Edit::Keep => {
                put(&mut out, b"", b"");
                out.keep(member.whole);
            }
            Edit::Drop => {}
            Edit::Put(value) => {
                put(&mut out, member.name(), b":");
                out.add(&value);
            }
            Edit::Compose(value) => {
                put(&mut out, member.name(), b":");
                out.append(value);
            }
        }
    }
    for (name, value) in last {
        put(&mut out, format!("\"{name}\":").as_bytes(), value);
    }
    if out.is_empty() {
        out.add(b"{");
    }
    out.add(b"}");
    out
}

/// The array with every element written anew, without copying what is large and stays.
pub(crate) fn compose_elements<'a>(array: &'a [u8], mut write: impl FnMut(&'a [u8]) -> Pieces<'a>) -> Pieces<'a> {
    Pieces::array(elements(array).into_iter().map(&mut write))
}

/// The array with every element written anew.
pub(crate) fn map_elements(array: &[u8], mut write: impl FnMut(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let written: Vec<Vec<u8>> = elements(array).into_iter().map(&mut write).collect();
    [b"[", written.join(&b","[..]).as_slice(), b"]"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_keeps_its_bytes() {
        let object = br#"{ "a" : 1e400 ,"b":{"x":[1 ,2]}, "\u0063":"d" }"#;
        let edited = rewrite(
            object,
            &[("first", b"true")],
            |member| match () {
                () if member.is("b") => Edit::Drop,
                () if member.is("c") => Edit::Put(b"null".to_vec()),
                () => Edit::Keep,
            },
            &[("last", b"{}")],
        );
        assert_eq!(String::from_utf8_lossy(&edited), r#"{"first":true,"a" : 1e400,"\u0063":null,"last":{}}"#);
        assert_eq!(rewrite(b"{}", &[], |_| Edit::Keep, &[]), b"{}");
    }

    #[test]
    fn values_are_found_by_their_path() {
        let object = br#"{"a":{"b":[1]},"c":"x","c":"y"}"#;
        assert_eq!(at(object, &["a", "b"]).map(|found| found.value), Some(&b"[1]"[..]));
        assert_eq!(member(object, "c").map(|found| found.value), Some(&b"\"y\""[..]));
        assert!(at(object, &["a", "x"]).is_none());
        assert!(at(object, &["c", "x"]).is_none());
        assert!(members(b"[1]").is_empty() && elements(b"{}").is_empty());
        assert_eq!(map_elements(b"[1, {}]", |element| [element, b"!"].concat()), b"[1!,{}!]");
    }
}
