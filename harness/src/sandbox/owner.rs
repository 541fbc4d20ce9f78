//! Acting as the owner of another process, where that is what its kernel asks for.
//!
//! # References
//! prlimit(2), setresuid(2), proc_pid_status(5), capabilities(7)

use std::fs;
use std::io;
use std::path::Path;

use nix::unistd::{Gid, Uid, getresgid, getresuid, setresgid, setresuid};

/// Does something to the process that `/proc` lists in `dir`; if that is not permitted, does it once more with the real
/// user and group of that process as our own. Root of a container without `CAP_SYS_RESOURCE` needs it to set a limit of a
/// server that has dropped root. Our effective user, and all capabilities with it, stay as they are.
///
/// # Errors
/// What `act` says, or setresuid(2).
pub fn as_owner<T>(dir: &Path, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let refused = match act() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        done => return done,
    };
    let Some((uid, gid)) = owner(&fs::read_to_string(dir.join("status"))?) else { return Err(refused) };
    let (users, groups) = (getresuid()?, getresgid()?);
    setresgid(gid, groups.effective, groups.saved)?;
    let done = setresuid(uid, users.effective, users.saved).map_err(io::Error::from).and_then(|()| act());
    setresuid(users.real, users.effective, users.saved)?;
    setresgid(groups.real, groups.effective, groups.saved)?;
    done
}

/// The real user and group of a process, from its `status`.
fn owner(status: &str) -> Option<(Uid, Gid)> {
    let real = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some((Uid::from_raw(real("Uid:")?), Gid::from_raw(real("Gid:")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_the_real_user_and_group() {
        let status = "Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t100\t0\t0\t0\n";
        assert_eq!(owner(status), Some((Uid::from_raw(1000), Gid::from_raw(100))));
        assert_eq!(owner("Name:\tx\n"), None);
    }
}
