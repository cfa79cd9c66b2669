//! The envelope of one JSON-RPC message: what it is, and where the few members stand that we read or replace. Everything
//! else is bytes that pass through. Called by `http::check` for what clients send and by `child::pipe` for what children write.

use std::borrow::Cow;

use super::meta;
use super::scan::{Fault, Scanner, Span, Str, Value};
use super::splice::splice;

/// Longest id or progress token, in bytes as written. They are kept for as long as their call is in flight.
pub(crate) const MAX_ID: usize = 1024;

/// JSON-RPC 2.0 error codes (2025-11-25, Basic, and schema.ts).
pub(crate) const PARSE_ERROR: i32 = -32700;
pub(crate) const INVALID_REQUEST: i32 = -32600;
pub(crate) const METHOD_NOT_FOUND: i32 = -32601;
pub(crate) const INVALID_PARAMS: i32 = -32602;
pub(crate) const INTERNAL_ERROR: i32 = -32603;
/// 2026-07-28, Basic, Error Codes.
pub(crate) const HEADER_MISMATCH: i32 = -32020;
pub(crate) const MISSING_CAPABILITY: i32 = -32021;
pub(crate) const UNSUPPORTED_VERSION: i32 = -32022;
/// A resource does not exist, up to 2025-11-25.
pub(crate) const RESOURCE_NOT_FOUND: i32 = -32002;
/// 2025-11-25, Elicitation, URL Elicitation Required Error.
pub(crate) const URL_ELICITATION_REQUIRED: i32 = -32042;
/// What a cancelled request of a legacy client is answered with, so that its stream ends.
pub(crate) const REQUEST_CANCELLED: i32 = -32800;

/// What a call is answered with that took too long.
pub(crate) const LATE: &str = "the server did not answer in time (--request-timeout, --request-timeout-max)";

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Notification,
    /// A result or an error.
    Answer,
}

/// The methods that the gateway itself knows; every other one only passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Method {
    Initialize,
    Cancelled,
    Progress,
    /// `notifications/{tools,prompts,resources}/list_changed` and `notifications/resources/updated`.
    Changed,
    #[default]
    Other,
}

/// Where the members of a message stand that routing needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    pub(crate) kind: Kind,
    /// The id token; `None` on a notification, and on an error whose id is null.
    pub(crate) id: Option<Span>,
    name: Option<Str>,
    pub(crate) method: Method,
    /// `params._meta.progressToken`: a request asks for progress under this token.
    pub(crate) asked_token: Option<Span>,
    /// `params.progressToken`: a progress notification is about this token.
    pub(crate) about_token: Option<Span>,
    /// `params.requestId`: a cancellation is about this request.
    pub(crate) about_request: Option<Span>,
    /// `params._meta."io.modelcontextprotocol/subscriptionId"`: a notification is about this `subscriptions/listen` request.
    pub(crate) about_subscription: Option<Span>,
    /// `params._meta."io.modelcontextprotocol/protocolVersion"` is there, whatever its value: the message claims the modern era.
    pub(crate) has_claim: bool,
    /// The value of `params`, if it is an object.
    pub(crate) params: Option<Span>,
    /// The value of `result`.
    pub(crate) result: Option<Span>,
    /// The value of `error`, an object.
    pub(crate) error: Option<Span>,
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

/// The messages of a batch, each still to be read (2025-03-26, Basic, Batching: at least one).
pub(crate) fn batch(text: &[u8]) -> Result<Vec<&[u8]>, Unreadable> {
    match read(text) {
        Err(Unreadable::Batch) => {}
        Err(fault) => return Err(fault),
        Ok(_) => return Err(Unreadable::Shape("a batch must be an array", None)),
    }
    let messages = super::object::elements(text);
    if messages.is_empty() { Err(Unreadable::Shape("a batch must hold a message", None)) } else { Ok(messages) }
}

impl Method {
    fn of(text: &[u8], name: Str) -> Method {
        let is = |word| name.is(text, word);
        match () {
            () if is("initialize") => Method::Initialize,
            () if is("notifications/cancelled") => Method::Cancelled,
            () if is("notifications/progress") => Method::Progress,
            () if is("notifications/tools/list_changed")
                || is("notifications/prompts/list_changed")
                || is("notifications/resources/list_changed")
                || is("notifications/resources/updated") =>
            {
                Method::Changed
            }
            () => Method::Other,
        }
    }
}

