//! Starts the target: fills the placeholders, finds the program, makes the pipes, forks, and waits until the program
//! has been executed.
//!
//! # References
//! fork(2), execve(2), pidfd_open(2)

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sched::CloneFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::command::TargetCommand;
use crate::error::{Attempt, Error};
use crate::scenario::{Cwd, Disposition, Instance, Resource, Setting};
use crate::sys::clone::{Forked, fork};
use crate::sys::inherit::AtExec;
use crate::target::account::Account;
use crate::target::enter::{Doing, Plan, SetupError, enter};
use crate::target::fill::{Values, absolute_files};
use crate::target::output::Output;
use crate::target::program;
use crate::target::stdio::Pipes;

/// What one launch fills in.
#[derive(Clone, Debug)]
pub struct Fill {
    /// What `{port}` and `PORT` say, unless the setting says otherwise.
    pub port: u16,
    /// A fresh directory: `{dir}` and `TMPDIR`. It exists, and the target's user may write there.
    pub dir: PathBuf,
    /// Which launch; it goes into `SOCKSPEC_INSTANCE`.
    pub instance: Instance,
    /// Soft and hard RLIMIT_NOFILE of the target; `None`: as ours.
    pub descriptors: Option<(u64, u64)>,
    /// Bytes kept of each of stdout and stderr (`Limits::output_kept`).
    pub output_kept: usize,
}

/// How a launch went.
#[derive(Debug)]
pub enum Launch {
    /// The program was executed.
    Running(Running),
    /// It could not be: what exec(2) or the setting said, with the name of the program.
    Failed(String),
}

/// A launched process. Dropping it ends nothing: the sandbox does.
#[derive(Debug)]
pub struct Running {
    /// Its process id; it leads its own session and process group.
    pub pid: i32,
    /// A descriptor for it: readable when it has ended.
    pub pidfd: OwnedFd,
    /// What it writes.
    pub output: Output,
    /// The foreign children wait for the end of this.
    foreign: Option<OwnedFd>,
}

impl Running {
    /// Lets the foreign children exit. Nothing happens where there are none, or the second time.
    pub fn release_foreign(&mut self) {
        self.foreign = None;
    }
}

/// Launches the target. The caller must have one thread, and must not wait for children meanwhile.
///
/// # Errors
/// When the harness fails before exec; what is wrong with the command is a [`Launch::Failed`].
pub fn launch(command: &TargetCommand, setting: &Setting, fill: &Fill) -> Result<Launch, Error> {
    let image = match Image::of(command, setting, fill) {
        Ok(image) => image,
        Err(reason) => return Ok(Launch::Failed(reason)),
    };
    let Pipes { null, theirs, ours } = Pipes::open(setting.stdio, fill.output_kept)?;
    let (foreign_end, foreign) = pair(setting.foreign_children > 0)?;
    let shown = image.shown.clone();
    let plan = Plan {
        program: image.program,
        argv: image.argv,
        env: image.env,
        cwd: image.cwd,
        removed: (setting.cwd == Cwd::Removed).then(|| fill.dir.join("removed")),
        null,
        output: theirs,
        inherited: RawFd::try_from(setting.inherited).unwrap_or(RawFd::MAX).min(INHERITED_MAX),
        limits: limits(setting, fill),
        user: image.user,
        signals: signals(setting),
        foreign: foreign_end.map(|end| (setting.foreign_children, end)),
    };
    let (pid, pidfd, failed) = start(plan)?;
    match failed {
        None => Ok(Launch::Running(Running { pid, pidfd, output: ours, foreign })),
        Some(error) => {
            // It has written its last word; without this it would stay as a zombie, and be told as an exit.
            let _ = waitid(WaitId::Pid(pid_of(pid)?), WaitIdOptions::EXITED);
            refused(error, &shown, command)
        }
    }
}

/// Descriptors that a setting may add, at most.
const INHERITED_MAX: RawFd = 4096;

/// The program, and what exec is given.
struct Image {
    /// As the user calls it.
    shown: String,
    program: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: PathBuf,
    /// Whom the process becomes; `None`: it stays as we are.
    user: Option<Account>,
}

impl Image {
    /// Of this launch; or why there is none.
    fn of(command: &TargetCommand, setting: &Setting, fill: &Fill) -> Result<Self, String> {
        let values = Values::of(command, setting, fill);
        let user = command.user.as_deref().map(Account::find).transpose()?;
        let cwd = working_directory(command)?;
        let mut arguments = values.arguments(command);
        let environment = values.environment(command, setting, fill);
        let name = arguments.first().cloned().unwrap_or_default();
        let path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
        let program = program::find(&name, &cwd, path)?;
        if setting.cwd == Cwd::Removed {
            absolute_files(&mut arguments, &cwd);
        }
        let variables = environment.into_iter().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
        Ok(Self {
            shown: name.to_string_lossy().into_owned(),
            program: c_string(program.into_os_string())?,
            argv: arguments.into_iter().map(c_string).collect::<Result<_, _>>()?,
            env: variables.map(c_string).collect::<Result<_, _>>()?,
            cwd,
            user: user.filter(|user| !user.is_ours()),
        })
    }
}

fn c_string(text: OsString) -> Result<CString, String> {
    CString::new(text.into_vec())
        .map_err(|error| format!("{:?} has a NUL byte", String::from_utf8_lossy(&error.into_vec())))
}

/// Where the target is to work: what the user said, relative to where we are.
fn working_directory(command: &TargetCommand) -> Result<PathBuf, String> {
    let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let Some(given) = &command.cwd else { return Ok(cwd) };
    let given = cwd.join(given);
    if given.is_dir() {
        Ok(given)
    } else {
        Err(format!("working directory {}: no such directory", given.display()))
    }
}

