//! The reference server: TCP echo with one child process per connection, to be read in one sitting.
//!
//! It is the concurrent server of Stevens' *UNIX Network Programming* (4.8, 5.8 to 5.11) with nothing left out:
//!
//! ```text
//! socket, bind, listen   listen.rs     an address, and a queue for clients
//! accept                 here          one client off the queue; which errors pass, and which do not
//! fork, waitpid, kill    children.rs   a child for each client, and the duty to bury it
//! read, write            echo.rs       the service: all that a child does
//! sigaction, ppoll       signals.rs    sleep until a client comes, a child ends or somebody says stop
//! ```
//!
//! The parent never reads or writes a connection, so no client can hold it up; it sleeps in one place only, so there is
//! one place to think about lost wake-ups.

#![cfg(target_os = "linux")]

pub use listen::Error;
pub use options::{Options, Request};

mod options;
mod log;
mod signals;
mod listen;
mod echo;
mod children;

use children::Children;
use nix::errno::Errno;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Serves until SIGTERM or SIGINT, then ends every child, all within a second.
///
/// The address is announced on stdout once clients can connect; events go to stderr, one line each. It takes over the
/// signals of its process: call it from the only thread of one that does nothing else.
///
/// # Errors
///
/// If it cannot listen as asked, or can no longer accept. The message names the address and the remedy.
pub fn serve(options: &Options) -> Result<(), Error> {
    signals::take_over();
    let (listener, address) = listen::open(options)?;
    log::announce(&format!("listening on {address}"));
    let mut children = Children::at_most(options.max_children);
    let served = accept_until_stopped(&listener, address, &mut children);
    log::event(&format!("no longer listening on {address}"));
    drop(listener); // First: clients still in the queue learn it at once, by a reset, and the port is free.
    children.stop();
    served
}

/// The parent's life: bury the dead, sleep, accept, fork, again.
fn accept_until_stopped(
    listener: &TcpListener,
    address: SocketAddr,
    children: &mut Children,
) -> Result<(), Error> {
    let mut pause = None;
    let mut trouble = None;
    while !signals::stop_requested() {
        children.reap();
        let open = pause.is_none() && children.have_room(); // If not, clients wait in the queue.
        if !signals::wait(open.then_some(listener), pause.take()) {
            continue;
        }
        match listener.accept() {
            Ok((connection, peer)) => {
                children.serve(connection, peer, listener);
                trouble = None;
            }
            Err(error) => {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                if errno != Errno::EAGAIN && trouble.replace(errno) != Some(errno) {
                    log::event(&format!("accept on {address}: {error}")); // Once: the same one again is no event.
                }
                pause = Some(pause_after(errno).ok_or_else(|| Error::new("accept", address, &error))?);
            }
        }
    }
    Ok(())
}

/// How long to leave clients in the queue after this error of accept(2); `None` where the listener itself is no good.
fn pause_after(errno: Errno) -> Option<Duration> {
    use Errno as E;
    match errno {
        // About this client or the network: the next one may do better.
        E::EAGAIN | E::EINTR | E::ECONNABORTED | E::EPROTO | E::EPERM | E::ENETDOWN | E::ENETUNREACH => {
            Some(Duration::ZERO)
        }
        E::EHOSTDOWN | E::EHOSTUNREACH | E::ENONET | E::ENOPROTOOPT | E::EOPNOTSUPP => Some(Duration::ZERO),
        E::EBADF | E::EINVAL | E::ENOTSOCK | E::EFAULT => None,
        // EMFILE, ENFILE, ENOBUFS, ENOMEM: the client stays in the queue, so to try again at once is to spin. The end
        // of a child cuts the pause short.
        _ => Some(Duration::from_millis(100)),
    }
}
