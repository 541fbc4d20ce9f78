//! clone(2): a child process, in new namespaces where asked, with a pidfd.
//!
//! The raw call is used instead of fork(3) because fork cannot make namespaces, and clone3(2) is answered with ENOSYS
//! by the system-call filters of container engines.
//!
//! # References
//! clone(2), pidfd_open(2), close_range(2), _exit(2)

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::fs::MetadataExt;

use nix::errno::Errno;
use nix::sched::CloneFlags;
use nix::sys::signal::SigSet;

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Forked {
    /// The new one.
    Child(Child),
    /// The one that called, with the child's number and a descriptor of it.
    Parent {
        /// Number of the child in the caller's pid namespace.
        pid: i32,
        /// Descriptor of the child, close-on-exec.
        pidfd: OwnedFd,
    },
}

/// Proof that this process is a fresh child, a copy of its parent that must never return into its parent's business.
#[derive(Debug)]
pub struct Child(());

/// `clone(namespaces | CLONE_PIDFD | SIGCHLD, NULL, &pidfd)`: like fork(2), but in new namespaces.
///
/// # Errors
/// EINVAL if the process has more than one thread, and all of clone(2).
pub fn fork(namespaces: CloneFlags) -> io::Result<Forked> {
    require_one_thread()?;
    let mut pidfd: RawFd = -1;
    let flags = libc::c_long::from(namespaces.bits() | libc::CLONE_PIDFD | libc::SIGCHLD);
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: clone(2) without CLONE_VM copies the address space, and with a null stack the child goes on with its copy
    // of this one. Locks that another thread holds would stay locked in the copy: `require_one_thread` saw that there
    // is none. `pidfd` outlives the call, and the last two pointers are not read without CLONE_SETTLS and CLONE_*_TID.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, null, &raw mut pidfd, null, null) };
    match Errno::result(pid)? {
        0 => Ok(Forked::Child(Child(()))),
        pid => Ok(Forked::Parent {
            pid: i32::try_from(pid).map_err(io::Error::other)?,
            // SAFETY: CLONE_PIDFD has stored a new descriptor there, because clone succeeded and this is the parent;
            // nobody else has seen its number.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Makes a child that does nothing until it gets SIGKILL. It shares the caller's descriptor table, so that it keeps no
/// socket or pipe open which the caller closes. Unlike [`fork`] this may be called by a process with threads.
///
/// # Errors
/// EAGAIN at a limit of processes, and all of clone(2).
pub fn idle_child() -> io::Result<(i32, OwnedFd)> {
    let mut pidfd: RawFd = -1;
    let flags = libc::c_long::from(libc::CLONE_FILES | libc::CLONE_PIDFD | libc::SIGCHLD);
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: as in `fork`; instead of being the only thread, the child calls nothing but sigprocmask(2) and pause(2),
    // which are async-signal-safe, so it cannot wait for a lock that was held when it was copied.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, null, &raw mut pidfd, null, null) };
    match Errno::result(pid)? {
        0 => {
            // A signal that the caller's children send to everybody is not for it.
            let _ = SigSet::all().thread_block();
            loop {
                // SAFETY: pause(2) takes no pointers.
                unsafe { libc::pause() };
            }
        }
        pid => {
            let pid = i32::try_from(pid).map_err(io::Error::other)?;
            // SAFETY: CLONE_PIDFD has stored a new descriptor there, as in `fork`.
            Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
        }
    }
}

impl Child {
    /// Closes every descriptor but 0, 1, 2 and these.
    ///
    /// # Errors
    /// Those of close_range(2), or of reading /proc/self/fd where the kernel does not have it (before 5.9).
    pub fn close_all_but(&self, keep: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
        keep.sort_unstable();
        let mut next = 3;
        for fd in keep.into_iter().filter(|&fd| fd >= 3) {
            close_between(next, fd - 1)?;
            next = fd + 1;
        }
        close_between(next, RawFd::MAX)
    }

    /// `_exit(status)`: ends this process without running anything that its parent registered for its own end.
    pub fn exit(self, status: i32) -> ! {
        // SAFETY: _exit(2) takes no pointers and does not return.
        unsafe { libc::_exit(status) }
    }
}

/// Closes the descriptors from `first` to `last`, both included.
fn close_between(first: RawFd, last: RawFd) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: close_range(2) takes no pointers. What it closes belongs to values of the parent that were copied with the
    // address space; this process is a `Child`, which never returns to the code that owns them, so none is used again.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    match Errno::result(done) {
        Ok(_) => Ok(()),
        Err(Errno::ENOSYS) => close_one_by_one(first, last),
        Err(errno) => Err(errno.into()),
    }
}

/// What close_range(2) does, for kernels without it.
fn close_one_by_one(first: RawFd, last: RawFd) -> io::Result<()> {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| (first..=last).contains(fd))
        .collect();
    for fd in open {
        // SAFETY: as for close_range(2) above; the descriptor of the directory itself is closed already, which close(2)
        // answers with EBADF.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// Fails unless this process has one thread: `/proc/self/task` has one directory, so three links.
fn require_one_thread() -> io::Result<()> {
    match fs::metadata("/proc/self/task") {
        Ok(tasks) if tasks.st_nlink() > 3 => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "a process with threads cannot fork and go on"))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}
