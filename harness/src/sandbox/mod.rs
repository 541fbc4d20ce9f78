//! Namespaces in which one enactment runs, and in which all it started ends with it.
//!
//! Three kinds of processes: the *worker* is our own program started afresh, single-threaded, so it may fork and run
//! ordinary Rust; for each enactment it makes one child in new namespaces, the *enactor*, pid 1 of its pid
//! namespace; the target and its children live below the enactor and die with it. Without namespaces (the
//! loopback rung) a *supervisor* stands between worker and enactor, and ends what the enactor left.
//!
//! Whoever dies, at whatever moment, nothing is left: the worker sees the end of the harness as end of file, the
//! enactor dies with the worker by PR_SET_PDEATHSIG, and a pid namespace dies with its pid 1.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::trace::Isolation;
use child::Child;
use scratch::Scratch;

mod answer;
mod child;
mod enactor;
mod facilities;
mod ids;
mod inmates;
mod ladder;
mod limit;
mod listing;
mod mounts;
mod namespaces;
mod nursery;
pub mod owner;
mod port;
mod processes;
mod remedy;
mod scratch;
mod supervisor;
pub mod worker;

pub use facilities::Sandbox;
pub use inmates::{Inmate, inmates};
pub use ladder::{Host, Rung, best, probe};
pub use worker::{Hangup, Worker};

/// On what terms an enactment runs.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// The rung of the ladder. It is taken as asked for or not at all: see [`best`].
    pub isolation: Isolation,
    /// Paths that the target must be able to see: its program, its working directory. The private file system for
    /// `{dir}` is mounted where it hides none of them.
    pub visible: &'a [PathBuf],
    /// Processes and threads that may exist at once, where the kernel lets us bound them.
    pub processes_max: u32,
    /// Process ids begin after this one, where the kernel lets us choose. Servers that run side by side share a file
    /// system but not their pids: with the same pid they would take each other's files (`/tmp/hsperfdata_*/PID` of Java).
    pub pids_after: u32,
    /// Wall-clock time after which the enactor is killed.
    pub wall_max: Duration,
    /// A reading end of a pipe. When nobody holds its writing end any more, the enactor is killed.
    pub lifeline: BorrowedFd<'a>,
}

/// Runs `enact` as the enactor of a new sandbox and returns what it returned.
///
/// The calling process must be single-threaded: a [`Worker`] is. `enact` runs in a child that holds no descriptor
/// of the caller but 0, 1 and 2, and that never returns: nothing that it changed is changed in the caller.
/// When this returns, everything that was started inside is gone.
///
/// # Errors
/// [`Error::System`] if the sandbox cannot be made, [`Error::EnactorDied`] if the enactor panicked or was killed,
/// [`Error::TooLong`] after `wall_max`, [`Error::Interrupted`] when the lifeline ended.
pub fn enclose(terms: &Terms<'_>, enact: impl FnOnce(&Sandbox) -> Vec<u8>) -> Result<Vec<u8>, Error> {
    match terms.isolation {
        Isolation::Full | Isolation::NoProc => namespaces::enclose(terms, enact)?.answer(terms),
        Isolation::Loopback => {
            let (child, _scratch) = supervisor::enclose(terms, enact)?;
            let outcome = child.answer(terms);
            supervisor::end_descendants();
            outcome
        }
    }
}

/// A sandbox that stands still after its enactor's answer. Dropping it ends all that is in it.
#[derive(Debug)]
pub struct Held {
    child: Option<Child>,
    /// Of the loopback rung, which leaves more to be ended than a child.
    scratch: Option<Scratch>,
}

/// As [`enclose`], for an `enact` that answers by [`Sandbox::answer`] and then waits to be ended: the sandbox stays until
/// the second value is dropped.
///
/// # Errors
/// As [`enclose`].
pub fn hold(terms: &Terms<'_>, enact: impl FnOnce(&Sandbox) -> Vec<u8>) -> Result<(Vec<u8>, Held), Error> {
    let (child, scratch) = match terms.isolation {
        Isolation::Full | Isolation::NoProc => (namespaces::enclose(terms, enact)?, None),
        Isolation::Loopback => {
            let (child, scratch) = supervisor::enclose(terms, enact)?;
            (child, Some(scratch))
        }
    };
    let mut held = Held { child: Some(child), scratch };
    let answer = held.child.as_mut().map_or(Err(Error::Interrupted), |child| child.first_answer(terms))?;
    Ok((answer, held))
}

impl Drop for Held {
    fn drop(&mut self) {
        self.child = None;
        if self.scratch.is_some() {
            supervisor::end_descendants();
        }
    }
}

#[cfg(test)]
mod tests;
