//! TCP sockets of the network namespace, from sock_diag(7).
//!
//! # References
//! sock_diag(7), netlink(7), tcp(7), ss(8); `net/ipv4/inet_diag.c` for what the two queues mean in LISTEN.

use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{
    DecodeError, ErrorBuffer, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, Parseable,
};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags, Timer,
};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, AF_UNSPEC, IPPROTO_TCP, SOCK_DIAG_BY_FAMILY, SockDiagMessage,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::error::{Attempt, Error};
use crate::observe::proc_net;
use crate::trace::{Socket, State};

/// A set of TCP states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u32);

impl States {
    /// Every state.
    pub const ALL: Self = Self(0x1ffe);
    /// LISTEN alone: much cheaper, since the kernel then walks no table of connections.
    pub const LISTEN: Self = Self(1 << 10);

    /// Whether the state is among them.
    #[must_use]
    pub fn contain(self, state: State) -> bool {
        self.0 & (1 << number(state)) != 0
    }
}

/// A way to ask the kernel for its TCP sockets.
#[derive(Debug)]
pub struct Sockets {
    source: Source,
}

#[derive(Debug)]
enum Source {
    SockDiag { socket: netlink_sys::Socket, buffer: Vec<u8>, sequence: u32, ask: Ask },
    ProcNet,
}

/// How sock_diag is asked for the sockets of both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// By the request from before sock_diag(7), which is about both: the kernel goes through its tables once.
    AtOnce,
    /// By one request for each family, where the kernel has no other.
    ByFamily,
}

/// Room for one datagram of a dump: the kernel makes them no longer than this.
const DATAGRAM_MAX: usize = 32 << 10;

impl Sockets {
    /// Opens a sock_diag socket in this network namespace; where that is refused, `/proc/net/tcp` and `tcp6` are read.
    ///
    /// # Errors
    /// When neither is to be had.
    pub fn open() -> Result<Self, Error> {
        let socket =
            netlink_sys::Socket::new(NETLINK_SOCK_DIAG).attempt(|| "open a sock_diag socket".to_owned());
        let Ok(socket) = socket else { return Self::proc_net() };
        let (buffer, sequence, ask) = (vec![0; DATAGRAM_MAX], 0, Ask::AtOnce);
        let mut sockets = Self { source: Source::SockDiag { socket, buffer, sequence, ask } };
        if sockets.tcp(States::LISTEN).is_err() {
            if let Source::SockDiag { ask, .. } = &mut sockets.source {
                *ask = Ask::ByFamily;
            }
            if sockets.tcp(States::LISTEN).is_err() {
                return Self::proc_net();
            }
        }
        Ok(sockets)
    }

    fn proc_net() -> Result<Self, Error> {
        let mut sockets = Self { source: Source::ProcNet };
        sockets.tcp(States::LISTEN)?;
        Ok(sockets)
    }

    /// The sockets in these states, IPv4 first. A socket of an IPv6 address that maps an IPv4 one keeps the former.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn tcp(&mut self, states: States) -> Result<Vec<Socket>, Error> {
        match &mut self.source {
            Source::ProcNet => proc_net::tcp(states),
            Source::SockDiag { socket, buffer, sequence, ask } => {
                let mut found = Vec::new();
                let families: &[u8] = match ask {
                    Ask::AtOnce => &[AF_UNSPEC],
                    Ask::ByFamily => &[AF_INET, AF_INET6],
                };
                for &family in families {
                    *sequence = sequence.wrapping_add(1);
                    dump(socket, buffer, &request(family, states, *sequence), &mut found)
                        .attempt(|| "ask sock_diag for TCP sockets".to_owned())?;
                }
                found.sort_by_key(|socket| socket.local.is_ipv6());
                Ok(found)
            }
        }
    }
}

