//! A listening socket: `socket`, `bind`, `listen`, and what to do when they fail.

use crate::Options;
use nix::libc;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Opens the socket that clients connect to, and says what it is bound to: for port 0, the kernel has chosen.
pub(crate) fn open(options: &Options) -> io::Result<(TcpListener, SocketAddr)> {
    let address = SocketAddr::new(options.addr, options.port);
    let failed = |call| move |error| explain(call, address, &error);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).map_err(failed("socket"))?; // CLOEXEC
    configure(&socket, address).map_err(failed("setsockopt"))?;
    socket.bind(&address.into()).map_err(failed("bind"))?;
    socket.listen(options.backlog).map_err(failed("listen"))?;
    let listener = TcpListener::from(socket);
    let bound = listener.local_addr().map_err(failed("getsockname"))?;
    Ok((listener, bound))
}

fn configure(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    // A restart waits neither for TIME_WAIT nor for children of the last server that still talk (UNP 7.5). Linux grants
    // this if that server had set it too, and never beside a live listener.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?; // `::` means the same on every host, whatever net.ipv6.bindv6only says.
    }
    // Accepted sockets inherit these two: no answer is held back for more, and clients that vanished are found out.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    // This one they do not (accept(2)). A client may leave before `accept`, which must not wait for more (UNP 16.6).
    socket.set_nonblocking(true)
}

/// Adds to an error the call, the address and the remedy.
pub(crate) fn explain(call: &str, address: SocketAddr, error: &io::Error) -> io::Error {
    let remedy = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => &*format!("`ss -ltnp sport = :{}` shows who listens there", address.port()),
        Some(libc::EADDRNOTAVAIL) => "no interface has this address: `ip address` shows those that are there",
        Some(libc::EAFNOSUPPORT) => "this host does not speak that family: choose another --addr",
        Some(libc::EACCES) => "ports below 1024 are for the privileged: choose a higher --port",
        _ => &format!("see its manual page, {call}(2)"),
    };
    io::Error::new(error.kind(), format!("{call} {address}: {error}; {remedy}"))
}
