//! The words and shapes of MCP on both wires. Pure: no I/O, no clock, no state that outlives a call.

pub(crate) mod canonical;
pub(crate) mod fingerprint;
pub(crate) mod headers;
pub(crate) mod jsonrpc;
pub(crate) mod meta;
pub(crate) mod mirror;
pub(crate) mod object;
pub(crate) mod pieces;
pub(crate) mod revision;
pub(crate) mod scan;
pub(crate) mod splice;
pub(crate) mod sse;
pub(crate) mod tool_headers;
