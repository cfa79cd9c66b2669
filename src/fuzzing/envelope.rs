//! The scanner and the envelope against `serde_json` and the rules of a message, told once more.

use std::borrow::Cow;

use super::input::Input;
use super::json::{self, Member};
use crate::protocol::jsonrpc::{self, Envelope, Kind, Unreadable};
use crate::protocol::object::{self, Edit};
use crate::protocol::scan::{Scanner, Span, Value};

/// What is accepted is what `serde_json` accepts, at most 128 deep, with the shape of one message; every span is where
/// `serde_json` finds the value. The messages of a batch are the elements of the array, and members that are written anew are
/// the members that were read.
///
/// Bytes that begin with 1 choose members of which a message, or a batch, is made; any others are the text.
pub fn envelope(bytes: &[u8]) {
    check(&text(bytes));
}

/// Whether that is one message: what `benches/scan` measures.
pub fn reads(text: &[u8]) -> bool {
    jsonrpc::read(text).is_ok()
}

/// The bytes, or what they choose.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, [u8]> {
    match bytes.split_first() {
        Some((1, choices)) => Cow::Owned(spelled(&mut Input::new(choices)).into_bytes()),
        _ => Cow::Borrowed(bytes),
    }
}

/// A message of these members, in any order and number; or a batch of them.
fn spelled(input: &mut Input<'_>) -> String {
    const MEMBERS: [&str; 24] = [
        r#""jsonrpc":"2.0""#,
        r#""jsonrpc":"2.0""#,
        r#""jsonrpc":"1.0""#,
        r#""id":1"#,
        r#""\u0069d":"a""#,
        r#""id":null"#,
        r#""id":1.0"#,
        r#""method":"initialize""#,
        r#""method":"notifications/cancelled""#,
        r#""method":1"#,
        r#""params":{}"#,
        r#""params":null"#,
        r#""params":[]"#,
        r#""params":{"_meta":{"progressToken":1},"requestId":"r"}"#,
        r#""params":{"_meta":{"progressToken":1,"progressToken":2}}"#,
        r#""params":{"_meta":{},"_\u006deta":{}}"#,
        r#""params":{"progressToken":null,"progressToken":1.5,"requestId":[],"_meta":[]}"#,
        r#""params":{"_meta":{"io.modelcontextprotocol/protocolVersion":1,"io.modelcontextprotocol/subscriptionId":"s"}}"#,
        r#""result":{}"#,
        r#""result":null"#,
        r#""error":{}"#,
        r#""error":1"#,
        r#""x":1"#,
        r#""\ud800":[{}]"#,
    ];
    let mut messages = Vec::new();
    for _ in 0..1 + input.below(3) {
        let members: Vec<&str> = (0..input.below(8)).map(|_| MEMBERS[input.below(MEMBERS.len())]).collect();
        messages.push(format!("{{{}}}", members.join(", ")));
    }
    if messages.len() == 1 { messages.remove(0) } else { format!("[{}]", messages.join("\r\n,")) }
}

fn check(bytes: &[u8]) {
    let read = jsonrpc::read(bytes);
    let batch = jsonrpc::batch(bytes);
    let Some(value) = json::value(bytes) else {
        let is_fault = |fault: &Unreadable| matches!(fault, Unreadable::NotUtf8 | Unreadable::NotJson(_) | Unreadable::TooDeep);
        assert!(read.as_ref().is_err_and(is_fault), "this is no JSON: {read:?}");
        assert!(batch.as_ref().is_err_and(is_fault), "this is no JSON");
        return;
    };
    if json::depth(value) > json::DEPTH {
        assert_eq!(read.err(), Some(Unreadable::TooDeep));
        assert_eq!(batch.err(), Some(Unreadable::TooDeep));
        return;
    }
    scanned(bytes, value);
    match value[0] {
        b'[' => {
            assert_eq!(read.err(), Some(Unreadable::Batch));
            let elements = json::elements(value);
            match batch {
                Ok(found) => assert!(found == elements && !elements.is_empty(), "a batch is its elements"),
                Err(fault) => assert!(elements.is_empty() && matches!(fault, Unreadable::Shape(..)), "{fault:?}"),
            }
            assert_eq!(object::elements(value), elements);
            elements.into_iter().for_each(|element| same(element, element, &jsonrpc::read(element)));
        }
        _ => {
            assert!(matches!(&batch, Err(Unreadable::Shape(..))), "no array is no batch: {batch:?}");
            same(bytes, value, &read);
        }
    }
}

