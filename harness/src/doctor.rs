//! Examines this host: what it allows, and what it says of itself.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};

use crate::error::Error;
use crate::observe::sock_diag::SockDiag;
use crate::sandbox::{self, Rung};
use crate::trace::Isolation;

/// What was found.
#[derive(Clone, Debug)]
pub struct Examination {
    /// Release of the kernel.
    pub kernel: String,
    /// Every rung of the isolation ladder, the best first.
    pub rungs: Vec<Rung>,
    /// Whether the number of processes of a sandbox can be bounded.
    pub process_limit: bool,
    /// Whether the kernel can be asked for its sockets.
    pub sock_diag: Result<(), String>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.tcp_syncookies`.
    pub syncookies: Option<u64>,
    /// `kernel.yama.ptrace_scope`; `None` where there is no Yama.
    pub ptrace_scope: Option<u64>,
    /// Effective user id.
    pub uid: u32,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Soft and hard limit of descriptors.
    pub descriptors: (u64, u64),
}

impl Examination {
    /// The best rung that works.
    #[must_use]
    pub fn best(&self) -> Option<Isolation> {
        self.rungs.iter().filter(|rung| rung.outcome.is_ok()).map(|rung| rung.isolation).max()
    }
}

/// Tries every rung of the isolation ladder, and reads the rest.
///
/// # Errors
/// If the ladder cannot be tried.
pub fn examine() -> Result<Examination, Error> {
    let host = sandbox::probe()?;
    let sock_diag = SockDiag::open();
    Ok(Examination {
        kernel: read("kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
        rungs: host.rungs,
        process_limit: host.process_limit,
        sock_diag: sock_diag.map(drop).map_err(|error| error.to_string()),
        somaxconn: number("net/core/somaxconn"),
        syncookies: number("net/ipv4/tcp_syncookies"),
        ptrace_scope: number("kernel/yama/ptrace_scope"),
        uid: nix::unistd::geteuid().as_raw(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        descriptors: getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0)),
    })
}

/// The value of a sysctl.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{path}")).ok().map(|value| value.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}
