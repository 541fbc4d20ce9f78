//! Signals without lost wake-ups: those that we wait for are blocked, except while `ppoll` sleeps.
//!
//! Else a signal that comes after we looked for dead children and before we sleep would be spent, and we would sleep
//! beside a zombie. `ppoll` unblocks and sleeps in one step (POSIX.1-2024 ppoll; UNP 20.5 for pselect): what came
//! before is still pending and ends the sleep. So there is no timer, and no other call is interrupted. Launchers may
//! leave us any mask and dispositions (POSIX exec), so we set both.

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::{errno::Errno, libc};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::{net::TcpListener, os::fd::AsFd, time::Duration};

const AWAITED: [Signal; 3] = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT];
static STOP: AtomicBool = AtomicBool::new(false);

/// Stops the server, unless it was SIGCHLD, which has done its work by ending the sleep.
extern "C" fn on_signal(signal: libc::c_int) {
    STOP.fetch_or(signal != libc::SIGCHLD, Relaxed);
}

pub(crate) fn stop_requested() -> bool {
    STOP.load(Relaxed)
}

/// Blocks and handles what we wait for; makes SIGPIPE and SIGXFSZ plain errors of `write`.
pub(crate) fn take_over() {
    let _ = SigSet::from_iter(AWAITED).thread_set_mask();
    dispose(&AWAITED, SigHandler::Handler(on_signal));
    dispose(&[Signal::SIGPIPE, Signal::SIGXFSZ], SigHandler::SigIgn);
}

/// Makes a child an ordinary process: a SIGTERM that was sent to it since the fork takes effect here.
pub(crate) fn give_back() {
    dispose(&AWAITED, SigHandler::SigDfl);
    dispose(&[Signal::SIGSEGV, Signal::SIGBUS], SigHandler::SigDfl); // Rust's own handlers outlive a first `kill`.
    let _ = SigSet::empty().thread_set_mask();
}

/// Sleeps until a client waits (then true), a signal comes, or the time is over.
pub(crate) fn wait(listener: Option<&TcpListener>, at_most: Option<Duration>) -> bool {
    let mut clients = listener.map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN));
    // Where a client is ready, ppoll returns without a look at signals: a stream of clients would keep SIGTERM waiting.
    // So what is pending is let in first. If that was a SIGCHLD there is a child to reap, so then we do not sleep.
    let signalled = ppoll(&mut [], Some(Duration::ZERO.into()), Some(SigSet::empty())).is_err();
    let at_most = if signalled { Some(Duration::ZERO) } else { at_most };
    match ppoll(clients.as_mut_slice(), at_most.map(Into::into), Some(SigSet::empty())) {
        Ok(count) => count > 0,
        Err(Errno::EINTR) => false,
        Err(_) => listener.is_some(), // EINVAL: RLIMIT_NOFILE fell below our descriptor. Accept will say what to do.
    }
}

#[allow(unsafe_code, reason = "installs a signal handler")]
fn dispose(signals: &[Signal], handler: SigHandler) {
    let action = SigAction::new(handler, SaFlags::SA_NOCLDSTOP, SigSet::empty());
    for signal in signals {
        // SAFETY: sigaction(2) obliges a handler to do only what is async-signal-safe; ours, `on_signal`, only sets a
        // lock-free atomic. SIG_DFL and SIG_IGN run nothing of ours.
        let _ = unsafe { sigaction(*signal, &action) };
    }
}