/// The scanner finds the value where it stands, and its members.
fn scanned(text: &[u8], value: &[u8]) {
    let mut scanner = Scanner::new(text);
    let (kind, span) = scanner.value(0).expect("a JSON value");
    scanner.end().expect("nothing behind it");
    assert_eq!((span.range(), kind), (json::range(text, value), kind_of(value)));
    if kind == Value::Object {
        let (given, expected) = (object::members(value), json::members(value));
        assert_eq!(given.len(), expected.len());
        for (given, expected) in given.iter().zip(&expected) {
            assert_eq!((given.name(), given.value, given.kind), (expected.token, expected.value, kind_of(expected.value)));
            for word in WORDS {
                assert_eq!(given.is(word), expected.name.as_deref() == Some(word), "{word}");
            }
        }
        let written = object::rewrite(value, &[("first", b"1")], |_| Edit::Keep, &[("last", b"{}")]);
        let again: Vec<(&[u8], &[u8])> = json::members(&written).iter().map(|member| (member.token, member.value)).collect();
        assert_eq!(again.first(), Some(&(&b"\"first\""[..], &b"1"[..])));
        assert_eq!(again.last(), Some(&(&b"\"last\""[..], &b"{}"[..])));
        let kept = expected.iter().map(|member| (member.token, member.value));
        assert!(kept.eq(again[1..again.len() - 1].iter().copied()), "members that are kept keep their bytes");
    }
}

/// Compares one message, or what is none, with the rules.
fn same(text: &[u8], value: &[u8], read: &Result<Envelope, Unreadable>) {
    if value[0] != b'{' {
        let fault = if value[0] == b'[' {
            matches!(read, Err(Unreadable::Batch))
        } else {
            matches!(read, Err(Unreadable::Shape(_, None)))
        };
        return assert!(fault, "no object is no message: {read:?}");
    }
    let expected = Expected::of(value);
    match (read, expected.kind) {
        (Ok(envelope), Some(kind)) => expected.compare(text, envelope, kind),
        (Err(Unreadable::Shape(_, id)), None) => {
            let own = expected.id.filter(|id| is_id(id));
            let shown = id.map(|id| id.of(text));
            assert!(shown.is_none() || shown == own, "a refusal shows the id that stands there");
        }
        (read, kind) => assert_eq!(read.as_ref().ok().map(|envelope| envelope.kind), kind, "{read:?}"),
    }
}

/// What must be found in an object.
struct Expected<'a> {
    /// `None` if it is no message.
    kind: Option<Kind>,
    id: Option<&'a [u8]>,
    method: Option<&'a [u8]>,
    asked_token: Option<&'a [u8]>,
    about_token: Option<&'a [u8]>,
    about_request: Option<&'a [u8]>,
    about_subscription: Option<&'a [u8]>,
    has_claim: bool,
    params: Option<&'a [u8]>,
    result: Option<&'a [u8]>,
    error: Option<&'a [u8]>,
}

