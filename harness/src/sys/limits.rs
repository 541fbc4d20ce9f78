//! Limits of resources, of this process or of a running one.
//!
//! Of a running process only the soft limit is changed: a hard limit that was lowered cannot be raised again.
//!
//! # References
//! getrlimit(2), prlimit(2)

use std::io;

use rustix::process::{self, Pid, Rlimit, getrlimit, prlimit, setrlimit};

use crate::scenario::Resource;

/// The soft limit of a running process; `u64::MAX` for none.
///
/// # Errors
/// ESRCH when the process is gone, EPERM when it is another user's.
pub fn soft(pid: i32, resource: Resource) -> io::Result<u64> {
    limits(pid, resource).map(|limits| limits.current.unwrap_or(u64::MAX))
}

/// Sets the soft limit of a running process, at most to its hard limit.
///
/// # Errors
/// As [`soft`].
pub fn set_soft(pid: i32, resource: Resource, soft: u64) -> io::Result<()> {
    let maximum = limits(pid, resource)?.maximum;
    let soft = soft.min(maximum.unwrap_or(u64::MAX));
    prlimit(Some(process(pid)?), kernel(resource), Rlimit { current: finite(soft), maximum })?;
    Ok(())
}

/// Sets the soft and the hard limit of this process.
///
/// # Errors
/// EPERM when the hard limit is above the present one, EINVAL when it is below `soft`.
pub fn set_own(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    Ok(setrlimit(kernel(resource), Rlimit { current: finite(soft), maximum: finite(hard) })?)
}

/// Lets this process, and what it executes, leave no core file unless it asks for one.
///
/// # Errors
/// None that setrlimit(2) names for a lower soft limit.
pub fn leave_no_core() -> io::Result<()> {
    let maximum = getrlimit(process::Resource::Core).maximum;
    Ok(setrlimit(process::Resource::Core, Rlimit { current: Some(0), maximum })?)
}

/// The limits of a running process. rustix reads only our own.
fn limits(pid: i32, resource: Resource) -> io::Result<Rlimit> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let number = match resource {
        Resource::Descriptors => libc::RLIMIT_NOFILE,
        Resource::Processes => libc::RLIMIT_NPROC,
        Resource::FileSize => libc::RLIMIT_FSIZE,
        Resource::Stack => libc::RLIMIT_STACK,
    };
    // SAFETY: prlimit(2) with a null `new_limit` changes nothing; it writes one rlimit to `old_limit`, which points to
    // `limits`, alive and not borrowed until the call is over.
    let done = unsafe { libc::prlimit(pid, number, std::ptr::null(), &raw mut limits) };
    nix::errno::Errno::result(done)?;
    Ok(Rlimit { current: finite(limits.rlim_cur), maximum: finite(limits.rlim_max) })
}

fn process(pid: i32) -> io::Result<Pid> {
    // prlimit(2) takes 0 for the caller, which is never meant here.
    Pid::from_raw(pid).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}

fn kernel(resource: Resource) -> process::Resource {
    match resource {
        Resource::Descriptors => process::Resource::Nofile,
        Resource::Processes => process::Resource::Nproc,
        Resource::FileSize => process::Resource::Fsize,
        Resource::Stack => process::Resource::Stack,
    }
}

fn finite(value: u64) -> Option<u64> {
    (value != libc::RLIM_INFINITY).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_a_running_process_goes_down_and_up_again() {
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(sleeper.id()).unwrap();
        let original = soft(pid, Resource::Descriptors).unwrap();
        set_soft(pid, Resource::Descriptors, 3).unwrap();
        assert_eq!(soft(pid, Resource::Descriptors).unwrap(), 3);
        set_soft(pid, Resource::Descriptors, original).unwrap();
        assert_eq!(soft(pid, Resource::Descriptors).unwrap(), original);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert_eq!(soft(pid, Resource::Descriptors).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
