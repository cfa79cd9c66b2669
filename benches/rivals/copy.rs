//! The least that bringing a child's line to a socket can cost: a thread a connection that copies from the pipe of its child
//! to the socket, and reads nothing of what it copies. It knows how long an answer of `big` is. Runs as a process of its own.

use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use crate::child::big_line;
use crate::wire::{ID_DIGITS, end_of_head, length_in};

/// What a pipe holds by default.
const CHUNK: usize = 64 << 10;

/// Serves on this port of the loopback.
pub(crate) fn serve(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
    for socket in listener.incoming().flatten() {
        thread::spawn(move || drop(copy(socket)));
    }
}

fn copy(mut socket: TcpStream) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut child = Command::new(std::env::current_exe()?).arg("child").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else { return Ok(()) };
    let (mut request, mut chunk) = (Vec::new(), vec![0; CHUNK]);
    let length = big_line(ID_DIGITS);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    while read(&mut socket, &mut request, &mut chunk)? {
        if memchr::memmem::find(&request, b"\"big\"").is_none() {
            socket.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")?;
            continue;
        }
        request.push(b'\n');
        stdin.write_all(&request)?;
        socket.write_all(head.as_bytes())?;
        let mut left = length;
        while left > 0 {
            let count = stdout.read(&mut chunk)?;
            socket.write_all(&chunk[..count])?;
            left = if count == 0 { 0 } else { left.saturating_sub(count) };
        }
    }
    drop(stdin);
    child.wait()?;
    Ok(())
}

/// Reads the body of the next request; false if there is none.
fn read(socket: &mut TcpStream, request: &mut Vec<u8>, chunk: &mut [u8]) -> Result<bool> {
    request.clear();
    loop {
        if let Some(end) = end_of_head(request) {
            let length = length_in(&request[..end]).unwrap_or(0);
            if request.len() >= end + length {
                request.drain(..end);
                return Ok(true);
            }
        }
        match socket.read(chunk)? {
            0 => return Ok(false),
            count => request.extend_from_slice(&chunk[..count]),
        }
    }
}
