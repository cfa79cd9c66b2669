//! A blocking HTTP/1.1 client that hides nothing: bytes out, heads, bodies and Server-Sent Events in.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

use super::events::Events;

/// No test waits longer for bytes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a connection runs over.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    /// `IP:PORT` or `unix:PATH`.
    pub(crate) fn connect(address: &str) -> io::Result<Socket> {
        let socket = match address.strip_prefix("unix:") {
            Some(path) => Socket::Unix(UnixStream::connect(path)?),
            None => Socket::Tcp(TcpStream::connect(address)?),
        };
        socket.wait_at_most(PATIENCE);
        if let Socket::Tcp(stream) = &socket {
            stream.set_nodelay(true)?;
        }
        Ok(socket)
    }

    pub(crate) fn wait_at_most(&self, patience: Duration) {
        match self {
            Socket::Tcp(stream) => stream.set_read_timeout(Some(patience)),
            Socket::Unix(stream) => stream.set_read_timeout(Some(patience)),
            Socket::Tls(stream) => stream.sock.set_read_timeout(Some(patience)),
        }
        .expect("a timeout");
    }

    fn try_clone(&self) -> io::Result<Socket> {
        Ok(match self {
            Socket::Tcp(stream) => Socket::Tcp(stream.try_clone()?),
            Socket::Unix(stream) => Socket::Unix(stream.try_clone()?),
            Socket::Tls(_) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buf),
            Socket::Unix(stream) => stream.read(buf),
            Socket::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(buf),
            Socket::Unix(stream) => stream.write(buf),
            Socket::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Socket::Tls(stream) = self { stream.flush() } else { Ok(()) }
    }
}

/// A request to be sent: its head as it stands, and its body.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    line: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request as MCP clients send it.
    pub(crate) fn new(method: &str, target: &str) -> Request {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let accept = "application/json, text/event-stream";
        let fields = [("host", "localhost"), ("accept", accept)].map(own).to_vec();
        Request { line: format!("{method} {target} HTTP/1.1"), fields, body: Vec::new() }
    }

    pub(crate) fn post(body: impl Into<Vec<u8>>) -> Request {
        let request = Request { body: body.into(), ..Request::new("POST", "/mcp") };
        let length = request.body.len().to_string();
        request.with("content-type", "application/json").with("content-length", &length)
    }

    pub(crate) fn get() -> Request {
        Request::new("GET", "/mcp").with("accept", "text/event-stream")
    }

    pub(crate) fn delete() -> Request {
        Request::new("DELETE", "/mcp")
    }

    /// To another place than `/mcp`.
    pub(crate) fn to(mut self, target: &str) -> Request {
        let method = self.line.split(' ').next().unwrap_or_default();
        self.line = format!("{method} {target} HTTP/1.1");
        self
    }

    /// Sets a field, in place of one of the same name.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Request {
        self.fields.retain(|(kept, _)| kept != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a field beside one of the same name.
    pub(crate) fn and(mut self, name: &str, value: &str) -> Request {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let fields: String = self.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        [format!("{}\r\n{fields}\r\n", self.line).as_bytes(), &self.body].concat()
    }
}

/// Status and fields of a response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(kept, _)| kept == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.fields.iter().cloned()
    }

    pub(crate) fn is_event_stream(&self) -> bool {
        self.field("content-type") == Some("text/event-stream")
    }
}

/// A whole response.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; of an event stream the last message.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let text = self.message();
        serde_json::from_slice(&text).unwrap_or_else(|_| unreachable!("not JSON: {}", self.text()))
    }

    /// All that it says but for its date.
    pub(crate) fn undated(&self) -> (u16, Vec<(String, String)>, &[u8]) {
        (self.status(), self.head.fields().filter(|(name, _)| name != "date").collect(), &self.body)
    }

    /// The bytes of the answer, however it came.
    pub(crate) fn message(&self) -> Vec<u8> {
        if !self.head.is_event_stream() {
            return self.body.clone();
        }
        let events = Events::new(&self.body[..]);
        events.filter(|event| !event.data.is_empty()).last().map(|event| event.data).unwrap_or_default()
    }
}

/// One connection, used for one request after another.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: BufReader<Socket>,
}

