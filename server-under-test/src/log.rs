//! Lines for people, written without ever waiting for a reader.
//!
//! A log may be a full pipe that nobody reads, a closed one, a file on a full disk: none of it is the clients' fault,
//! so a line that cannot be written now is dropped. O_NONBLOCK is the wrong tool: all programs that share the file get
//! it. A pipe that `poll` calls writable takes PIPE_BUF bytes at once (pipe(7)), unless another writer comes between;
//! children would be such writers, so only the parent logs. No buffer: a forked child would flush it once more.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

/// Records one event on stderr.
pub(crate) fn event(line: &str) {
    write_or_drop(&std::io::stderr(), &format!("forking-echo: {line}\n"));
}

pub(crate) fn write_or_drop(to: &impl AsFd, line: &str) {
    if poll(&mut [PollFd::new(to.as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO)
        .is_ok_and(|ready| ready > 0)
    {
        let _ = nix::unistd::write(to, line.as_bytes()); // EPIPE, ENOSPC, EFBIG: there is nobody to tell.
    }
}
