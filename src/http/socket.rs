//! The bytes of an accepted connection, whatever carries them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::fd::AsFd as _;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::wire::Wire;

/// What is written from one buffer, even if it comes in several.
const SMALL: usize = 1024;

/// An accepted connection.
pub(crate) struct Socket {
    pub(super) stream: Stream,
    /// Is told of what is written.
    pub(super) wire: Option<Arc<Wire>>,
    end: End,
}

/// The end of the connection, as a read gives it.
enum End {
    NotSeen,
    /// Seen in that turn, to be told in the next.
    Held(u32, io::Result<()>),
    Told,
}

pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed: few listeners have it, and every connection would keep its room.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    pub(super) fn new(stream: Stream, wire: Option<Arc<Wire>>) -> Socket {
        Socket { stream, wire, end: End::NotSeen }
    }

    /// The bytes that have come, without taking them; waits for the first.
    pub(super) fn poll_peek(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut look = |fd: rustix::fd::BorrowedFd<'_>| {
                let (count, _) = rustix::net::recv(fd, &mut *into, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
                Ok(count)
            };
            let seen = match &self.stream {
                Stream::Tcp(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_io(Interest::READABLE, || look(stream.as_fd()))
                }
                Stream::Unix(stream) => {
                    ready!(stream.poll_read_ready(cx))?;
                    stream.try_io(Interest::READABLE, || look(stream.as_fd()))
                }
                // What has come is not what it says.
                Stream::Tls(_) => return Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
            };
            match seen {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                seen => return Poll::Ready(seen),
            }
        }
    }

    /// Tells a client that is about to be cut off while nothing is under way that nothing is missing (RFC 8446, 6.1). Says it
    /// if it can be said at once.
    pub(super) fn part(&mut self) {
        let Stream::Tls(stream) = &mut self.stream else { return };
        let (socket, session) = stream.get_mut();
        session.send_close_notify();
        let _ = session.write_tls(&mut AtOnce(socket));
    }

    /// hyper drops requests at the end of their connection, also those that came whole and that nobody has looked at yet: it is told
    /// of the end in the next turn, when somebody has. An error is given once by a stream, so it is kept.
    fn hold_end(&mut self, outcome: io::Result<()>) -> Poll<io::Result<()>> {
        match (&self.wire, &self.end) {
            (Some(wire), End::NotSeen) => {
                self.end = End::Held(wire.turn(), outcome);
                Poll::Pending
            }
            _ => Poll::Ready(outcome),
        }
    }

    /// The end that is held, once it is to be told.
    fn held_end(&mut self) -> Option<Poll<io::Result<()>>> {
        let (Some(wire), End::Held(turn, _)) = (&self.wire, &self.end) else { return None };
        if *turn == wire.turn() {
            return Some(Poll::Pending);
        }
        match std::mem::replace(&mut self.end, End::Told) {
            End::Held(_, outcome) => Some(Poll::Ready(outcome)),
            End::NotSeen | End::Told => None,
        }
    }

    fn wrote(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Poll::Ready(Ok(_)), Some(wire)) = (&outcome, &self.wire) {
            wire.wrote();
        }
        outcome
    }
}

/// Writes what can be written without waiting.
struct AtOnce<'a>(&'a TcpStream);

impl io::Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts the buffers into one if they fit; says how much that is.
fn gather(bufs: &[io::IoSlice<'_>], into: &mut [u8; SMALL]) -> Option<usize> {
    let mut len = 0;
    for buf in bufs {
        into.get_mut(len..len + buf.len())?.copy_from_slice(buf);
        len += buf.len();
    }
    Some(len)
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (socket, before) = (self.get_mut(), buf.filled().len());
        let end = socket.held_end().unwrap_or_else(|| {
            let outcome = ready!(match &mut socket.stream {
                Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
                Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
                Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            });
            let is_end = outcome.is_err() || buf.filled().len() == before && buf.remaining() > 0;
            if is_end { socket.hold_end(outcome) } else { Poll::Ready(Ok(())) }
        });
        if matches!(socket.end, End::Held(..)) {
            cx.waker().wake_by_ref();
        }
        end
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let outcome = match &mut socket.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        socket.wrote(outcome)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        // One small buffer costs the system less than a few.
        let mut small = [0; SMALL];
        if let Some(len) = gather(bufs, &mut small) {
            return self.poll_write(cx, &small[..len]);
        }
        let socket = self.get_mut();
        let outcome = match &mut socket.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        socket.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::http::wire::{Speaks, Ticker};
    use crate::shutdown::Shutdown;

    #[tokio::test]
    async fn the_end_of_a_connection_is_told_in_the_turn_behind_the_one_in_which_it_came() {
        for is_reset in [false, true] {
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            let wire = Ticker::new(Arc::new(Shutdown::new())).wire(Speaks::Unknown);
            let mut socket = Socket::new(Stream::Unix(ours), Some(Arc::clone(&wire)));
            if is_reset {
                // What it was sent is lost with it.
                assert_eq!(socket_write(&socket), 1);
            } else {
                assert_eq!(theirs.try_write(b"x").expect("room"), 1);
            }
            drop(theirs);
            let mut read = async |turn: bool| {
                poll_fn(|cx| {
                    if turn {
                        wire.watch(cx);
                    }
                    let mut bytes = [0; 8];
                    let mut buf = ReadBuf::new(&mut bytes);
                    Poll::Ready(Pin::new(&mut socket).poll_read(cx, &mut buf).map(|done| done.map(|()| buf.filled().len())))
                })
                .await
            };
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            let first = read(true).await;
            if !is_reset {
                assert!(matches!(first, Poll::Ready(Ok(1))), "{first:?}");
            }
            for _ in 0..2 {
                assert!(read(false).await.is_pending(), "reset {is_reset}: told in the same turn");
            }
            let told = read(true).await;
            let is_told = match &told {
                Poll::Ready(Ok(0)) => !is_reset,
                // A socket says it once.
                Poll::Ready(Err(error)) => is_reset && error.kind() == io::ErrorKind::ConnectionReset,
                _ => false,
            };
            assert!(is_told, "reset {is_reset}: {told:?}");
            assert!(matches!(read(false).await, Poll::Ready(Ok(0))), "and what comes after it at once");
        }
    }

    fn socket_write(socket: &Socket) -> usize {
        let Stream::Unix(stream) = &socket.stream else { return 0 };
        stream.try_write(b"x").expect("room")
    }
}
