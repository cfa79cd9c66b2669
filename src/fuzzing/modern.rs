//! What modern clients ask, and how `http` reads it.

use super::child;
use super::input::Input;
use crate::bridge::Asked;
use crate::protocol::jsonrpc::{self, Kind};
use crate::protocol::meta::{Ask, Level, Request};
use crate::protocol::object;
use crate::protocol::revision::Revision;
use crate::protocol::scan::Value;

/// A call of a client, which may be asked again.
#[derive(Clone)]
pub(super) struct Call {
    method: &'static str,
    arguments: String,
    pub(super) declared: &'static str,
}

impl Call {
    pub(super) fn spelled(input: &mut Input<'_>) -> Call {
        const METHODS: [&str; 8] =
            ["tools/call", "tools/call", "tools/call", "prompts/get", "resources/read", "tools/list", "resources/list", "x/y"];
        const DECLARED: [&str; 6] = [
            r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#,
            r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#,
            r#"{"elicitation":{}}"#,
            r#"{"roots":{"listChanged":true},"extensions":{}}"#,
            r#"{"sampling":{}}"#,
            "{}",
        ];
        Call {
            method: METHODS[input.below(METHODS.len())],
            declared: DECLARED[input.below(DECLARED.len())],
            arguments: child::value(input),
        }
    }

    /// A request for it, with what a retry brings.
    pub(super) fn text(&self, input: &mut Input<'_>, more: &str) -> String {
        self.text_with(input, more, self.method)
    }

    pub(super) fn text_with(&self, input: &mut Input<'_>, more: &str, method: &str) -> String {
        const IDS: [&str; 6] = ["1", "2", r#""a""#, r#""\u0061""#, "-9007199254740993", r#""1""#];
        const TOKENS: [&str; 6] = [
            "",
            r#""io.modelcontextprotocol/clientInfo":{},"#,
            r#""progressToken":"t","#,
            r#""progressToken":7,"#,
            r#""progressToken":1.5,"#,
            r#""traceparent":"x","#,
        ];
        const LEVELS: [&str; 4] = ["", "", "debug", "error"];
        let (id, token, level) =
            (IDS[input.below(IDS.len())], TOKENS[input.below(TOKENS.len())], LEVELS[input.below(LEVELS.len())]);
        let level = if level.is_empty() { String::new() } else { format!(r#","io.modelcontextprotocol/logLevel":"{level}""#) };
        let Call { arguments, declared, .. } = self;
        let meta = format!(
            r#"{{{token}"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{declared}{level}}}"#
        );
        let params = format!(r#"{{"name":"n","uri":"u","arguments":{arguments},{more}"_meta":{meta}}}"#);
        format!("{{\"jsonrpc\":\"2.0\",\r\n\"id\":{id} ,\"method\":\"{method}\",\"params\":{params}}}")
    }
}

/// A request as `http` lets it pass.
pub(super) fn asked(text: &bytes::Bytes) -> Option<Asked<'_>> {
    let envelope = jsonrpc::read(text).ok().filter(|envelope| envelope.kind == Kind::Request)?;
    let ask = Ask::of(text, &envelope);
    let request = Request::read(text, &envelope, ask);
    let is_known =
        request.version.is_some_and(|(_, version)| object::string(version).as_deref().is_some_and(Revision::is_modern_known));
    let is_whole = matches!(request.capabilities, Some((Value::Object, _))) && !request.has_duplicate;
    let level = match request.level {
        None => None,
        Some(level) => Some(Level::parse(level)?),
    };
    envelope.id?;
    let asked = Asked { level, ..Asked::read(text, &envelope, ask) };
    (is_known && is_whole && ask != Ask::Removed).then_some(asked)
}