/// The limits at exec; where the setting says nothing of descriptors, those from before the harness raised its own.
fn limits(setting: &Setting, fill: &Fill) -> Vec<(Resource, u64, u64)> {
    let original = fill.descriptors.map(|(soft, hard)| (Resource::Descriptors, soft, hard));
    original
        .into_iter()
        .chain(setting.rlimits.iter().map(|&(resource, value)| (resource, value, value)))
        .collect()
}

fn signals(setting: &Setting) -> Vec<AtExec> {
    [(libc::SIGCHLD, setting.sigchld), (libc::SIGPIPE, setting.sigpipe)]
        .into_iter()
        .filter_map(|(signal, disposition)| match disposition {
            Disposition::Default => None,
            Disposition::Ignored => Some(AtExec::Ignored(signal)),
            Disposition::Blocked => Some(AtExec::Blocked(signal)),
        })
        .collect()
}

/// Both ends of a pipe, if wanted: the reading one first.
fn pair(wanted: bool) -> Result<(Option<OwnedFd>, Option<OwnedFd>), Error> {
    if !wanted {
        return Ok((None, None));
    }
    let (reader, writer) =
        pipe_with(PipeFlags::CLOEXEC).attempt(|| "make a pipe for foreign children".to_owned())?;
    Ok((Some(reader), Some(writer)))
}

/// Forks, and waits until the program is executed or the new process has failed.
fn start(plan: Plan) -> Result<(i32, OwnedFd, Option<SetupError>), Error> {
    let (answer, report) =
        pipe_with(PipeFlags::CLOEXEC).attempt(|| "make a pipe for the launch".to_owned())?;
    match fork(CloneFlags::empty()).attempt(|| "fork the target".to_owned())? {
        Forked::Child(child) => enter(child, &plan, &report),
        Forked::Parent { pid, pidfd } => {
            // Our copies of the target's ends; the pipes would never be at their end while we hold them.
            drop((plan, report));
            let mut bytes = [0; 8];
            let length = rustix::io::retry_on_intr(|| rustix::io::read(&answer, &mut bytes))
                .attempt(|| "wait until the target is executed".to_owned())?;
            Ok((pid, pidfd, SetupError::from_bytes(&bytes[..length])))
        }
    }
}

fn pid_of(pid: i32) -> Result<rustix::process::Pid, Error> {
    rustix::process::Pid::from_raw(pid).ok_or(Errno::ESRCH).attempt(|| "wait for the new process".to_owned())
}

/// What a failure means: a fault of the command or the setting, or an error of ours.
fn refused(error: SetupError, shown: &str, command: &TargetCommand) -> Result<Launch, Error> {
    let reason = io::Error::from_raw_os_error(error.errno);
    match error.doing {
        Doing::Exec => Ok(Launch::Failed(format!("{shown}: {}", exec_problem(error.errno)))),
        Doing::Directory => {
            let cwd = command.cwd.as_deref().unwrap_or(Path::new("."));
            Ok(Launch::Failed(format!("working directory {}: {reason}", cwd.display())))
        }
        Doing::User => {
            let user = command.user.as_deref().unwrap_or_default();
            Ok(Launch::Failed(format!("user {user}: cannot be had in this sandbox: {reason}")))
        }
        Doing::Limits => Ok(Launch::Failed(format!("{shown}: the limits cannot be set: {reason}"))),
        Doing::Session
        | Doing::Descriptors
        | Doing::ForeignChildren
        | Doing::RemovedDirectory
        | Doing::Capabilities
        | Doing::Signals => Err(Error::system(format!("{} in the new process", error.doing), reason)),
    }
}

/// What execve(2) means by its error, for a file that is there and may be executed.
fn exec_problem(errno: i32) -> String {
    match errno {
        libc::ENOENT => "the interpreter that it names is not found".to_owned(),
        libc::EACCES => "permission denied (for it on this file system, or for its interpreter)".to_owned(),
        libc::E2BIG => "the arguments and the environment are too long for the limits".to_owned(),
        libc::ENOEXEC => "not a program for this machine".to_owned(),
        _ => io::Error::from_raw_os_error(errno).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_error_survives_its_pipe() {
        for (doing, errno) in [(Doing::Session, 1), (Doing::Limits, 22), (Doing::Exec, 13)] {
            let error = SetupError { doing, errno };
            assert_eq!(SetupError::from_bytes(&error.to_bytes()), Some(error));
        }
        assert_eq!(SetupError::from_bytes(&[]), None);
        assert_eq!(SetupError::from_bytes(&[255; 8]), None);
    }

    #[test]
    fn the_command_is_at_fault_for_exec_and_the_harness_for_its_own_steps() {
        let command = TargetCommand::new("./srv").current_dir("gone").user("nobody");
        let said = |doing, errno| match refused(SetupError { doing, errno }, "./srv", &command) {
            Ok(Launch::Failed(reason)) => reason,
            other => format!("{other:?}"),
        };
        assert_eq!(said(Doing::Exec, libc::ENOEXEC), "./srv: not a program for this machine");
        assert!(said(Doing::User, libc::EINVAL).starts_with("user nobody: cannot be had in this sandbox"));
        assert!(
            said(Doing::Directory, libc::EACCES).starts_with("working directory gone: Permission denied")
        );
        assert!(said(Doing::Signals, libc::EINVAL).contains("reset the signals in the new process"));
    }
}
