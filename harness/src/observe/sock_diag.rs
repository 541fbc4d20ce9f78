//! sock_diag(7): a request for all TCP sockets in some states, and the rows that answer it.
//!
//! Two requests and one answer of fixed layout are all that is needed, so no library of messages is: those for netlink
//! are many, and whoever has this crate as a dependency of tests would compile them all.
//!
//! # References
//! sock_diag(7), netlink(7); `linux/inet_diag.h` and `linux/netlink.h` for the layouts

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType};

/// `AF_UNSPEC`: sockets of all families, where a request may say so.
pub(super) const ANY_FAMILY: u8 = 0;
/// `AF_INET`.
pub(super) const IPV4: u8 = 2;
/// `AF_INET6`.
pub(super) const IPV6: u8 = 10;

/// `NLMSG_ERROR` and `NLMSG_DONE`: both end a dump.
const ENDINGS: [u16; 2] = [2, 3];
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const FLAGS: u16 = 0x301;
/// `SOCK_DIAG_BY_FAMILY`, a request for one family, and the type of the rows that answer it.
const BY_FAMILY: u16 = 20;
/// `TCPDIAG_GETSOCK`, a request for all families, and the type of the rows that answer it.
const OF_ALL: u16 = 18;
/// `IDIAG_TIMER_KEEPALIVE` is the number of tcp_diag for a timer that probes a silent peer.
const KEEPALIVE: u8 = 2;

/// Room for one datagram of a dump: the kernel makes them no longer than this.
const DATAGRAM_MAX: usize = 32 << 10;

/// One row: `struct inet_diag_msg`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) state: u8,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) inode: u32,
    pub(super) receive_queue: u32,
    pub(super) send_queue: u32,
    pub(super) keepalive: bool,
}

/// A socket that asks the kernel.
#[derive(Debug)]
pub(crate) struct SockDiag {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

impl SockDiag {
    /// Opens a netlink socket of the protocol in this network namespace.
    ///
    /// # Errors
    /// Those of socket(2): EPROTONOSUPPORT where the kernel has no sock_diag.
    pub(crate) fn open() -> io::Result<Self> {
        let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkSockDiag);
        let socket = socket::socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
        Ok(Self { socket, buffer: vec![0; DATAGRAM_MAX], sequence: 0 })
    }

    /// All TCP sockets of this family whose state is one of the bits.
    pub(super) fn tcp(&mut self, family: u8, states: u32) -> io::Result<Vec<Row>> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(family, states, self.sequence);
        let socket = self.socket.as_raw_fd();
        socket::send(socket, &request, MsgFlags::empty())?;
        let mut found = Vec::new();
        loop {
            let length = socket::recv(socket, &mut self.buffer, MsgFlags::empty())?;
            let mut rest = self.buffer.get(..length).unwrap_or_default();
            while !rest.is_empty() {
                let message = Message::first_of(rest)?;
                if message.sequence == self.sequence {
                    if ENDINGS.contains(&message.kind) {
                        return ending(message.payload).map(|()| found);
                    }
                    if [BY_FAMILY, OF_ALL].contains(&message.kind) {
                        found.push(row(message.payload)?);
                    }
                }
                rest = rest.get(message.length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// `struct nlmsghdr` and what follows it.
struct Message<'a> {
    length: usize,
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    const HEADER: usize = 16;

    fn first_of(bytes: &'a [u8]) -> io::Result<Self> {
        let length = u32::from_ne_bytes(field(bytes, 0)?) as usize;
        let payload = bytes.get(Self::HEADER..length).ok_or_else(unreadable)?;
        let (kind, sequence) = (u16::from_ne_bytes(field(bytes, 4)?), u32::from_ne_bytes(field(bytes, 8)?));
        Ok(Self { length, kind, sequence, payload })
    }
}

/// A message that asks for a dump. For one family it is a `struct inet_diag_req_v2`; for all of them the `struct
/// inet_diag_req` from before sock_diag(7), with which the kernel goes through its tables once.
fn request(family: u8, states: u32, sequence: u32) -> Vec<u8> {
    let (kind, length, states_at): (u16, u8, usize) =
        if family == ANY_FAMILY { (OF_ALL, 76, 68) } else { (BY_FAMILY, 72, 20) };
    let mut bytes = vec![0; length.into()];
    let mut put = |at: usize, value: &[u8]| bytes[at..][..value.len()].copy_from_slice(value);
    put(0, &u32::from(length).to_ne_bytes());
    put(4, &kind.to_ne_bytes());
    put(6, &FLAGS.to_ne_bytes());
    put(8, &sequence.to_ne_bytes());
    if family != ANY_FAMILY {
        const TCP: u8 = 6;
        put(Message::HEADER, &[family, TCP]);
    }
    put(states_at, &states.to_ne_bytes());
    bytes
}

/// How a dump ended: both messages that end one begin with an error number, or 0.
fn ending(payload: &[u8]) -> io::Result<()> {
    match i32::from_ne_bytes(field(payload, 0)?) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

/// The attributes that follow the row are not needed, so they are not read.
fn row(payload: &[u8]) -> io::Result<Row> {
    let [family, state, timer, _] = field(payload, 0)?;
    let address = |port_at, at| -> io::Result<SocketAddr> {
        let ip: IpAddr = match family {
            IPV4 => Ipv4Addr::from(field::<4>(payload, at)?).into(),
            IPV6 => Ipv6Addr::from(field::<16>(payload, at)?).into(),
            _ => return Err(unreadable()),
        };
        Ok(SocketAddr::new(ip, u16::from_be_bytes(field(payload, port_at)?)))
    };
    let number = |at| field(payload, at).map(u32::from_ne_bytes);
    Ok(Row {
        state,
        local: address(4, 8)?,
        remote: address(6, 24)?,
        inode: number(68)?,
        receive_queue: number(56)?,
        send_queue: number(60)?,
        keepalive: timer == KEEPALIVE,
    })
}

/// The bytes of a field.
fn field<const LENGTH: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; LENGTH]> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or_else(unreadable)
}

fn unreadable() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "sock_diag: a message that is too short, or of a family unknown here",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_cut_off_is_an_error_and_no_panic() {
        let mut payload = [0; 72];
        (payload[0], payload[1], payload[5]) = (IPV4, 10, 80);
        let whole = row(&payload).unwrap();
        assert_eq!((whole.state, whole.local), (10, "0.0.0.0:80".parse().unwrap()));
        for length in 0..payload.len() {
            assert_eq!(row(&payload[..length]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        payload[0] = 1;
        assert!(row(&payload).is_err(), "no address of AF_UNIX");
    }

    #[test]
    fn a_message_that_claims_more_than_there_is_is_an_error() {
        let mut bytes = request(IPV4, 1, 7);
        assert_eq!(Message::first_of(&bytes).map(|it| (it.length, it.sequence)).unwrap(), (72, 7));
        for claimed in [0_u32, 15, 73, u32::MAX] {
            bytes[..4].copy_from_slice(&claimed.to_ne_bytes());
            assert!(Message::first_of(&bytes).is_err(), "{claimed}");
        }
    }

    #[test]
    fn the_error_that_ends_a_dump_is_told() {
        assert!(ending(&0_i32.to_ne_bytes()).is_ok());
        let refused = ending(&(-libc::EPERM).to_ne_bytes()).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
}
