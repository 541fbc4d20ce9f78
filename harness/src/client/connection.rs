//! One client's socket and all that is known of its connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::client::spans::Spans;
use crate::scenario::Client;
use crate::trace::Ending;

/// Bytes read or written at a time.
pub const CHUNK: usize = 64 << 10;
/// Times that a socket which connected to itself is thrown away.
const SELF_CONNECTS_MAX: u32 = 8;

/// A client: its socket, if it has one, and how its connection stands.
#[derive(Debug)]
pub struct Connection {
    /// Whose.
    pub client: Client,
    /// The socket; `None` before the first connect and after a close.
    pub socket: Option<Socket>,
    /// The client's own address.
    pub local: Option<SocketAddr>,
    /// Whether the handshake is complete.
    pub established: bool,
    /// SO_RCVBUF of the next connection.
    pub receive_buffer: Option<u32>,
    /// SO_SNDBUF of the next connection.
    pub send_buffer: Option<u32>,
    /// Bytes received.
    pub received: u64,
    /// Whose bytes were received.
    pub spans: Spans,
    /// How the server's half ended.
    pub ending: Option<Ending>,
    /// Whether sending has failed for good.
    pub deaf: bool,
}

/// What one attempt to read or write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// The socket is not ready.
    Blocked,
    /// That half of the connection has ended.
    Ended,
}

impl Connection {
    /// A client that has never connected.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            socket: None,
            local: None,
            established: false,
            receive_buffer: None,
            send_buffer: None,
            received: 0,
            spans: Spans::default(),
            ending: None,
            deaf: false,
        }
    }

    /// Starts a new connection, and drops the one before.
    ///
    /// Returns whether the handshake is complete. A socket that has connected to itself (the port lies in the
    /// ephemeral range, and nobody listens) is refused.
    ///
    /// # Errors
    /// What connect(2) says: the server's refusal, not a fault of the harness.
    pub fn dial(&mut self, to: SocketAddr) -> io::Result<bool> {
        let fresh = Self::new(self.client);
        let (receive_buffer, send_buffer) = (self.receive_buffer, self.send_buffer);
        *self = Self { receive_buffer, send_buffer, ..fresh };
        for _ in 0..SELF_CONNECTS_MAX {
            let socket = self.open(to)?;
            match socket.connect(&to.into()) {
                Ok(()) => {}
                Err(e) if e.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {}
                Err(e) => return Err(e),
            }
            self.local = socket.local_addr()?.as_socket();
            if self.local == Some(to) {
                continue;
            }
            self.socket = Some(socket);
            return self.handshake();
        }
        Err(Errno::ECONNREFUSED.into())
    }

    fn open(&self, to: SocketAddr) -> io::Result<Socket> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        if let Some(n) = self.receive_buffer {
            socket.set_recv_buffer_size(n as usize)?;
        }
        if let Some(n) = self.send_buffer {
            socket.set_send_buffer_size(n as usize)?;
        }
        Ok(socket)
    }

    /// Asks whether the handshake is complete. A socket whose attempt has failed is given up: it tells its error once.
    ///
    /// # Errors
    /// What became of the attempt to connect: ECONNREFUSED, ECONNRESET, ETIMEDOUT.
    pub fn handshake(&mut self) -> io::Result<bool> {
        let complete = self.is_complete();
        if complete.is_err() {
            self.socket = None;
        }
        complete
    }

    fn is_complete(&mut self) -> io::Result<bool> {
        let Some(socket) = &self.socket else { return Ok(false) };
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        match socket.peer_addr() {
            Ok(_) => {
                self.local = socket.local_addr()?.as_socket();
                self.established = true;
                Ok(true)
            }
            Err(e) if e.raw_os_error() == Some(Errno::ENOTCONN as i32) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Writes some of `bytes`.
    pub fn write(&mut self, bytes: &[u8]) -> Moved {
        let Some(mut socket) = self.socket.as_ref() else { return Moved::Ended };
        match socket.write(bytes) {
            Ok(n) => Moved::Bytes(n),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Moved::Blocked,
            Err(_) => {
                self.deaf = true;
                Moved::Ended
            }
        }
    }

    /// Reads into `buffer`.
    pub fn read(&mut self, buffer: &mut [u8]) -> Moved {
        let Some(mut socket) = self.socket.as_ref() else { return Moved::Ended };
        if self.ending.is_some() {
            return Moved::Ended;
        }
        match socket.read(buffer) {
            Ok(0) => {
                self.ending = Some(Ending::Eof);
                Moved::Ended
            }
            Ok(n) => {
                self.received += n as u64;
                Moved::Bytes(n)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Moved::Blocked,
            Err(_) => {
                self.ending = Some(Ending::Reset);
                self.deaf = true;
                Moved::Ended
            }
        }
    }

    /// Sends one byte as urgent data.
    ///
    /// # Errors
    /// What send(2) says.
    pub fn urgent(&mut self, byte: u8) -> io::Result<()> {
        let socket = self.socket.as_ref().ok_or(Errno::ENOTCONN)?;
        SockRef::from(socket).send_out_of_band(&[byte]).map(|_| ())
    }

    /// Closes the sending half.
    pub fn half_close(&mut self) {
        if let Some(socket) = &self.socket {
            // The connection may have been reset meanwhile (ENOTCONN); reading will tell.
            let _ = socket.shutdown(std::net::Shutdown::Write);
        }
    }

    /// Closes; resets if `abortive`.
    pub fn close(&mut self, abortive: bool) {
        if let Some(socket) = self.socket.take()
            && abortive
        {
            // Setting SO_LINGER cannot fail on an open TCP socket.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
        self.established = false;
    }
}
