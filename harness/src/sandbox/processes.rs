//! Which processes are in the sandbox, by whatever /proc there is.
//!
//! # References
//! proc_pid_stat(5), proc_pid_status(5) NSpid, pid_namespaces(7)

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::error::{Attempt, Error};

/// Looks at a tree again that changed while it was read, so many times at most.
const LOOKS_MAX: usize = 4;

/// A process as /proc lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its number in our own pid namespace.
    pub(super) here: i32,
    /// The name of its directory under /proc.
    pub(super) listed: i32,
}

impl Listed {
    pub(super) fn dir(&self) -> PathBuf {
        format!("/proc/{}", self.listed).into()
    }
}

/// All processes of the pid namespace that /proc shows.
pub(super) fn all() -> Result<Vec<i32>, Error> {
    let entries = fs::read_dir("/proc").attempt(|| "read /proc".into())?;
    let mut pids: Vec<i32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// All processes of our own pid namespace, where /proc shows that of the host.
///
/// A process is ours if it is in the same pid namespace; the last number of NSpid is then its number here. Processes in
/// a further namespace below ours are not found.
pub(super) fn of_own_namespace() -> Result<Vec<Listed>, Error> {
    let own = fs::read_link("/proc/self/ns/pid").attempt(|| "read /proc/self/ns/pid".into())?;
    let mut found = Vec::new();
    for listed in all()? {
        // Not readable means not ours: the enactor has every capability over its own namespaces.
        if fs::read_link(format!("/proc/{listed}/ns/pid")).is_ok_and(|namespace| namespace == own)
            && let Ok(status) = fs::read_to_string(format!("/proc/{listed}/status"))
            && let Some(here) = last_ns_pid(&status)
        {
            found.push(Listed { here, listed });
        }
    }
    found.sort_unstable_by_key(|process| process.here);
    Ok(found)
}

/// The number of a process in its own pid namespace, from its `status`.
pub(super) fn last_ns_pid(status: &str) -> Option<i32> {
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().last()?.parse().ok()
}

/// All descendants of a process; it must be a subreaper, so that no orphan leaves its tree. Ascending.
pub(super) fn descendants(ancestor: i32) -> Result<Vec<i32>, Error> {
    let mut tree = Tree::read()?;
    // A process whose parent ended before it could be read has lost its place: look again.
    for _ in 1..LOOKS_MAX {
        if tree.is_whole() {
            break;
        }
        tree = Tree::read()?;
    }
    Ok(tree.parents.keys().copied().filter(|&pid| pid != ancestor && tree.descends(pid, ancestor)).collect())
}

/// Whether `pid` is a descendant of `ancestor` now.
pub(super) fn descends(pid: i32, ancestor: i32) -> bool {
    let mut at = pid;
    for _ in 0..1000 {
        match parent_of(at) {
            Ok(parent) if parent == ancestor => return true,
            Ok(parent) if parent > 1 => at = parent,
            Ok(_) | Err(_) => return false,
        }
    }
    false
}

/// The parent of a process, field 4 of `stat`.
fn parent_of(pid: i32) -> io::Result<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    let stat = String::from_utf8_lossy(&stat);
    // The name, in parentheses, may contain spaces and parentheses.
    let parent = stat.rfind(')').and_then(|end| stat[end + 1..].split_whitespace().nth(1)?.parse().ok());
    parent.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no parent in stat"))
}

/// Every process that /proc shows, with its parent.
struct Tree {
    parents: BTreeMap<i32, i32>,
}

impl Tree {
    fn read() -> Result<Self, Error> {
        // A process that has ended since the directory was read is left out.
        Ok(Self { parents: all()?.into_iter().filter_map(|pid| Some((pid, parent_of(pid).ok()?))).collect() })
    }

    /// Whether every parent is there: 0 is outside of the namespace, or the kernel.
    fn is_whole(&self) -> bool {
        self.parents.values().all(|parent| *parent == 0 || self.parents.contains_key(parent))
    }

    fn descends(&self, pid: i32, ancestor: i32) -> bool {
        let mut at = pid;
        for _ in 0..=self.parents.len() {
            match self.parents.get(&at) {
                Some(&parent) if parent == ancestor => return true,
                Some(&parent) => at = parent,
                None => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_of_nspid_is_the_one_in_the_own_namespace() {
        assert_eq!(last_ns_pid("Name:\tx\nNSpid:\t4711\t12\t3\nNSpgid:\t1\n"), Some(3));
        assert_eq!(last_ns_pid("NSpid:\t9\n"), Some(9));
        assert_eq!(last_ns_pid("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_descends_from_its_parent_and_not_from_itself() {
        let own = i32::try_from(std::process::id()).unwrap();
        let parent = parent_of(own).unwrap();
        assert!(descends(own, parent));
        assert!(!descends(own, own));
        assert!(descendants(parent).unwrap().contains(&own));
    }
}
