//! Requests of a modern client: every one carries its envelope, in its body and in its header fields.

use serde_json::{Value, json};

use super::http::Request;

/// A `tools/call`. `more` is merged into its params.
pub(crate) fn call(id: u64, tool: &str, arguments: &Value, capabilities: &Value, more: &Value) -> Request {
    let mut params = json!({ "name": tool, "arguments": arguments });
    for (name, value) in more.as_object().into_iter().flatten() {
        params[name] = value.clone();
    }
    ask(id, "tools/call", params, capabilities).and("mcp-name", tool)
}

/// A request with these params, asking for progress under its own id.
pub(crate) fn ask(id: u64, method: &str, mut params: Value, capabilities: &Value) -> Request {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities,
        "progressToken": id,
    });
    let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    Request::post(body.to_string()).and("mcp-protocol-version", "2026-07-28").and("mcp-method", method)
}
