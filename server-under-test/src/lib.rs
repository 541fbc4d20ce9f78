//! The reference server: TCP echo, one child process for each connection, to be read in one sitting. It is the
//! concurrent server of Stevens' *UNIX Network Programming* (UNP 4.8, 5.8 to 5.11) with nothing left out:
//!
//! ```text
//! socket, bind, listen   listen.rs     an address, and a queue for clients
//! accept                 here          one client off the queue; which errors pass, and which do not
//! fork, waitpid, kill    children.rs   a child for each client, and the duty to bury it
//! read, write            echo.rs       the service: all that a child does
//! sigaction, ppoll       signals.rs    sleep until a client comes, a child ends or somebody says stop
//! ```
//!
//! The parent never reads or writes a connection, so no client can hold it up. It sleeps in one place only, so there is
//! one place to think about lost wake-ups.

#![cfg(target_os = "linux")]

pub use options::{HELP, Options};

mod options;
mod log;
mod signals;
mod listen;
mod echo;
mod children;

use children::Children;
use nix::libc;
use std::{io, net::TcpListener, time::Duration};

/// Serves until SIGTERM or SIGINT, then ends every child, all within a second.
///
/// The address is announced on stdout once clients can connect; events go to stderr, one line each. It takes over the
/// signals of its process: call it from the only thread of one that does nothing else.
///
/// # Errors
///
/// If it cannot listen as asked, or can no longer accept. The message names the address and the remedy.
pub fn serve(options: &Options) -> io::Result<()> {
    signals::take_over();
    let (listener, address) = listen::open(options)?;
    log::write_or_drop(&io::stdout(), &format!("listening on {address}\n"));
    let mut children = Children::default();
    let served = accept_until_stopped(&listener, &mut children, options.max_children);
    log::event(&format!("stops listening on {address}"));
    drop(listener); // First: clients still in the queue learn it at once, by a reset, and the port is free.
    children.stop();
    served.map_err(|error| listen::explain("accept", address, &error))
}

/// The parent's life: bury the dead, sleep, accept, fork, again.
fn accept_until_stopped(listener: &TcpListener, children: &mut Children, at_most: usize) -> io::Result<()> {
    let (mut pause, mut trouble) = (None, None);
    while !signals::stop_requested() {
        let open = children.reap() < at_most && pause.is_none(); // If not, clients wait in the queue.
        if !signals::wait(open.then_some(listener), pause.take()) {
            continue;
        }
        match listener.accept() {
            Ok((connection, peer)) => {
                trouble = None;
                children.serve(connection, peer, listener);
            }
            Err(error) => {
                let errno = error.raw_os_error();
                if errno != Some(libc::EAGAIN) && trouble.replace(errno) != Some(errno) {
                    log::event(&format!("accept: {error}")); // The same one again is no event.
                }
                pause = Some(pause_after(errno).ok_or(error)?);
            }
        }
    }
    Ok(())
}

/// How long to leave clients in the queue after an error of accept(2); `None` if the listening socket is no good.
fn pause_after(errno: Option<i32>) -> Option<Duration> {
    match errno {
        Some(libc::EBADF | libc::EFAULT | libc::EINVAL | libc::ENOTSOCK) => None,
        // The client is still in the queue: to try again at once is to spin. The end of a child cuts the pause short.
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Some(Duration::from_millis(100)),
        // ECONNABORTED and other bad luck of one client; and should it last, it cannot make us spin either.
        _ => Some(Duration::from_millis(1)),
    }
}
