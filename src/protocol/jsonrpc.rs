//! The envelope of one JSON-RPC message: what it is, and where the few members stand that we read or replace. Everything
//! else is bytes that pass through. Called by `http::check` for what clients send and by `child::pipe` for what children write.

use std::borrow::Cow;

use super::scan::{Fault, Scanner, Span, Str, Value};

/// Longest id or progress token, in bytes as written. They are kept for as long as their call is in flight.
pub(crate) const MAX_ID: usize = 1024;

/// JSON-RPC 2.0 error codes (2025-11-25, Basic, and schema.ts).
pub(crate) const PARSE_ERROR: i32 = -32700;
pub(crate) const INVALID_REQUEST: i32 = -32600;
pub(crate) const METHOD_NOT_FOUND: i32 = -32601;
pub(crate) const INTERNAL_ERROR: i32 = -32603;
/// What a cancelled request of a legacy client is answered with, so that its stream ends.
pub(crate) const REQUEST_CANCELLED: i32 = -32800;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Notification,
    /// A result or an error.
    Answer,
}

/// The methods that the gateway itself knows; every other one only passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Initialize,
    Cancelled,
    Progress,
    /// `notifications/{tools,prompts,resources}/list_changed` and `notifications/resources/updated`.
    Changed,
    Other,
}

/// Where the members of a message stand that routing needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    pub(crate) kind: Kind,
    /// The id token; `None` on a notification, and on an error whose id is null.
    pub(crate) id: Option<Span>,
    method: Option<Str>,
    /// `params._meta.progressToken`: a request asks for progress under this token.
    pub(crate) asked_token: Option<Span>,
    /// `params.progressToken`: a progress notification is about this token.
    pub(crate) about_token: Option<Span>,
    /// `params.requestId`: a cancellation is about this request.
    pub(crate) about_request: Option<Span>,
    /// The value of `result`.
    pub(crate) result: Option<Span>,
}

/// Why bytes are not a message. `id` is where the id stood, if one could be read: a refusal echoes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    NotUtf8,
    NotJson(usize),
    TooDeep,
    /// A JSON array: a batch.
    Batch,
    /// JSON, but not a JSON-RPC 2.0 message of MCP.
    Shape(&'static str, Option<Span>),
}

impl From<Fault> for Unreadable {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Syntax(at) => Unreadable::NotJson(at),
            Fault::TooDeep => Unreadable::TooDeep,
        }
    }
}

/// Reads the envelope of one message. Members may stand in any order (some children write `id` last).
pub(crate) fn read(text: &[u8]) -> Result<Envelope, Unreadable> {
    if std::str::from_utf8(text).is_err() {
        return Err(Unreadable::NotUtf8);
    }
    let mut members = Members::default();
    let mut scanner = Scanner::new(text);
    let kind = scanner.peek()?;
    if kind == Value::Object {
        scanner.object(0, |scanner, name| members.member(scanner, text, name))?;
    } else {
        scanner.value(0)?;
    }
    scanner.end()?;
    match kind {
        Value::Object => members.envelope(),
        Value::Array => Err(Unreadable::Batch),
        _ => Err(Unreadable::Shape("a message must be an object", None)),
    }
}

impl Envelope {
    pub(crate) fn method(&self, text: &[u8]) -> Method {
        let Some(method) = self.method else { return Method::Other };
        let known = [
            ("initialize", Method::Initialize),
            ("notifications/cancelled", Method::Cancelled),
            ("notifications/progress", Method::Progress),
            ("notifications/tools/list_changed", Method::Changed),
            ("notifications/prompts/list_changed", Method::Changed),
            ("notifications/resources/list_changed", Method::Changed),
            ("notifications/resources/updated", Method::Changed),
        ];
        known.into_iter().find(|(word, _)| method.is(text, word)).map_or(Method::Other, |(_, method)| method)
    }

    /// The method's name as written, for logs; at most 64 bytes.
    pub(crate) fn method_name<'a>(&self, text: &'a [u8]) -> Cow<'a, str> {
        let raw = self.method.map_or(&b""[..], |method| method.raw(text));
        String::from_utf8_lossy(&raw[..raw.len().min(64)])
    }
}

/// What was seen so far of a message's members.
#[derive(Default)]
struct Members {
    version: Option<bool>,
    id: Option<(Value, Span)>,
    method: Option<(Value, Option<Str>)>,
    params: Option<Value>,
    meta: bool,
    asked_token: Option<Span>,
    about_token: Option<Span>,
    about_request: Option<Span>,
    result: Option<Span>,
    error: Option<Value>,
    wrong: Option<&'static str>,
}

