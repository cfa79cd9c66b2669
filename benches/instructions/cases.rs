//! What is measured.

/// One kind of call.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// How many more on the second gateway than on the first: enough that what differs from start to start is next to nothing.
    pub(crate) calls: u32,
    /// The gateway's `--response`.
    pub(crate) response: &'static str,
    /// The gateway's `--child-era`, and which child it is.
    pub(crate) era: &'static str,
    pub(crate) client: Client,
    /// Fields beside those that a request must have: every real client says what it is.
    pub(crate) more: &'static str,
    /// The gateway's `--bearer-tokens` has one, and it is shown.
    pub(crate) has_token: bool,
    pub(crate) ask: Ask,
}

/// How a client speaks.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Client {
    /// In a session of 2025-11-25.
    Legacy,
    /// As of 2026-07-28, with an envelope and no session.
    Modern,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    /// A call that is answered with so many letters again.
    Letters(usize),
    /// A call that is answered with "hello, world" again.
    Hello,
    /// A call with progress before its answer.
    Progress,
    /// A notification, which is accepted.
    Notification,
}

const CALL: Case = Case {
    name: "call",
    calls: 2000,
    response: "auto",
    era: "legacy",
    client: Client::Legacy,
    more: "",
    has_token: false,
    ask: Ask::Hello,
};

/// A call of a client that has a name, as all have.
const NAMED: Case = Case { name: "named", more: "user-agent: bench/1.0\r\n", ..CALL };

/// The case whose cost is held against another's, and that one: who shows a token pays so much percent more at most.
pub(crate) const TOKEN: (&str, &str, f64) = ("token", NAMED.name, 5.0);

/// In the order of the table.
pub(crate) const CASES: [Case; 9] = [
    CALL,
    NAMED,
    Case { name: TOKEN.0, has_token: true, ..NAMED },
    Case { name: "sse", response: "sse", ..CALL },
    Case { name: "large", calls: 600, ask: Ask::Letters(64 << 10), ..CALL },
    Case { name: "progress", calls: 800, ask: Ask::Progress, ..CALL },
    Case { name: "modern", era: "modern", client: Client::Modern, ..CALL },
    Case { name: "bridged", client: Client::Modern, ..CALL },
    Case { name: "notification", calls: 4000, ask: Ask::Notification, ..CALL },
];
