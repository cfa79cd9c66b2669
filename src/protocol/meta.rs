//! The envelope that modern requests carry in `params._meta` (2026-07-28, Basic, General fields, `_meta`), the methods that
//! the gateway tells apart, and log levels.

use super::jsonrpc::Envelope;
use super::object;
use super::scan::Value;

pub(crate) const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub(crate) const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
pub(crate) const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub(crate) const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
pub(crate) const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
pub(crate) const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// The tasks extension.
pub(crate) const TASKS: &str = "io.modelcontextprotocol/tasks";

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Discover,
    ListTools,
    ListPrompts,
    ListResources,
    ListTemplates,
    CallTool,
    GetPrompt,
    ReadResource,
    Listen,
    Tasks,
    /// In legacy revisions only.
    Removed,
    Other,
}

impl Ask {
    pub(crate) fn of(text: &[u8], envelope: &Envelope) -> Ask {
        let known = [
            ("tools/call", Ask::CallTool),
            ("tools/list", Ask::ListTools),
            ("resources/read", Ask::ReadResource),
            ("prompts/get", Ask::GetPrompt),
            ("prompts/list", Ask::ListPrompts),
            ("resources/list", Ask::ListResources),
            ("resources/templates/list", Ask::ListTemplates),
            ("server/discover", Ask::Discover),
            ("subscriptions/listen", Ask::Listen),
            ("tasks/get", Ask::Tasks),
            ("tasks/update", Ask::Tasks),
            ("tasks/cancel", Ask::Tasks),
            ("tasks/result", Ask::Tasks),
            ("tasks/list", Ask::Tasks),
            ("initialize", Ask::Removed),
            ("ping", Ask::Removed),
            ("logging/setLevel", Ask::Removed),
            ("resources/subscribe", Ask::Removed),
            ("resources/unsubscribe", Ask::Removed),
        ];
        known.into_iter().find(|(word, _)| envelope.is_method(text, word)).map_or(Ask::Other, |(_, ask)| ask)
    }

    /// May end in `input_required` (2026-07-28, Multi Round-Trip Requests, Supported Requests).
    pub(crate) fn may_ask(self) -> bool {
        matches!(self, Ask::CallTool | Ask::GetPrompt | Ask::ReadResource)
    }

    /// Results carry caching hints (2026-07-28, Caching, Cacheable Results).
    pub(crate) fn is_cacheable(self) -> bool {
        matches!(
            self,
            Ask::Discover | Ask::ListTools | Ask::ListPrompts | Ask::ListResources | Ask::ListTemplates | Ask::ReadResource
        )
    }

    /// The server capability that offers it, if one does.
    pub(crate) fn capability(self) -> Option<&'static str> {
        match self {
            Ask::CallTool | Ask::ListTools => Some("tools"),
            Ask::GetPrompt | Ask::ListPrompts => Some("prompts"),
            Ask::ReadResource | Ask::ListResources | Ask::ListTemplates => Some("resources"),
            _ => None,
        }
    }

    /// The member of `params` that `Mcp-Name` mirrors (2026-07-28, Streamable HTTP, Standard Request Headers; for tasks,
    /// the tasks extension).
    pub(crate) fn named_by(self) -> Option<&'static str> {
        match self {
            Ask::CallTool | Ask::GetPrompt => Some("name"),
            Ask::ReadResource => Some("uri"),
            Ask::Tasks => Some("taskId"),
            _ => None,
        }
    }
}

/// What a modern request says beside its method: slices of its text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request<'a> {
    /// The object `params`.
    pub(crate) params: &'a [u8],
    /// Kind and text of the version claimed.
    pub(crate) version: Option<(Value, &'a [u8])>,
    pub(crate) capabilities: Option<(Value, &'a [u8])>,
    pub(crate) level: Option<&'a [u8]>,
    /// `name`, `uri` or `taskId`, whatever its kind.
    pub(crate) name: Option<&'a [u8]>,
    pub(crate) arguments: Option<&'a [u8]>,
    pub(crate) responses: Option<(Value, &'a [u8])>,
    pub(crate) state: Option<&'a [u8]>,
    /// A member that matters here stands twice: which one a child reads cannot be known.
    pub(crate) has_duplicate: bool,
}

impl<'a> Request<'a> {
    pub(crate) fn read(text: &'a [u8], envelope: &Envelope, ask: Ask) -> Request<'a> {
        let mut request = Request { params: b"{}", ..Request::default() };
        let Some(params) = envelope.params else { return request };
        request.params = params.of(text);
        let mut twice = false;
        for member in object::members(request.params) {
            if ask.named_by().is_some_and(|name| member.is(name)) {
                twice |= request.name.replace(member.value).is_some();
            } else if member.is("arguments") {
                twice |= request.arguments.replace(member.value).is_some();
            } else if member.is("inputResponses") {
                twice |= request.responses.replace((member.kind, member.value)).is_some();
            } else if member.is("requestState") {
                twice |= request.state.replace(member.value).is_some();
            } else if member.is("_meta") {
                for member in object::members(member.value) {
                    if member.is(PROTOCOL_VERSION) {
                        twice |= request.version.replace((member.kind, member.value)).is_some();
                    } else if member.is(CLIENT_CAPABILITIES) {
                        twice |= request.capabilities.replace((member.kind, member.value)).is_some();
                    } else if member.is(LOG_LEVEL) {
                        twice |= request.level.replace(member.value).is_some();
                    }
                }
            }
        }
        request.has_duplicate = twice;
        request
    }
}

/// How much of a log is wanted, or how grave a message is (RFC 5424).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl Level {
    const ALL: [(&str, Level); 8] = [
        ("debug", Level::Debug),
        ("info", Level::Info),
        ("notice", Level::Notice),
        ("warning", Level::Warning),
        ("error", Level::Error),
        ("critical", Level::Critical),
        ("alert", Level::Alert),
        ("emergency", Level::Emergency),
    ];

    /// The level that a JSON value names.
    pub(crate) fn parse(value: &[u8]) -> Option<Level> {
        let word = object::string(value)?;
        Level::ALL.into_iter().find(|(name, _)| *name == word).map(|(_, level)| level)
    }

    pub(crate) fn as_str(self) -> &'static str {
        Level::ALL[self as usize].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::jsonrpc;

    #[test]
    fn a_request_is_read_once_through() {
        let text = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":1},"requestState":"s","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/logLevel":"info"}}}"#;
        let envelope = jsonrpc::read(text).expect("a message");
        assert!(envelope.has_claim);
        let ask = Ask::of(text, &envelope);
        let request = Request::read(text, &envelope, ask);
        assert_eq!((ask, request.name, request.state), (Ask::CallTool, Some(&b"\"a\""[..]), Some(&b"\"s\""[..])));
        assert_eq!(request.capabilities, Some((Value::Object, &br#"{"roots":{}}"#[..])));
        assert_eq!(request.level.and_then(Level::parse), Some(Level::Info));
        assert!(!request.has_duplicate);
        let text = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\u0061me":"b"}}"#;
        let envelope = jsonrpc::read(text).expect("a message");
        assert!(Request::read(text, &envelope, Ask::CallTool).has_duplicate);
    }

    #[test]
    fn levels_are_ordered_and_named() {
        for (name, level) in Level::ALL {
            assert_eq!(Level::parse(format!("\"{name}\"").as_bytes()), Some(level));
            assert_eq!(level.as_str(), name);
        }
        assert!(Level::Debug < Level::Emergency);
        assert_eq!(Level::parse(b"\"loud\""), None);
        assert_eq!(Level::parse(b"1"), None);
    }
}
