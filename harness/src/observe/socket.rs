//! TCP sockets of the network namespace, from sock_diag(7).
//!
//! # References
//! sock_diag(7), netlink(7), tcp(7), ss(8); `net/ipv4/inet_diag.c` for what the two queues mean in LISTEN.

use crate::error::{Attempt, Error};
use crate::observe::proc_net;
use crate::observe::sock_diag::{ANY_FAMILY, IPV4, IPV6, Row, SockDiag};
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
    SockDiag { kernel: SockDiag, ask: Ask },
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

impl Sockets {
    /// Opens a sock_diag socket in this network namespace; where that is refused, `/proc/net/tcp` and `tcp6` are read.
    ///
    /// # Errors
    /// When neither is to be had.
    pub fn open() -> Result<Self, Error> {
        let Ok(kernel) = SockDiag::open() else { return Self::proc_net() };
        let mut sockets = Self { source: Source::SockDiag { kernel, ask: Ask::AtOnce } };
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
            Source::SockDiag { kernel, ask } => {
                let mut found = Vec::new();
                let families: &[u8] = match ask {
                    Ask::AtOnce => &[ANY_FAMILY],
                    Ask::ByFamily => &[IPV4, IPV6],
                };
                for &family in families {
                    let rows = kernel
                        .tcp(family, states.0)
                        .attempt(|| "ask sock_diag for TCP sockets".to_owned())?;
                    found.extend(rows.into_iter().filter_map(socket));
                }
                found.sort_by_key(|socket| socket.local.is_ipv6());
                Ok(found)
            }
        }
    }
}

/// What a row says, unless its state is one of a later kernel.
fn socket(row: Row) -> Option<Socket> {
    Some(Socket {
        state: state(row.state)?,
        local: row.local,
        remote: row.remote,
        inode: row.inode.into(),
        receive_queue: row.receive_queue,
        send_queue: row.send_queue,
        keepalive: row.keepalive,
    })
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
