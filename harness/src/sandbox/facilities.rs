//! What the enactor can ask of its sandbox.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;

use nix::unistd::getpid;

use super::enactor::{self, AnswerTo};
use super::limit::{self, Limit};
use super::listing::Listing;
use super::processes::Listed;
use super::{Terms, port, processes};
use crate::error::{Attempt, Error};
use crate::scenario::Amount;
use crate::trace::Isolation;

/// The sandbox as seen by the enactor.
#[derive(Debug)]
pub struct Sandbox {
    isolation: Isolation,
    /// The enactor.
    own_pid: i32,
    port: u16,
    /// Where directories for `{dir}` are made.
    base: PathBuf,
    dirs_made: Cell<u32>,
    /// `None` where the kernel has no limit for the sandbox alone.
    limit: RefCell<Option<Limit>>,
    /// From the number under which /proc lists a process to its number here, where they differ.
    known: RefCell<BTreeMap<i32, i32>>,
    /// Where /proc is our own.
    listing: RefCell<Option<Listing>>,
    /// Where the answer goes.
    answer_to: AnswerTo,
}

impl Sandbox {
    /// Takes charge of the namespaces in which this process is.
    pub(super) fn new(terms: &Terms<'_>, base: PathBuf, answer_to: AnswerTo) -> Result<Self, Error> {
        let own_namespaces = terms.isolation != Isolation::Loopback;
        if own_namespaces {
            limit::begin_after(terms.pids_after);
        }
        let own_pid = getpid().as_raw();
        let listing = (terms.isolation == Isolation::Full).then(|| Listing::open(own_pid)).transpose()?;
        Ok(Self {
            isolation: terms.isolation,
            own_pid,
            port: if own_namespaces { port::OWN } else { port::choose_free()? },
            base,
            dirs_made: Cell::new(0),
            limit: RefCell::new(own_namespaces.then(|| Limit::establish(terms.processes_max)).flatten()),
            known: RefCell::default(),
            listing: RefCell::new(listing),
            answer_to,
        })
    }

    /// Gives the answer now, while the sandbox goes on to exist: see [`super::hold`].
    ///
    /// # Errors
    /// [`Error::System`] if nobody reads it.
    pub fn answer(&self, answer: Vec<u8>) -> Result<(), Error> {
        enactor::write(&self.answer_to, Ok(answer)).attempt(|| "write the answer".into())
    }

    /// The rung of the ladder that this sandbox stands on.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// The port that the target is asked to listen on: always the same in our own network namespace; on the host's
    /// network one that nothing uses, outside the range of ephemeral ports.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a new empty directory that every user may write to. It goes with the sandbox.
    ///
    /// # Errors
    /// [`Error::System`] if it cannot be made.
    pub fn fresh_dir(&self) -> Result<PathBuf, Error> {
        let number = self.dirs_made.replace(self.dirs_made.get() + 1);
        let dir = self.base.join(format!("launch-{number}"));
        DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .attempt(|| format!("make the directory {}", dir.display()))?;
        // Not by `mode`, from which the umask would be taken away.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777))
            .attempt(|| format!("open the directory {} to all users", dir.display()))?;
        Ok(dir)
    }

    /// All processes in the sandbox but our own, zombies too: pid as the enactor knows it (for kill and wait), and its
    /// directory under /proc. Ascending by pid.
    ///
    /// Numbers *read* under that directory (the parent in `stat`) may be of another pid namespace: see
    /// [`Self::pid_here`].
    ///
    /// # Errors
    /// [`Error::System`] if /proc cannot be read.
    pub fn processes(&self) -> Result<Vec<(i32, PathBuf)>, Error> {
        let same = |pid| Listed { here: pid, listed: pid };
        let found: Vec<Listed> = match self.isolation {
            Isolation::Full => self.listed()?.into_iter().map(same).collect(),
            Isolation::NoProc => processes::of_own_namespace()?,
            Isolation::Loopback => processes::descendants(self.own_pid)?.into_iter().map(same).collect(),
        };
        if self.isolation == Isolation::NoProc {
            self.known.replace(found.iter().map(|process| (process.listed, process.here)).collect());
        }
        Ok(found
            .into_iter()
            .filter(|process| !self.is_ours(process.here))
            .map(|process| (process.here, process.dir()))
            .collect())
    }

    fn listed(&self) -> Result<Vec<i32>, Error> {
        match self.listing.borrow_mut().as_mut() {
            Some(listing) => listing.read(),
            None => processes::all(),
        }
    }

    /// The enactor's number for a process that /proc calls `listed`. They differ only where /proc is the host's
    /// ([`Isolation::NoProc`]); known are the processes of the latest [`Self::processes`], and our own. 0 for others.
    #[must_use]
    pub fn pid_here(&self, listed: i32) -> i32 {
        match self.isolation {
            Isolation::NoProc => self.known.borrow().get(&listed).copied().unwrap_or(0),
            Isolation::Full | Isolation::Loopback => listed,
        }
    }

    /// The parent of orphans: the enactor. 1 in a pid namespace of our own.
    #[must_use]
    pub fn reaper_pid(&self) -> i32 {
        self.own_pid
    }

    /// Whether the process is the harness's own: the enactor, or a process that fills a limit.
    #[must_use]
    pub fn is_ours(&self, pid: i32) -> bool {
        pid == self.own_pid || self.limit.borrow().as_ref().is_some_and(|limit| limit.is_filler(pid))
    }

    /// The value of a sysctl, by its dotted name; `None` if there is none of this name.
    ///
    /// # Errors
    /// [`Error::System`] if it cannot be read.
    pub fn sysctl(&self, name: &str) -> Result<Option<String>, Error> {
        match fs::read_to_string(sysctl_path(name)) {
            Ok(text) => Ok(Some(text.trim_end().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).attempt(|| format!("read the sysctl {name}")),
        }
    }

    /// Sets a sysctl of our own network namespace ("net.core.somaxconn"). `false` where that is not possible: there
    /// is none of this name here, it is read-only, or the network is the host's.
    ///
    /// # Errors
    /// [`Error::System`] if the kernel does not take this value.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<bool, Error> {
        if self.isolation == Isolation::Loopback || !name.starts_with("net.") {
            return Ok(false);
        }
        match fs::write(sysctl_path(name), value) {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error).attempt(|| format!("set the sysctl {name} to {value}")),
        }
    }

    /// `net.core.somaxconn` in force.
    ///
    /// # Errors
    /// [`Error::System`] if it cannot be read.
    pub fn somaxconn(&self) -> Result<u32, Error> {
        const NAME: &str = "net.core.somaxconn";
        let text = self.sysctl(NAME)?.unwrap_or_default();
        text.parse()
            .map_err(|_| Error::Protocol { doing: "read the sysctl net.core.somaxconn", problem: text })
    }

    /// Bounds processes and threads: `InUse` lets no more be made (fork and thread creation give EAGAIN),
    /// `Exactly(n)` lets `n` more be made, `Original` lifts the bound. `false` where the kernel has no limit of a
    /// pid namespace's own.
    ///
    /// # Errors
    /// [`Error::System`] if the kernel refuses a step of it.
    pub fn limit_processes(&self, amount: Amount) -> Result<bool, Error> {
        match self.limit.borrow_mut().as_mut() {
            Some(limit) => limit.set(amount).map(|()| true),
            None => Ok(false),
        }
    }
}

fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}
