//! What the new process does between fork and exec.
//!
//! It is the child of the enactor, which is single-threaded: ordinary Rust may run here. Nothing is returned from but
//! an error: the program takes the process over.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::sched::CloneFlags;
use nix::unistd::{chdir, execve, setgroups, setresgid, setresuid, setsid};

use crate::scenario::Resource;
use crate::sys::clone::{Child, Forked, fork};
use crate::sys::inherit::{AtExec, close_on_exec, drop_ambient_capabilities, place, set_signals};
use crate::sys::limits;
use crate::target::account::Account;

/// All that is decided before the fork.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) program: CString,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) cwd: PathBuf,
    /// A directory to make, enter and remove, instead of `cwd`.
    pub(super) removed: Option<PathBuf>,
    pub(super) null: OwnedFd,
    /// Standard output and error; `None`: 0, 1 and 2 are closed.
    pub(super) output: Option<[OwnedFd; 2]>,
    /// Descriptors more, from 3 on.
    pub(super) inherited: RawFd,
    pub(super) limits: Vec<(Resource, u64, u64)>,
    pub(super) user: Option<Account>,
    pub(super) signals: Vec<AtExec>,
    /// Children to make first, and what they wait for the end of.
    pub(super) foreign: Option<(u32, OwnedFd)>,
}

/// What the new process was about when it failed: a closed list, since it has to fit into a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    Session,
    Descriptors,
    ForeignChildren,
    Directory,
    RemovedDirectory,
    Limits,
    User,
    Capabilities,
    Signals,
    Exec,
}

impl Doing {
    const ALL: [Self; 10] = [
        Self::Session,
        Self::Descriptors,
        Self::ForeignChildren,
        Self::Directory,
        Self::RemovedDirectory,
        Self::Limits,
        Self::User,
        Self::Capabilities,
        Self::Signals,
        Self::Exec,
    ];
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "make a session",
            Self::Descriptors => "arrange the descriptors",
            Self::ForeignChildren => "make foreign children",
            Self::Directory => "enter the working directory",
            Self::RemovedDirectory => "enter a directory and remove it",
            Self::Limits => "set the limits",
            Self::User => "become the user",
            Self::Capabilities => "drop capabilities",
            Self::Signals => "reset the signals",
            Self::Exec => "execute the program",
        })
    }
}

/// Why the new process is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SetupError {
    pub(super) doing: Doing,
    pub(super) errno: i32,
}

impl SetupError {
    /// What goes through the pipe.
    pub(super) fn to_bytes(self) -> [u8; 8] {
        let doing = Doing::ALL.iter().position(|&doing| doing == self.doing).unwrap_or(0);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&u32::try_from(doing).unwrap_or(0).to_ne_bytes());
        bytes[4..].copy_from_slice(&self.errno.to_ne_bytes());
        bytes
    }

    /// What came through the pipe; `None`: nothing did, so the program runs.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (doing, errno) = bytes.first_chunk::<8>()?.split_at(4);
        let doing = u32::from_ne_bytes(doing.try_into().ok()?);
        let doing = Doing::ALL.get(usize::try_from(doing).ok()?).copied()?;
        Some(Self { doing, errno: i32::from_ne_bytes(errno.try_into().ok()?) })
    }
}

/// Adds to an error what the process was about.
fn about<T, E: Into<io::Error>>(doing: Doing, result: Result<T, E>) -> Result<T, SetupError> {
    result.map_err(|error| SetupError { doing, errno: error.into().raw_os_error().unwrap_or(0) })
}

/// Makes this new process the target. What fails is written to `report`, which exec closes.
pub(super) fn enter(child: Child, plan: &Plan, report: &OwnedFd) -> ! {
    // The number that it has now may be one of those that are given away.
    let moved = plan.out_of_the_way(report);
    let report = moved.as_ref().unwrap_or(report);
    let Err(error) = about(Doing::Descriptors, moved.as_ref().map_err(|error| *error))
        .and_then(|_| become_target(&child, plan));
    // Nobody is left to be told when this fails: the parent is gone, and we with it.
    let _ = rustix::io::write(report, &error.to_bytes());
    child.exit(NOT_EXECUTED)
}

/// Exit status of a process that never became the program, as shells have it.
const NOT_EXECUTED: i32 = 127;