impl Members {
    fn member(&mut self, scanner: &mut Scanner<'_>, text: &[u8], name: Str) -> Result<(), Fault> {
        if name.is(text, "jsonrpc") {
            let (kind, span) = scanner.value(1)?;
            let is_two = kind == Value::String && span.of(text) == b"\"2.0\"";
            once(&mut self.version, is_two, &mut self.wrong);
        } else if name.is(text, "id") {
            once(&mut self.id, scanner.value(1)?, &mut self.wrong);
        } else if name.is(text, "method") {
            let method = match scanner.peek()? {
                Value::String => (Value::String, Some(scanner.string()?)),
                _ => (scanner.value(1)?.0, None),
            };
            once(&mut self.method, method, &mut self.wrong);
        } else if name.is(text, "params") {
            let kind = scanner.peek()?;
            once(&mut self.params, kind, &mut self.wrong);
            if kind != Value::Object {
                return scanner.value(1).map(drop);
            }
            scanner.object(1, |scanner, name| self.param(scanner, text, name))?;
        } else if name.is(text, "result") {
            once(&mut self.result, scanner.value(1)?.1, &mut self.wrong);
        } else if name.is(text, "error") {
            once(&mut self.error, scanner.value(1)?.0, &mut self.wrong);
        } else {
            scanner.value(1)?;
        }
        Ok(())
    }

    fn param(&mut self, scanner: &mut Scanner<'_>, text: &[u8], name: Str) -> Result<(), Fault> {
        if name.is(text, "_meta") {
            // Which of two a child reads cannot be known, and one of them may hold a token that is not replaced.
            if std::mem::replace(&mut self.meta, true) {
                self.wrong = Some(DUPLICATE);
            }
            if scanner.peek()? != Value::Object {
                return scanner.value(2).map(drop);
            }
            scanner.object(2, |scanner, name| {
                let slot = name.is(text, "progressToken").then_some(&mut self.asked_token);
                token(scanner, 3, slot, &mut self.wrong)
            })
        } else {
            let slot = if name.is(text, "progressToken") {
                Some(&mut self.about_token)
            } else if name.is(text, "requestId") {
                Some(&mut self.about_request)
            } else {
                None
            };
            token(scanner, 2, slot, &mut self.wrong)
        }
    }

    /// The shape rules of JSON-RPC 2.0 as MCP narrows them (2025-11-25, Basic, Messages).
    fn envelope(self) -> Result<Envelope, Unreadable> {
        let id = self.id.and_then(|(kind, span)| {
            let short = span.end - span.start <= MAX_ID;
            (short && matches!(kind, Value::String | Value::Integer)).then_some(span)
        });
        let wrong = |text| Err(Unreadable::Shape(text, id));
        if let Some(text) = self.wrong {
            return Err(Unreadable::Shape(text, None));
        }
        if self.version != Some(true) {
            return wrong("\"jsonrpc\" must be \"2.0\"");
        }
        let null_id = matches!(self.id, Some((Value::Null, _)));
        let kind = match (self.method, self.result, self.error) {
            (Some((Value::String, _)), None, None) if self.id.is_some() => Kind::Request,
            (Some((Value::String, _)), None, None) => Kind::Notification,
            (None, Some(_), None) => Kind::Answer,
            (None, None, Some(Value::Object)) => Kind::Answer,
            (Some((Value::String, _)), ..) => return wrong("a message with a method has no result and no error"),
            (Some(_), ..) => return wrong("\"method\" must be a string"),
            (None, None, Some(_)) => return wrong("\"error\" must be an object"),
            (None, Some(_), Some(_)) => return wrong("an answer has a result or an error, not both"),
            (None, None, None) => return wrong("a message has a method, a result or an error"),
        };
        let id_may_be_null = kind == Kind::Answer && self.error.is_some() && null_id;
        if kind != Kind::Notification && id.is_none() && !id_may_be_null {
            return wrong("an id must be a string or an integer of at most 1024 bytes");
        }
        if !matches!(self.params, None | Some(Value::Object | Value::Null)) {
            return wrong("\"params\" must be an object");
        }
        Ok(Envelope {
            kind,
            id,
            method: self.method.and_then(|(_, method)| method),
            asked_token: self.asked_token,
            about_token: self.about_token,
            about_request: self.about_request,
            result: self.result,
        })
    }
}

const DUPLICATE: &str = "a member of the envelope stands twice";

fn once<T>(slot: &mut Option<T>, value: T, wrong: &mut Option<&'static str>) {
    if slot.replace(value).is_some() {
        *wrong = Some(DUPLICATE);
    }
}

/// Passes over a value that begins at `depth`; if it is a string or a number and there is a slot for it, remembers where it stood.
fn token(
    scanner: &mut Scanner<'_>,
    depth: usize,
    slot: Option<&mut Option<Span>>,
    wrong: &mut Option<&'static str>,
) -> Result<(), Fault> {
    let (kind, span) = scanner.value(depth)?;
    let Some(slot) = slot else { return Ok(()) };
    if slot.is_some() {
        *wrong = Some(DUPLICATE);
    }
    if matches!(kind, Value::String | Value::Integer | Value::Decimal) {
        if span.end - span.start > MAX_ID {
            *wrong = Some("a progress token or request id is longer than 1024 bytes");
        }
        *slot = Some(span);
    }
    Ok(())
}

