//! The child that is to give one answer, as its parent sees it: the enactor, or the supervisor above it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::Terms;
use super::answer::{self, ANSWER_MAX};
use crate::error::{Attempt, Error};

/// How long a killed process may take to end: with all of its namespace, on a busy machine.
const END_WITHIN: Duration = Duration::from_secs(30);

/// A child that is to write one answer and exit with 0. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub(super) struct Child {
    pidfd: OwnedFd,
    /// Where the answer comes from.
    answer: File,
    /// The child sees its parent's end when this is closed.
    tether: Option<OwnedFd>,
    /// What to do first when the child is to be ended.
    farewell: Farewell,
    reaped: bool,
}

/// How a child is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// By SIGKILL: all that is below it ends with it.
    Kill,
    /// By closing its tether: it has to clean up.
    Untie,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// exit(3) with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Child {
    /// Takes charge of a child that has just been forked.
    pub(super) fn adopt(
        pidfd: OwnedFd,
        answer: OwnedFd,
        tether: OwnedFd,
        farewell: Farewell,
    ) -> Result<Self, Error> {
        rustix::io::ioctl_fionbio(&answer, true).attempt(|| "make the answer's pipe non-blocking".into())?;
        Ok(Self { pidfd, answer: answer.into(), tether: Some(tether), farewell, reaped: false })
    }

    /// Tells the child to go on.
    pub(super) fn release(&self) -> Result<(), Error> {
        self.tether.as_ref().map_or(Ok(()), release)
    }

    /// Waits for the answer and for the end of the child.
    pub(super) fn answer(mut self, terms: &Terms<'_>) -> Result<Vec<u8>, Error> {
        let deadline = Instant::now() + terms.wall_max;
        let mut bytes = Vec::new();
        let mut at_end = false;
        loop {
            let ready = self.poll(terms.lifeline, deadline, at_end)?;
            if ready.interrupted {
                return Err(Error::Interrupted);
            }
            if ready.answer || ready.ended {
                at_end |= self.read_what_is_there(&mut bytes)?;
            }
            if ready.ended {
                break;
            }
            if ready.nothing() && Instant::now() >= deadline {
                return Err(Error::TooLong(terms.wall_max));
            }
        }
        match self.wait()? {
            Ended::Exited(0) => answer::decode(bytes),
            ended @ (Ended::Exited(_) | Ended::Killed(_)) => Err(Error::EnactorDied(ended.to_string())),
        }
    }

    /// Waits for an answer that may come long before the end of the child.
    pub(super) fn first_answer(&mut self, terms: &Terms<'_>) -> Result<Vec<u8>, Error> {
        let deadline = Instant::now() + terms.wall_max;
        let mut bytes = Vec::new();
        loop {
            let ready = self.poll(terms.lifeline, deadline, false)?;
            if ready.interrupted {
                return Err(Error::Interrupted);
            }
            if (ready.answer || ready.ended) && self.read_what_is_there(&mut bytes)? {
                return answer::decode(bytes);
            }
            if ready.ended {
                return Err(Error::EnactorDied(self.wait()?.to_string()));
            }
            if ready.nothing() && Instant::now() >= deadline {
                return Err(Error::TooLong(terms.wall_max));
            }
        }
    }

    fn poll(&self, lifeline: BorrowedFd<'_>, deadline: Instant, at_end: bool) -> Result<Ready, Error> {
        let mut fds = vec![
            PollFd::from_borrowed_fd(lifeline, PollFlags::empty()),
            PollFd::new(&self.pidfd, PollFlags::IN),
            PollFd::new(&self.answer, PollFlags::IN),
        ];
        // A pipe at its end is always ready: leave it out.
        fds.truncate(if at_end { 2 } else { 3 });
        wait_until_ready(&mut fds, deadline).attempt(|| "wait for the enactor".into())?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        Ok(Ready { interrupted: ready[0], ended: ready[1], answer: ready.get(2).copied().unwrap_or(false) })
    }

    /// Reads until nothing is there; whether that was the end.
    fn read_what_is_there(&mut self, bytes: &mut Vec<u8>) -> Result<bool, Error> {
        let most = u64::try_from(ANSWER_MAX - bytes.len() + 1).unwrap_or(u64::MAX);
        match self.answer.by_ref().take(most).read_to_end(bytes) {
            _ if bytes.len() > ANSWER_MAX => Err(Error::Protocol {
                doing: "read the enactor's answer",
                problem: format!("it has more than {ANSWER_MAX} bytes"),
            }),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).attempt(|| "read the enactor's answer".into()),
        }
    }

    /// Waits for the end of the child, which is near.
    fn wait(&mut self) -> Result<Ended, Error> {
        let status = loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(Some(status)) => break status,
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).attempt(|| "wait for the enactor's end".into()),
            }
        };
        self.reaped = true;
        Ok(match (status.exit_status(), status.terminating_signal()) {
            // What a supervisor says of its enactor.
            (Some(code), _) if self.farewell == Farewell::Untie && code > 128 => Ended::Killed(code - 128),
            (Some(code), _) => Ended::Exited(code),
            (None, signal) => Ended::Killed(signal.unwrap_or_default()),
        })
    }

    /// Whether the child ends within the time.
    fn ends_within(&self, time: Duration) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        wait_until_ready(&mut fds, Instant::now() + time).is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        self.tether = None;
        if self.farewell == Farewell::Kill || !self.ends_within(END_WITHIN) {
            // It may have ended by itself meanwhile; then there is nobody to kill.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        if self.ends_within(END_WITHIN) {
            let _ = self.wait();
        }
    }
}

/// Writes the word to go on.
pub(super) fn release(tether: &OwnedFd) -> Result<(), Error> {
    match rustix::io::write(tether, &[1]) {
        // The child is dead; how it died is told when it is waited for.
        Ok(_) | Err(Errno::PIPE) => Ok(()),
        Err(error) => Err(error).attempt(|| "release the enactor".into()),
    }
}

/// What [`Child::poll`] saw.
struct Ready {
    interrupted: bool,
    ended: bool,
    answer: bool,
}

impl Ready {
    fn nothing(&self) -> bool {
        !self.interrupted && !self.ended && !self.answer
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "it exited with {code}"),
            Self::Killed(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(name) => write!(f, "it was killed by {name}"),
                Err(_) => write!(f, "it was killed by signal {signal}"),
            },
        }
    }
}

/// poll(2) until something is ready or the deadline has passed, however often a signal comes between.
pub(super) fn wait_until_ready(fds: &mut [PollFd<'_>], deadline: Instant) -> Result<usize, Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(fds, Some(&left)) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
