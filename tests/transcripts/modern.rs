//! What a transcript says in short: a modern client's request, and a child's part of its start.

use super::play::Play;

/// What `$SERVER` stands for: how a child that was told `up` calls itself.
pub(super) const SERVER: &str = r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"child","version":"0"}}"#;

/// What a child that was told `up` can do, unless the step says it.
const CAPABILITIES: &str = r#"{"tools":{},"prompts":{},"resources":{}}"#;

/// What a child that was told `lists` lists, unless the step says it.
const TOOLS: &str = r#"[{"name":"t","inputSchema":{"type":"object"}}]"#;

/// What `$ENVELOPE` stands for: the members that the gateway adds to the `_meta` of a session's request for a modern child, where
/// its client declared this.
pub(super) fn envelope(declared: &str) -> String {
    let prefix = "io.modelcontextprotocol";
    format!(
        r#""{prefix}/protocolVersion":"2026-07-28","{prefix}/clientInfo":{{"name":"client","version":"0"}},"{prefix}/clientCapabilities":{declared}"#
    )
}

/// A modern request: its body, and the fields that repeat it.
pub(super) struct Asked {
    pub(super) body: String,
    pub(super) fields: Vec<(&'static str, String)>,
}

/// `tools/call {"name":"x"}`, asked as `name` by a client that declares these capabilities.
pub(super) fn asked(name: &str, rest: &str, declared: &str) -> Asked {
    let (method, params) = rest.split_once(' ').unwrap_or((rest, "{}"));
    let envelope = [
        ("clientInfo", r#"{"name":"client","version":"0"}"#),
        ("clientCapabilities", declared),
        ("protocolVersion", r#""2026-07-28""#),
    ];
    let own = envelope.iter().map(|(key, value)| (format!(r#""io.modelcontextprotocol/{key}":"#), value));
    let missing: Vec<String> = own.filter(|(key, _)| !params.contains(key)).map(|(key, value)| key + value).collect();
    let envelope = missing.join(",");
    let params = match (params.split_once(r#""_meta":{"#), params) {
        (Some((before, after)), _) => {
            let comma = if after.starts_with('}') || envelope.is_empty() { "" } else { "," };
            format!(r#"{before}"_meta":{{{envelope}{comma}{after}"#)
        }
        (None, "{}") => format!(r#"{{"_meta":{{{envelope}}}}}"#),
        (None, params) => format!(r#"{},"_meta":{{{envelope}}}}}"#, &params[..params.len() - 1]),
    };
    let mut fields = vec![("mcp-protocol-version", "2026-07-28".to_owned()), ("mcp-method", method.to_owned())];
    let named_by = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        _ if method.starts_with("tasks/") => "taskId",
        _ => "",
    };
    let named = params.split_once(&format!(r#""{named_by}":""#)).and_then(|(_, after)| after.split_once('"'));
    fields.extend(named.filter(|_| !named_by.is_empty()).map(|(value, _)| ("mcp-name", value.to_owned())));
    let body = format!(r#"{{"jsonrpc":"2.0","id":"{name}","method":"{method}","params":{params}}}"#);
    Asked { body, fields }
}

impl Play {
    /// The child answers the gateway's first request: it is of that era.
    pub(super) async fn up(&mut self, at: usize, capabilities: &str) -> Result<(), String> {
        let capabilities = if capabilities.is_empty() { CAPABILITIES } else { capabilities };
        let info = r#"{"name":"child","version":"0"}"#;
        let line = String::from_utf8_lossy(&self.next_line(at).await?).into_owned();
        if line.starts_with(r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":"#) {
            let result = format!(
                r#"{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{capabilities},"ttlMs":0,"cacheScope":"private",{SERVER}}}"#
            );
            return self.line(at, "<", &format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)).await;
        }
        if !line.starts_with(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":"#) {
            return Err(format!("  expected: initialize or server/discover\n  got:      {line}"));
        }
        let result = format!(r#"{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"serverInfo":{info}}}"#);
        self.line(at, "<", &format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)).await?;
        self.line(at, ">", r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await
    }

    /// The child is asked for its tools, and lists them.
    pub(super) async fn lists(&mut self, at: usize, tools: &str) -> Result<(), String> {
        let tools = if tools.is_empty() { TOOLS } else { tools };
        let line = String::from_utf8_lossy(&self.next_line(at).await?).into_owned();
        let id = line.strip_prefix(r#"{"jsonrpc":"2.0","id":"#).and_then(|rest| rest.split_once(r#","method":"tools/list","#));
        let (id, _) = id.ok_or_else(|| format!("  expected: tools/list\n  got:      {line}"))?;
        self.line(at, "<", &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":{tools}}}}}"#)).await
    }
}