impl Envelope {
    /// Whether the method is that word. `word` must be plain ASCII.
    pub(crate) fn is_method(&self, text: &[u8], word: &str) -> bool {
        self.name.is_some_and(|name| name.is(text, word))
    }

    /// The method's token, quotes included.
    pub(crate) fn method_token<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        self.name.map_or(&b"null"[..], |name| name.token.of(text))
    }

    /// The method's name as written, for logs; at most 64 bytes.
    pub(crate) fn method_name<'a>(&self, text: &'a [u8]) -> Cow<'a, str> {
        let raw = self.name.map_or(&b""[..], |name| name.raw(text));
        String::from_utf8_lossy(&raw[..raw.len().min(64)])
    }
}

/// What was seen so far of a message's members.
#[derive(Default)]
struct Members {
    version: Option<bool>,
    id: Option<(Value, Span)>,
    method: Option<(Value, Option<Str>)>,
    known: Method,
    params: Option<(Value, Span)>,
    meta: bool,
    about_subscription: Option<Span>,
    has_claim: bool,
    asked_token: Option<Span>,
    about_token: Option<Span>,
    about_request: Option<Span>,
    result: Option<Span>,
    error: Option<(Value, Span)>,
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
            self.known = method.1.map_or(Method::Other, |name| Method::of(text, name));
            once(&mut self.method, method, &mut self.wrong);
        } else if name.is(text, "params") {
            let kind = scanner.peek()?;
            let start = scanner.position();
            if kind == Value::Object {
                scanner.object(1, |scanner, name| self.param(scanner, text, name))?;
            } else {
                scanner.value(1)?;
            }
            once(&mut self.params, (kind, Span::new(start..scanner.position())), &mut self.wrong);
        } else if name.is(text, "result") {
            once(&mut self.result, scanner.value(1)?.1, &mut self.wrong);
        } else if name.is(text, "error") {
            once(&mut self.error, scanner.value(1)?, &mut self.wrong);
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
                self.has_claim |= name.is(text, meta::PROTOCOL_VERSION);
                let slot = if name.is(text, "progressToken") {
                    Some(&mut self.asked_token)
                } else if name.is(text, meta::SUBSCRIPTION_ID) {
                    Some(&mut self.about_subscription)
                } else {
                    None
                };
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
            let short = span.range().len() <= MAX_ID;
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
            (None, None, Some((Value::Object, _))) => Kind::Answer,
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
        if !matches!(self.params, None | Some((Value::Object | Value::Null, _))) {
            return wrong("\"params\" must be an object");
        }
        Ok(Envelope {
            kind,
            id,
            name: self.method.and_then(|(_, name)| name),
            method: self.known,
            asked_token: self.asked_token,
            about_token: self.about_token,
            about_request: self.about_request,
            about_subscription: self.about_subscription,
            has_claim: self.has_claim,
            params: self.params.filter(|(kind, _)| *kind == Value::Object).map(|(_, span)| span),
            result: self.result,
            error: self.error.map(|(_, span)| span),
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
        if span.range().len() > MAX_ID {
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

/// A result answer, on one line. `id` is a token as the peer wrote it.
pub(crate) fn result(id: &[u8], result: &[u8]) -> Vec<u8> {
    splice(&[br#"{"jsonrpc":"2.0","id":"#, id, br#","result":"#, result, b"}"].concat(), &mut [], b"")
}

/// The line that answers a child's request with an empty result.
pub(crate) fn empty_result(id: &[u8]) -> Vec<u8> {
    [br#"{"jsonrpc":"2.0","id":"#, id, b",\"result\":{}}\n"].concat()
}

/// The line that answers a child's request with an error.
pub(crate) fn refusal(id: &[u8], code: i32, text: &str) -> Vec<u8> {
    let mut line = error(Some(id), code, text, None);
    line.push(b'\n');
    line
}

/// The line that cancels a request of ours.
pub(crate) fn cancellation(number: u64, reason: &str) -> Vec<u8> {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{{\"requestId\":{number},\"reason\":\"{reason}\"}}}}\n"
    )
    .into_bytes()
}

/// The message that takes a request back that a client has not answered; its id is a token.
pub(crate) fn withdrawal(id: &[u8], reason: &str) -> Vec<u8> {
    let params = [br#"{"requestId":"#, id, format!(",\"reason\":\"{reason}\"}}").as_bytes()].concat();
    [br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":"#, params.as_slice(), b"}"].concat()
}

#[cfg(test)]
mod tests;
