//! The service: what comes in goes out, byte for byte, until the client has no more to say.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

/// Echoes until the client's FIN, after which it may still be reading: all is sent before ours (UNP 6.6).
///
/// `read` gives what is there, not what one `write` sent; `write` may take less, and `write_all` goes on with the rest.
/// A client that does not read blocks `write`, hence `read`, hence its own sending: TCP's flow control, for one buffer.
pub(crate) fn until_end(mut connection: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match connection.read(&mut buffer) {
            Ok(0) => return connection.shutdown(Shutdown::Write),
            Ok(len) => connection.write_all(&buffer[..len])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