/// A body that is still arriving.
pub(crate) type Arriving = Body<BufReader<Socket>>;

impl Connection {
    pub(crate) fn open(address: &str) -> Connection {
        Connection::try_open(address).expect("the gateway listens")
    }

    pub(crate) fn try_open(address: &str) -> io::Result<Connection> {
        Socket::connect(address).map(Connection::over)
    }

    pub(crate) fn over(socket: Socket) -> Connection {
        Connection { socket: BufReader::new(socket) }
    }

    pub(crate) fn wait_at_most(&self, patience: Duration) {
        self.socket.get_ref().wait_at_most(patience);
    }

    /// A second hold on the socket, to write from another thread.
    pub(crate) fn socket(&self) -> Socket {
        self.socket.get_ref().try_clone().expect("a descriptor")
    }

    pub(crate) fn shut(&self) {
        if let Socket::Tcp(stream) = self.socket.get_ref() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.get_mut().write_all(bytes)
    }

    /// Sends a request and reads the whole response.
    #[track_caller]
    pub(crate) fn exchange(&mut self, request: &Request) -> Reply {
        self.send(&request.bytes()).expect("the gateway reads");
        self.reply().expect("a response")
    }

    pub(crate) fn reply(&mut self) -> io::Result<Reply> {
        let head = read_head(&mut self.socket)?;
        let mut body = Vec::new();
        Body::new(&mut self.socket, &head).read_to_end(&mut body)?;
        Ok(Reply { head, body })
    }

    /// Sends a request and leaves its body arriving.
    #[track_caller]
    pub(crate) fn stream(mut self, request: &Request) -> (Head, Events<Arriving>) {
        self.send(&request.bytes()).expect("the gateway reads");
        self.arriving().expect("a response")
    }

    /// The head of the response to what was sent, and its body as events.
    pub(crate) fn arriving(self) -> io::Result<(Head, Events<Arriving>)> {
        let (head, body) = self.body()?;
        Ok((head, Events::new(body)))
    }

    /// The head of the response to what was sent, and its body.
    pub(crate) fn body(mut self) -> io::Result<(Head, Arriving)> {
        let head = read_head(&mut self.socket)?;
        let body = Body::new(self.socket, &head);
        Ok((head, body))
    }

    /// Reads until the gateway closes; an error counts as closing, a timeout does not.
    pub(crate) fn rest(mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        match self.socket.read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
            _ => Ok(rest),
        }
    }
}

fn read_head(from: &mut impl BufRead) -> io::Result<Head> {
    let mut head = Head::default();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) => head.fields.push((name.to_ascii_lowercase(), value.to_owned())),
            None if line.trim_end().is_empty() => return Ok(head),
            None => head.status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0),
        }
    }
}

/// The bytes of a response's body, without what frames them.
pub(crate) struct Body<R> {
    from: R,
    left: Left,
}

enum Left {
    Known(usize),
    /// So much of a chunk; the length of the next one follows.
    Chunk(usize),
    UntilClose,
}

impl<R: BufRead> Body<R> {
    fn new(from: R, head: &Head) -> Self {
        let length = head.field("content-length").and_then(|length| length.parse().ok());
        let left = match (head.field("transfer-encoding"), length) {
            (Some("chunked"), _) => Left::Chunk(0),
            (_, Some(length)) => Left::Known(length),
            _ if matches!(head.status, 202 | 204) => Left::Known(0),
            _ => Left::UntilClose,
        };
        Body { from, left }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Left::Chunk(0) = self.left {
            let size = usize::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?;
            self.left = Left::Chunk(size);
            if size == 0 {
                self.line()?;
                self.left = Left::Known(0);
            }
        }
        let most = match self.left {
            Left::Known(left) | Left::Chunk(left) => left.min(buf.len()),
            Left::UntilClose => buf.len(),
        };
        if most == 0 {
            return Ok(0); // a read of nothing would wait for what follows the body
        }
        let count = self.from.read(&mut buf[..most])?;
        if count == 0 && !matches!(self.left, Left::UntilClose) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &mut self.left {
            Left::Known(left) => *left -= count,
            Left::Chunk(left) => {
                *left -= count;
                if *left == 0 {
                    self.line()?;
                }
            }
            Left::UntilClose => {}
        }
        Ok(count)
    }
}
