//! Read-only looks at the target from outside: `/proc` and sock_diag.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::error::Error;
use crate::scenario::Instance;
use crate::trace::{Counters, Look, Process};

mod counter;
pub mod cpu;
mod descriptor;
mod family;
mod kept;
mod proc_dir;
mod proc_net;
mod proc_text;
pub mod process;
pub(crate) mod sock_diag;
pub mod socket;

pub use cpu::Usage;
pub use process::{Depth, Seen};
pub use socket::{Sockets, States};

use counter::CounterFiles;
use cpu::Ledger;
use family::Family;
use kept::Kept;

/// Looks at the target, and remembers which launch each process belongs to.
#[derive(Debug)]
pub struct Observer {
    sockets: Sockets,
    counters: CounterFiles,
    family: Family,
    kept: Kept,
    ledger: Ledger,
    busy: u32,
}

impl Observer {
    /// Opens what is kept open. To be called in the network namespace of the target, with /proc as it will be.
    ///
    /// # Errors
    /// When neither sock_diag nor `/proc/net` can be read.
    pub fn open() -> Result<Self, Error> {
        Ok(Self {
            sockets: Sockets::open()?,
            counters: CounterFiles::open()?,
            family: Family::default(),
            kept: Kept::default(),
            ledger: Ledger::default(),
            busy: 0,
        })
    }

    /// Says that this process was launched. To be called before the next look.
    pub fn launched(&mut self, instance: Instance, pid: i32) {
        self.family.launched(instance, pid);
    }

    /// Looks at everything: processes with descriptors, sockets, counters.
    ///
    /// `processes` are all those of the target: process id in our own namespace, and directory in /proc. A parent that
    /// is not among them is the harness, and is said to be 1.
    ///
    /// # Errors
    /// When /proc or sock_diag fails; a process that vanishes is none.
    pub fn look(&mut self, processes: &[(i32, PathBuf)]) -> Result<Look, Error> {
        self.look_to(Depth::Full, processes)
    }

    /// As [`Observer::look`], and tells which descriptors are closed on exec: at twice the cost.
    ///
    /// # Errors
    /// As [`Observer::look`].
    pub fn look_thoroughly(&mut self, processes: &[(i32, PathBuf)]) -> Result<Look, Error> {
        self.look_to(Depth::Thorough, processes)
    }

    /// As [`Observer::look`], without the counters, which cost as much as a process: for what is not told.
    pub(crate) fn look_around(&mut self, processes: &[(i32, PathBuf)]) -> Result<Look, Error> {
        self.look_around_to(Depth::Full, processes)
    }

    fn look_to(&mut self, depth: Depth, processes: &[(i32, PathBuf)]) -> Result<Look, Error> {
        let look = self.look_around_to(depth, processes)?;
        Ok(Look { counters: self.counters.read()?, ..look })
    }

    fn look_around_to(&mut self, depth: Depth, processes: &[(i32, PathBuf)]) -> Result<Look, Error> {
        // Sockets first: one that is made or accepted meanwhile is then a descriptor without a row, or a row without
        // an inode; the other way round it would be a row that seems to be held by nobody.
        let sockets = self.sockets.tcp(States::ALL)?;
        Ok(Look { processes: self.processes(processes, depth)?, sockets, ..Look::default() })
    }

    /// Looks at processes only, and only at state, parent, start and CPU use: the rest is empty or 0.
    ///
    /// # Errors
    /// As [`Observer::look`].
    pub fn glance(&mut self, processes: &[(i32, PathBuf)]) -> Result<Look, Error> {
        Ok(Look { processes: self.processes(processes, Depth::Glance)?, ..Look::default() })
    }

