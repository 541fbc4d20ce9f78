//! Directories of processes below /proc, kept open from one look to the next.
//!
//! To open a file of /proc costs as much as to read it. What is kept is open files, never what was read: the kernel
//! makes the text anew at each read, and always of the process for which the file was opened. When that is gone it says
//! ESRCH, also where its pid is used again; then the directory is opened anew.

use std::collections::HashMap;
use std::path::Path;

use crate::error::Error;
use crate::observe::proc_dir::ProcDir;
use crate::observe::process::{self, Depth, Seen};

/// Directories that are kept at most, each with a few open files: a crowd of clients needs our descriptors, too.
const KEPT_MAX: usize = 8;

/// The directories that are kept, by pid.
#[derive(Debug, Default)]
pub(super) struct Kept {
    dirs: HashMap<i32, ProcDir>,
}

impl Kept {
    /// As [`process::read`], and keeps the directory for the next time.
    pub(super) fn read(&mut self, path: &Path, pid: i32, depth: Depth) -> Result<Option<Seen>, Error> {
        if let Some(dir) = self.dirs.get(&pid) {
            if let Some(seen) = process::read_in(dir, pid, depth)? {
                return Ok(Some(seen));
            }
            self.dirs.remove(&pid);
        }
        let Some(dir) = ProcDir::open(path)?.here() else { return Ok(None) };
        let seen = process::read_in(&dir, pid, depth)?;
        if seen.is_some() && self.dirs.len() < KEPT_MAX {
            self.dirs.insert(pid, dir);
        }
        Ok(seen)
    }

    /// Closes the directories of all processes but these.
    pub(super) fn retain(&mut self, living: &[Seen]) {
        self.dirs.retain(|pid, _| living.iter().any(|seen| seen.process.pid == *pid));
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeper() -> (Child, i32) {
        let sleeper = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let pid = i32::try_from(sleeper.id()).unwrap();
        (sleeper, pid)
    }

    fn end(mut process: Child) {
        process.kill().unwrap();
        process.wait().unwrap();
    }

    #[test]
    fn a_pid_that_is_used_again_is_read_anew() {
        let (first, pid) = sleeper();
        let (second, other) = sleeper();
        let (path, mut kept) = (format!("/proc/{pid}"), Kept::default());
        let old = kept.read(Path::new(&path), pid, Depth::Full).unwrap().unwrap();
        end(first);
        assert!(kept.read(Path::new(&path), pid, Depth::Full).unwrap().is_none() && kept.dirs.is_empty());

        // As if the second process had the number of another one that has ended.
        let (third, ended) = sleeper();
        kept.read(Path::new(&format!("/proc/{ended}")), ended, Depth::Full).unwrap().unwrap();
        end(third);
        let path = format!("/proc/{other}");
        let new = kept.read(Path::new(&path), ended, Depth::Full).unwrap().unwrap();
        assert!(new.process.started >= old.process.started && !new.process.exe.is_empty());
        end(second);
    }

    #[test]
    fn what_a_process_does_between_two_looks_is_seen() {
        // The shell becomes another program under the same pid.
        let mut shell = Command::new("sh");
        shell.args(["-c", "read go; exec sleep 60"]).stdin(Stdio::piped());
        let mut process = shell.spawn().unwrap();
        let pid = i32::try_from(process.id()).unwrap();
        let (path, mut kept) = (format!("/proc/{pid}"), Kept::default());
        let before = kept.read(Path::new(&path), pid, Depth::Full).unwrap().unwrap();
        drop(process.stdin.take());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let now = kept.read(Path::new(&path), pid, Depth::Full).unwrap().unwrap();
            if now.process.comm == "sleep" && !now.process.exe.is_empty() {
                assert_ne!(now.process.exe, before.process.exe);
                assert_eq!((kept.dirs.len(), now.process.started), (1, before.process.started));
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{now:?}");
            std::thread::yield_now();
        }
        end(process);
    }

    #[test]
    fn no_more_than_a_few_are_kept_and_none_of_the_dead() {
        let sleepers: Vec<_> = (0..=KEPT_MAX).map(|_| sleeper()).collect();
        let mut kept = Kept::default();
        for (_, pid) in &sleepers {
            assert!(kept.read(Path::new(&format!("/proc/{pid}")), *pid, Depth::Glance).unwrap().is_some());
        }
        assert_eq!(kept.dirs.len(), KEPT_MAX);
        kept.retain(&[]);
        assert!(kept.dirs.is_empty());
        sleepers.into_iter().for_each(|(process, _)| end(process));
    }
}
