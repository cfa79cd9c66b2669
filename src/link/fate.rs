//! What becomes of a link and its child, and why.

/// Why a link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The client asked for it.
    Deleted,
    /// It closed the only stream that it had.
    ClientLeft,
    Idle,
    /// Another session needed its place.
    Evicted,
    /// The server is of another era than it was.
    EraChanged,
    ChildExited,
    /// The child can say nothing any more.
    ChildClosedStdout,
    /// The child can be told nothing any more.
    ChildClosedStdin,
    /// The child has not read its input for too long.
    ChildStalled,
    /// The child that followed another answered `initialize` differently.
    ChildChanged,
    /// Not the link's end: its child is stopped until it is needed.
    Asleep,
    /// The child did not take up its work, or nobody waits for it any more.
    NotOpened,
    /// The child was to take no more calls, and has none left; or its server was replaced.
    Retired,
    /// Its client is not let in any more.
    Revoked,
    /// The gateway stops.
    Shutdown,
}

impl EndReason {
    /// A metric's label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            EndReason::Deleted => "deleted",
            EndReason::ClientLeft => "client_left",
            EndReason::Idle => "idle",
            EndReason::Evicted => "evicted",
            EndReason::ChildStalled => "child_stalled",
            EndReason::ChildChanged => "child_changed",
            EndReason::Asleep => "asleep",
            EndReason::EraChanged => "era_changed",
            EndReason::ChildExited => "child_exited",
            EndReason::ChildClosedStdout => "child_closed_stdout",
            EndReason::ChildClosedStdin => "child_closed_stdin",
            EndReason::NotOpened => "not_opened",
            EndReason::Retired => "retired",
            EndReason::Revoked => "revoked",
            EndReason::Shutdown => "shutdown",
        }
    }
}

/// What is to become of a link and its child.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fate {
    pub(super) end: Option<EndReason>,
    /// The child is to be stopped until it is needed.
    pub(super) sleeps: bool,
    /// The child reads its input no more.
    pub(super) lost_stdin: bool,
    /// Which of the link's processes this is about.
    pub(super) generation: u64,
}
