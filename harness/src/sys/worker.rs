//! What a program that was started as a worker does to its own process before `main`.
//!
//! # References
//! environ(7), signal(7)

use std::env;
use std::ffi::OsString;
use std::io;

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};

/// Takes a variable out of the environment, so that no program started from here sees it.
///
/// To be called before `main`, from a constructor: the process has one thread then.
pub fn take_variable(name: &str) -> Option<OsString> {
    let value = env::var_os(name)?;
    // SAFETY: `remove_var` must not run while another thread reads or writes the environment: constructors run on the
    // only thread, before `main` could have started another.
    unsafe { env::remove_var(name) };
    Some(value)
}

/// Gives this process a known signal state, whatever it inherited: nothing blocked, SIGCHLD at its default, SIGPIPE
/// ignored so that a reader who left is an error and not a death.
///
/// # Errors
/// None that signal(2) names for these signals.
pub fn reset_signals() -> io::Result<()> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    // SAFETY: signal(2) with SIG_DFL installs no function of ours that would have to be async-signal-safe.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    // SAFETY: the same holds for SIG_IGN.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }?;
    Ok(())
}

/// `atexit(last)`: calls the function when the process ends in order. Where there is no room for it, it is not called.
pub fn at_exit(last: extern "C" fn()) {
    // SAFETY: atexit(3) asks for a function that lives as long as the program: every `fn` does. An `extern "C"` one that
    // panics aborts instead of unwinding into libc.
    unsafe { libc::atexit(last) };
}

/// `_exit(status)`: ends the process without `main` and without what the program registered for its end.
pub fn exit(status: i32) -> ! {
    // SAFETY: _exit(2) takes no pointers and does not return.
    unsafe { libc::_exit(status) }
}

/// Whether the error is the one that says "interrupted by a signal, try again".
#[must_use]
pub fn is_interruption(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EINTR as i32)
}
