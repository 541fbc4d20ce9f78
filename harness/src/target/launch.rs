//! Starts the target: fills the placeholders, finds the program, and hands both to [`crate::sys::launch`].

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::command::TargetCommand;
use crate::error::Error;
use crate::scenario::{Instance, Setting};
use crate::target::output::Output;

/// What one launch fills in.
#[derive(Clone, Debug)]
pub struct Fill {
    /// What `{port}` and `PORT` say, unless the setting says otherwise.
    pub port: u16,
    /// A fresh directory: `{dir}` and `TMPDIR`. It exists, and the target's user may write there.
    pub dir: PathBuf,
    /// Which launch; it goes into `SOCKSPEC_INSTANCE`.
    pub instance: Instance,
    /// User and group to become; `None`: as we are.
    pub user: Option<(u32, u32)>,
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
}

impl Running {
    /// Lets the foreign children exit. Nothing happens where there are none, or the second time.
    pub fn release_foreign(&mut self) {
    }
}

/// Launches the target.
///
/// # Errors
/// When the harness fails before exec; what is wrong with the command is a [`Launch::Failed`].
pub fn launch(_command: &TargetCommand, _setting: &Setting, _fill: &Fill) -> Result<Launch, Error> {
    Ok(Launch::Failed("not written yet".to_owned()))
}
