//! A light HTTP/1.1 client on one connection: a request in one write, the whole response, nothing kept of it.

use std::io::{Error, ErrorKind, Result};

use memchr::{memchr, memmem};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// All ids have so many digits.
pub(crate) const ID_DIGITS: usize = 7;

/// A connection that is used for one request after another.
pub(crate) struct Wire {
    socket: TcpStream,
    /// What has come of the response.
    buffer: Vec<u8>,
    /// What was in its chunks.
    chunks: Vec<u8>,
}

/// A response.
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl Reply<'_> {
    pub(crate) fn is_event_stream(&self) -> bool {
        field(self.head, "content-type").is_some_and(|kind| kind.starts_with(b"text/event-stream"))
    }
}

/// Where the head ends and the body begins.
pub(crate) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// The value of a header field; the name is in lower case.
pub(crate) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (key, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        key.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

/// The length of the body, where the head says it.
pub(crate) fn length_in(head: &[u8]) -> Option<usize> {
    std::str::from_utf8(field(head, "content-length")?).ok()?.parse().ok()
}

impl Wire {
    pub(crate) async fn open(port: u16) -> Result<Wire> {
        let socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.set_nodelay(true)?;
        Ok(Wire { socket, buffer: Vec::with_capacity(2048), chunks: Vec::new() })
    }

    /// Sends a request and reads the response to its end.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Reply<'_>> {
        let (status, end) = self.begin(request).await?;
        let head = &self.buffer[..end];
        if field(head, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
            self.unchunk(end).await?;
            return Ok(Reply { status, head: &self.buffer[..end], body: &self.chunks });
        }
        let end_of_body = end + if status == 204 { 0 } else { length_in(head).unwrap_or(0) };
        self.fill(end_of_body).await?;
        Ok(Reply { status, head: &self.buffer[..end], body: &self.buffer[end..end_of_body] })
    }

    /// Sends a request and reads the head of the response; gives its status and where its body begins.
    pub(crate) async fn begin(&mut self, request: &[u8]) -> Result<(u16, usize)> {
        self.buffer.clear();
        self.socket.write_all(request).await?;
        let end = loop {
            self.more().await?;
            if let Some(end) = end_of_head(&self.buffer) {
                break end;
            }
        };
        let status = self.buffer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        Ok((status.ok_or_else(nonsense)?, end))
    }

    /// Reads until so many bytes are there.
    async fn fill(&mut self, length: usize) -> Result<()> {
        self.buffer.reserve(length.saturating_sub(self.buffer.len()));
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(())
    }

    async fn more(&mut self) -> Result<()> {
        if self.buffer.capacity() - self.buffer.len() < 1024 {
            self.buffer.reserve(self.buffer.capacity());
        }
        match self.socket.read_buf(&mut self.buffer).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    async fn unchunk(&mut self, mut at: usize) -> Result<()> {
        self.chunks.clear();
        loop {
            let end = loop {
                match memchr(b'\n', &self.buffer[at..]) {
                    Some(length) => break at + length,
                    None => self.more().await?,
                }
            };
            let size = self.buffer[at..end].split(|byte| *byte == b';').next().map(<[u8]>::trim_ascii).unwrap_or_default();
            let size = std::str::from_utf8(size).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let size = size.ok_or_else(nonsense)?;
            at = end + 1;
            while self.buffer.len() < at + size + 2 {
                self.more().await?;
            }
            if size == 0 {
                return Ok(());
            }
            self.chunks.extend_from_slice(&self.buffer[at..at + size]);
            at += size + 2;
        }
    }
}

fn nonsense() -> Error {
    Error::new(ErrorKind::InvalidData, "no HTTP")
}
