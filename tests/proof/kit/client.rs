//! A client that expects trouble: it says what came of a call instead of failing.

use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::events::Events;
use crate::support::http::{Arriving, Connection, Reply, Request};
use crate::support::session::call;

/// What may come in place of an answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The connection failed.
    Broken(io::Error),
    /// This status, and its body.
    Refused(u16, String),
    /// A JSON-RPC error.
    Failed(Value),
    /// What must never come.
    Wrong(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Broken(error)
    }
}

pub(crate) type Outcome<T> = Result<T, Trouble>;

/// How long a client waits for bytes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A session, on a connection that is used for one request after another.
pub(crate) struct Client {
    address: String,
    pub(crate) id: String,
    pub(crate) revision: &'static str,
    connection: Connection,
}

/// `initialize` by a client of this name.
pub(crate) fn hello(name: &str, revision: &str) -> Request {
    let info = json!({ "name": name, "version": "0" });
    let params = json!({ "protocolVersion": revision, "capabilities": {}, "clientInfo": info });
    Request::post(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }).to_string())
}

pub(crate) fn connect(address: &str) -> Outcome<Connection> {
    let connection = Connection::try_open(address)?;
    connection.wait_at_most(PATIENCE);
    Ok(connection)
}

pub(crate) fn ask(connection: &mut Connection, request: &Request) -> Outcome<Reply> {
    connection.send(&request.bytes())?;
    Ok(connection.reply()?)
}

/// The answer in a reply: it must be a result, and that of the request with this id.
pub(crate) fn result_of(reply: &Reply, id: &Value) -> Outcome<Value> {
    if reply.status() != 200 {
        return Err(Trouble::Refused(reply.status(), reply.text()));
    }
    let message = serde_json::from_slice(&reply.message());
    let message: Value = message.map_err(|_| Trouble::Wrong(format!("no message: {}", reply.text())))?;
    result_in(&message, id)
}

/// The events of the response to what was sent; none where nothing is left to come.
pub(crate) fn events_of(connection: Connection) -> Outcome<Option<Events<Arriving>>> {
    let (head, mut body) = connection.body()?;
    match head.status {
        200 if head.is_event_stream() => return Ok(Some(Events::new(body))),
        204 => return Ok(None),
        _ => {}
    }
    let mut text = String::new();
    body.read_to_string(&mut text)?;
    let message: Value = serde_json::from_str(&text).unwrap_or_default();
    match (head.status, message.get("error")) {
        (200, Some(error)) => Err(Trouble::Failed(error.clone())),
        (200, None) => Err(Trouble::Wrong(format!("no stream: {text}"))),
        (status, _) => Err(Trouble::Refused(status, text)),
    }
}

/// The result in a message.
pub(crate) fn result_in(message: &Value, id: &Value) -> Outcome<Value> {
    if message["id"] != *id {
        return Err(Trouble::Wrong(format!("the answer of another request than {id}: {message}")));
    }
    match message.get("error") {
        Some(error) => Err(Trouble::Failed(error.clone())),
        None => Ok(message["result"].clone()),
    }
}

pub(crate) fn text_in(result: &Value) -> Outcome<String> {
    let text = result["content"][0]["text"].as_str().map(str::to_owned);
    text.ok_or_else(|| Trouble::Wrong(format!("no text: {result}")))
}

impl Client {
    pub(crate) fn open(address: &str, revision: &'static str) -> Outcome<Client> {
        Client::open_as("proof", address, revision)
    }

    pub(crate) fn open_as(name: &str, address: &str, revision: &'static str) -> Outcome<Client> {
        let mut connection = connect(address)?;
        let reply = ask(&mut connection, &hello(name, revision))?;
        result_of(&reply, &json!(0))?;
        let id = reply.head.field("mcp-session-id").ok_or_else(|| Trouble::Wrong("no session id".to_owned()))?.to_owned();
        let mut client = Client { address: address.to_owned(), id, revision, connection };
        client.tell(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        Ok(client)
    }

    /// A session that somebody else opened.
    pub(crate) fn resumed(address: &str, id: &str, revision: &'static str) -> Outcome<Client> {
        Ok(Client { address: address.to_owned(), id: id.to_owned(), revision, connection: connect(address)? })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn own(&self, request: Request) -> Request {
        request.with("mcp-session-id", &self.id).with("mcp-protocol-version", self.revision)
    }

    /// The request that posts this body in the session.
    pub(crate) fn post(&self, body: impl Into<Vec<u8>>) -> Request {
        self.own(Request::post(body))
    }

    pub(crate) fn get(&self) -> Request {
        self.own(Request::get())
    }

    /// Sends a notification; it must be accepted.
    pub(crate) fn tell(&mut self, message: &Value) -> Outcome<()> {
        let request = self.post(message.to_string());
        let reply = ask(&mut self.connection, &request)?;
        if reply.status() == 202 { Ok(()) } else { Err(Trouble::Refused(reply.status(), reply.text())) }
    }

    /// A tool's answer; the id is written as it is.
    pub(crate) fn call(&mut self, id: &Value, tool: &str, arguments: &Value) -> Outcome<String> {
        let request = self.post(call(&id.to_string(), "\"t\"", tool, arguments));
        let reply = ask(&mut self.connection, &request)?;
        text_in(&result_of(&reply, id)?)
    }

    /// Sends a call on a connection of its own, and waits for nothing.
    pub(crate) fn send(&self, body: &str) -> Outcome<Connection> {
        let mut connection = connect(&self.address)?;
        connection.send(&self.post(body).bytes())?;
        Ok(connection)
    }

    /// The events of a response, on a connection of its own; none where nothing is left to come.
    pub(crate) fn events(&self, request: &Request) -> Outcome<Option<Events<Arriving>>> {
        let mut connection = connect(&self.address)?;
        connection.send(&request.bytes())?;
        events_of(connection)
    }

    pub(crate) fn delete(mut self) -> Outcome<()> {
        let request = self.own(Request::delete());
        let reply = ask(&mut self.connection, &request)?;
        if reply.status() == 200 { Ok(()) } else { Err(Trouble::Refused(reply.status(), reply.text())) }
    }
}

/// How long each of these calls took, in milliseconds: one after the other until it is over, with a pause between.
pub(crate) fn echo_times(client: &mut Client, pause: Duration, goes_on: impl Fn() -> bool) -> Outcome<Vec<f64>> {
    let mut times = Vec::new();
    while goes_on() || times.is_empty() {
        let text = format!("{} {}", client.id, times.len());
        let began = Instant::now();
        let said = client.call(&json!(times.len()), "echo", &json!({ "text": text }))?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        if said != text {
            return Err(Trouble::Wrong(format!("asked {text}, said {said}")));
        }
        std::thread::sleep(pause);
    }
    Ok(times)
}
