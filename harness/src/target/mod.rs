//! The server under test, running: how it is launched, what it writes.

pub mod account;
mod enter;
mod fill;
pub mod launch;
pub mod output;
mod program;
mod stdio;

pub use fill::MARKER;
pub use launch::{Fill, Launch, Running, launch};
pub use output::{Drained, Output};
