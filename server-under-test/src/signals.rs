//! Signals without lost wake-ups: all that we wait for is blocked, except while `ppoll` sleeps.
//!
//! Had a signal a chance to arrive after we looked for dead children and before we sleep, it would be spent, and we
//! would sleep on beside a zombie. `ppoll` unblocks and sleeps in one step (POSIX.1-2024 ppoll, UNP 6.9): what came
//! earlier is still pending and ends the sleep at once. So no timer is needed to make up for lost signals, and system
//! calls elsewhere are not interrupted. A launcher may hand us any mask and dispositions (POSIX exec): all are set here.

use nix::errno::Errno;
use nix::libc::{SIGCHLD, c_int};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

static STOP: AtomicBool = AtomicBool::new(false);

/// Runs at any moment of `ppoll`, so it does no more than set a flag. SIGCHLD needs not even that: it ends the sleep.
extern "C" fn on_signal(signal: c_int) {
    if signal != SIGCHLD {
        STOP.store(true, Relaxed);
    }
}

/// The right to sleep until something happens.
#[derive(Debug)]
pub(crate) struct Signals(());

impl Signals {
    /// Handles SIGCHLD, SIGTERM and SIGINT, and blocks them; makes SIGPIPE and SIGXFSZ plain errors of `write`.
    pub(crate) fn take_over() -> Self {
        STOP.store(false, Relaxed);
        let _ = awaited().thread_set_mask();
        for signal in &awaited() {
            set_disposition(signal, SigHandler::Handler(on_signal));
        }
        set_disposition(Signal::SIGPIPE, SigHandler::SigIgn);
        set_disposition(Signal::SIGXFSZ, SigHandler::SigIgn);
        Self(())
    }

    /// Has SIGTERM or SIGINT come?
    pub(crate) fn stop_requested(&self) -> bool {
        STOP.load(Relaxed)
    }

    /// Sleeps until a client waits (then true), a signal comes, or the time is over.
    pub(crate) fn wait(&self, listener: Option<&TcpListener>, at_most: Option<Duration>) -> bool {
        let mut ready: Vec<_> = listener.iter().map(|l| PollFd::new(l.as_fd(), PollFlags::POLLIN)).collect();
        // Where a client is ready, ppoll returns without a look at signals. So that a stream of clients cannot keep
        // SIGTERM waiting, those already pending are let in first.
        let _ = ppoll(&mut [], Some(Duration::ZERO.into()), Some(SigSet::empty()));
        match ppoll(&mut ready, at_most.map(Into::into), Some(SigSet::empty())) {
            Ok(count) => count > 0,
            Err(Errno::EINTR) => false,
            // A limit on descriptors may fall below one that is open. What to do about that, accept will say.
            Err(_) => listener.is_some(),
        }
    }
}

/// Makes a child an ordinary process again: a SIGTERM that reached it since the fork takes effect here.
pub(crate) fn give_back() {
    for signal in &awaited() {
        set_disposition(signal, SigHandler::SigDfl);
    }
    let _ = SigSet::empty().thread_set_mask();
}

fn awaited() -> SigSet {
    SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT])
}

#[allow(unsafe_code, reason = "installs a signal handler")]
fn set_disposition(signal: Signal, handler: SigHandler) {
    let action = SigAction::new(handler, SaFlags::SA_NOCLDSTOP, SigSet::empty());
    // SAFETY: sigaction(2) obliges a handler to do only what is async-signal-safe. `on_signal`, the only one that the
    // two callers above pass, stores to a lock-free atomic; SIG_DFL and SIG_IGN run no code of ours.
    let _ = unsafe { sigaction(signal, &action) };
}
