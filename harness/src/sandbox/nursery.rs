//! A network namespace that the worker keeps for making others in it, because of one setting.
//!
//! The kernel has one table of connections for all network namespaces, with hundreds of thousands of buckets on any
//! machine of today, and whoever asks for all sockets of one namespace goes through all of it: 0.2 ms for a few rows, of
//! which an enactment asks many times, and once more for the end of each namespace. Since Linux 6.1 a namespace can be
//! given a table of its own, of a size that `tcp_child_ehash_entries` tells *in the namespace of the process that makes
//! it*. We leave that of the host as it is, and so need one in between.
//!
//! # References
//! `Documentation/networking/ip-sysctl.rst` (tcp_ehash_entries, tcp_child_ehash_entries), setns(2)

use std::fs::{self, File};
use std::io;
use std::sync::OnceLock;

use nix::sched::{CloneFlags, setns, unshare};

use super::{Terms, ids};
use crate::error::{Attempt, Error};
use crate::trace::Isolation;

/// Buckets for the connections of one enactment, mostly a few, at most some thousands: each dump goes through all of them.
const BUCKETS: &str = "1024";
const SIZE_OF_CHILDREN: &str = "/proc/sys/net/ipv4/tcp_child_ehash_entries";
/// What the kernel derives from the size of the table and we do not want to be changed by it.
const DERIVED: [&str; 2] =
    ["/proc/sys/net/ipv4/tcp_max_syn_backlog", "/proc/sys/net/ipv4/tcp_max_tw_buckets"];

/// The namespace, the one that we come from, and what the derived settings would be without it.
#[derive(Debug)]
pub(super) struct Nursery {
    home: File,
    place: File,
    derived: [String; 2],
}

/// Makes namespaces come from the nursery as long as it lives.
#[derive(Debug)]
pub(super) struct Stay(&'static Nursery);

impl Nursery {
    /// The nursery of this process, for enactors that need no user namespace: another one could not be entered from
    /// there. `None` also where the kernel has no such setting.
    ///
    /// It is made once; what is forked afterwards knows it, too.
    pub(super) fn of_use(terms: &Terms<'_>) -> Option<&'static Self> {
        static NURSERY: OnceLock<Option<Nursery>> = OnceLock::new();
        if terms.isolation != Isolation::Full || ids::map_needed().is_some() {
            return None;
        }
        NURSERY.get_or_init(|| Self::make().ok()).as_ref()
    }

    fn make() -> io::Result<Self> {
        let home = own_namespace()?;
        // Whether the way back is open: root of a user namespace may make network namespaces, and may not enter that of
        // the host.
        setns(&home, CloneFlags::CLONE_NEWNET)?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        // This process must not stay there, whatever comes.
        let made = Self::furnish();
        setns(&home, CloneFlags::CLONE_NEWNET)?;
        let (place, derived) = made?;
        Ok(Self { home, place, derived })
    }

    /// What is to be done inside.
    fn furnish() -> io::Result<(File, [String; 2])> {
        fs::write(SIZE_OF_CHILDREN, BUCKETS)?;
        let [first, second] = DERIVED.map(fs::read_to_string);
        Ok((own_namespace()?, [first?, second?]))
    }

    /// Goes there.
    pub(super) fn enter(&'static self) -> Result<Stay, Error> {
        setns(&self.place, CloneFlags::CLONE_NEWNET).attempt(|| "enter the nursery".into())?;
        Ok(Stay(self))
    }

    /// Sets the derived settings of the network namespace of this process, which was made in the nursery.
    pub(super) fn restore_derived(&self) -> Result<(), Error> {
        for (setting, value) in DERIVED.iter().zip(&self.derived) {
            fs::write(setting, value).attempt(|| format!("write {setting}"))?;
        }
        Ok(())
    }
}

impl Stay {
    /// Goes back home.
    pub(super) fn leave(self) -> Result<(), Error> {
        setns(&self.0.home, CloneFlags::CLONE_NEWNET).attempt(|| "leave the nursery".into())
    }
}

fn own_namespace() -> io::Result<File> {
    File::open("/proc/thread-self/ns/net")
}