impl<'a> Expected<'a> {
    fn of(object: &'a [u8]) -> Expected<'a> {
        let members = json::members(object);
        let mut is_clear = true;
        let mut one = |name: &str| {
            let mut found = members.iter().filter(|member| member.name.as_deref() == Some(name));
            let first = found.next().map(|member| member.value);
            is_clear &= found.next().is_none();
            first
        };
        let (version, id, method) = (one("jsonrpc"), one("id"), one("method"));
        let (params, result, error) = (one("params"), one("result"), one("error"));
        let inner = params.filter(|params| params.starts_with(b"{")).map(json::members).unwrap_or_default();
        let metas: Vec<&Member<'_>> = inner.iter().filter(|member| member.name.as_deref() == Some("_meta")).collect();
        is_clear &= metas.len() < 2;
        let meta =
            metas.first().filter(|meta| meta.value.starts_with(b"{")).map(|meta| json::members(meta.value)).unwrap_or_default();
        let mut token = |members: &[Member<'a>], name: &str| {
            let mut found = None;
            for member in members.iter().filter(|member| member.name.as_deref() == Some(name)) {
                is_clear &= found.is_none(); // no other stands behind a token
                if member.value[0] == b'"' || is_number(member.value) {
                    is_clear &= member.value.len() <= 1024;
                    found = Some(member.value);
                }
            }
            found
        };
        let (about_token, about_request) = (token(&inner, "progressToken"), token(&inner, "requestId"));
        let asked_token = token(&meta, "progressToken");
        let about_subscription = token(&meta, "io.modelcontextprotocol/subscriptionId");
        let has_claim = meta.iter().any(|member| member.name.as_deref() == Some("io.modelcontextprotocol/protocolVersion"));
        let kind = match (method, result, error) {
            (Some([b'"', ..]), None, None) if id.is_some() => Some(Kind::Request),
            (Some([b'"', ..]), None, None) => Some(Kind::Notification),
            (None, Some(_), None) | (None, None, Some([b'{', ..])) => Some(Kind::Answer),
            _ => None,
        };
        let has_id = match kind {
            Some(Kind::Request) => id.is_some_and(is_id),
            Some(Kind::Answer) => id.is_some_and(|id| is_id(id) || error.is_some() && id == b"null"),
            _ => true,
        };
        let is_object = matches!(params, None | Some([b'{', ..] | b"null"));
        let is_message = is_clear && version == Some(b"\"2.0\"") && has_id && is_object;
        Expected {
            kind: kind.filter(|_| is_message),
            id,
            method,
            asked_token,
            about_token,
            about_request,
            about_subscription,
            has_claim,
            params: params.filter(|params| params.starts_with(b"{")),
            result,
            error,
        }
    }

    fn compare(&self, text: &[u8], envelope: &Envelope, kind: Kind) {
        let place = |part: Option<&[u8]>| part.map(|part| json::range(text, part));
        let given = |span: Option<Span>| span.map(|span| span.range());
        assert_eq!(envelope.kind, kind);
        assert_eq!(given(envelope.id), place(self.id.filter(|id| *id != b"null")), "id");
        assert_eq!(given(envelope.asked_token), place(self.asked_token), "_meta.progressToken");
        assert_eq!(given(envelope.about_token), place(self.about_token), "progressToken");
        assert_eq!(given(envelope.about_request), place(self.about_request), "requestId");
        assert_eq!(given(envelope.about_subscription), place(self.about_subscription), "subscriptionId");
        assert_eq!(given(envelope.params), place(self.params), "params");
        assert_eq!(given(envelope.result), place(self.result), "result");
        assert_eq!(given(envelope.error), place(self.error), "error");
        assert_eq!(envelope.has_claim, self.has_claim);
        assert_eq!(envelope.method_token(text), self.method.unwrap_or(b"null"));
        let method: Option<String> = self.method.and_then(|token| serde_json::from_slice(token).ok());
        for word in WORDS {
            assert_eq!(envelope.is_method(text, word), method.as_deref() == Some(word), "{word}");
        }
        assert!(envelope.method_name(text).len() <= 3 * 64, "a name for logs is short");
    }
}

fn is_number(token: &[u8]) -> bool {
    matches!(token[0], b'-' | b'0'..=b'9')
}

/// A string or an integer of at most 1024 bytes.
fn is_id(token: &[u8]) -> bool {
    let is_integer = is_number(token) && !token.iter().any(|byte| b".eE".contains(byte));
    token.len() <= 1024 && (token[0] == b'"' || is_integer)
}

fn kind_of(value: &[u8]) -> Value {
    match value[0] {
        b'{' => Value::Object,
        b'[' => Value::Array,
        b'"' => Value::String,
        b'n' => Value::Null,
        b't' | b'f' => Value::Bool,
        _ if value.iter().any(|byte| b".eE".contains(byte)) => Value::Decimal,
        _ => Value::Integer,
    }
}

/// Names that are told apart.
const WORDS: [&str; 8] = ["initialize", "notifications/cancelled", "tools/call", "id", "method", "params", "_meta", "a"];
