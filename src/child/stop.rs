//! How a child is stopped: a table, walked until the process has ended. Then its group is emptied, so that no grandchild
//! stays behind a shell or a launcher.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, timeout};

use super::wait;

/// One step toward the end of a process.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// 2025-11-25, Lifecycle, Shutdown, stdio: first close its input.
    CloseStdin,
    Signal(Signal),
}

/// Each step, and how long the process may take over it.
const LADDER: [(Step, Duration); 3] = [
    (Step::CloseStdin, Duration::from_secs(2)),
    (Step::Signal(Signal::TERM), Duration::from_secs(2)),
    (Step::Signal(Signal::KILL), Duration::from_secs(1)),
];

/// How long what is left of the group may take over TERM, and how often we look.
pub(crate) const GROUP_GRACE: Duration = Duration::from_secs(1);
const GROUP_LOOK: Duration = Duration::from_millis(10);

/// Walks the ladder until the process has ended. `close_stdin` is called once.
pub(crate) async fn walk(group: Pid, pidfd: &AsyncFd<OwnedFd>, close_stdin: impl FnOnce()) {
    let mut close_stdin = Some(close_stdin);
    for (step, patience) in LADDER {
        match step {
            Step::CloseStdin => close_stdin.take().into_iter().for_each(|close| close()),
            Step::Signal(signal) => {
                let _ = kill_process_group(group, signal);
            }
        }
        if timeout(patience, wait::ended(pidfd)).await.is_ok() {
            return;
        }
    }
    // Only a process that the kernel itself holds is still there after KILL: nothing more can be done but wait.
    wait::ended(pidfd).await;
}

/// Ends what is left of a group whose leader has been reaped. The group's number stays taken while a member lives.
pub(crate) async fn empty_group(group: Pid) {
    if kill_process_group(group, Signal::TERM) == Err(Errno::SRCH) {
        return;
    }
    if !wait_until(|| rustix::process::test_kill_process_group(group) == Err(Errno::SRCH)).await {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Looks until something is so, for as long as a group may take. Says whether it is.
pub(crate) async fn wait_until(mut is_so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() >= GROUP_GRACE {
            return false;
        }
        sleep(GROUP_LOOK).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process of that group, once it says that it is ready.
    fn member(group: i32, script: &str) -> Child {
        let mut member = Command::new("sh");
        member.args(["-c", &format!("{script} echo; while :; do sleep 0.05; done")]).process_group(group).stdout(Stdio::piped());
        let mut member = member.spawn().expect("sh starts");
        let mut ready = [0];
        let said = member.stdout.as_mut().map(|stdout| std::io::Read::read_exact(stdout, &mut ready));
        said.expect("a pipe").expect("it says so");
        member
    }

    #[tokio::test]
    async fn what_is_left_of_a_group_gets_term_and_after_a_second_kill() {
        let mut leader = member(0, "");
        let group = i32::try_from(leader.id()).expect("a number");
        let (polite, deaf) = (member(group, ""), member(group, "trap '' TERM;"));
        leader.kill().expect("it is there");
        leader.wait().expect("a status");
        let reap = |mut child: Child| tokio::task::spawn_blocking(move || child.wait().expect("a status").signal());
        let (polite, deaf) = (reap(polite), reap(deaf));
        empty_group(Pid::from_raw(group).expect("a number")).await;
        let (polite, deaf) = timeout(Duration::from_secs(5), async { (polite.await, deaf.await) }).await.expect("none is left");
        assert_eq!((polite.expect("a status"), deaf.expect("a status")), (Some(15), Some(9)));
    }
}
