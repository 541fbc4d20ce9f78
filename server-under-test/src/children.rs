//! The parent's children: `fork` for each client, `waitpid` for each child, and the end of all of them.

use crate::{echo, log, signals};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, close, fork};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Who serves whom. A pid stays in here until it was waited for, so it cannot have become another's.
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
    /// The parent's copy of the connection is closed on return. Were it kept, the client would never see the end: TCP
    /// says goodbye when the last copy is closed (UNP 4.8). If there can be no child, it tells the client so.
    #[allow(unsafe_code, reason = "fork")]
    pub(crate) fn serve(&mut self, connection: TcpStream, peer: SocketAddr, listener: &TcpListener) {
        // SAFETY: fork(2) obliges the child of a process with threads to do only what is async-signal-safe. This one
        // does in any case: `be_the_child` allocates nothing, takes no lock, does not panic and does not return.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => be_the_child(&connection, listener),
            Ok(ForkResult::Parent { child }) => {
                self.serving.insert(child, peer);
                let waiting =
                    if self.have_room() { "" } else { ", the last for now: others wait in the queue" };
                log::event(&format!("child {child} serves {peer}{waiting}"));
            }
            Err(errno) => log::event(&format!("no child can serve {peer}: fork: {}", errno.desc())),
        }
    }

    /// Waits until none is left that has ended: one SIGCHLD may stand for any number of deaths (UNP 5.9).
    pub(crate) fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, 0)) => self.bury(pid, "end of input"),
                Ok(WaitStatus::Exited(pid, errno)) => self.bury(pid, Errno::from_raw(errno).desc()),
                Ok(WaitStatus::Signaled(pid, signal, _)) => self.bury(pid, signal.as_str()),
                // `nix` knows no real-time signals and keeps the pid to itself: see who is gone.
                Err(Errno::EINVAL) => self.serving.retain(|pid, _| kill(*pid, None).is_ok()),
                Err(Errno::EINTR) => {}
                _ => break,
            }
        }
    }

    fn bury(&mut self, pid: Pid, how: &str) {
        let peer = self.serving.remove(&pid).map(|peer| peer.to_string());
        let whom = peer.as_deref().unwrap_or("nobody: it was here before this server"); // POSIX exec keeps children.
        log::event(&format!("child {pid} served {whom}; {how}"));
    }

    /// Asks all children to end, then insists, and waits for each; leaves a margin to the second it has.
    pub(crate) fn stop(&mut self) {
        for (signal, patience_ms) in [(Signal::SIGTERM, 500), (Signal::SIGKILL, 300)] {
            let deadline = Instant::now() + Duration::from_millis(patience_ms);
            for pid in self.serving.keys() {
                let _ = kill(*pid, signal);
            }
            self.reap();
            while let (false, Some(left)) =
                (self.serving.is_empty(), deadline.checked_duration_since(Instant::now()))
            {
                signals::wait(None, Some(left));
                self.reap();
            }
        }
    }
}

/// The child's whole life. Its exit status is the errno that ended the connection, or 0.
///
/// It closes the listening socket: holding it, it would keep the port when the parent is gone, and accept nobody. It
/// leaves by `_exit`, since `exit` would run the parent's exit handlers and flush the parent's buffers once more.
#[allow(unsafe_code, reason = "the child's half of fork")]
fn be_the_child(connection: &TcpStream, listener: &TcpListener) -> ! {
    signals::give_back();
    let _ = close(listener.as_raw_fd());
    let ended = echo::until_end(connection);
    let status = ended.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
    // SAFETY: _exit(2) asks for nothing, and may be called after fork; only Rust cannot see that of a C function.
    unsafe { libc::_exit(status) }
}
