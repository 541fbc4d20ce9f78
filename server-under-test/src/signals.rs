//! Signals without lost wake-ups: those that we wait for are blocked, except while `ppoll` sleeps.
//!
//! A signal that came after we looked for dead children and before we sleep would otherwise be spent, and we would sleep
//! beside a zombie. `ppoll` unblocks and sleeps in one step (POSIX.1-2024 ppoll; UNP 20.5 for pselect): what came before
//! is still pending and ends the sleep at once. So there is no timer, and no other call is interrupted. A launcher may
//! leave us any mask and any dispositions (POSIX exec), so we set both.

use nix::errno::Errno;
use nix::libc::{SIGCHLD, c_int};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const AWAITED: [Signal; 3] = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT];
static STOP: AtomicBool = AtomicBool::new(false);

/// Stops the server, unless it was SIGCHLD, which has done its work by ending the sleep.
extern "C" fn on_signal(signal: c_int) {
    if signal != SIGCHLD {
        STOP.store(true, Relaxed);
    }
}

pub(crate) fn stop_requested() -> bool {
    STOP.load(Relaxed)
}

/// Blocks and handles what we wait for; makes SIGPIPE and SIGXFSZ plain errors of `write`.
pub(crate) fn take_over() {
    let _ = SigSet::from_iter(AWAITED).thread_set_mask();
    AWAITED.map(|signal| dispose(signal, SigHandler::Handler(on_signal)));
    [Signal::SIGPIPE, Signal::SIGXFSZ].map(|signal| dispose(signal, SigHandler::SigIgn));
}

/// Makes a child an ordinary process: a SIGTERM that was sent to it since the fork takes effect here.
pub(crate) fn give_back() {
    AWAITED.map(|signal| dispose(signal, SigHandler::SigDfl));
    let _ = SigSet::empty().thread_set_mask();
}

/// Sleeps until a client waits (then true), a signal comes, or the time is over.
pub(crate) fn wait(listener: Option<&TcpListener>, at_most: Option<Duration>) -> bool {
    let mut clients: Vec<_> = listener.iter().map(|l| PollFd::new(l.as_fd(), PollFlags::POLLIN)).collect();
    // Where a client is ready, ppoll returns without a look at signals. So that a stream of clients cannot keep SIGTERM
    // waiting for ever, what is pending is let in first.
    let _ = ppoll(&mut [], Some(Duration::ZERO.into()), Some(SigSet::empty()));
    match ppoll(&mut clients, at_most.map(Into::into), Some(SigSet::empty())) {
        Ok(count) => count > 0,
        Err(Errno::EINTR) => false,
        Err(_) => listener.is_some(), // EINVAL: RLIMIT_NOFILE fell below our descriptor. Accept will say what to do.
    }
}

#[allow(unsafe_code, reason = "installs a signal handler")]
fn dispose(signal: Signal, handler: SigHandler) {
    let action = SigAction::new(handler, SaFlags::SA_NOCLDSTOP, SigSet::empty());
    // SAFETY: sigaction(2) obliges a handler to do only what is async-signal-safe; ours, `on_signal`, does no more than
    // store to a lock-free atomic. SIG_DFL and SIG_IGN run nothing of ours.
    let _ = unsafe { sigaction(signal, &action) };
}
