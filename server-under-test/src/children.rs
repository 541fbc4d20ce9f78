//! The parent's children: `fork` for each client, `waitpid` for each child, and the end of all of them.

use crate::signals::{self, Signals};
use crate::{echo, log};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, close, fork};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// What remains of a second is for the rest of stopping.
const PATIENCE: [(Signal, Duration); 2] =
    [(Signal::SIGTERM, Duration::from_millis(500)), (Signal::SIGKILL, Duration::from_millis(300))];

/// Who serves whom. A pid stays in here until it has been waited for, so it cannot have become somebody else's.
#[derive(Debug)]
pub(crate) struct Children {
    serving: BTreeMap<Pid, SocketAddr>,
    at_most: usize,
}

impl Children {
    pub(crate) fn at_most(at_most: usize) -> Self {
        Self { serving: BTreeMap::new(), at_most }
    }

    pub(crate) fn have_room(&self) -> bool {
        self.serving.len() < self.at_most
    }

    /// Forks a child for one connection.
    ///
    /// The parent's copy of the connection is closed on return. Were it kept, the client would never see the end:
    /// TCP says goodbye when the last copy is closed (UNP 4.8). If there can be no child, that tells the client.
    #[allow(unsafe_code, reason = "fork")]
    pub(crate) fn serve(&mut self, connection: TcpStream, peer: SocketAddr, listener: &TcpListener) {
        // SAFETY: fork(2) obliges the child of a process with threads to stay with async-signal-safe calls. This one
        // does in any case: `be_the_child` allocates nothing, takes no lock, does not panic and does not return.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => be_the_child(&connection, listener),
            Ok(ForkResult::Parent { child }) => {
                log::event(&format!("{peer} is served by child {child}"));
                self.serving.insert(child, peer);
                if !self.have_room() {
                    log::event(&format!("{} children: further clients wait in the backlog", self.at_most));
                }
            }
            Err(errno) => log::event(&format!("{peer} is turned away: fork: {}", errno.desc())),
        }
    }

    /// `waitpid(-1, WNOHANG)` until none is left: any number of deaths may hide behind one SIGCHLD (UNP 5.9).
    ///
    /// It takes children that were never ours as well, inherited from the program that became this one by exec.
    pub(crate) fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(status) => self.record(status),
                // Reaped, but `nix` has no name for a real-time signal and gives no pid: see who is gone.
                Err(Errno::EINVAL) => self.serving.retain(|pid, _| kill(*pid, None).is_ok()),
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
    }

    /// Asks all children to end, then insists, and waits for each.
    pub(crate) fn stop(&mut self, signals: &Signals) {
        for (signal, patience) in PATIENCE {
            for pid in self.serving.keys() {
                let _ = kill(*pid, signal); // ESRCH cannot be: nobody else waits for them.
            }
            let start = Instant::now();
            self.reap();
            while !self.serving.is_empty() && start.elapsed() < patience {
                signals.wait(None, Some(patience.saturating_sub(start.elapsed())));
                self.reap();
            }
        }
    }

    fn record(&mut self, status: WaitStatus) {
        let Some(pid) = status.pid() else { return };
        let Some(peer) = self.serving.remove(&pid) else {
            return log::event(&format!("child {pid} ended, which was there before this server"));
        };
        let how = match status {
            WaitStatus::Exited(_, 0) => "to the end".to_owned(),
            WaitStatus::Exited(_, errno) => io::Error::from_raw_os_error(errno).to_string(),
            other => format!("{other:?}"),
        };
        log::event(&format!("{peer} was served by child {pid}: {how}"));
    }
}

/// The child's whole life. Its exit status is the errno that ended the connection, 0 for a proper end.
///
/// It closes the listening socket: a child that held it would keep the port, and accept nobody, when the parent is
/// gone. It leaves by `_exit`, because `exit` would run the parent's exit handlers and flush its buffers once more.
#[allow(unsafe_code, reason = "the child's half of fork")]
fn be_the_child(connection: &TcpStream, listener: &TcpListener) -> ! {
    signals::give_back();
    let _ = close(listener.as_raw_fd());
    let status = match echo::until_end(connection) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    // SAFETY: _exit(2) may be called anywhere; the C library cannot promise that to Rust, so it is marked unsafe.
    unsafe { libc::_exit(status) }
}