/// An error answer. `id` is a token as the peer wrote it; `None` is null.
pub(crate) fn error(id: Option<&[u8]>, code: i32, message: &str, data: Option<serde_json::Value>) -> Vec<u8> {
    let id = id.map_or(Cow::Borrowed("null"), String::from_utf8_lossy);
    let message = serde_json::Value::from(message);
    let data = data.map(|data| format!(",\"data\":{data}")).unwrap_or_default();
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":{code},\"message\":{message}{data}}}}}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn envelope(text: &str) -> Envelope {
        read(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault:?}"))
    }

    fn at(text: &str, span: Option<Span>) -> &str {
        span.map_or("", |span| &text[span.start..span.end])
    }

    #[test]
    fn members_are_found_in_any_order() {
        let text = r#"{"params":{"name":"x","_meta":{"a":[{}],"progressToken":"t"}},"id":18446744073709551616,"method":"tools/call","jsonrpc":"2.0"}"#;
        let read = envelope(text);
        assert_eq!((read.kind, at(text, read.id), at(text, read.asked_token)), (Kind::Request, "18446744073709551616", "\"t\""));
        let text = r#"{"result":{"id":1,"method":"no"},"jsonrpc":"2.0","id":7}"#;
        let read = envelope(text);
        assert_eq!((read.kind, at(text, read.id), at(text, read.result)), (Kind::Answer, "7", r#"{"id":1,"method":"no"}"#));
    }

    #[test]
    fn ids_are_strings_or_integers() {
        for (id, good) in [
            ("1", true),
            ("-5", true),
            ("\"\"", true),
            ("\"_GET_stream\"", true),
            ("\"\\u0000\"", true),
            ("123456789012345678901234567890", true),
            ("1.0", false),
            ("1e3", false),
            ("null", false),
            ("true", false),
            ("[1]", false),
            ("{}", false),
        ] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            assert_eq!(read(text.as_bytes()).is_ok(), good, "{text}");
        }
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(MAX_ID - 1));
        assert!(matches!(read(long.as_bytes()), Err(Unreadable::Shape(..))));
    }

    #[test]
    fn a_message_that_is_not_json_rpc_is_refused_by_its_shape() {
        for text in [
            "1",
            "\"a\"",
            "{}",
            r#"{"a":1}"#,
            r#"{"id":1,"method":"m"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":5}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"m","result":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":3}"#,
            r#"{"jsonrpc":"2.0","result":1}"#,
            r#"{"jsonrpc":"2.0","id":null,"result":1}"#,
            r#"{"jsonrpc":"2.0","method":"m","params":[1]}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#,
            r#"{"jsonrpc":"2.0","method":"m","\u006dethod":"n"}"#,
            r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{},"_meta":{}}}"#,
            r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{"progressToken":1,"progressToken":2}}}"#,
        ] {
            assert!(matches!(read(text.as_bytes()), Err(Unreadable::Shape(..))), "{text}");
        }
        assert!(matches!(read(b"[]"), Err(Unreadable::Batch)));
        assert!(read(br#"{"jsonrpc":"2.0","id":null,"error":{}}"#).is_ok());
    }

    #[test]
    fn depth_counts_from_the_message_itself() {
        for (before, after, levels) in
            [(r#""x":"#, "", 1), (r#""params":{"a":"#, "}", 2), (r#""params":{"_meta":{"a":"#, "}}", 3)]
        {
            let nested = |depth: usize| {
                let value = format!("{}{}", "[".repeat(depth - levels), "]".repeat(depth - levels));
                read(format!(r#"{{"jsonrpc":"2.0","method":"m",{before}{value}{after}}}"#).as_bytes())
            };
            assert!(nested(128).is_ok(), "{levels}");
            assert_eq!(nested(129).err(), Some(Unreadable::TooDeep), "{levels}");
        }
    }

    #[test]
    fn a_name_in_another_case_is_just_an_unknown_member() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","paramſ":{"_meta":{"progressToken":1}}}"#;
        let read = envelope(text);
        assert_eq!((read.method(text.as_bytes()), read.asked_token), (Method::Other, None));
    }

    #[test]
    fn an_escaped_name_is_the_name() {
        let text = r#"{"jsonrpc":"2.0","\u0069d":1,"method":"init\u0069alize"}"#;
        let read = envelope(text);
        assert_eq!((read.method(text.as_bytes()), at(text, read.id)), (Method::Initialize, "1"));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(text: Vec<u8>) {
            let _ = read(&text);
        }
    }
}