/// Asks for all sockets of one family, or of all, in these states.
fn request(family: u8, states: States, sequence: u32) -> Vec<u8> {
    if family == AF_UNSPEC {
        return request_for_all(states, sequence);
    }
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = sequence;
    let body = SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::from_bits_retain(states.0),
        socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
    });
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(body));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// `struct inet_diag_req` of `linux/inet_diag.h`, in a message TCPDIAG_GETSOCK: all sockets of both families.
fn request_for_all(states: States, sequence: u32) -> Vec<u8> {
    const HEADER: usize = 16;
    const STATES_AT: usize = HEADER + 52;
    const LENGTH: u8 = 76;
    let mut bytes = vec![0; LENGTH.into()];
    let mut message = NetlinkBuffer::new(&mut bytes);
    message.set_length(LENGTH.into());
    message.set_message_type(TCPDIAG_GETSOCK);
    message.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
    message.set_sequence_number(sequence);
    bytes[STATES_AT..][..4].copy_from_slice(&states.0.to_ne_bytes());
    bytes
}

/// The type of that message, and of the rows that answer it.
const TCPDIAG_GETSOCK: u16 = 18;

/// Sends a request for a dump, and reads its datagrams to the end.
fn dump(
    socket: &netlink_sys::Socket,
    buffer: &mut [u8],
    request: &[u8],
    found: &mut Vec<Socket>,
) -> io::Result<()> {
    let sequence = NetlinkBuffer::new(request).sequence_number();
    socket.send(request, 0)?;
    loop {
        let length = socket.recv(&mut &mut *buffer, 0)?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(unreadable)?;
            if message.sequence_number() == sequence {
                match message.message_type() {
                    NLMSG_DONE | NLMSG_ERROR => return ending(message.payload()),
                    SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK => found.extend(parse(message.payload())?),
                    _ => {}
                }
            }
            let aligned = (message.length() as usize).next_multiple_of(4);
            rest = rest.get(aligned..).unwrap_or_default();
        }
    }
}

/// How a dump ended: both messages that end one begin with an error number, or 0.
fn ending(payload: &[u8]) -> io::Result<()> {
    match ErrorBuffer::new_checked(payload).map_err(unreadable)?.code() {
        None => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code.get())),
    }
}

