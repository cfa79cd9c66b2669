//! How much a child's pipes hold. Linux lets a user have so many pages in all pipes together (16,384, unless set otherwise), gives
//! each new pipe 16 of them, and 2 where they are used up: enough for 341 children, and then slow ones. So a child begins with 9
//! pages instead of 48, and a pipe that turns out too small is made as large as others are.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::pipe::fcntl_setpipe_size;

/// What stdin and stdout hold at first: more than most messages.
pub(super) const FIRST: usize = 16 << 10;
/// What they hold once that was too little: what the kernel gives a pipe by itself.
pub(super) const USUAL: usize = 64 << 10;
/// What stderr holds, for good: it is read at once, and nobody waits for what stands there.
pub(super) const STDERR: usize = 4 << 10;

/// Our end of a child's stdin or stdout.
#[derive(Debug)]
pub(crate) struct Pipe {
    fd: OwnedFd,
    /// Nobody has asked for more.
    is_small: AtomicBool,
}

impl Pipe {
    pub(crate) fn new(fd: OwnedFd) -> Pipe {
        Pipe { fd, is_small: AtomicBool::new(true) }
    }

    /// So much is to cross, or has crossed, at once. Half may be all that fits, since a page holds parts of few writes.
    pub(super) fn carries(&self, count: usize) {
        if count > FIRST / 2 && self.is_small.load(Ordering::Relaxed) {
            self.is_small.store(false, Ordering::Relaxed);
            // A user who may have no more goes on with what there is, and does not ask again.
            let _ = fcntl_setpipe_size(&self.fd, USUAL);
        }
    }
}

/// Makes a new pipe hold only so much. One that holds less already, since its user may have no more, stays as it is.
pub(super) fn limit(pipe: &OwnedFd, size: usize) {
    let _ = fcntl_setpipe_size(pipe, size);
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Pipe {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<Pipe> for OwnedFd {
    fn from(pipe: Pipe) -> OwnedFd {
        pipe.fd
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, fcntl_getpipe_size, pipe_with};

    use super::*;

    #[test]
    fn a_pipe_grows_once_it_is_too_small() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        limit(&reader, FIRST);
        let pipe = Pipe::new(writer);
        let size = || fcntl_getpipe_size(&pipe).expect("it is a pipe");
        pipe.carries(FIRST / 2);
        assert_eq!(size(), FIRST);
        pipe.carries(FIRST / 2 + 1);
        assert_eq!(size(), USUAL);
        limit(&reader, FIRST);
        pipe.carries(USUAL);
        assert_eq!(size(), FIRST, "it is asked for once");
    }
}
