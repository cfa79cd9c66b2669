//! Raw reads and writes on a child's pipes: a system call first, the reactor only when the pipe is empty or full.
#![allow(unsafe_code)] // tokio asks for a promise about the descriptor, which the type cannot give

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::capacity::{Pipe, USUAL};
use super::line::{Line, advance};

/// One read takes at most what a pipe usually holds: more at once is not faster.
const CHUNK: usize = USUAL;

thread_local! {
    /// Shared by all children of a thread: an idle child holds no buffer.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// Registers a descriptor with the reactor.
pub(crate) fn watch<T: AsRawFd + Into<OwnedFd>>(fd: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: what can become an `OwnedFd`, here one itself or a `Pipe` around it, is one open descriptor from here until it is
    // dropped, which `AsyncFd` does after it has taken it back from the reactor.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(Into::into)
}

/// What a read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// The pipe may hold more.
    More,
    /// The pipe is empty now.
    Empty,
    /// Nobody will write any more.
    End,
}

/// Reads once and hands the bytes on.
pub(crate) fn read_once(pipe: &Pipe, take: impl FnOnce(&[u8])) -> Read {
    read(pipe, |bytes| {
        pipe.carries(bytes.len());
        take(bytes);
    })
}

fn read(pipe: impl AsFd, take: impl FnOnce(&[u8])) -> Read {
    BUFFER.with_borrow_mut(|buffer| match rustix::io::read(pipe, &mut buffer[..]) {
        Ok(0) => Read::End,
        Ok(count) => {
            take(&buffer[..count]);
            if count == buffer.len() { Read::More } else { Read::Empty }
        }
        Err(Errno::INTR) => Read::More,
        Err(Errno::AGAIN) => Read::Empty,
        Err(_) => Read::End,
    })
}

/// Reads until nobody writes any more. Safe to drop: nothing is read and not handed on.
pub(crate) async fn read_all(pipe: &AsyncFd<OwnedFd>, mut take: impl FnMut(&[u8])) {
    loop {
        let Ok(mut ready) = pipe.readable().await else { return };
        match read(pipe.get_ref(), &mut take) {
            Read::More => {}
            Read::Empty => ready.clear_ready(),
            Read::End => return,
        }
    }
}

/// What a write left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    All,
    /// The pipe is full; these lines are still to be written (the first perhaps in part).
    Rest(VecDeque<Line>),
    /// Nobody will read; so many lines did not arrive whole.
    Lost(usize),
}

/// How many pieces one system call takes.
const VECTORS: usize = 64;

/// Writes lines until all are written or the pipe is full.
pub(crate) fn write(pipe: &Pipe, mut lines: VecDeque<Line>) -> Written {
    pipe.carries(lines.iter().map(Line::len).sum());
    while let Some(first) = lines.front() {
        let outcome = match first.only() {
            Some(bytes) if lines.len() == 1 => rustix::io::write(pipe, bytes),
            _ => {
                let slices: Vec<IoSlice<'_>> = lines.iter().flat_map(Line::slices).take(VECTORS).collect();
                rustix::io::writev(pipe, &slices)
            }
        };
        match outcome {
            Ok(count) => advance(&mut lines, count),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Written::Rest(lines),
            Err(_) => return Written::Lost(lines.len()),
        }
    }
    Written::All
}

/// Waits until the pipe takes something again.
pub(crate) async fn writable(pipe: &AsyncFd<Pipe>) -> io::Result<()> {
    let mut ready = pipe.writable().await?;
    // Whether it does is asked of the pipe itself, so what was remembered of it is not needed.
    ready.clear_ready_matching(tokio::io::Ready::WRITABLE);
    drop(ready);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (Pipe, Pipe) {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).expect("a pipe");
        (Pipe::new(reader), Pipe::new(writer))
    }

    #[test]
    fn lines_cross_a_full_pipe_in_order() {
        let (reader, writer) = pipe();
        let line = |n: u32| match n % 3 {
            0 => Line::from((vec![n as u8; 300], vec![n as u8; 400].into(), vec![n as u8; 300])),
            _ => Line::from(vec![n as u8; 1000]),
        };
        let lines: VecDeque<Line> = (0..200).map(line).collect();
        let sent: Vec<u8> = (0..200_u32).flat_map(|n| [n as u8; 1000]).collect();
        let (mut got, mut rest) = (Vec::new(), lines);
        loop {
            match write(&writer, rest) {
                Written::All => break,
                Written::Rest(left) => rest = left,
                Written::Lost(_) => panic!("the reader is there"),
            }
            while read_once(&reader, |bytes| got.extend_from_slice(bytes)) == Read::More {}
        }
        drop(writer);
        while read_once(&reader, |bytes| got.extend_from_slice(bytes)) != Read::End {}
        assert!(got == sent);
    }

    #[test]
    fn lines_for_nobody_are_counted() {
        let (reader, writer) = pipe();
        drop(reader);
        assert_eq!(write(&writer, [vec![1].into(), vec![2].into()].into()), Written::Lost(2));
    }
}