    /// The target's use of the CPU so far, as of the last look or glance. Never less than before.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.ledger.usage()
    }

    /// How many tasks of the target were neither asleep nor stopped nor dead at the last look or glance. Each thread
    /// counts, where the state in the look is that of the first thread.
    #[must_use]
    pub fn busy(&self) -> u32 {
        self.busy
    }

    /// The sockets alone.
    pub fn sockets(&mut self) -> &mut Sockets {
        &mut self.sockets
    }

    /// The counters alone.
    ///
    /// # Errors
    /// When /proc/net cannot be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        self.counters.read()
    }

    fn processes(&mut self, all: &[(i32, PathBuf)], depth: Depth) -> Result<Vec<Process>, Error> {
        let numbers = Numbers::of(all);
        let mut seen = Vec::with_capacity(all.len());
        for (pid, dir) in all {
            if let Some(mut one) = self.kept.read(dir, *pid, depth)? {
                one.process.ppid = numbers.pid(one.process.ppid);
                seen.push(one);
            }
        }
        self.kept.retain(&seen);
        self.ledger.update(&seen, Instant::now());
        self.busy = seen.iter().map(|one| one.busy).sum();
        let mut processes: Vec<Process> = seen.into_iter().map(|one| one.process).collect();
        processes.sort_unstable_by_key(|process| process.pid);
        let dirs: HashMap<i32, &Path> = all.iter().map(|(pid, dir)| (*pid, dir.as_path())).collect();
        self.family.name(&mut processes, |pid| dirs.get(&pid).copied())?;
        Ok(processes)
    }
}

/// Process ids as /proc numbers them, and as our own pid namespace does: they differ where /proc is the host's.
struct Numbers(HashMap<i32, i32>);

impl Numbers {
    fn of(all: &[(i32, PathBuf)]) -> Self {
        let name = |dir: &Path| dir.file_name()?.to_str()?.parse().ok();
        Self(all.iter().map(|(pid, dir)| (name(dir).unwrap_or(*pid), *pid)).collect())
    }

    /// The parent's own number, or 1 where it is not of the target.
    fn pid(&self, number: i32) -> i32 {
        self.0.get(&number).copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::trace::FdKind;

    fn dirs(pids: &[i32]) -> Vec<(i32, PathBuf)> {
        pids.iter().map(|pid| (*pid, format!("/proc/{pid}").into())).collect()
    }

    fn sleeper() -> (Child, i32) {
        let sleeper = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(sleeper.id()).unwrap();
        (sleeper, pid)
    }

    #[test]
    fn a_process_is_seen_alive_then_as_a_zombie_then_no_more() {
        let mut observer = Observer::open().unwrap();
        let (mut sleeper, pid) = sleeper();
        observer.launched(Instance(4), pid);

        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let look = loop {
            let look = observer.look_thoroughly(&dirs(&[pid])).unwrap();
            let asleep = look.process(pid).unwrap().state == 'S' && observer.usage().switches > 0;
            if asleep || std::time::Instant::now() > deadline {
                break look;
            }
            std::thread::yield_now();
        };
        let process = look.process(pid).unwrap();
        assert_eq!((process.instance, process.ppid, process.comm.as_str()), (Instance(4), 1, "sleep"));
        assert!(process.exe.starts_with('/') && process.threads == 1 && process.fds_readable);
        let stdin = process.fds.first().unwrap();
        assert_eq!((stdin.number, stdin.cloexec), (0, Some(false)));
        assert_eq!(stdin.kind, FdKind::File("/dev/null".to_owned()));
        let alive = observer.usage();
        assert!(alive.cpu_ns > 0 && alive.switches > 0);

        sleeper.kill().unwrap();
        nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(pid)),
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        )
        .unwrap();
        let look = observer.look(&dirs(&[pid])).unwrap();
        let process = look.process(pid).unwrap();
        assert!(process.is_zombie() && process.fds.is_empty() && process.fds_readable);

        sleeper.wait().unwrap();
        assert_eq!(observer.look(&dirs(&[pid])).unwrap().processes, []);
        assert!(observer.usage().cpu_ns >= alive.cpu_ns, "what it used is not forgotten");
    }

    #[test]
    fn threads_are_summed() {
        let me = i32::try_from(std::process::id()).unwrap();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv().unwrap_err());
        let seen = process::read(Path::new("/proc/self"), me, Depth::Glance).unwrap().unwrap();
        assert!(seen.process.threads >= 2 && seen.busy >= 1, "{seen:?}");
        drop(release);
        thread.join().unwrap();
    }
}
