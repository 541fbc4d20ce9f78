//! Who is in a sandbox, as the host sees it.
//!
//! # References
//! proc_pid_status(5) NSpid, proc_pid_cmdline(5)

use std::fs;

use super::processes;
use super::worker::NAME;
use crate::error::Error;

/// A process in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inmate {
    /// Its number on the host.
    pub host_pid: i32,
    /// Its number in the sandbox.
    pub pid: i32,
    /// State letter: R, S, D, T, t, Z.
    pub state: char,
    /// Its command line, or the name of its program in brackets if it has none: a zombie.
    pub command: String,
    /// Whether it is the enactor, or its supervisor, rather than a process of the server.
    pub is_ours: bool,
}

/// All processes below a worker, ascending.
///
/// # Errors
/// [`Error::System`] if /proc cannot be read.
pub fn inmates(worker: u32) -> Result<Vec<Inmate>, Error> {
    let below = processes::descendants(i32::try_from(worker).unwrap_or_default())?;
    // Who has ended meanwhile is no inmate any more.
    Ok(below.into_iter().filter_map(inmate).collect())
}

fn inmate(host_pid: i32) -> Option<Inmate> {
    let status = fs::read_to_string(format!("/proc/{host_pid}/status")).ok()?;
    let words = fs::read(format!("/proc/{host_pid}/cmdline")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let words: Vec<String> = words
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let named = || format!("[{}]", field("Name:").unwrap_or_default());
    Some(Inmate {
        host_pid,
        pid: processes::last_ns_pid(&status).unwrap_or(host_pid),
        state: field("State:")?.chars().next()?,
        is_ours: words.first().is_some_and(|word| word == NAME),
        command: if words.is_empty() { named() } else { words.join(" ") },
    })
}
