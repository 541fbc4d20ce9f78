//! A listening socket: `socket`, `bind`, `listen`, and what to do when they fail.

use crate::Options;
use nix::errno::Errno;
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpListener};
use std::{fmt, io};

/// Why the server cannot serve: the attempt, the address, the errno and the remedy.
#[derive(Debug)]
pub struct Error {
    attempt: &'static str,
    address: String,
    source: io::Error,
}

impl Error {
    pub(crate) fn new(attempt: &'static str, address: String, source: io::Error) -> Self {
        Self { attempt, address, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempt, address, source } = self;
        let port = address.rsplit(':').next().unwrap_or_default();
        write!(f, "{attempt} {address}: {source}; ")?;
        match Errno::from_raw(source.raw_os_error().unwrap_or_default()) {
            Errno::EADDRINUSE => {
                write!(f, "another process has this port: `ss -ltnp 'sport = :{port}'` shows which")
            }
            Errno::EADDRNOTAVAIL => write!(f, "this host has no such address: `ip address` shows those it has"),
            Errno::EAFNOSUPPORT => write!(f, "this host does not speak that family: choose another --addr"),
            Errno::EACCES => write!(f, "ports below 1024 need privilege: choose a higher --port"),
            Errno::EMFILE => write!(f, "too few descriptors are allowed: raise `ulimit -n`"),
            _ => write!(f, "the manual page {attempt}(2) lists the causes"),
        }
    }
}

impl std::error::Error for Error {}

/// Opens the socket that clients connect to; from its return on, the kernel completes their connections.
///
/// It is non-blocking, since a client may leave between `ppoll` and `accept`, which would then wait for the next (UNP 16.6).
pub(crate) fn open(options: &Options) -> Result<TcpListener, Error> {
    let address = SocketAddr::new(options.addr, options.port);
    let failed = |attempt| move |source| Error::new(attempt, address.to_string(), source);

    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).map_err(failed("socket"))?; // close-on-exec
    configure(&socket, address).map_err(failed("setsockopt"))?;
    socket.bind(&address.into()).map_err(failed("bind"))?;
    socket.listen(options.backlog).map_err(failed("listen"))?;
    Ok(socket.into())
}

fn configure(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    // A restart must not wait for TIME_WAIT, nor for children of the last server that still talk (UNP 7.5). Linux
    // grants this only if that server had set it too, and never beside a live listener.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?; // `::` means the same on every host, whatever net.ipv6.bindv6only says.
    }
    // Accepted sockets inherit these two: answers are not held back for more, and clients that vanished are found out.
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.set_nonblocking(true) // This one they do not inherit, on Linux (accept(2)): children may block.
}

/// The address it is bound to: where port 0 was asked for, with the port that the kernel chose (getsockname).
pub(crate) fn name(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|error| format!("(unknown: {error})"), |address| address.to_string())
}