fn unreadable(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// One row. The attributes that follow the header are not needed, so they are not parsed.
fn parse(payload: &[u8]) -> io::Result<Option<Socket>> {
    let row = InetResponseHeader::parse(payload).map_err(unreadable)?;
    Ok(state(row.state).map(|state| Socket {
        state,
        local: SocketAddr::new(row.socket_id.source_address, row.socket_id.source_port),
        remote: SocketAddr::new(row.socket_id.destination_address, row.socket_id.destination_port),
        inode: row.inode.into(),
        receive_queue: row.recv_queue,
        send_queue: row.send_queue,
        keepalive: matches!(row.timer, Some(Timer::KeepAlive(_))),
    }))
}

/// The state with this number in `include/net/tcp_states.h`.
pub(super) fn state(number: u8) -> Option<State> {
    Some(match number {
        1 => State::Established,
        2 => State::SynSent,
        3 => State::SynReceived,
        4 => State::FinWait1,
        5 => State::FinWait2,
        6 => State::TimeWait,
        7 => State::Close,
        8 => State::CloseWait,
        9 => State::LastAck,
        10 => State::Listen,
        11 => State::Closing,
        12 => State::NewSynReceived,
        _ => return None,
    })
}

fn number(state: State) -> u32 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Close => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
        State::NewSynReceived => 12,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    /// The rows of this port. Both ways of asking must agree, but for the limit of the accept queue; not at once, as
    /// other tests make and close sockets meanwhile, which can hide a row or show it twice.
    fn rows(port: u16) -> Vec<Socket> {
        let mut sockets = Sockets::open().unwrap();
        assert!(matches!(sockets.source, Source::SockDiag { .. }), "sock_diag is refused here");
        let mut tries = (0..100).map(|_| {
            let asked = of_port(port, sockets.tcp(States::ALL).unwrap());
            (asked, of_port(port, Sockets { source: Source::ProcNet }.tcp(States::ALL).unwrap()))
        });
        let agreed = tries.find(|(asked, read)| {
            let mut asked = asked.clone();
            for socket in asked.iter_mut().filter(|socket| socket.state == State::Listen) {
                socket.send_queue = 0;
            }
            asked.len() == read.len() && asked.iter().all(|socket| read.contains(socket))
        });
        agreed.expect("sock_diag and /proc/net agree").0
    }

    fn of_port(port: u16, sockets: Vec<Socket>) -> Vec<Socket> {
        sockets
            .into_iter()
            .filter(|socket| socket.local.port() == port || socket.remote.port() == port)
            .collect()
    }

    fn the(sockets: &[Socket], state: State) -> Vec<&Socket> {
        sockets.iter().filter(|socket| socket.state == state).collect()
    }

    #[test]
    fn a_listen_row_counts_clients_that_are_not_accepted() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let address = listener.local_addr().unwrap();
            let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
            let rows = rows(address.port());
            let listen = the(&rows, State::Listen);
            assert_eq!(listen.len(), 1);
            assert_eq!((listen[0].local, listen[0].receive_queue), (address, 3));
            assert!(listen[0].send_queue >= 3 && listen[0].inode != 0);
            let established = the(&rows, State::Established);
            assert_eq!(established.len(), 6);
            let waiting = established.iter().filter(|socket| socket.inode == 0).count();
            assert_eq!(waiting, 3, "not accepted: no inode");
            drop(clients);
        }
    }

    #[test]
    fn one_request_tells_what_one_for_each_family_does() {
        let listeners =
            ["127.0.0.1:0", "[::1]:0", "[::]:0"].map(|address| TcpListener::bind(address).unwrap());
        let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
        let _mapped = TcpStream::connect(("127.0.0.1", ports[2])).unwrap();
        let rows = |ask| {
            let mut sockets = Sockets::open().unwrap();
            let Source::SockDiag { ask: how, .. } = &mut sockets.source else {
                panic!("sock_diag is refused")
            };
            *how = ask;
            let mut all = sockets.tcp(States::ALL).unwrap();
            // Another test may have left one on the same port.
            all.retain(|socket| socket.state != State::TimeWait);
            ports.map(|port| of_port(port, all.clone()))
        };
        let ours = (0..100).map(|_| (rows(Ask::AtOnce), rows(Ask::ByFamily))).find(|(one, two)| one == two);
        let (ours, _) = ours.expect("both tell the same");
        assert_eq!(ours.map(|rows| rows.len()), [1, 1, 3]);
    }

    #[test]
    fn unread_input_keepalive_and_time_wait_are_seen() {
        use std::io::Write as _;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        socket2::SockRef::from(&server).set_keepalive(true).unwrap();
        client.write_all(b"unread").unwrap();
        let established = rows(address.port());
        let served =
            established.iter().find(|s| s.state == State::Established && s.local == address).unwrap();
        assert_eq!((served.receive_queue, served.keepalive), (6, true));
        assert_eq!(served.remote, client.local_addr().unwrap());

        let address_of_client = client.local_addr().unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(std::io::copy(&mut &server, &mut std::io::sink()).unwrap(), 6);
        drop(server);
        drop(client);
        let mut sockets = Sockets::open().unwrap();
        let mut is_left = || {
            let all = sockets.tcp(States::ALL).unwrap();
            all.into_iter()
                .any(|s| s.state == State::TimeWait && s.local == address_of_client && s.inode == 0)
        };
        // On a busy machine the kernel handles the last segments a little later.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_left() {
            assert!(Instant::now() < deadline, "the end that closed first is in TIME_WAIT");
            std::thread::yield_now();
        }
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_socket_keeps_its_mapped_address() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let rows = rows(port);
        let local = client.local_addr().unwrap();
        let peer = rows.iter().find(|s| s.state == State::Established && s.local.port() == port).unwrap();
        assert!(peer.remote.is_ipv6() && crate::trace::look::same(peer.remote, local), "{peer:?}");
    }

    #[test]
    fn only_the_states_that_were_asked_for_come() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let rows = Sockets::open().unwrap().tcp(States::LISTEN).unwrap();
        assert!(!rows.is_empty() && rows.iter().all(|socket| socket.state == State::Listen));
    }
}
