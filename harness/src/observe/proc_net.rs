//! TCP sockets as text, for where sock_diag is refused.
//!
//! It tells the same, but for the limit of an accept queue: the send queue of a LISTEN row is 0 here.
//!
//! # References
//! proc_net(5); `get_tcp4_sock` in `net/ipv4/tcp_ipv4.c`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::error::{Attempt, Error};
use crate::observe::socket::{States, state};
use crate::trace::Socket;

/// The sockets in these states, IPv4 first.
pub(super) fn tcp(states: States) -> Result<Vec<Socket>, Error> {
    let mut sockets = Vec::new();
    for path in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.ends_with('6') => continue,
            read => read.attempt(|| format!("read {path}"))?,
        };
        sockets.extend(text.lines().filter_map(row).filter(|socket| states.contain(socket.state)));
    }
    Ok(sockets)
}

/// One line; `None` for the heading.
fn row(line: &str) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = address(fields.next()?)?;
    let remote = address(fields.next()?)?;
    let state = state(u8::from_str_radix(fields.next()?, 16).ok()?)?;
    let (send_queue, receive_queue) = fields.next()?.split_once(':')?;
    // The same numbers of timers as in sock_diag(7): 2 is keepalive.
    let keepalive = fields.next()?.starts_with("02:");
    Some(Socket {
        state,
        local,
        remote,
        inode: fields.nth(3)?.parse().ok()?,
        receive_queue: u32::from_str_radix(receive_queue, 16).ok()?,
        send_queue: u32::from_str_radix(send_queue, 16).ok()?,
        keepalive,
    })
}

/// `0100007F:1F90`: words of 32 bits as this machine has them in memory, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = [0; 16];
    for (word, bytes) in (0..address.len() / 8).zip(bytes.chunks_exact_mut(4)) {
        let word = u32::from_str_radix(address.get(8 * word..8 * word + 8)?, 16).ok()?;
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
        32 => IpAddr::V6(Ipv6Addr::from(bytes)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::State;

    #[cfg(target_endian = "little")]
    #[test]
    fn rows_say_what_sock_diag_says() {
        let listen = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 4711 1 \
                      0000000000000000 100 0 0 10 0";
        let expected = Socket {
            state: State::Listen,
            local: "127.0.0.1:8080".parse().unwrap(),
            remote: "0.0.0.0:0".parse().unwrap(),
            inode: 4711,
            receive_queue: 3,
            send_queue: 0,
            keepalive: false,
        };
        assert_eq!(row(listen), Some(expected));
        let mapped = "  12: 0000000000000000FFFF00000100007F:0050 0000000000000000FFFF00000100007F:9C40 01 \
                      0000000A:00000B00 02:000AFC78 00000000  1000        0 99 2 0000000000000000 20 4 30 10 -1";
        let expected = Socket {
            state: State::Established,
            local: "[::ffff:127.0.0.1]:80".parse().unwrap(),
            remote: "[::ffff:127.0.0.1]:40000".parse().unwrap(),
            inode: 99,
            receive_queue: 0xb00,
            send_queue: 10,
            keepalive: true,
        };
        assert_eq!(row(mapped), Some(expected));
    }

    #[test]
    fn other_lines_are_no_rows() {
        for line in
            ["", "  sl  local_address rem_address   st tx_queue", "0: 00:1 0:0 0A", "0: 0100007F:1F90"]
        {
            assert_eq!(row(line), None, "{line:?}");
        }
    }
}
