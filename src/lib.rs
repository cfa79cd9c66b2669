//! Puts a stdio MCP server on the network as Streamable HTTP.
//!
//! A client's `initialize` opens a session and starts a child process for it. Every message the client POSTs is one line on
//! the child's stdin; every line the child writes is one event or one JSON body for the client, byte for byte, except ids and
//! progress tokens, which are private numbers toward the child. What a session has to send is kept in its log; an event
//! stream and a resumed one are cursors over it.
//!
//! ```text
//!  HTTP request                                      child's stdout
//!    http/connection  timers, one hyper connection     child/pipe      reads, child/framer cuts lines
//!    http/check       every rule once → Call|Refusal   protocol        envelopes, outside the lock
//!    http/post        hands the message over           session/router  whose is each?
//!    session/router   remembers who asked              session/log     numbers it, keeps it
//!    child/outbox     in order, under the same lock    http/body       cursor → SSE or one JSON body
//!    child/pipe       writev to stdin                HTTP response
//! ```
//!
//! The public face is small: [`Given`] → [`Config`] → [`Gateway`]. ARCHITECTURE.md has the map and the invariants.

mod auth;
mod bridge;
mod budget;
mod child;
mod cli;
mod config;
mod demo;
mod few;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gateway;
mod http;
mod ledger;
mod link;
mod memory;
mod metrics;
mod notify;
mod pool;
mod prefetch;
mod principal;
mod protocol;
mod quota;
mod seal;
mod server;
mod session;
mod shards;
mod shutdown;
mod telemetry;
mod tide;
mod tls;
mod workers;

pub use child::{GUARD_ARGUMENT, guard_cgroup};
pub use cli::token::new as new_token;
pub use cli::{Outcome, check_config, healthcheck, print_config};
pub use config::{Cli, Config, Fault, Given, LogFormat, Task, TokenTask};
pub use demo::{DEMO_ARGUMENT, serve as serve_demo};
pub use gateway::{Gateway, Reloader, StartError};
pub use telemetry::start as start_log;
