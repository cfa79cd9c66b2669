//! HTTP/2 frames written by hand (RFC 9113), because no library writes those that must not be written.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short one").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field that no table remembers (RFC 7541, 6.2.2), or one that it does (6.2.1).
fn field(name: &str, value: &str, is_kept: bool) -> Vec<u8> {
    let text = |text: &str| {
        // The length has seven bits here; longer ones go on (RFC 7541, 5.1).
        let mut out = Vec::new();
        if text.len() < 127 {
            out.push(text.len() as u8);
        } else {
            out.push(127);
            let mut left = text.len() - 127;
            while left >= 128 {
                out.push((left % 128) as u8 | 128);
                left /= 128;
            }
            out.push(left as u8);
        }
        [out.as_slice(), text.as_bytes()].concat()
    };
    [&[if is_kept { 0x40 } else { 0 }][..], &text(name), &text(value)].concat()
}

/// A block of fields.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value, false)).collect()
}

/// The same, to be remembered by the other side's table.
pub(crate) fn kept(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value, true)).collect()
}

/// The fields of a POST of a client of sessions.
pub(crate) const POST: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/mcp"),
    (":authority", "localhost"),
    ("accept", "application/json, text/event-stream"),
    ("content-type", "application/json"),
];

/// A connection that has said hello.
pub(crate) struct Raw {
    socket: TcpStream,
    unread: Vec<u8>,
    /// Frames that came, by kind.
    pub(crate) frames: [usize; 16],
    /// The error code of a GOAWAY.
    pub(crate) goaway: Option<u32>,
    pub(crate) is_closed: bool,
}

impl Raw {
    pub(crate) fn open(address: &str) -> Raw {
        let mut socket = TcpStream::connect(address).expect("it listens");
        socket.set_nodelay(true).expect("a socket");
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("it reads");
        socket.write_all(&frame(SETTINGS, 0, 0, &[])).expect("it reads");
        socket.set_nonblocking(true).expect("a socket");
        Raw { socket, unread: Vec::new(), frames: [0; 16], goaway: None, is_closed: false }
    }

    /// Whether the other side has said that it has had enough.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_closed || self.goaway.is_some()
    }

    /// Writes all of it, reading what comes meanwhile; `false` if the other side does not take it for 10 s, or is gone.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        let (mut rest, began) = (bytes, Instant::now());
        while !rest.is_empty() {
            match self.socket.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.read();
                    if self.is_closed || began.elapsed() > Duration::from_secs(10) {
                        return false;
                    }
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err(_) => {
                    self.read();
                    self.is_closed = true;
                    return false;
                }
            }
        }
        self.read();
        !self.is_closed
    }

    /// Reads what is there.
    pub(crate) fn read(&mut self) {
        let mut buffer = [0; 65536];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => {
                    self.is_closed = true;
                    break;
                }
                Ok(count) => self.unread.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.is_closed = true;
                    break;
                }
            }
        }
        let mut at = 0;
        while let Some(head) = self.unread.get(at..at + 9) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let kind = head[3];
            let Some(payload) = self.unread.get(at + 9..at + 9 + length) else { break };
            self.frames[usize::from(kind & 15)] += 1;
            if kind == GOAWAY && length >= 8 {
                self.goaway = Some(u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]));
            }
            at += 9 + length;
        }
        self.unread.drain(..at);
    }
}
