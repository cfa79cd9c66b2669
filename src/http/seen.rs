//! One look at all header fields of a request: what nearly every client sends needs no second one.

use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, ORIGIN, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue};

#[derive(Default)]
pub(super) struct Seen<'a> {
    /// Names and values together, in bytes.
    pub(super) size: usize,
    pub(super) has_coding: bool,
    pub(super) has_encoding: bool,
    pub(super) has_origin: bool,
    pub(super) host: Lines<'a>,
    pub(super) accept: Lines<'a>,
    pub(super) content_type: Lines<'a>,
}

/// The lines of one field.
#[derive(Default)]
pub(super) struct Lines<'a> {
    first: Option<&'a HeaderValue>,
    has_more: bool,
}

impl<'a> Seen<'a> {
    pub(super) fn of(fields: &'a HeaderMap) -> Seen<'a> {
        let mut seen = Seen::default();
        for (name, value) in fields {
            seen.size += name.as_str().len() + value.len() + 4;
            if *name == HOST {
                seen.host.add(value);
            } else if *name == ACCEPT {
                seen.accept.add(value);
            } else if *name == CONTENT_TYPE {
                seen.content_type.add(value);
            } else {
                seen.has_coding |= *name == TRANSFER_ENCODING;
                seen.has_encoding |= *name == CONTENT_ENCODING;
                seen.has_origin |= *name == ORIGIN;
            }
        }
        seen
    }
}

impl<'a> Lines<'a> {
    fn add(&mut self, line: &'a HeaderValue) {
        self.has_more = self.first.is_some();
        self.first.get_or_insert(line);
    }

    /// The line, if there is exactly one.
    pub(super) fn only(&self) -> Option<&'a HeaderValue> {
        self.first.filter(|_| !self.has_more)
    }

    pub(super) fn is(&self, text: &str) -> bool {
        self.only().is_some_and(|line| line == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_stands_more_than_once_has_no_only_line() {
        let mut fields = HeaderMap::new();
        fields.append(HOST, HeaderValue::from_static("a"));
        fields.append(ACCEPT, HeaderValue::from_static("b"));
        fields.append(CONTENT_ENCODING, HeaderValue::from_static("c"));
        let seen = Seen::of(&fields);
        assert!(seen.host.is("a") && !seen.host.is("b") && seen.accept.is("b"));
        assert!(seen.content_type.only().is_none() && !seen.content_type.is(""));
        assert!(seen.has_encoding && !seen.has_coding && !seen.has_origin);
        assert_eq!(seen.size, "hostaacceptbcontent-encodingc".len() + 3 * 4);
        for _ in 0..2 {
            fields.append(HOST, HeaderValue::from_static("a"));
            assert!(Seen::of(&fields).host.only().is_none());
        }
    }
}
