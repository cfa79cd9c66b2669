//! What fuzzing holds of the project: a function a target, each of which takes any bytes and panics where a property does not
//! hold. Compiled under `cfg(fuzzing)` only; `fuzz/` has the programs that call them, and tells what each is about.

mod accept;
mod bridges;
mod child;
mod config;
mod envelope;
mod input;
mod json;
mod ledger;
mod legacy_on_legacy;
mod legacy_on_modern;
mod lines;
mod mirror;
mod modern;
mod modern_on_legacy;
mod modern_on_modern;
mod rewritten;
mod seal;
mod session;
mod spelling;
mod splice;
mod sse;
mod tokens;
mod tools;

pub use self::accept::accept;
pub use self::config::config;
pub use self::envelope::{envelope, reads};
pub use self::legacy_on_legacy::legacy_on_legacy;
pub use self::legacy_on_modern::legacy_on_modern;
pub use self::lines::framer;
pub use self::mirror::{mirror, numbers};
pub use self::modern_on_legacy::modern_on_legacy;
pub use self::modern_on_modern::modern_on_modern;
pub use self::seal::seal;
pub use self::session::session;
pub use self::spelling::canonical;
pub use self::splice::splice;
pub use self::sse::{event_id, sse};
pub use self::tokens::{Lookup, tokens};
pub use self::tools::tool_headers;
