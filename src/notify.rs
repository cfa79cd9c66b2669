//! What the service manager hears: that the gateway is ready, reads its configuration again, stops, and that its accept loop
//! is at work (sd_notify(3)). Where no manager listens nothing happens. Never waits for it: a word that it has no room for
//! is lost.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep};
use tracing::{debug, error};

/// It serves, or has read its configuration again.
pub(crate) fn ready() {
    tell("READY=1");
}

/// It reads its configuration again; [`ready`] follows.
pub(crate) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

/// It ends.
pub(crate) fn stopping() {
    tell("STOPPING=1");
}

/// What it is doing, in words, on one line.
pub(crate) fn status(text: &str) {
    // Another line would be another assignment.
    tell(&format!("STATUS={}", text.lines().next().unwrap_or_default()));
}

/// It is not stuck.
fn beat() {
    tell("WATCHDOG=1");
}

fn tell(text: &str) {
    if let Some(socket) = env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(&socket, text)
    {
        debug!(%error, text, "the service manager was not told");
    }
}

fn send(socket: &OsStr, text: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let datagram = UnixDatagram::unbound()?;
    datagram.set_nonblocking(true)?;
    datagram.send_to_addr(text.as_bytes(), &address).map(drop)
}

/// How often the service manager is to hear that the gateway is not stuck: twice in the time that it allows. `None` where it
/// does not ask.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    let variable = |name| env::var(name).ok();
    interval(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref(), std::process::id())
}

fn interval(micros: Option<&str>, process: Option<&str>, own: u32) -> Option<Duration> {
    let is_for_us = process.is_none_or(|process| process.parse() == Ok(own));
    let allowed = Duration::from_micros(micros?.parse().ok()?);
    (is_for_us && !allowed.is_zero()).then_some(allowed / 2)
}

/// The last time that an accept loop was seen at work.
pub(crate) struct Pulse {
    interval: Duration,
    began: Instant,
    /// Milliseconds since then; [`ENDED`] once the loop has ended.
    last: AtomicU64,
}

/// The loop has ended as it should: it is not missed.
const ENDED: u64 = u64::MAX;

impl Pulse {
    /// One that is looked at this often.
    pub(crate) fn new(interval: Duration) -> Arc<Pulse> {
        Arc::new(Pulse { interval, began: Instant::now(), last: AtomicU64::new(0) })
    }

    /// The loop goes round.
    pub(crate) fn beat(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(ENDED);
        self.last.store(now, Ordering::Relaxed);
    }

    /// The loop ends, and nothing is wrong.
    pub(crate) fn end(&self) {
        self.last.store(ENDED, Ordering::Relaxed);
    }

    /// Waits until the loop must go round although nobody came.
    pub(crate) async fn rest(&self) {
        sleep(self.interval / 2).await;
    }

    pub(crate) fn is_fresh(&self) -> bool {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.began.elapsed() <= last.saturating_add(self.interval)
    }
}

/// Tells the service manager that the gateway is not stuck, for as long as its accept loop is not.
pub(crate) async fn watch(pulse: Arc<Pulse>) {
    loop {
        if pulse.is_fresh() {
            beat();
        } else {
            error!("the accept loop is stuck; the service manager will hear nothing until it goes on");
        }
        sleep(pulse.interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_reaches_a_socket_in_the_file_system_and_one_with_an_abstract_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).expect("bound");
        send(path.as_os_str(), "READY=1").expect("told");
        let name = format!("notify-{}", path.display());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let other = UnixDatagram::bind_addr(&address).expect("bound");
        send(OsStr::new(&format!("@{name}")), "STOPPING=1").expect("told");
        for (socket, said) in [(listener, "READY=1"), (other, "STOPPING=1")] {
            let mut text = [0; 64];
            let len = socket.recv(&mut text).expect("a datagram");
            assert_eq!(&text[..len], said.as_bytes());
        }
    }

    #[test]
    fn a_manager_that_reads_nothing_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let _deaf = UnixDatagram::bind(&path).expect("bound");
        let full = (0..100_000).find_map(|_| send(path.as_os_str(), "WATCHDOG=1").err());
        assert_eq!(full.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time_if_it_watches_this_process() {
        let own = std::process::id();
        let text = own.to_string();
        assert_eq!(interval(Some("30000000"), Some(&text), own), Some(Duration::from_secs(15)));
        assert_eq!(interval(Some("30000000"), None, own), Some(Duration::from_secs(15)));
        for (micros, process) in [(None, None), (Some("0"), None), (Some("soon"), None), (Some("30000000"), Some("1"))] {
            assert_eq!(interval(micros, process, own), None, "{micros:?} {process:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pulse_is_fresh_for_its_interval_and_for_ever_once_its_loop_has_ended() {
        let pulse = Pulse::new(Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(pulse.is_fresh());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!pulse.is_fresh());
        pulse.beat();
        assert!(pulse.is_fresh());
        pulse.end();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(pulse.is_fresh());
    }
}
