//! The token that a request gives: in `Authorization: Bearer`, or in `X-API-Key` for clients that can set no other field.
//! Never in the target, which proxies and logs write down.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a request says about who sends it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(test, fuzzing), derive(Debug))]
pub(crate) enum Given<'a> {
    None,
    /// Whatever stands where a token goes.
    Token(&'a [u8]),
    /// Another scheme, more than one token, or none where one was announced.
    Bad,
}

/// 2025-11-25, Authorization, Access Token Usage, Token Requirements 1: in the field `Authorization`, with the scheme `Bearer`.
pub(crate) fn credentials(fields: &HeaderMap) -> Given<'_> {
    match (only(fields, &AUTHORIZATION), only(fields, &X_API_KEY)) {
        (Ok(authorization), Ok(key)) => given(authorization, key),
        (Err(TooMany), _) | (_, Err(TooMany)) => Given::Bad,
    }
}

fn given<'a>(authorization: Option<&'a [u8]>, key: Option<&'a [u8]>) -> Given<'a> {
    let bearer = match authorization.map(bearer) {
        Some(Scheme::Bearer(token)) => Some(token),
        // What is for somebody else, such as a proxy, hides no key.
        Some(Scheme::Other) if key.is_none() => return Given::Bad,
        Some(Scheme::Other) | None => None,
    };
    match (bearer, key) {
        (None, None) => Given::None,
        (Some(b""), _) | (_, Some(b"")) => Given::Bad,
        // Both are what the client sent: nothing that it does not know can be told by how long this takes.
        (Some(bearer), Some(key)) if bearer != key => Given::Bad,
        (Some(token), _) | (None, Some(token)) => Given::Token(token),
    }
}

enum Scheme<'a> {
    Bearer(&'a [u8]),
    Other,
}

/// RFC 9110, 11.1: the name of a scheme is case-insensitive. RFC 6750, 2.1: behind it one space or more, then the token.
fn bearer(value: &[u8]) -> Scheme<'_> {
    let (scheme, rest) = value.split_at(value.iter().position(|byte| *byte == b' ').unwrap_or(value.len()));
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Scheme::Other;
    }
    Scheme::Bearer(rest.trim_ascii())
}

struct TooMany;

/// The value of a field that may stand once.
fn only<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, TooMany> {
    let mut lines = fields.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (line, None) => Ok(line.map(http::HeaderValue::as_bytes)),
        (_, Some(_)) => Err(TooMany),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a field value");
            fields.append(HeaderName::from_static(name), value);
        }
        fields
    }

    #[test]
    fn a_token_stands_in_one_of_two_fields() {
        const A: &str = "authorization";
        const K: &str = "x-api-key";
        let (none, token, bad) = (Given::None, Given::Token(b"t0k"), Given::Bad);
        let cases: &[(&[(&'static str, &str)], Given<'_>)] = &[
            (&[], none),
            (&[("cookie", "t0k")], none),
            (&[(A, "Bearer t0k")], token),
            (&[(A, "bearer t0k")], token),
            (&[(A, "BEARER   t0k")], token),
            (&[(A, "Bearer t0k ")], token),
            (&[(K, "t0k")], token),
            (&[(A, "Bearer t0k"), (K, "t0k")], token),
            (&[(A, "Bearer t0k"), (K, "T0k")], bad),
            (&[(A, "Bearer t0k"), (K, "")], bad),
            (&[(A, "Bearer"), (K, "t0k")], bad),
            (&[(A, "Bearer t0k"), (A, "Bearer t0k")], bad),
            (&[(A, "Bearer t0k"), (A, "Basic YTpi")], bad),
            (&[(K, "t0k"), (K, "t0k")], bad),
            (&[(K, "")], bad),
            (&[(A, "")], bad),
            (&[(A, "Bearer")], bad),
            (&[(A, "Bearer ")], bad),
            (&[(A, "t0k")], bad),
            (&[(A, "Bearert0k")], bad),
            (&[(A, "Bearer\tt0k")], bad),
            (&[(A, "Basic YTpi")], bad),
            (&[(A, "Basic YTpi"), (K, "t0k")], token),
            (&[(A, "Bearer t0k, Bearer t0k")], Given::Token(b"t0k, Bearer t0k")),
            (&[(K, "Bearer t0k")], Given::Token(b"Bearer t0k")),
        ];
        for (lines, expected) in cases {
            assert_eq!(credentials(&fields(lines)), *expected, "{lines:?}");
        }
    }

    #[test]
    fn a_token_may_be_any_bytes() {
        let mut fields = HeaderMap::new();
        fields.insert(X_API_KEY, HeaderValue::from_bytes(b"\xff\x80").expect("a field value"));
        assert_eq!(credentials(&fields), Given::Token(b"\xff\x80"));
    }
}
