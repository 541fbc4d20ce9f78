//! Lines for people, written without ever waiting for a reader.
//!
//! A log may be a pipe that is full because nobody reads it, or closed, or a file on a full disk. None of these is the
//! clients' fault, so a line that cannot be written now is dropped. O_NONBLOCK is the wrong tool: it would belong to
//! every program that shares the file. A pipe that `poll` calls writable takes PIPE_BUF bytes at once (pipe(7)), if no
//! other writer comes between; children would be such writers, so only the parent logs. Each line is one `write`, with
//! no buffer that a forked child would flush again.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
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
    if poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
        let _ = nix::unistd::write(fd, line.as_bytes()); // EPIPE, ENOSPC, EFBIG: there is nobody to tell.
    }
}
