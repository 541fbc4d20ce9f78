//! The enactor's own mounts: a fresh /proc, and a file system in memory for `{dir}`.
//!
//! The file system is mounted over a directory that every Linux has, in a private mount namespace, so that nothing is
//! made on disk which could be left behind.
//!
//! # References
//! mount_namespaces(7), proc(5), tmpfs(5)

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use crate::error::{Attempt, Error};

/// Where a private /dev/shm does no harm, and its substitute where it would.
const SHARED_MEMORY: &str = "/dev/shm";
const SUBSTITUTE: &str = "/proc/driver";

/// Keeps all mounts and unmounts from here on in this mount namespace.
pub(super) fn make_private() -> Result<(), Error> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .attempt(|| "make the mounts private".into())
}

/// Mounts the /proc of this pid namespace, as runtimes read /proc/self.
pub(super) fn mount_proc() -> Result<(), Error> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).attempt(|| "mount proc on /proc".into())
}

/// Mounts an empty file system in memory that every user may write to, where it hides none of the paths.
pub(super) fn mount_memory(visible: &[PathBuf]) -> Result<PathBuf, Error> {
    let at = if can_be_hidden(Path::new(SHARED_MEMORY), visible) { SHARED_MEMORY } else { SUBSTITUTE };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("sockspec"), at, Some("tmpfs"), flags, Some("mode=1777,size=256m"))
        .attempt(|| format!("mount a file system in memory on {at}"))?;
    Ok(at.into())
}

/// Whether the directory exists and neither these paths, nor our own program and working directory, lie below it.
fn can_be_hidden(dir: &Path, visible: &[PathBuf]) -> bool {
    let own = [env::current_dir(), env::current_exe()].into_iter().flatten();
    let wanted: BTreeSet<PathBuf> = own.chain(visible.iter().cloned()).collect();
    dir.is_dir()
        && wanted.iter().all(|path| {
            !path.starts_with(dir) && !path.canonicalize().is_ok_and(|real| real.starts_with(dir))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_a_wanted_path_is_not_hidden() {
        let dir = tempfile::tempdir().unwrap();
        assert!(can_be_hidden(dir.path(), &["/bin/sh".into()]));
        assert!(!can_be_hidden(dir.path(), &[dir.path().join("server")]));
        let link = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path(), link.path().join("here")).unwrap();
        assert!(!can_be_hidden(dir.path(), &[link.path().join("here")]));
        assert!(!can_be_hidden(Path::new("/no/such/place"), &[]));
    }
}
