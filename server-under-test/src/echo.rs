//! The service: what comes in goes out, byte for byte, until the client has no more to say.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

/// Large enough to make system calls few, small enough for any stack.
const BUFFER_LEN: usize = 16 * 1024;

/// Echoes until the client's FIN: it may still be reading, so everything is sent before ours (half-close, UNP 6.6).
///
/// `read` gives what is there, not what was sent by one `write`; `write` may take less than it was given, and
/// `write_all` goes on with the rest. A client that does not read blocks `write`, hence `read`, hence, in the end, the
/// client's own sending: that is TCP's flow control, and it costs one buffer.
pub(crate) fn until_end(mut connection: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; BUFFER_LEN];
    loop {
        match connection.read(&mut buffer) {
            Ok(0) => return connection.shutdown(Shutdown::Write),
            Ok(len) => connection.write_all(&buffer[..len])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
