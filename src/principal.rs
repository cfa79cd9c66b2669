//! Who a client proved to be. A session is found by its id and its principal together.

/// The owner of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Principal {
    /// Nobody was asked who they are.
    Anonymous,
}
