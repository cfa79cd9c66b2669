//! Writing to the child: whoever decided something writes it, and where the pipe is full a task goes on.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use tokio::io::unix::AsyncFd;

use super::Link;
use super::route::Route;
use super::turn::Due;
use crate::child::Pipe;
use crate::child::line::Line;
use crate::child::pipe::{self, Written};

impl<R: Route> Link<R> {
    /// Writes what nobody has begun to write.
    pub(super) fn write_pushed(self: &Arc<Self>) {
        let writes = self.lock().outbox.begin_write();
        writes.into_iter().for_each(|generation| self.write(generation));
    }

    /// Writes the outbox until it is empty or the pipe is full. Only for whom `begin_write` chose.
    pub(super) fn write(self: &Arc<Self>, generation: u64) {
        let Some(stdin) = self.stdin.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return };
        loop {
            let Some(batch) = self.lock().outbox.next_batch(generation) else { return };
            match pipe::write(stdin.get_ref(), batch) {
                Written::All => {}
                Written::Rest(rest) => {
                    // Detached on purpose: it ends with the process.
                    drop(tokio::spawn(Arc::clone(self).write_rest(stdin, rest, generation)));
                    return;
                }
                Written::Lost(lines) => return self.lost_stdin(lines, generation),
            }
        }
    }

    /// Nobody reads the child's input: so many lines are lost, and what waits. The rest is the keeper's.
    fn lost_stdin(&self, lines: usize, generation: u64) {
        let waiting = {
            let mut state = self.lock();
            match state.router.can_go_on() {
                _ if state.outbox.generation() != generation => 0,
                true => {
                    state.router.leaves();
                    state.outbox.renew()
                }
                false => state.outbox.close(),
            }
        };
        self.metrics.messages_lost_counted(lines + waiting);
        self.fate.send_if_modified(|fate| {
            let is_now = fate.generation == generation;
            fate.lost_stdin |= is_now;
            is_now
        });
    }

    /// Goes on where the pipe was full. Waits only after the pipe has refused something: it tells of room only then.
    async fn write_rest(self: Arc<Self>, stdin: Arc<AsyncFd<Pipe>>, mut rest: VecDeque<Line>, generation: u64) {
        loop {
            self.lock().outbox.left(generation, rest.iter().map(Line::len).sum());
            tokio::select! {
                writable = pipe::writable(&stdin) => if writable.is_err() { return },
                _ = self.fate_where(|fate| fate.end.is_some() || fate.generation != generation) => {
                    return self.metrics.messages_lost_counted(rest.len());
                }
            }
            rest = loop {
                match pipe::write(stdin.get_ref(), rest) {
                    Written::All => match self.lock().outbox.next_batch(generation) {
                        Some(batch) => rest = batch,
                        None => return,
                    },
                    Written::Rest(left) => break left,
                    Written::Lost(lines) => return self.lost_stdin(lines, generation),
                }
            };
        }
    }
}

impl<R: Route> Due for Link<R> {
    fn write_due(self: Arc<Self>) {
        self.write_pushed();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::pipe::{PipeFlags, pipe_with};
    use tokio::io::Interest;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::child::Pipe;
    use crate::child::pipe::{Read, read_once};
    use crate::link::tests::link;
    use crate::session::router::Router;

    fn push(link: &Arc<Link<Router>>, line: Vec<u8>) {
        link.with(|state, _| state.outbox.push(line)).expect("there is room");
    }

    #[tokio::test]
    async fn what_is_said_while_the_pipe_is_full_is_written_without_another_word() {
        for _ in 0..20 {
            let (link, theirs) = link();
            push(&link, vec![b'a'; 100_000]);
            push(&link, vec![b'b'; 10]);
            let mut got = Vec::new();
            let read = async {
                while got.len() < 100_010 {
                    if read_once(&theirs, |bytes| got.extend_from_slice(bytes)) == Read::Empty {
                        sleep(Duration::from_millis(1)).await;
                    }
                }
            };
            assert!(timeout(Duration::from_secs(10), read).await.is_ok(), "only {} bytes came", got.len());
            assert!(got.ends_with(b"bbbbbbbbbb"));
        }
    }

    #[tokio::test]
    async fn what_a_process_that_has_gone_did_not_take_is_not_the_next_ones_fault() {
        let (link, _old) = link();
        let (_theirs, ours) = pipe_with(PipeFlags::NONBLOCK).expect("a pipe");
        assert_eq!(link.lock().outbox.renew(), 0);
        link.adopt(pipe::watch(Pipe::new(ours), Interest::WRITABLE).expect("it can be watched"));
        link.lost_stdin(1, 0);
        assert_eq!(link.lock().outbox.admits(), Ok(()));
        assert!(!link.fate.borrow().lost_stdin);
    }
}
