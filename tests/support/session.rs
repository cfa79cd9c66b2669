//! A legacy client's session with a running gateway.

use serde_json::{Value, json};

use super::events::Events;
use super::gateway::Gateway;
use super::http::{Arriving, Connection, Head, Reply, Request};

pub(crate) const REVISION: &str = "2025-11-25";

pub(crate) struct Session<'a> {
    gateway: &'a Gateway,
    pub(crate) id: String,
    revision: String,
    entry: Entry,
}

/// Where a session is opened, and by whom.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) target: String,
    pub(crate) token: Option<String>,
}

impl Entry {
    pub(crate) fn at(target: &str) -> Entry {
        Entry { target: target.to_owned(), token: None }
    }

    pub(crate) fn with(self, token: &str) -> Entry {
        Entry { token: Some(token.to_owned()), ..self }
    }

    /// The request, as one that enters here.
    pub(crate) fn own(&self, request: Request) -> Request {
        let request = request.to(&self.target);
        match &self.token {
            Some(token) => request.with("authorization", &format!("Bearer {token}")),
            None => request,
        }
    }
}

/// `initialize`, without a session.
pub(crate) fn initialize(revision: &str) -> Request {
    let params = json!({
        "protocolVersion": revision,
        "capabilities": { "elicitation": {} },
        "clientInfo": { "name": "test", "version": "0" },
    });
    Request::post(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string())
}

/// A `tools/call` with the id and the progress token as they are to be written.
pub(crate) fn call(id: &str, token: &str, tool: &str, arguments: &Value) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{{"progressToken":{token}}}}}}}"#
    )
}

/// The text that a tool gave back.
#[track_caller]
pub(crate) fn text_of(answer: &Value) -> String {
    let text = answer["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| unreachable!("no text: {answer}")).to_owned()
}

impl<'a> Session<'a> {
    #[track_caller]
    pub(crate) fn open(gateway: &'a Gateway) -> Session<'a> {
        Session::open_as(gateway, REVISION)
    }

    #[track_caller]
    pub(crate) fn open_as(gateway: &'a Gateway, revision: &str) -> Session<'a> {
        Session::enter(gateway, Entry::at("/mcp"), revision)
    }

    #[track_caller]
    pub(crate) fn open_at(gateway: &'a Gateway, entry: &Entry) -> Session<'a> {
        Session::enter(gateway, entry.clone(), REVISION)
    }

    #[track_caller]
    fn enter(gateway: &'a Gateway, entry: Entry, revision: &str) -> Session<'a> {
        let reply = gateway.ask(&entry.own(initialize(revision)));
        assert_eq!(reply.status(), 200, "{}", reply.text());
        let id = reply.head.field("mcp-session-id").expect("a session id").to_owned();
        let session = Session { gateway, id, revision: revision.to_owned(), entry };
        let told = session.tell(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        assert_eq!(told.status(), 202, "{}", told.text());
        session
    }

    /// The request, as one of this session.
    pub(crate) fn own(&self, request: Request) -> Request {
        self.entry.own(request).with("mcp-session-id", &self.id).with("mcp-protocol-version", &self.revision)
    }

    pub(crate) fn post(&self, body: impl Into<Vec<u8>>) -> Request {
        self.own(Request::post(body))
    }

    /// A notification or an answer.
    #[track_caller]
    pub(crate) fn tell(&self, body: impl Into<Vec<u8>>) -> Reply {
        self.gateway.ask(&self.post(body))
    }

    /// A tool's whole answer.
    #[track_caller]
    pub(crate) fn call(&self, tool: &str, arguments: &Value) -> Value {
        let reply = self.gateway.ask(&self.post(call("1", "\"t\"", tool, arguments)));
        assert_eq!(reply.status(), 200, "{}", reply.text());
        reply.json()
    }

    #[track_caller]
    pub(crate) fn echoes(&self, text: &str) {
        assert_eq!(text_of(&self.call("echo", &json!({ "text": text }))), text);
    }

    /// A call whose events are still to be read.
    #[track_caller]
    pub(crate) fn stream(&self, body: &str) -> (Head, Events<Arriving>) {
        self.gateway.connect().stream(&self.post(body))
    }

    /// The GET stream.
    #[track_caller]
    pub(crate) fn listen(&self) -> (Head, Events<Arriving>) {
        self.gateway.connect().stream(&self.own(Request::get()))
    }

    #[track_caller]
    pub(crate) fn resume(&self, event: &str) -> (Head, Events<Arriving>) {
        self.gateway.connect().stream(&self.own(Request::get()).with("last-event-id", event))
    }

    /// Sends a request and waits for nothing.
    #[track_caller]
    pub(crate) fn send(&self, body: &str) -> Connection {
        let mut connection = self.gateway.connect();
        connection.send(&self.post(body).bytes()).expect("the gateway reads");
        connection
    }

    #[track_caller]
    pub(crate) fn delete(self) {
        assert_eq!(self.gateway.ask(&self.own(Request::delete())).status(), 200);
    }
}
