//! Bringing the loopback interface up: in a new network namespace it is down, and every connect gives ENETUNREACH.
//!
//! # References
//! netdevice(7), network_namespaces(7)

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `ioctl(SIOCSIFFLAGS, IFF_UP)` on "lo" of this network namespace.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN over the network namespace.
pub fn raise() -> io::Result<()> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: `ifreq` is plain old data for which all zeroes is a value: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
    // SAFETY: netdevice(7): SIOCSIFFLAGS reads a whole `ifreq` with a name that ends in NUL; `request` is one, was
    // zeroed, and outlives the call.
    Errno::result(unsafe { libc::ioctl(any.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })?;
    Ok(())
}
