//! Every test of the gateway as a whole, in one binary: transcripts of the wire in process, the real program for processes,
//! signals and load.

mod binary;
mod layering;
mod support;
mod transcripts;
