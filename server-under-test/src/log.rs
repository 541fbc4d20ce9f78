//! Lines for people: what the server says on stdout and stderr, without ever waiting for a reader.
//!
//! A log pipe may be full because nobody reads it, closed, or a file on a full disk. None of these is the clients'
//! fault, so a line that cannot be written now is dropped. O_NONBLOCK would be the wrong tool: it belongs to the open
//! file, which the shell and other programs share. Instead `poll` is asked first, and a pipe it calls writable takes
//! PIPE_BUF bytes at once (pipe(7)), unless another writer comes between. Children would be such writers: so only
//! the parent logs. Each line is one `write`, without a buffer that a forked child would flush a second time.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Says on stdout what a launcher waits for.
pub(crate) fn announce(line: &str) {
    write_or_drop(io::stdout().as_fd(), &format!("{line}\n"));
}

/// Records one event on stderr.
pub(crate) fn event(line: &str) {
    write_or_drop(io::stderr().as_fd(), &format!("forking-echo: {line}\n"));
}

fn write_or_drop(fd: BorrowedFd<'_>, line: &str) {
    let writable = poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], PollTimeout::ZERO);
    if writable.is_ok_and(|count| count > 0) {
        let _ = write(fd, line.as_bytes()); // EPIPE, ENOSPC, EFBIG: there is nobody left to tell.
    }
}
