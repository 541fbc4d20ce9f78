//! The parent's children: `fork` for each client, `waitpid` for each child, and the end of all of them.

use crate::{echo, log, signals};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, close, fork};
use nix::{errno::Errno, libc};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use std::{collections::BTreeMap, os::fd::AsRawFd};

/// Who serves whom. A pid stays in here until it was waited for, so it cannot have become another's.
#[derive(Debug, Default)]
pub(crate) struct Children(BTreeMap<Pid, SocketAddr>);

impl Children {
    /// Forks a child for one connection. The parent's copy is closed on return: were it kept, the client would not see
    /// the end, as TCP says goodbye when the last copy is closed (UNP 4.8). Without a child, it turns the client away.
    #[allow(unsafe_code, reason = "fork")]
    pub(crate) fn serve(&mut self, connection: TcpStream, peer: SocketAddr, listener: &TcpListener) {
        // SAFETY: fork(2) obliges the child of a process with threads to do only what is async-signal-safe. This one
        // does in any case: `be_the_child` allocates nothing, takes no lock, does not panic and does not return.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => be_the_child(&connection, listener),
            Ok(ForkResult::Parent { child }) => {
                self.0.insert(child, peer);
                log::event(&format!("child {child} serves {peer} ({} at once)", self.0.len()));
            }
            Err(errno) => log::event(&format!("no child can serve {peer}: fork: {}", errno.desc())),
        }
    }

    /// Waits until none is left that has ended: one SIGCHLD may stand for any number of deaths (UNP 5.9). Returns how
    /// many of ours live on. Others may die as well: exec keeps the children of the program before.
    pub(crate) fn reap(&mut self) -> usize {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, 0)) => self.bury(pid, "end of input"),
                Ok(WaitStatus::Exited(pid, errno)) => self.bury(pid, Errno::from_raw(errno).desc()),
                Ok(WaitStatus::Signaled(pid, signal, _)) => self.bury(pid, signal.as_str()),
                // Waited for, but `nix` knows no real-time signals and keeps the pid to itself: see who is gone.
                Err(Errno::EINVAL) => {
                    let gone = self.0.keys().copied().find(|pid| kill(*pid, None).is_err());
                    gone.into_iter().for_each(|pid| self.bury(pid, "a real-time signal"));
                }
                Err(Errno::EINTR) => {}
                _ => return self.0.len(),
            }
        }
    }

    fn bury(&mut self, pid: Pid, how: &str) {
        match self.0.remove(&pid) {
            Some(peer) => log::event(&format!("child {pid} served {peer}: {how}")),
            None => log::event(&format!("child {pid} ended, which was here before this server")),
        }
    }

    /// Asks all children to end, then insists, and waits for each; leaves a margin to the second it has.
    pub(crate) fn stop(&mut self) {
        for (signal, patience_ms) in [(Signal::SIGTERM, 500), (Signal::SIGKILL, 300)] {
            self.0.keys().for_each(|pid| _ = kill(*pid, signal));
            let deadline = Instant::now() + Duration::from_millis(patience_ms);
            while let (1.., Some(left)) = (self.reap(), deadline.checked_duration_since(Instant::now())) {
                signals::wait(None, Some(left));
            }
        }
    }
}

/// The child's whole life. Its exit status is the errno that ended the connection, or 0. It closes the listening
/// socket: holding it, it would keep the port when the parent is gone, and accept nobody. It leaves by `_exit`: `exit`
/// would run the parent's exit handlers and flush the parent's buffers once more.
#[allow(unsafe_code, reason = "the child's half of fork")]
fn be_the_child(connection: &TcpStream, listener: &TcpListener) -> ! {
    signals::give_back();
    let _ = close(listener.as_raw_fd());
    let status = echo::until_end(connection).err().map_or(0, |e| e.raw_os_error().unwrap_or(libc::EIO));
    // SAFETY: _exit(2) asks for nothing, and may be called after fork; only Rust cannot see that of a C function.
    unsafe { libc::_exit(status) }
}
