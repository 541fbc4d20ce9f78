//! The harness's end of connections: non-blocking sockets that act, and account for every byte that comes back.

pub mod connection;
pub mod spans;
pub mod stream;
pub mod task;

use std::time::Instant;

pub use connection::Connection;
pub use stream::Stream;
pub use task::Task;

/// What a task waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Input.
    pub read: bool,
    /// Room for output, or the end of a handshake.
    pub write: bool,
    /// A moment.
    pub wake: Option<Instant>,
}
