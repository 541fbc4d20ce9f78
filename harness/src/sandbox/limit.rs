//! A limit of processes and threads that holds for the sandbox alone: `kernel.pid_max` of its pid namespace.
//!
//! Since Linux 6.14 each pid namespace has its own `pid_max`; before, writing it as root would change the host's. Its
//! lowest value is 301. Once the kernel has given out a number above 300 it gives out none below 300 again. So with
//! 301, number 300 is the only one left, and a child of ours that holds it leaves none: fork(2) and
//! pthread_create(3) give EAGAIN.
//!
//! # References
//! proc_sys_kernel(5) pid_max, ns_last_pid; kernel/pid.c alloc_pid, RESERVED_PIDS

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::utsname::uname;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::processes;
use crate::error::{Attempt, Error};
use crate::scenario::Amount;
use crate::sys::clone::idle_child;

const PID_MAX: &str = "/proc/sys/kernel/pid_max";
const NS_LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
/// The lowest number that the kernel gives out once it has come round (RESERVED_PIDS).
const LOWEST: u32 = 300;
/// The first kernel with a pid_max for each pid namespace.
const SINCE: (u32, u32) = (6, 14);

/// The limit of one pid namespace.
#[derive(Debug)]
pub(super) struct Limit {
    /// pid_max when nothing is limited.
    original: u32,
    filler: Option<Filler>,
}

/// A child of ours that does nothing but hold a process id.
#[derive(Debug)]
struct Filler {
    pid: i32,
    pidfd: OwnedFd,
}

/// Lets the next process have the number after this one, where that can be chosen: nothing depends on it but the peace
/// between servers that run side by side.
pub(super) fn begin_after(pid: u32) {
    let _ = fs::write(NS_LAST_PID, pid.to_string());
}

impl Limit {
    /// Bounds the processes of this pid namespace, which must be a new one; `None` where the kernel cannot.
    pub(super) fn establish(processes_max: u32) -> Option<Self> {
        let original = LOWEST.saturating_add(processes_max.max(1));
        let can = kernel() >= SINCE
            && fs::OpenOptions::new().write(true).open(NS_LAST_PID).is_ok()
            && fs::write(PID_MAX, original.to_string()).is_ok();
        can.then_some(Self { original, filler: None })
    }

    /// Lets so many more processes and threads be made.
    pub(super) fn set(&mut self, amount: Amount) -> Result<(), Error> {
        self.lift()?;
        match amount {
            Amount::Original => Ok(()),
            Amount::InUse | Amount::Exactly(0) => self.fill(),
            Amount::Exactly(more) => self.leave(more),
        }
    }

    /// Whether the process holds a number for us.
    pub(super) fn is_filler(&self, pid: i32) -> bool {
        self.filler.as_ref().is_some_and(|filler| filler.pid == pid)
    }

    fn lift(&mut self) -> Result<(), Error> {
        write(PID_MAX, self.original)?;
        self.filler = None;
        Ok(())
    }

    fn fill(&mut self) -> Result<(), Error> {
        write(NS_LAST_PID, LOWEST - 1)?;
        let (pid, pidfd) = idle_child().attempt(|| "fork a process that holds a number".into())?;
        self.filler = Some(Filler { pid, pidfd });
        write(PID_MAX, LOWEST + 1)?;
        write(NS_LAST_PID, LOWEST)
    }

    /// Leaves exactly `more` numbers free from 300 on.
    fn leave(&mut self, more: u64) -> Result<(), Error> {
        let used = numbers_in_use()?;
        let mut free = 0;
        let past = (LOWEST..self.original).find(|number| {
            free += u64::from(!used.contains(number));
            free == more
        });
        write(PID_MAX, past.map_or(self.original, |last| last + 1))?;
        write(NS_LAST_PID, LOWEST)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // It may have been killed by the target; it is ours to wait for all the same.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ =
            rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED));
    }
}

fn write(sysctl: &str, value: u32) -> Result<(), Error> {
    fs::write(sysctl, value.to_string()).attempt(|| format!("write {value} to {sysctl}"))
}

/// Numbers of all processes and threads.
fn numbers_in_use() -> Result<BTreeSet<u32>, Error> {
    let mut used = BTreeSet::new();
    for process in processes::of_own_namespace()? {
        // Where /proc is the host's, thread numbers are the host's too: then at least the process itself is counted.
        used.extend(u32::try_from(process.here));
        if process.here == process.listed {
            used.extend(threads(process.listed).unwrap_or_default());
        }
    }
    Ok(used)
}

fn threads(pid: i32) -> io::Result<Vec<u32>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
    Ok(tasks.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// Major and minor number of the kernel's release.
fn kernel() -> (u32, u32) {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    parse_release(&release)
}

fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        assert!(parse_release("6.18.44-fc-v657") >= SINCE);
        assert!(parse_release("6.14.0-rc1") >= SINCE);
        assert!(parse_release("6.8.0-51-generic") < SINCE);
        assert!(parse_release("10.0") >= SINCE);
        assert!(parse_release("?") < SINCE);
    }
}
