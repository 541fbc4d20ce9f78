//! The port that the target is asked to listen on.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

use crate::error::Error;

/// The port in a network namespace of our own, where all are free.
pub(super) const OWN: u16 = 7007;

/// Ports below are often reserved, and known to people.
const LOWEST: u16 = 10_000;
/// So many ports are tried.
const TRIES_MAX: usize = 200;

/// A port that nothing uses on the host's network, and that no client gets by chance. Nobody holds it: another
/// program may take it before the target does.
pub(super) fn choose_free() -> Result<u16, Error> {
    let (low, high) = ephemeral_range();
    let random = RandomState::new();
    for attempt in 0..TRIES_MAX {
        let mut hasher = random.build_hasher();
        hasher.write_usize(attempt);
        let [a, b, ..] = hasher.finish().to_ne_bytes();
        let port = u16::from_ne_bytes([a, b]);
        if port >= LOWEST && !(low..=high).contains(&port) && is_free(port) {
            return Ok(port);
        }
    }
    Err(Error::Protocol {
        doing: "choose a port",
        problem: format!("none of {TRIES_MAX} outside of {low}-{high} is free"),
    })
}

/// `net.ipv4.ip_local_port_range`, or the kernel's default.
fn ephemeral_range() -> (u16, u16) {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut fields = text.split_whitespace().map(str::parse);
    match (fields.next(), fields.next()) {
        (Some(Ok(low)), Some(Ok(high))) => (low, high),
        _ => (32_768, 60_999),
    }
}

/// Whether the port can be bound on every address, without SO_REUSEADDR: nothing listens there, or did a minute ago.
fn is_free(port: u16) -> bool {
    let any4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let any6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    [Type::STREAM, Type::DGRAM].into_iter().all(|kind| {
        can_bind(Domain::IPV4, kind, any4).is_ok()
            && can_bind(Domain::IPV6, kind, any6).or_else(unless_without_ipv6).is_ok()
    })
}

fn can_bind(domain: Domain, kind: Type, address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(domain, kind, None)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

/// A port that cannot be bound because there is no IPv6 at all is free there.
fn unless_without_ipv6(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL) => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_something_listens_on_is_not_free() {
        let port = choose_free().unwrap();
        let (low, high) = ephemeral_range();
        assert!(port < low || port > high);
        let held = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(!is_free(port));
        drop(held);
        assert!(is_free(port));
    }
}
