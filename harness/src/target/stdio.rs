//! The pipes of one launch: the target's ends, and ours.
//!
//! # References
//! pipe(7), fcntl(2) F_SETPIPE_SZ

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use crate::error::{Attempt, Error};
use crate::scenario::Stdio;
use crate::target::output::{Output, Reader};

/// What a target gets as descriptors 0, 1 and 2, and we keep of them.
#[derive(Debug)]
pub(super) struct Pipes {
    /// `/dev/null`, for reading and writing.
    pub(super) null: OwnedFd,
    /// Standard output and standard error of the target; `None`: all three are closed.
    pub(super) theirs: Option<[OwnedFd; 2]>,
    /// Our ends.
    pub(super) ours: Output,
}

/// Bytes that a pipe may hold, so that a talkative server need not wait for us: what an ordinary user may ask for.
const PIPE_BYTES: usize = 1 << 20;

impl Pipes {
    /// Opens them.
    pub(super) fn open(stdio: Stdio, output_kept: usize) -> Result<Self, Error> {
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .attempt(|| "open /dev/null".to_owned())?;
        let (theirs, [stdout, stderr]) = match stdio {
            Stdio::Closed => (None, [Reader::Closed, Reader::Closed]),
            Stdio::Kept | Stdio::BrokenPipe => both(wide)?,
            Stdio::FullPipe => both(full)?,
        };
        Ok(Self { null: null.into(), theirs, ours: Output::new(stdout, stderr, output_kept) })
    }
}

/// Two pipes: the target's ends and ours.
fn both(
    make: fn() -> rustix::io::Result<(Reader, OwnedFd)>,
) -> Result<(Option<[OwnedFd; 2]>, [Reader; 2]), Error> {
    let doing = || "make a pipe for the target's output".to_owned();
    let (stdout, their_stdout) = make().attempt(doing)?;
    let (stderr, their_stderr) = make().attempt(doing)?;
    Ok((Some([their_stdout, their_stderr]), [stdout, stderr]))
}

/// A wide pipe. Our end alone is non-blocking: each end is an open file description of its own.
fn wide() -> rustix::io::Result<(Reader, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    // The user may have used up his share of pipe memory: then it stays as it is.
    let _ = fcntl_setpipe_size(&ours, PIPE_BYTES);
    Ok((Reader::Read(ours), theirs))
}

/// A pipe that takes not one byte more.
fn full() -> rustix::io::Result<(Reader, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    let _ = fcntl_setpipe_size(&ours, rustix::param::page_size());
    rustix::io::ioctl_fionbio(&theirs, true)?;
    for size in [4096, 1] {
        while write_some(&theirs, &vec![b'.'; size])? {}
    }
    rustix::io::ioctl_fionbio(&theirs, false)?;
    Ok((Reader::Held(ours), theirs))
}

/// Writes once; `false`: the pipe is full.
fn write_some(pipe: &OwnedFd, bytes: &[u8]) -> rustix::io::Result<bool> {
    match rustix::io::write(pipe.as_fd(), bytes) {
        Ok(_) | Err(Errno::INTR) => Ok(true),
        Err(Errno::AGAIN) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pipe_takes_nothing_and_is_blocking_again() {
        let (reader, theirs) = full().unwrap();
        assert!(matches!(reader, Reader::Held(_)));
        let flags = rustix::fs::fcntl_getfl(&theirs).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
        rustix::io::ioctl_fionbio(&theirs, true).unwrap();
        assert_eq!(rustix::io::write(&theirs, b"x"), Err(Errno::AGAIN));
    }

    #[test]
    fn only_our_end_of_a_wide_pipe_is_non_blocking() {
        let (reader, theirs) = wide().unwrap();
        let Reader::Read(ours) = reader else { unreachable!() };
        let is_nonblocking =
            |fd: &OwnedFd| rustix::fs::fcntl_getfl(fd).unwrap().contains(rustix::fs::OFlags::NONBLOCK);
        assert!(is_nonblocking(&ours) && !is_nonblocking(&theirs));
    }

    #[test]
    fn closed_streams_have_no_pipes() {
        let pipes = Pipes::open(Stdio::Closed, 10).unwrap();
        assert!(pipes.theirs.is_none());
        assert_eq!(pipes.ours.to_poll().count(), 0);
    }
}
