//! Listening sockets and the accept loop. Out of descriptors it waits and goes on; over its bound it says so and closes.

use std::fs;
use std::io::{self, Write as _};
use std::net;
use std::os::unix;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::fd::AsFd as _;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::connection::{Serving, Shared};
use super::wire::Wire;
use crate::config::Listen;
use crate::metrics::ActiveGuard;
use crate::shutdown::{Phase, Shutdown};
use crate::workers::{Place, Workers};

/// A peer that acknowledges nothing for this long is gone.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);
/// What is written from one buffer, even if it comes in several.
const SMALL: usize = 1024;
/// How long to wait before another try when the system has no descriptor left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n\
    content-length: 104\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32603,\"message\":\"Too many connections (--max-connections)\"}}";

/// A bound socket.
pub(crate) struct Listener {
    socket: Bound,
    address: Listen,
}

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that no runtime knows of yet.
enum Accepted {
    Tcp(net::TcpStream),
    Unix(unix::net::UnixStream),
}

/// An accepted connection.
pub(crate) struct Socket {
    stream: Stream,
    /// Is told of what is written.
    pub(super) wire: Option<Arc<Wire>>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    /// Binds. A socket file that nobody listens on any more is replaced.
    pub(crate) async fn bind(listen: &Listen) -> io::Result<Listener> {
        let (socket, address) = match listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr()?;
                (Bound::Tcp(listener), Listen::Tcp(address))
            }
            Listen::Unix(path) => {
                let is_stale = fs::metadata(path).is_ok_and(|file| file.file_type().is_socket())
                    && UnixStream::connect(path).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
                if is_stale {
                    fs::remove_file(path)?;
                }
                let listener = UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
                (Bound::Unix(listener), Listen::Unix(path.clone()))
            }
        };
        Ok(Listener { socket, address })
    }

    /// The address as bound: with the port that was picked.
    pub(crate) fn address(&self) -> &Listen {
        &self.address
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Bound::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                let socket = socket2::SockRef::from(&stream);
                socket.set_tcp_nodelay(true)?;
                socket.set_tcp_user_timeout(Some(PEER_TIMEOUT))?;
                stream.into_std().map(Accepted::Tcp)
            }
            Bound::Unix(listener) => listener.accept().await?.0.into_std().map(Accepted::Unix),
        }
    }
}

impl Accepted {
    /// Makes the runtime know of it that the caller has entered.
    fn register(self) -> io::Result<Socket> {
        let stream = match self {
            Accepted::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            Accepted::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        };
        Ok(Socket { stream, wire: None })
    }

    /// Says a few bytes, if they can be said at once, and hangs up.
    fn say(self, bytes: &[u8]) {
        let _ = match self {
            Accepted::Tcp(mut stream) => stream.write(bytes),
            Accepted::Unix(mut stream) => stream.write(bytes),
        };
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listen::Unix(path) = &self.address {
            let _ = fs::remove_file(path);
        }
    }
}

/// What an accept loop needs beside its listener.
pub(crate) struct Accepting {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) shutdown: Arc<Shutdown>,
    /// The loop ends when this is reached.
    pub(crate) until: Phase,
    /// Whose threads serve the connections; without, the loop's own does.
    pub(crate) workers: Option<Arc<Workers>>,
}

/// Accepts connections until the gateway stops; then the socket is closed.
pub(crate) async fn accept(listener: Listener, accepting: Accepting) {
    let mut warned: Option<Instant> = None;
    loop {
        let socket = tokio::select! {
            socket = listener.accept() => socket,
            () = accepting.shutdown.reached(accepting.until) => return,
        };
        match socket {
            Ok(socket) => spawn(socket, &accepting),
            Err(error) => {
                let (label, is_ours) = errno(&error);
                accepting.shared.metrics.accept_error_counted(label);
                if is_ours {
                    if warned.is_none_or(|at| at.elapsed() >= Duration::from_secs(10)) {
                        warn!(%error, "cannot accept connections; waiting for descriptors or memory");
                        warned = Some(Instant::now());
                    }
                    sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
    }
}

fn spawn(socket: Accepted, accepting: &Accepting) {
    let Ok(permit) = Arc::clone(&accepting.connections).try_acquire_owned() else {
        accepting.shared.metrics.rejection_counted("too_many_connections");
        debug!("too many connections");
        socket.say(FULL);
        return;
    };
    let active = ActiveGuard::new(accepting.shared.metrics.connections_active.clone());
    // Ends with its connection, at the latest when the gateway stops; its permit is what is waited for.
    let place = accepting.workers.as_ref().map_or_else(Place::here, |workers| workers.place());
    let registered = {
        let _there = place.enter();
        socket.register()
    };
    let socket = match registered {
        Ok(socket) => socket,
        Err(error) => return debug!(%error, "a connection was lost before it was served"),
    };
    let shared = Arc::clone(&accepting.shared);
    // Ends with its connection, at the latest when the gateway stops; its permit is what is waited for.
    drop(place.spawn(|seat| Serving::new(socket, shared, (permit, active, seat))));
}

/// A metric's label, and whether the fault is on our side (the other side's need no pause).
fn errno(error: &io::Error) -> (&'static str, bool) {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => ("EMFILE", true),
        Some(Errno::NFILE) => ("ENFILE", true),
        Some(Errno::NOBUFS) => ("ENOBUFS", true),
        Some(Errno::NOMEM) => ("ENOMEM", true),
        Some(Errno::CONNABORTED) => ("ECONNABORTED", false),
        _ => ("_OTHER", true),
    }
}

impl Socket {
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
            };
            match seen {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                seen => return Poll::Ready(seen),
            }
        }
    }

    fn wrote(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let (Poll::Ready(Ok(_)), Some(wire)) = (&outcome, &self.wire) {
            wire.wrote();
        }
        outcome
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
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let socket = self.get_mut();
        let outcome = match &mut socket.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
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
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reply_to_a_connection_too_many_has_the_length_it_says() {
        let text = std::str::from_utf8(super::FULL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
