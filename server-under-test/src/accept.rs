//! The life of the parent: bury the dead, sleep, accept, fork, again.

use crate::children::Children;
use crate::listen::{self, Error};
use crate::log;
use crate::signals::Signals;
use nix::errno::Errno;
use std::io;
use std::net::TcpListener;
use std::time::Duration;

/// How long to leave clients in the queue when there are no means to take one; the end of a child cuts it short.
const REST: Duration = Duration::from_millis(100);

/// What an error of `accept` says about the next call.
enum Outlook {
    /// It was about this client, or about nobody: go on.
    Passing,
    /// The means are used up, and the client stays in the queue: `ppoll` would report it again at once, without end.
    Exhausted,
    /// It is about the listening socket.
    Final,
}

/// Accepts clients and hands each to a child, until SIGTERM or SIGINT.
pub(crate) fn until_stopped(
    listener: &TcpListener,
    signals: &Signals,
    children: &mut Children,
) -> Result<(), Error> {
    let mut rest = None;
    let mut trouble = None; // The errno of the last attempt: the same one again is no event.
    while !signals.stop_requested() {
        children.reap();
        let takes_clients = rest.is_none() && children.have_room();
        if !signals.wait(takes_clients.then_some(listener), rest.take()) {
            continue;
        }
        match listener.accept() {
            Ok((connection, peer)) => {
                children.serve(connection, peer, listener);
                trouble = None;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                if trouble != error.raw_os_error() {
                    log::event(&format!("accept: {error}"));
                    trouble = error.raw_os_error();
                }
                match outlook(&error) {
                    Outlook::Passing => {}
                    Outlook::Exhausted => rest = Some(REST),
                    Outlook::Final => return Err(Error::new("accept", listen::name(listener), error)),
                }
            }
        }
    }
    log::event("stopping");
    Ok(())
}

/// As accept(2) groups its errors: on Linux it also passes on those of the network, "to be treated like EAGAIN".
fn outlook(error: &io::Error) -> Outlook {
    match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
        Errno::EINTR | Errno::ECONNABORTED | Errno::EPROTO | Errno::EPERM => Outlook::Passing,
        Errno::ENETDOWN | Errno::ENETUNREACH | Errno::EHOSTDOWN | Errno::EHOSTUNREACH => Outlook::Passing,
        Errno::ENOPROTOOPT | Errno::EOPNOTSUPP | Errno::ENONET => Outlook::Passing,
        Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK | Errno::EFAULT => Outlook::Final,
        _ => Outlook::Exhausted, // EMFILE, ENFILE, ENOBUFS, ENOMEM; and what we do not know must not make us spin.
    }
}
