//! The server under test, running: how it is launched, what it writes.

pub mod launch;
pub mod output;

pub use launch::{Fill, Launch, Running, launch};
pub use output::{Drained, Output};
