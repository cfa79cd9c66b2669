//! `server/discover`: what a modern client is told of a legacy server, and what a modern server says of itself.

use bytes::Bytes;

use super::capabilities;
use crate::protocol::meta::{CLIENT_CAPABILITIES, CLIENT_INFO, PROTOCOL_VERSION, SERVER_INFO};
use crate::protocol::object;
use crate::protocol::revision::Revision;

/// What `initialize` told of a legacy server: raw JSON. Cheap to clone, because every session has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) server_info: Option<Bytes>,
    pub(crate) capabilities: Bytes,
    pub(crate) instructions: Option<Bytes>,
    /// The whole result.
    pub(crate) result: Bytes,
}

impl Facts {
    /// From an `InitializeResult`, or a `DiscoverResult`.
    pub(crate) fn of(result: &[u8]) -> Facts {
        let copy = |member: object::Member<'_>| Bytes::copy_from_slice(member.value);
        let own = |name| object::member(result, name).map(copy);
        Facts {
            server_info: own("serverInfo").or_else(|| object::at(result, &["_meta", SERVER_INFO]).map(copy)),
            capabilities: own("capabilities").unwrap_or_else(|| Bytes::from_static(b"{}")),
            instructions: own("instructions"),
            result: Bytes::copy_from_slice(result),
        }
    }

    /// Whether the server declares that capability.
    pub(crate) fn declares(&self, path: &[&str]) -> bool {
        object::at(&self.capabilities, path).is_some_and(|found| !matches!(found.value, b"false" | b"null"))
    }

    /// The same for clients without a session, who have no stream to hear of changes on, and for whom no level is kept.
    pub(crate) fn for_stateless(&self) -> Facts {
        let capabilities = capabilities::for_stateless(&self.capabilities);
        let edit = |member: &object::Member<'_>| {
            if member.is("capabilities") { object::Edit::Put(capabilities.clone()) } else { object::Edit::Keep }
        };
        let result = object::rewrite(&self.result, &[], edit, &[]);
        Facts { capabilities: capabilities.into(), result: result.into(), ..self.clone() }
    }

    /// 2026-07-28, Discovery, Response. Only modern revisions are listed: a client picks from them for what it sends next.
    pub(crate) fn discover_result(&self) -> Vec<u8> {
        let versions = serde_json::json!(Revision::MODERN).to_string();
        let capabilities = capabilities::of_legacy_server(&self.capabilities);
        let meta = self.meta();
        let mut last: Vec<(&str, &[u8])> =
            vec![("resultType", b"\"complete\""), ("supportedVersions", versions.as_bytes()), ("capabilities", &capabilities)];
        last.extend(self.instructions.as_deref().map(|text| ("instructions", text)));
        last.extend([("ttlMs", &b"60000"[..]), ("cacheScope", b"\"private\"")]);
        last.extend(meta.as_deref().map(|meta| ("_meta", meta)));
        object::rewrite(b"{}", &last, |_| object::Edit::Keep, &[])
    }

    /// The `_meta` that names the server; `None` if it has no name.
    pub(crate) fn meta(&self) -> Option<Vec<u8>> {
        let info = self.server_info.as_ref()?;
        Some(object::rewrite(b"{}", &[(SERVER_INFO, info)], |_| object::Edit::Keep, &[]))
    }
}

/// The revision in an `InitializeResult`, if we speak it (2025-11-25, Lifecycle, Version Negotiation).
pub(crate) fn revision_of(result: &[u8]) -> Option<Revision> {
    let date = object::member(result, "protocolVersion").and_then(|date| object::string(date.value));
    date.as_deref().and_then(Revision::parse)
}

/// Whether a `DiscoverResult` names a revision that we speak.
pub(crate) fn is_mutual(result: &[u8]) -> bool {
    object::member(result, "supportedVersions").is_some_and(|versions| has_mutual(versions.value))
}

/// Whether an `UnsupportedProtocolVersionError` names a revision that we speak.
pub(crate) fn is_mutual_error(error: &[u8]) -> bool {
    super::code_of(error) == i64::from(crate::protocol::jsonrpc::UNSUPPORTED_VERSION)
        && object::at(error, &["data", "supported"]).is_some_and(|versions| has_mutual(versions.value))
}

fn has_mutual(versions: &[u8]) -> bool {
    let dates: Vec<String> = object::elements(versions).into_iter().filter_map(object::string).collect();
    Revision::mutual(dates.iter().map(String::as_str)).is_some()
}

/// The `params` of a request of the gateway's own to a modern child.
pub(crate) fn own_params(capabilities: &[u8], members: &str) -> String {
    let capabilities = String::from_utf8_lossy(capabilities);
    let comma = if members.is_empty() { "" } else { "," };
    format!(
        r#"{{{members}{comma}"_meta":{{"{PROTOCOL_VERSION}":"{}","{CLIENT_INFO}":{},"{CLIENT_CAPABILITIES}":{capabilities}}}}}"#,
        Revision::MODERN[0],
        own_info(),
    )
}

/// The `params` of the gateway's own `initialize`.
pub(crate) fn initialize_params(capabilities: &[u8]) -> String {
    let capabilities = String::from_utf8_lossy(capabilities);
    format!(
        r#"{{"protocolVersion":"{}","capabilities":{capabilities},"clientInfo":{}}}"#,
        Revision::NEWEST_LEGACY.as_str(),
        own_info()
    )
}

pub(super) fn own_info() -> String {
    serde_json::json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legacy_server_is_described_as_a_modern_one() {
        let facts = Facts::of(
            br#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"tasks":{}},"serverInfo":{"name":"x","version":"1"},"instructions":"do"}"#,
        );
        assert_eq!(
            String::from_utf8_lossy(&facts.discover_result()),
            r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"instructions":"do","ttlMs":60000,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"x","version":"1"}}}"#
        );
        assert!(facts.declares(&["tools"]) && !facts.declares(&["prompts"]) && !facts.declares(&["tools", "listChanged"]));
    }

    #[test]
    fn a_server_is_modern_if_it_names_a_revision_that_we_speak() {
        assert!(is_mutual(br#"{"supportedVersions":["2030-01-01","2026-07-28"]}"#));
        assert!(!is_mutual(br#"{"supportedVersions":["2025-11-25"]}"#));
        assert!(!is_mutual(br#"{"tools":[]}"#));
        assert!(is_mutual_error(br#"{"code":-32022,"message":"","data":{"supported":["2026-07-28"]}}"#));
        assert!(!is_mutual_error(br#"{"code":-32601,"message":"","data":{"supported":["2026-07-28"]}}"#));
    }
}
