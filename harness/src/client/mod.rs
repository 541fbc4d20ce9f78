//! The harness's end of connections: non-blocking sockets that act, and account for every byte that comes back.

pub mod connection;
pub mod spans;
pub mod stream;
pub mod task;

pub use connection::Connection;
pub use stream::Stream;
pub use task::{Task, Wants};
