//! What the two proofs share.

pub(crate) mod client;
pub(crate) mod process;
pub(crate) mod stats;
pub(crate) mod table;
