//! Who a client proves to be by a token: what a request gives, the file of the tokens that a server takes, and new ones for it.
//! `http` asks for every call, and the subcommand `token new` keeps the file. Nothing of it prints a token, a key or a hash.

mod bearer;
mod file;
mod issue;
mod secret;
mod tokens;

pub(crate) use bearer::{Given, credentials};
pub(crate) use issue::new_token;
pub(crate) use secret::Secret;
pub(crate) use tokens::{Tokens, is_same};

/// Goes before every token, so that whoever finds one, and whatever looks for lost secrets, knows what it is.
const PREFIX: &str = "mcpgw_";
