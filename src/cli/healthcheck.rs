//! `healthcheck [OPTIONS]`: whether the gateway that runs by the same options can open sessions, for a container's runtime.

use std::io::{self, Read as _, Write as _};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::Outcome;
use crate::config::probe::{self, Probe};
use crate::config::{Given, Listen};

/// From the first packet to the last.
const TIMEOUT: Duration = Duration::from_secs(3);
/// What is read of an answer.
const MAX_ANSWER: usize = 64 << 10;
const UNWELL: u8 = 1;

/// Asks `/readyz`; says nothing if all is well, and else why not.
#[must_use]
pub fn healthcheck(given: &Given) -> Outcome {
    let probe = match probe::probe(given) {
        Ok(probe) => probe,
        Err(fault) => return fault.into(),
    };
    match ask(&probe, Instant::now() + TIMEOUT) {
        Ok(()) => Outcome::default(),
        Err(reason) => Outcome { stderr: format!("error: {reason}\n"), code: UNWELL, ..Outcome::default() },
    }
}

fn ask(probe: &Probe, deadline: Instant) -> Result<(), String> {
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", probe.host);
    let answer = connect(&probe.address).and_then(|socket| exchange(&socket, &request, deadline));
    let answer = answer.map_err(|error| {
        let is_late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        let error = if is_late { "no answer within 3 s".to_owned() } else { error.to_string() };
        format!("the admin listener {} cannot be asked: {error}", probe.address)
    })?;
    verdict(&answer).map_err(|reason| format!("the admin listener {} says: {reason}", probe.address))
}

fn connect(address: &Listen) -> io::Result<Socket> {
    match address {
        Listen::Tcp(address) => {
            let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
            socket.connect_timeout(&(*address).into(), TIMEOUT)?;
            Ok(socket)
        }
        Listen::Unix(path) => {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            // Also bounds how long a listener may be too busy to take the connection.
            socket.set_write_timeout(Some(TIMEOUT))?;
            socket.connect(&SockAddr::unix(path)?)?;
            Ok(socket)
        }
    }
}

/// Sends the request and reads what comes until the end, which the request asks for.
fn exchange(mut socket: &Socket, request: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(Some(left)),
    };
    socket.set_write_timeout(left()?)?;
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while answer.len() < MAX_ANSWER {
        socket.set_read_timeout(left()?)?;
        match socket.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// The answer's status and, if it is not 200, its body.
fn verdict(answer: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let line = head.lines().next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split(' ').next());
    match status {
        Some("200") => Ok(()),
        Some(status) => {
            let plain: String = body.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect();
            Err(if plain.is_empty() { format!("status {status}") } else { plain })
        }
        None => Err("nothing that is an answer over HTTP".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

    const READY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n";

    /// Reads a request and answers it.
    fn serve(mut stream: impl io::Read + io::Write, answer: &str) -> String {
        let mut request = [0; 1024];
        let count = stream.read(&mut request).expect("a request");
        stream.write_all(answer.as_bytes()).expect("it is read");
        String::from_utf8_lossy(&request[..count]).into_owned()
    }

    /// What is made of this answer, and the request.
    fn asked(answer: &'static str) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let served = thread::spawn(move || serve(listener.accept().expect("a connection").0, answer));
        let probe = Probe { address: Listen::Tcp(address), host: "gateway.example".to_owned() };
        let outcome = ask(&probe, Instant::now() + TIMEOUT);
        (outcome.map_err(|text| text.replace(&address.to_string(), "ADDRESS")), served.join().expect("it ends"))
    }

    #[test]
    fn only_a_200_is_health_and_anything_else_is_told() {
        let (outcome, request) = asked(READY);
        assert_eq!(outcome, Ok(()));
        assert_eq!(request, "GET /readyz HTTP/1.1\r\nHost: gateway.example\r\nConnection: close\r\n\r\n");
        for (answer, told) in [
            ("HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready: draining\n", "not ready: draining"),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "status 503"),
            ("HTTP/1.1 200\r\n", ""),
            ("220 mail.example.com\r\n", "nothing that is an answer over HTTP"),
            ("", "nothing that is an answer over HTTP"),
        ] {
            let expected = if told.is_empty() { Ok(()) } else { Err(format!("the admin listener ADDRESS says: {told}")) };
            assert_eq!(asked(answer).0, expected, "{answer}");
        }
    }

    #[test]
    fn a_socket_of_the_file_system_is_asked_too() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("admin.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let served = thread::spawn(move || serve(listener.accept().expect("a connection").0, READY));
        let probe = Probe { address: Listen::Unix(path), host: "localhost".to_owned() };
        assert_eq!(ask(&probe, Instant::now() + TIMEOUT), Ok(()));
        served.join().expect("it ends");
        let refused = ask(&probe, Instant::now() + TIMEOUT).expect_err("nobody listens");
        assert!(refused.contains("Connection refused"), "{refused}");
    }

    #[test]
    fn a_listener_that_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let probe = Probe { address: Listen::Tcp(listener.local_addr().expect("an address")), host: "localhost".to_owned() };
        let told = ask(&probe, Instant::now() + Duration::from_millis(50)).expect_err("it is silent");
        assert!(told.ends_with("cannot be asked: no answer within 3 s"), "{told}");
    }
}
