//! The reference server: TCP echo with one child process per connection, to be read in one sitting.
//!
//! It is the concurrent server of Stevens' *UNIX Network Programming* (4.8, 5.8 to 5.11) with nothing left out:
//!
//! ```text
//! socket, bind, listen        listen.rs     an address and a queue for clients
//! accept                      accept.rs     one client off the queue; which errors pass, and which do not
//! fork, waitpid, kill         children.rs   one child per client, and the duty to bury it
//! read, write until the end   echo.rs       the service: all that a child does
//! sigaction, ppoll            signals.rs    sleep until a client comes, a child ends or somebody says stop
//! ```
//!
//! The parent never reads or writes a connection, so no client can hold it up; it never forgets a child, so no zombie
//! stays; and it sleeps in one place only, so there is one place to think about lost wake-ups.

#![cfg(target_os = "linux")]

pub use listen::Error;
pub use options::{HELP, Options, Request};

mod options;
mod log;
mod signals;
mod listen;
mod echo;
mod children;
mod accept;

/// Serves until SIGTERM or SIGINT, then ends every child, all within a second.
///
/// The bound address is announced on stdout once clients can connect; events go to stderr, one line each.
///
/// It takes over signal mask and handlers: call it from the only thread of a process that has no other work.
///
/// # Errors
///
/// If it cannot listen as asked, or can no longer accept. The message names the address and the remedy.
pub fn serve(options: &Options) -> Result<(), Error> {
    let signals = signals::Signals::take_over();
    let listener = listen::open(options)?;
    log::announce(&format!("listening on {}", listen::name(&listener)));
    let mut children = children::Children::at_most(options.max_children);

    let served = accept::until_stopped(&listener, &signals, &mut children);

    drop(listener); // First: who still waits in the queue is told at once, by a reset, and the port is free.
    children.stop(&signals);
    log::event("stopped");
    served
}
