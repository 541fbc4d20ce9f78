//! The list of all processes, by a directory /proc that stays open.
//!
//! Before the processes, /proc lists some sixty other things, and each of them costs the kernel as much as a process. So
//! the first listing remembers where they end, and all others begin there, as seekdir(3) has it.
//!
//! # References
//! getdents(2) d_off, seekdir(3), proc(5)

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, open, seek};

use crate::error::{Attempt, Error};

/// An open /proc, and where the processes begin in it.
#[derive(Debug)]
pub(super) struct Listing {
    dir: OwnedFd,
    /// Offset of the first process; 0: not known.
    first: u64,
    /// Who is there as long as we are: without this process a list is not to be trusted.
    own_pid: i32,
    buffer: Vec<u8>,
}

/// Room for some two hundred processes at a time.
const ROOM: usize = 8 << 10;

impl Listing {
    /// Opens /proc, which must list this process under `own_pid`.
    pub(super) fn open(own_pid: i32) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = open("/proc", flags, Mode::empty()).attempt(|| "open /proc".into())?;
        Ok(Self { dir, first: 0, own_pid, buffer: Vec::with_capacity(ROOM) })
    }

    /// All processes of the pid namespace that /proc shows, ascending.
    pub(super) fn read(&mut self) -> Result<Vec<i32>, Error> {
        let mut pids = self.read_from(self.first)?;
        if self.first != 0 && !pids.contains(&self.own_pid) {
            pids = self.read_from(0)?;
        }
        pids.sort_unstable();
        Ok(pids)
    }

    fn read_from(&mut self, offset: u64) -> Result<Vec<i32>, Error> {
        let doing = || "read /proc".to_owned();
        seek(&self.dir, SeekFrom::Start(offset)).attempt(doing)?;
        let mut pids = Vec::new();
        let mut first = 0;
        let mut entries = RawDir::new(&self.dir, self.buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.attempt(doing)?;
            match entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) {
                Some(pid) => pids.push(pid),
                None if pids.is_empty() => first = entry.next_entry_cookie(),
                // Something else among the processes: there is no place from which on they are all.
                None => first = 0,
            }
        }
        if offset == 0 {
            self.first = first;
        }
        Ok(pids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::processes;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn each_listing_shows_who_is_there_then() {
        let mut listing = Listing::open(own_pid()).unwrap();
        let before = listing.read().unwrap();
        assert!(listing.first > 0, "the processes of Linux come last");
        assert!(before.contains(&own_pid()) && before.is_sorted());
        let mut sleeper = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(sleeper.id()).unwrap();
        assert!(!before.contains(&pid) && listing.read().unwrap().contains(&pid));
        sleeper.kill().unwrap();
        assert!(listing.read().unwrap().contains(&pid), "a zombie");
        sleeper.wait().unwrap();
        assert!(!listing.read().unwrap().contains(&pid));
        // Pid 1 and this process's parent live as long as it does.
        let all = processes::all().unwrap();
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        for pid in [1, parent, own_pid()] {
            assert_eq!(all.contains(&pid), listing.read().unwrap().contains(&pid), "{pid}");
        }
    }

    #[test]
    fn a_list_without_ourselves_is_read_from_the_beginning() {
        let mut listing = Listing::open(own_pid()).unwrap();
        let first = listing.read().unwrap();
        // Offsets go up with pids: this one is that of a process beyond ourselves.
        let right = listing.first;
        listing.first += u64::from(std::process::id());
        assert!(!listing.read_from(listing.first).unwrap().contains(&own_pid()));
        assert!(first.contains(&own_pid()) && listing.read().unwrap().contains(&own_pid()));
        assert_eq!(listing.first, right);
    }
}
