//! Listening sockets, bound here or inherited, and the accept loop. Out of descriptors it waits and goes on; over its bound
//! it says so and closes.

use std::fs;
use std::io::{self, Write as _};
use std::net;
use std::os::fd::OwnedFd;
use std::os::unix;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, SockAddr, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::connection::{Serving, Shared};
use super::socket::{Socket, Stream};
use crate::config::Listen;
use crate::metrics::ActiveGuard;
use crate::notify::Pulse;
use crate::shutdown::{Phase, Shutdown};
use crate::workers::{Place, Workers};

/// A peer that acknowledges nothing for this long is gone.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);
/// How many clients may wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 1024;
/// How long to wait before another try when the system has no descriptor left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n\
    content-length: 104\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32603,\"message\":\"Too many connections (--max-connections)\"}}";

/// A bound socket.
pub(crate) struct Listener {
    socket: Bound,
    address: Listen,
    _file: Option<SocketFile>,
}

/// The file of a unix socket; gone with it.
struct SocketFile(PathBuf);

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that no runtime knows of yet.
enum Accepted {
    Tcp(net::TcpStream),
    Unix(unix::net::UnixStream),
}

impl Listener {
    /// Binds. A socket file gets that mode; one that nobody listens on any more is replaced.
    pub(crate) async fn bind(listen: &Listen, mode: u32) -> io::Result<Listener> {
        match listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr()?;
                Ok(Listener { socket: Bound::Tcp(listener), address: Listen::Tcp(address), _file: None })
            }
            Listen::Unix(path) => {
                let is_stale = fs::metadata(path).is_ok_and(|file| file.file_type().is_socket())
                    && UnixStream::connect(path).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
                if is_stale {
                    fs::remove_file(path)?;
                }
                let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.bind(&SockAddr::unix(path)?)?;
                // From here on the file is ours to remove, whatever fails.
                let file = SocketFile(path.clone());
                // Nobody can connect before it listens, so nobody does with another mode.
                fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
                socket.listen(BACKLOG)?;
                socket.set_nonblocking(true)?;
                let socket = Bound::Unix(UnixListener::from_std(socket.into())?);
                Ok(Listener { socket, address: listen.clone(), _file: Some(file) })
            }
        }
    }

    /// One that another process bound: its file, if it has one, is not ours to remove.
    pub(crate) fn inherited(socket: OwnedFd) -> io::Result<Listener> {
        let socket = socket2::Socket::from(socket);
        if socket.r#type()? != Type::STREAM {
            return Err(io::Error::other("it is not for streams"));
        }
        socket.set_cloexec(true)?;
        socket.set_nonblocking(true)?;
        let name = socket.local_addr()?;
        let (socket, address) = match (name.as_socket(), name.as_unix()) {
            (Some(address), _) => (Bound::Tcp(TcpListener::from_std(socket.into())?), Listen::Tcp(address)),
            (None, Some(address)) => {
                // One with an abstract name has no path.
                let path = address.as_pathname().unwrap_or(Path::new("@")).to_owned();
                (Bound::Unix(UnixListener::from_std(socket.into())?), Listen::Unix(path))
            }
            (None, None) => return Err(io::Error::other("it is of neither TCP nor a unix socket")),
        };
        Ok(Listener { socket, address, _file: None })
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
        Ok(Socket::new(stream, None))
    }

    /// Says a few bytes, if they can be said at once, and hangs up.
    fn say(self, bytes: &[u8]) {
        let _ = match self {
            Accepted::Tcp(mut stream) => stream.write(bytes),
            Accepted::Unix(mut stream) => stream.write(bytes),
        };
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
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
    /// Where somebody watches whether the loop is stuck.
    pub(crate) pulse: Option<Arc<Pulse>>,
}

/// Accepts connections until the gateway stops; then the socket is closed.
pub(crate) async fn accept(listener: Listener, accepting: Accepting) {
    let mut warned: Option<Instant> = None;
    loop {
        if let Some(pulse) = &accepting.pulse {
            pulse.beat();
        }
        let socket = tokio::select! {
            socket = listener.accept() => socket,
            () = accepting.shutdown.reached(accepting.until) => break,
            () = rest(accepting.pulse.as_deref()), if accepting.pulse.is_some() => continue,
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
    if let Some(pulse) = &accepting.pulse {
        pulse.end();
    }
}

async fn rest(pulse: Option<&Pulse>) {
    if let Some(pulse) = pulse {
        pulse.rest().await;
    }
}

fn spawn(socket: Accepted, accepting: &Accepting) {
    let Ok(permit) = Arc::clone(&accepting.connections).try_acquire_owned() else {
        accepting.shared.metrics.rejection_counted("too_many_connections");
        debug!("too many connections");
        // Under TLS nothing can be said before the handshake, which costs more than the connection that there is no room for.
        if accepting.shared.handshakes.is_none() {
            socket.say(FULL);
        }
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener as StdTcpListener;
    use std::os::unix::net::UnixListener as StdUnixListener;

    use super::*;

    #[tokio::test]
    async fn a_socket_file_has_the_mode_that_was_asked_for_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listen = Listen::Unix(path.clone());
        for mode in [0o600, 0o660, 0o666] {
            // What another gateway left is replaced.
            drop(StdUnixListener::bind(&path).expect("bound"));
            let listener = Listener::bind(&listen, mode).await.expect("bound");
            assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o7777, mode);
            let (came, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
            assert!(came.is_ok() && accepted.is_ok());
            let second = Listener::bind(&listen, mode).await.err().map(|error| error.kind());
            assert_eq!(second, Some(io::ErrorKind::AddrInUse));
            drop(listener);
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn an_inherited_socket_is_served_and_its_file_is_left_alone() {
        let bound = StdTcpListener::bind("127.0.0.1:0").expect("bound");
        let address = bound.local_addr().expect("an address");
        let listener = Listener::inherited(bound.into()).expect("served");
        assert_eq!(listener.address(), &Listen::Tcp(address));
        let (came, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        assert!(came.is_ok() && accepted.is_ok());

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listener = Listener::inherited(StdUnixListener::bind(&path).expect("bound").into()).expect("served");
        assert_eq!(listener.address(), &Listen::Unix(path.clone()));
        let (came, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        assert!(came.is_ok() && accepted.is_ok());
        drop(listener);
        assert!(path.exists());

        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        assert!(Listener::inherited(datagrams.into()).is_err());
    }

    #[test]
    fn the_reply_to_a_connection_too_many_has_the_length_it_says() {
        let text = std::str::from_utf8(super::FULL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
