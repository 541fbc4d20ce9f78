//! The lowest rung: no namespaces, so a supervisor stands between worker and enactor and ends what the enactor leaves.
//!
//! The enactor is a subreaper: what the target orphans becomes the enactor's child. The supervisor is one too:
//! what the enactor orphans becomes the supervisor's child, and it kills until it has none. It sees the
//! worker's end by the end of a pipe. A supervisor that was itself killed is the one thing that this rung does not survive
//! alone: then the worker, subreaper too, does its work.
//!
//! # References
//! prctl(2) PR_SET_CHILD_SUBREAPER, pidfd_open(2)

use std::os::fd::{AsFd, OwnedFd};
use std::process;
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use nix::sys::prctl::set_child_subreaper;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, pidfd_open, pidfd_send_signal, wait, waitid,
};

use super::child::{Child, Farewell, wait_until_ready};
use super::enactor::{self, Parent};
use super::facilities::Sandbox;
use super::namespaces::pipe;
use super::scratch::Scratch;
use super::{Terms, processes};
use crate::error::{Attempt, Error};
use crate::sys;
use crate::sys::clone::{Forked, fork};

/// How long the supervisor goes on killing.
const END_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks whether all are gone.
const PAUSE: Duration = Duration::from_millis(1);

/// Starts what [`super::enclose`] runs, on the loopback rung. When the child is gone, [`end_descendants`] is to be called,
/// and then the directory dropped: where the supervisor was killed, something is left.
pub(super) fn enclose(
    terms: &Terms<'_>,
    enact: impl FnOnce(&Sandbox) -> Vec<u8>,
) -> Result<(Child, Scratch), Error> {
    set_child_subreaper(true).attempt(|| "become a subreaper".into())?;
    let (answer, answer_to) = pipe()?;
    let (tether_end, tether) = pipe()?;
    let scratch = Scratch::name();
    match fork(CloneFlags::empty()).attempt(|| "fork a supervisor".into())? {
        Forked::Child(this) => supervise(this, &tether_end, answer_to, terms, scratch, enact),
        Forked::Parent { pidfd, .. } => {
            drop((answer_to, tether_end));
            Ok((Child::adopt(pidfd, answer, tether, Farewell::Untie)?, scratch))
        }
    }
}

/// Lives the supervisor's life. Its status is the enactor's, or 128 and the signal that killed the enactor.
fn supervise(
    this: sys::clone::Child,
    tether: &OwnedFd,
    answer_to: OwnedFd,
    terms: &Terms<'_>,
    scratch: Scratch,
    enact: impl FnOnce(&Sandbox) -> Vec<u8>,
) -> ! {
    let tied =
        this.close_all_but(&[tether.as_fd(), answer_to.as_fd()]).is_ok() && set_child_subreaper(true).is_ok();
    let supervisor = Parent::Supervisor(i32::try_from(process::id()).unwrap_or_default());
    let status = match fork(CloneFlags::empty()) {
        Ok(Forked::Child(enactor)) => enactor::live(enactor, &supervisor, answer_to, terms, &scratch, enact),
        Ok(Forked::Parent { pidfd, .. }) if tied => {
            drop(answer_to);
            watch(tether, &pidfd)
        }
        Ok(Forked::Parent { .. }) | Err(_) => 1,
    };
    end_descendants();
    drop(scratch);
    this.exit(status)
}

/// Waits for the end of the enactor, or kills it at the end of the worker.
fn watch(tether: &OwnedFd, enactor: &OwnedFd) -> i32 {
    let mut fds = [PollFd::new(tether, PollFlags::empty()), PollFd::new(enactor, PollFlags::IN)];
    // The worker bounds this wait: it unties us when the time is over.
    while let Ok(0) = wait_until_ready(&mut fds, Instant::now() + Duration::from_secs(3600)) {}
    // At the enactor's own end there is nobody to kill.
    let _ = pidfd_send_signal(enactor, Signal::KILL);
    match rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(enactor.as_fd()), WaitIdOptions::EXITED)) {
        Ok(Some(status)) => {
            status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or_default())
        }
        Ok(None) | Err(_) => 1,
    }
}

/// Kills and reaps all descendants, until there is none: this process must be a subreaper.
pub(super) fn end_descendants() {
    let deadline = Instant::now() + END_WITHIN;
    while reap() == Left::Some && Instant::now() < deadline {
        let descendants =
            processes::descendants(process::id().try_into().unwrap_or_default()).unwrap_or_default();
        // First stop them all, so that none makes another one behind our back.
        for signal in [Signal::STOP, Signal::KILL] {
            for &pid in &descendants {
                send(pid, signal);
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether there are children.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Some,
    None,
}

/// Waits for every child that has ended.
fn reap() -> Left {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return Left::Some,
            Err(_) => return Left::None,
        }
    }
}

/// Sends a signal to a process that was a descendant a moment ago, if it still is one.
fn send(pid: i32, signal: Signal) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
        // The number may have gone to another process meanwhile; from now on the descriptor holds the process.
        && processes::descends(pid.as_raw_nonzero().get(), process::id().try_into().unwrap_or_default())
    {
        // It may have ended by itself, or belong to another user: the bound of the loop is for that.
        let _ = pidfd_send_signal(pidfd, signal);
    }
}
