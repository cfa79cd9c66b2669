//! How much a child's pipes hold. Linux lets a user have so many pages in all pipes together (16,384, unless set otherwise), gives
//! each new pipe 16 of them, and 2 where they are used up: enough for 341 children, and then slow ones. So a child begins with 9
//! pages instead of 48, and a pipe that turns out too small is made as large as others are; some are made larger than that.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::pipe::fcntl_setpipe_size;

/// What stdin and stdout hold at first: more than most messages.
pub(super) const FIRST: usize = 16 << 10;
/// What they hold once that was too little: what the kernel gives a pipe by itself.
pub(super) const USUAL: usize = 64 << 10;
/// What some of them hold for what is larger still. Beyond it nothing is gained (measured: a pipe of 256 KiB is faster for one
/// session, and slower for sixteen, whose pipes no longer fit into the processor's cache).
const MOST: usize = 128 << 10;
/// So many may hold the most, so that pages are left for others.
const LARGE: usize = 64;
/// What stderr holds, for good: it is read at once, and nobody waits for what stands there.
pub(super) const STDERR: usize = 4 << 10;

/// How many hold the most.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Our end of a child's stdin or stdout.
#[derive(Debug)]
pub(crate) struct Pipe {
    fd: OwnedFd,
    /// What was last asked for, granted or not: a refusal is not asked for again.
    asked: AtomicUsize,
    place: OnceLock<Place>,
}

impl Pipe {
    pub(crate) fn new(fd: OwnedFd) -> Pipe {
        Pipe { fd, asked: AtomicUsize::new(FIRST), place: OnceLock::new() }
    }

    /// So much is to cross, or has crossed, at once. Half may be all that fits, since a page holds parts of few writes.
    pub(super) fn carries(&self, count: usize) {
        let asked = self.asked.load(Ordering::Relaxed);
        if count > asked / 2 && asked < MOST {
            self.grow(if count > USUAL / 2 { MOST } else { USUAL });
        }
    }

    #[cold]
    fn grow(&self, wanted: usize) {
        if self.asked.fetch_max(wanted, Ordering::Relaxed) >= wanted {
            return;
        }
        if wanted == MOST
            && let Some(place) = Place::take(&TAKEN)
            && fcntl_setpipe_size(&self.fd, MOST).is_ok()
        {
            let _ = self.place.set(place);
            return;
        }
        // A user who may have no more goes on with what there is.
        let _ = fcntl_setpipe_size(&self.fd, USUAL);
    }
}

/// Makes a new pipe hold only so much. One that holds less already, since its user may have no more, stays as it is.
pub(super) fn limit(pipe: &OwnedFd, size: usize) {
    let _ = fcntl_setpipe_size(pipe, size);
}

/// One of the places for pipes that hold the most, until it is dropped.
#[derive(Debug)]
struct Place(&'static AtomicUsize);

impl Place {
    fn take(taken: &'static AtomicUsize) -> Option<Place> {
        let more = |taken| (taken < LARGE).then_some(taken + 1);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok().then(|| Place(taken))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
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
    fn a_pipe_grows_with_what_it_carries_and_asks_once_for_each_size() {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        limit(&reader, FIRST);
        let pipe = Pipe::new(writer);
        let size = || fcntl_getpipe_size(&pipe).expect("it is a pipe");
        for (count, holds) in [(FIRST / 2, FIRST), (FIRST / 2 + 1, USUAL), (USUAL / 2, USUAL), (USUAL / 2 + 1, MOST)] {
            pipe.carries(count);
            assert_eq!(size(), holds, "{count}");
        }
        limit(&reader, FIRST);
        pipe.carries(MOST);
        assert_eq!(size(), FIRST);
    }

    #[test]
    fn places_are_few_and_come_back() {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        let mut places: Vec<_> = (0..LARGE).map(|_| Place::take(&TAKEN).expect("a place")).collect();
        assert!((0..2).all(|_| Place::take(&TAKEN).is_none()), "who gets none gives none back");
        places.pop();
        assert!(Place::take(&TAKEN).is_some());
    }
}
