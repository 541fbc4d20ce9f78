//! An enactor in namespaces of its own: pid 1, with which everything inside ends.

use std::os::fd::OwnedFd;

use nix::sched::CloneFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use super::child::{self, Child, Farewell};
use super::enactor::{self, Parent};
use super::facilities::Sandbox;
use super::nursery::Nursery;
use super::scratch::Scratch;
use super::{Terms, ids};
use crate::error::{Attempt, Error};
use crate::sys::clone::{Forked, fork};

/// Starts what [`super::enclose`] runs, on the rungs with namespaces.
pub(super) fn enclose(terms: &Terms<'_>, enact: impl FnOnce(&Sandbox) -> Vec<u8>) -> Result<Child, Error> {
    let map = ids::map_needed();
    let mut namespaces = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC;
    namespaces.set(CloneFlags::CLONE_NEWUSER, map.is_some());
    let (answer, answer_to) = pipe()?;
    let (tether_end, tether) = pipe()?;
    let scratch = Scratch::name();
    if map.is_none() {
        // Nothing need be done from outside first, so that the child finds the word to go on when it looks for it.
        child::release(&tether)?;
    }
    match fork_from(Nursery::of_use(terms), namespaces)? {
        Forked::Child(this) => {
            enactor::live(this, &Parent::Tether(tether_end), answer_to, terms, &scratch, enact)
        }
        Forked::Parent { pid, pidfd } => {
            drop((answer_to, tether_end));
            let child = Child::adopt(pidfd, answer, tether, Farewell::Kill)?;
            if let Some(map) = map {
                map.write(pid)?;
                child.release()?;
            }
            Ok(child)
        }
    }
}

/// Forks in the nursery, where there is one; this process then comes back from there.
fn fork_from(nursery: Option<&'static Nursery>, namespaces: CloneFlags) -> Result<Forked, Error> {
    let stay = nursery.map(Nursery::enter).transpose()?;
    let forked = fork(namespaces);
    if let Some(stay) = stay
        && !matches!(forked, Ok(Forked::Child(_)))
    {
        stay.leave()?;
    }
    forked.attempt(|| "make namespaces".into())
}

/// A pipe that no program started from here inherits: reading end, writing end.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC).attempt(|| "make a pipe".into())
}
