//! Of which era a POST is, and what a modern one must say twice: in its header fields and in its body (2026-07-28, Streamable
//! HTTP, Request Metadata and Server Validation; Basic, General fields, `_meta`).

use http::{HeaderMap, HeaderName};

use super::refusal::Refusal;
use crate::protocol::headers::{METHOD, NAME, PROTOCOL_VERSION};
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::meta::{self, Ask, Level, Request};
use crate::protocol::mirror::{self, Numbers};
use crate::protocol::object;
use crate::protocol::revision::Revision;
use crate::protocol::scan::Value;

/// Whether the `MCP-Protocol-Version` field names a modern revision, ours or another.
pub(super) fn is_modern(fields: &HeaderMap) -> bool {
    fields.get_all(PROTOCOL_VERSION).iter().any(|line| line.to_str().is_ok_and(|date| Revision::is_modern(date.trim())))
}

/// A modern request that agrees with its header fields: what it asks for, and the log level it wants.
pub(super) fn request(fields: &HeaderMap, text: &[u8], envelope: &Envelope) -> Result<(Ask, Option<Level>), Refusal> {
    for name in [&PROTOCOL_VERSION, &METHOD, &NAME] {
        if fields.get_all(name).iter().nth(1).is_some() {
            return Err(mismatch(&format!("{name} stands twice")));
        }
    }
    let ask = Ask::of(text, envelope);
    let Some(version) = field(fields, &PROTOCOL_VERSION) else {
        return Err(mismatch("MCP-Protocol-Version is missing"));
    };
    if !envelope.has_claim && envelope.is_method(text, "initialize") {
        return Err(mismatch("initialize is of no revision that MCP-Protocol-Version names"));
    }
    let request = Request::read(text, envelope, ask);
    let claim = required(&request)?;
    if claim != version {
        return Err(mismatch(&format!("MCP-Protocol-Version is {:?}, the body says {:?}", shown(version), shown(&claim))));
    }
    if request.has_duplicate {
        return Err(Refusal::InvalidParams("a member of params or params._meta stands twice".to_owned()));
    }
    let method = envelope.method_token(text);
    match field(fields, &METHOD) {
        Some(given) if mirror::equals(given, method, Numbers::AsWritten) => {}
        Some(given) => return Err(mismatch(&format!("Mcp-Method is {:?}, which is not the body's method", shown(given)))),
        None => return Err(mismatch("Mcp-Method is missing")),
    }
    if let (Some(_), Some(name)) = (ask.named_by(), request.name) {
        mirror::agree(fields, &NAME, name, Numbers::AsWritten).map_err(Refusal::HeaderMismatch)?;
    }
    if !Revision::is_modern_known(&claim) {
        return Err(Refusal::UnsupportedModern(shown(&claim)));
    }
    if ask == Ask::Removed {
        return Err(Refusal::NoSuchMethod);
    }
    let level = match request.level {
        Some(level) => {
            let unknown = || Refusal::InvalidParams(format!("{} is not a log level", meta::LOG_LEVEL));
            Some(Level::parse(level).ok_or_else(unknown)?)
        }
        None => None,
    };
    Ok((ask, level))
}

/// The version that a modern request claims, with what it must say beside it.
fn required(request: &Request<'_>) -> Result<String, Refusal> {
    let missing = |key: &str, what: &str| Refusal::InvalidParams(format!("params._meta[\"{key}\"] must be {what}"));
    let version = match request.version {
        Some((Value::String, version)) => object::string(version),
        _ => None,
    };
    let version = version.ok_or_else(|| missing(meta::PROTOCOL_VERSION, "a string"))?;
    match request.capabilities {
        Some((Value::Object, _)) => Ok(version),
        _ => Err(missing(meta::CLIENT_CAPABILITIES, "an object")),
    }
}

/// A modern notification: nothing that one could say is expected over HTTP, so it is taken and dropped. A cancellation that is
/// POSTed could be about somebody else's request.
pub(super) fn notification(fields: &HeaderMap, text: &[u8], envelope: &Envelope) -> Result<(), Refusal> {
    let version = field(fields, &PROTOCOL_VERSION).unwrap_or_default();
    if !Revision::is_modern_known(version) {
        return Err(Refusal::UnsupportedModern(shown(version)));
    }
    let request = Request::read(text, envelope, Ask::Other);
    match request.version {
        Some((_, claim)) if object::string(claim).as_deref() != Some(version) => {
            Err(mismatch("MCP-Protocol-Version is not what the body says"))
        }
        _ => Ok(()),
    }
}

/// No session, no claim: a date that nobody knows is a modern client's way to find out what we speak.
pub(super) fn unknown_version(fields: &HeaderMap) -> Option<Refusal> {
    let given = field(fields, &PROTOCOL_VERSION)?;
    Revision::parse(given).is_none().then(|| Refusal::UnsupportedModern(shown(given)))
}

fn field<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    Some(fields.get(name)?.to_str().unwrap_or("?").trim_matches([' ', '\t']))
}

fn mismatch(text: &str) -> Refusal {
    Refusal::HeaderMismatch(format!("Header mismatch: {text}"))
}

/// What of a client's text is repeated to it.
fn shown(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic()).take(40).collect()
}
