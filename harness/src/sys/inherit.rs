//! What a process hands to the program that it executes: descriptors by number, signals, capabilities.
//!
//! To be called between fork and exec, in a process that was single-threaded when it forked: the child may then run any
//! code, and all of this is async-signal-safe besides.
//!
//! # References
//! dup2(2), close_range(2), sigaction(2), sigprocmask(2), signal(7), capabilities(7), PR_CAP_AMBIENT(2const)

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

use nix::errno::Errno;

use crate::sys::clone::Child;

/// `dup2(fd, number)`: makes `number` another name of `fd`, open across exec.
///
/// # Errors
/// EBADF when the number is beyond the limit of descriptors.
pub fn place(_child: &Child, fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: dup2(2) takes no pointers. What it closes, if `number` was open, belongs to a value of the parent that was
    // copied with the address space; this process is a `Child`, which never returns to the code that owns it.
    let done = unsafe { libc::dup2(fd.as_raw_fd(), number) };
    Errno::result(done)?;
    Ok(())
}

/// Lets exec close the descriptors from `first` to `last`, both included.
///
/// # Errors
/// Those of close_range(2) but ENOSYS and EINVAL: kernels before 5.11 are asked descriptor by descriptor.
pub fn close_on_exec(_child: &Child, first: RawFd, last: RawFd) -> io::Result<()> {
    // SAFETY: close_range(2) takes no pointers, and with CLOSE_RANGE_CLOEXEC it closes nothing before exec, when no code
    // of ours is left to use a descriptor.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    match Errno::result(done) {
        Ok(_) => Ok(()),
        Err(Errno::ENOSYS | Errno::EINVAL) => {
            for entry in std::fs::read_dir("/proc/self/fd")? {
                let number: Option<RawFd> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
                if let Some(number) = number.filter(|number| (first..=last).contains(number)) {
                    // SAFETY: F_SETFD takes no pointers and closes nothing; as above.
                    let done = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
                    Errno::result(done)?;
                }
            }
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}

/// State of a signal at exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtExec {
    /// SIG_IGN.
    Ignored(libc::c_int),
    /// SIG_DFL, blocked.
    Blocked(libc::c_int),
}

/// Puts every signal at its default and unblocks it, but for these.
///
/// # Errors
/// None that sigaction(2) and sigprocmask(2) name for these arguments.
pub fn set_signals(_child: &Child, exceptions: &[AtExec]) -> io::Result<()> {
    for signal in 1..=SIGNAL_MAX {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP {
            continue;
        }
        let handler =
            if exceptions.contains(&AtExec::Ignored(signal)) { libc::SIG_IGN } else { libc::SIG_DFL };
        handle(signal, handler)?;
    }
    let mut mask = nix::sys::signal::SigSet::empty();
    for exception in exceptions {
        if let AtExec::Blocked(signal) = exception {
            mask.add(nix::sys::signal::Signal::try_from(*signal)?);
        }
    }
    mask.thread_set_mask()?;
    Ok(())
}

/// The kernel's `_NSIG` on every architecture but MIPS.
const SIGNAL_MAX: libc::c_int = 64;

/// `rt_sigaction` with SIG_DFL or SIG_IGN: the raw call, since that of libc keeps two signals for itself.
fn handle(signal: libc::c_int, handler: libc::sighandler_t) -> io::Result<()> {
    // handler, flags, restorer and mask of the kernel's `struct sigaction`, in any order: all are 0 but the handler,
    // which comes first (but on MIPS); eight words hold it on every architecture.
    let mut action = [0usize; 8];
    action[0] = handler;
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: rt_sigaction reads one `struct sigaction` from `action`, which is alive and larger, and writes none to a
    // null pointer. SIG_DFL and SIG_IGN install no function of ours that would have to be async-signal-safe.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), none, SIGSET_BYTES) };
    Errno::result(done)?;
    Ok(())
}

/// Size of the kernel's `sigset_t`, which rt_sigaction checks.
const SIGSET_BYTES: usize = 8;

/// Drops the ambient capabilities: a program of an ordinary user then gets none by exec.
///
/// # Errors
/// None; kernels before 4.3 have no such capabilities, and say EINVAL, which is as good.
pub fn drop_ambient_capabilities(_child: &Child) -> io::Result<()> {
    // SAFETY: prctl(2) with PR_CAP_AMBIENT_CLEAR_ALL takes no pointers; the unused arguments are 0, as it demands.
    let done = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    match Errno::result(done) {
        Ok(_) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
