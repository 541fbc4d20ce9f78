//! What the target writes to stdout and stderr: kept within bounds, and searched for an announcement.

use std::os::fd::BorrowedFd;

use crate::trace;

/// Our ends of the target's stdout and stderr, and what came out of them.
#[derive(Debug)]
pub struct Output {
}

/// What one drain brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// The first line of all that says the server is ready, in the drain that completes it. Check LISTEN rows now.
    pub announced: Option<String>,
    /// Bytes read by this call.
    pub bytes: u64,
    /// Whether the bound of work of one call was met: there may be more to read at once.
    pub more: bool,
}

impl Output {
    /// Descriptors to poll for input; none when all streams are at their end, or are not to be read.
    pub fn to_poll(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::empty()
    }

    /// Reads what is there, without waiting, at most a mebibyte of each stream.
    pub fn drain(&mut self) -> Drained {
        Drained::default()
    }

    /// Closes the reading ends (`Stdio::BrokenPipe`): the next write meets EPIPE.
    pub fn break_pipes(&mut self) {
    }

    /// What has been kept so far.
    #[must_use]
    pub fn kept(&self) -> trace::Output {
        trace::Output::default()
    }
}
