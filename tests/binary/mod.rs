//! The real program: what only shows with processes, signals, sockets and load.

mod children;
mod clocks;
mod edge;
mod exact;
mod resume;
mod stopping;