fn become_target(child: &Child, plan: &Plan) -> Result<Infallible, SetupError> {
    // A session of its own: kill(0, ...) of a server reaches itself and its children, and no terminal reaches it.
    about(Doing::Session, setsid())?;
    if let Some((count, end)) = &plan.foreign {
        about(Doing::ForeignChildren, make_foreign_children(*count, end, plan))?;
    }
    about(Doing::Descriptors, arrange_descriptors(child, plan))?;
    match &plan.removed {
        Some(dir) => about(Doing::RemovedDirectory, enter_and_remove(dir))?,
        None => about(Doing::Directory, chdir(&plan.cwd))?,
    }
    about(Doing::Limits, set_limits(plan))?;
    about(Doing::User, become_user(plan.user.as_ref()))?;
    about(Doing::Capabilities, drop_ambient_capabilities(child))?;
    about(Doing::Signals, set_signals(child, &plan.signals))?;
    about(Doing::Exec, execute(plan))
}

impl Plan {
    /// The lowest number that is no business of the program's.
    fn first_of_ours(&self) -> RawFd {
        3 + self.inherited
    }

    /// A copy above all numbers that are going to be used; exec closes it.
    fn out_of_the_way(&self, fd: &OwnedFd) -> rustix::io::Result<OwnedFd> {
        rustix::io::fcntl_dupfd_cloexec(fd, self.first_of_ours())
    }
}

/// Puts the descriptors where the program expects them, and lets exec close all others.
fn arrange_descriptors(child: &Child, plan: &Plan) -> io::Result<()> {
    let null = plan.out_of_the_way(&plan.null)?;
    let output = match &plan.output {
        Some([stdout, stderr]) => Some([plan.out_of_the_way(stdout)?, plan.out_of_the_way(stderr)?]),
        None => None,
    };
    for number in 3..plan.first_of_ours() {
        place(child, null.as_fd(), number)?;
    }
    match &output {
        Some([stdout, stderr]) => {
            place(child, null.as_fd(), 0)?;
            place(child, stdout.as_fd(), 1)?;
            place(child, stderr.as_fd(), 2)?;
        }
        None => close_on_exec(child, 0, 2)?,
    }
    close_on_exec(child, plan.first_of_ours(), RawFd::MAX)
}

/// Makes children of the process that is to become the target: it will have them without having made them. They hold
/// none of its descriptors, and exit when the other end of `end` is closed.
fn make_foreign_children(count: u32, end: &OwnedFd, plan: &Plan) -> io::Result<()> {
    let end = plan.out_of_the_way(end)?;
    for _ in 0..count {
        if let Forked::Child(foreign) = fork(CloneFlags::empty())? {
            let status = i32::from(wait_for_end(&foreign, &end, &plan.null).is_err());
            foreign.exit(status);
        }
    }
    Ok(())
}

fn wait_for_end(foreign: &Child, end: &OwnedFd, null: &OwnedFd) -> io::Result<()> {
    set_signals(foreign, &[])?;
    for number in 0..3 {
        place(foreign, null.as_fd(), number)?;
    }
    foreign.close_all_but(&[end.as_fd()])?;
    let mut byte = [0];
    while rustix::io::read(end, &mut byte)? > 0 {}
    Ok(())
}

fn enter_and_remove(dir: &PathBuf) -> io::Result<()> {
    std::fs::create_dir(dir)?;
    chdir(dir)?;
    std::fs::remove_dir(dir)
}

fn set_limits(plan: &Plan) -> io::Result<()> {
    limits::leave_no_core()?;
    for (resource, soft, hard) in &plan.limits {
        limits::set_own(*resource, *soft, *hard)?;
    }
    Ok(())
}

fn become_user(user: Option<&Account>) -> nix::Result<()> {
    let Some(Account { uid, gid, groups }) = user else { return Ok(()) };
    let (uid, gid) = (*uid, *gid);
    setgroups(groups)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

/// Executes the program; as execvp(3) does, a text without `#!` is given to the shell.
fn execute(plan: &Plan) -> nix::Result<Infallible> {
    let Err(errno) = execve(&plan.program, &plan.argv, &plan.env);
    if errno != nix::errno::Errno::ENOEXEC {
        return Err(errno);
    }
    let script: &[&CStr] = &[c"sh", &plan.program];
    let rest = plan.argv.iter().skip(1).map(CString::as_c_str);
    let argv: Vec<&CStr> = script.iter().copied().chain(rest).collect();
    execve(c"/bin/sh", &argv, &plan.env)
}
