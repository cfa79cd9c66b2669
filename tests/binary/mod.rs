//! The real program: what only shows with processes, signals, sockets and load.

mod access_log;
mod advisories;
mod certificates;
mod children;
mod clocks;
mod command_line;
mod config;
mod edge;
mod entrance;
mod exact;
mod http2;
mod inherited;
mod large;
mod modern;
mod notify;
mod options;
mod orphans;
mod pipes;
mod principals;
mod respawn;
mod resume;
mod scheduling;
mod several;
mod shared;
mod shares;
mod stopping;
