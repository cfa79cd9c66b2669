//! One HTTP/1.1 request on a connection of its own, and what has come back for it so far. Reads only what is there.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use crate::support::relay::until;

/// The client's side of one request.
pub(crate) struct Exchange {
    /// `None` once the client has hung up.
    stream: Option<TcpStream>,
    raw: Vec<u8>,
    pub(crate) head: Option<Head>,
    /// What has come of the body and was not taken by [`Exchange::block`].
    pub(crate) body: Vec<u8>,
    left: Left,
    is_cut: bool,
    /// A response to HEAD has no body, whatever its fields say.
    is_head: bool,
    /// The transcript has looked at the status.
    pub(crate) is_expected: bool,
}

/// Status and header fields of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// Names in lower case, in the order in which they came.
    pub(crate) fields: Vec<(String, String)>,
}

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Bytes(usize),
    /// More chunks.
    Chunks,
    /// Whatever comes until the connection ends.
    All,
}

impl Exchange {
    /// Sends a request.
    pub(crate) async fn send(address: &str, request: &[u8]) -> Result<Exchange, String> {
        let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        let mut rest = request;
        let sent = until(|| {
            match stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => rest = &[], // refused before it was read to its end: the answer says why
            }
            rest.is_empty().then_some(())
        });
        sent.await.ok_or("the gateway does not read the request")?;
        Ok(Exchange {
            stream: Some(stream),
            raw: Vec::new(),
            head: None,
            body: Vec::new(),
            left: Left::All,
            is_cut: false,
            is_head: request.starts_with(b"HEAD "),
            is_expected: false,
        })
    }

    pub(crate) fn hang_up(&mut self) {
        self.stream = None;
    }

    /// Closes the connection, and waits until the gateway has seen it and closed its own side.
    pub(crate) async fn cut(&mut self) -> Result<(), String> {
        let Some(stream) = &self.stream else { return Err("the connection is closed already".to_owned()) };
        // An error means that the gateway was faster.
        let _ = stream.shutdown(Shutdown::Write);
        let seen = until(|| {
            self.pull();
            self.is_cut.then_some(())
        });
        seen.await.ok_or("the gateway holds on to the connection")?;
        self.hang_up();
        Ok(())
    }

    pub(crate) fn has_hung_up(&self) -> bool {
        self.stream.is_none()
    }

    /// Takes what has arrived.
    pub(crate) fn pull(&mut self) {
        let mut buffer = [0; 65536];
        while let Some(stream) = &mut self.stream {
            match stream.read(&mut buffer) {
                Ok(count @ 1..) => self.raw.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(0) | Err(_) => {
                    self.is_cut = true;
                    break;
                }
            }
        }
        if self.head.is_none() {
            self.read_head();
        }
        if self.head.is_some() {
            while self.decode() {}
        }
    }

    /// The whole body has come.
    pub(crate) fn is_complete(&self) -> bool {
        self.head.is_some() && (self.left == Left::Bytes(0) || self.left == Left::All && self.is_cut)
    }

    /// The connection ended; if the body is not complete, before its time.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The next block of an event stream, without the blank line that ends it.
    pub(crate) fn block(&mut self) -> Option<String> {
        self.pull();
        let end = self.body.windows(2).position(|two| two == b"\n\n")?;
        let block: Vec<u8> = self.body.drain(..end + 2).collect();
        Some(String::from_utf8_lossy(&block[..end]).into_owned())
    }

    /// What has come and was not looked at; also an early end of the connection.
    pub(crate) fn surprise(&mut self) -> Option<String> {
        self.pull();
        if !self.is_expected || !self.body.is_empty() {
            let head = self.head.as_ref()?;
            return Some(format!("{} {}", head.status, String::from_utf8_lossy(&self.body)));
        }
        (self.is_cut && !self.is_complete()).then(|| "the connection's end".to_owned())
    }

    /// Takes the keep-alive comments that are next.
    pub(crate) fn pass_comments(&mut self) {
        self.pull();
        while self.body.starts_with(b":") && self.block().is_some() {}
    }

    fn read_head(&mut self) {
        let Some(end) = self.raw.windows(4).position(|four| four == b"\r\n\r\n") else { return };
        let text: Vec<u8> = self.raw.drain(..end + 4).collect();
        let text = String::from_utf8_lossy(&text[..end]).into_owned();
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        let field = |line: &str| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        let head = Head { status, fields: lines.filter_map(field).collect() };
        self.left = match (head.field("content-length"), head.field("transfer-encoding")) {
            _ if status == 204 || self.is_head => Left::Bytes(0),
            (Some(length), _) => Left::Bytes(length.parse().unwrap_or(0)),
            (None, Some(_)) => Left::Chunks,
            (None, None) => Left::All,
        };
        self.head = Some(head);
    }

    /// One step; says whether another may follow.
    fn decode(&mut self) -> bool {
        match self.left {
            Left::Bytes(left) => {
                let here = left.min(self.raw.len());
                self.body.extend(self.raw.drain(..here));
                self.left = Left::Bytes(left - here);
                false
            }
            Left::All => {
                self.body.append(&mut self.raw);
                false
            }
            Left::Chunks => {
                let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") else { return false };
                let size = std::str::from_utf8(&self.raw[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
                let size = size.unwrap_or(0);
                if self.raw.len() < line + 2 + size + 2 {
                    return false;
                }
                self.body.extend_from_slice(&self.raw[line + 2..line + 2 + size]);
                self.raw.drain(..line + 2 + size + 2);
                if size == 0 {
                    self.left = Left::Bytes(0);
                }
                true
            }
        }
    }
}

impl Head {
    /// Values of repeated fields are joined by commas.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self.fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}
