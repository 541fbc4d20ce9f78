//! A listening socket: `socket`, `bind`, `listen`, and what to do when they fail.

use crate::Options;
use nix::errno::Errno;
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpListener};
use std::{fmt, io};

/// Why the server cannot serve: the call, the address, the error and the remedy.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    pub(crate) fn new(call: &str, address: SocketAddr, error: &io::Error) -> Self {
        let remedy = match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
            Errno::EADDRINUSE => {
                &*format!("another process listens there: `ss -ltnp sport = :{}` shows which", address.port())
            }
            Errno::EADDRNOTAVAIL => "no interface has this address: `ip address` shows those that are there",
            Errno::EAFNOSUPPORT => "this host does not speak that family: choose another --addr",
            Errno::EACCES => "ports below 1024 are for the privileged: choose a higher --port",
            Errno::EMFILE => "the limit on descriptors is too low: raise `ulimit -n`",
            _ => &format!("see its manual page, {call}(2)"),
        };
        Self(format!("{call} {address}: {error}; {remedy}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Opens the socket that clients connect to, and says what it is bound to: for port 0, the kernel has chosen.
pub(crate) fn open(options: &Options) -> Result<(TcpListener, SocketAddr), Error> {
    let address = SocketAddr::new(options.addr, options.port);
    let failed = |call| move |error| Error::new(call, address, &error);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).map_err(failed("socket"))?;
    configure(&socket, address).map_err(failed("setsockopt"))?;
    socket.bind(&address.into()).map_err(failed("bind"))?;
    socket.listen(options.backlog).map_err(failed("listen"))?;
    let listener = TcpListener::from(socket);
    let bound = listener.local_addr().map_err(failed("getsockname"))?;
    Ok((listener, bound))
}

/// `Socket::new` has set SOCK_CLOEXEC already.
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
    // This one they do not inherit (accept(2)). A client may leave between `ppoll` and `accept`, which must then not
    // wait for the next (UNP 16.6).
    socket.set_nonblocking(true)
}
