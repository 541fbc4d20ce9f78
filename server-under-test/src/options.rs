//! What the server is asked to do, and how it is asked on a command line.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZero;

/// The text of `--help`.
pub const HELP: &str = "\
Sends back what each client sends, from one child process per connection.

  --addr ADDR       IPv4 or IPv6 address to listen on [127.0.0.1]; :: is all of IPv6 and nothing of IPv4
  --port PORT       0 to 65535 [7007]; for 0 the kernel chooses, and stdout says which
  --backlog N       connections that may wait for accept [128]; the kernel caps it at net.core.somaxconn
  --max-children N  clients served at once [64]; further ones wait in the backlog

SIGTERM and SIGINT stop it within a second. Exit: 0 stopped, 1 cannot serve, 2 arguments not understood.
";

/// What to serve, and how much of it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The local address; `0.0.0.0` and `::` stand for all of their family.
    pub addr: IpAddr,
    /// The local port; 0 lets the kernel choose.
    pub port: u16,
    /// The length of the accept queue (Linux holds one more, and at most `net.core.somaxconn`).
    pub backlog: i32,
    /// The most clients served at once.
    pub max_children: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { addr: Ipv4Addr::LOCALHOST.into(), port: 7007, backlog: 128, max_children: 64 }
    }
}

impl Options {
    /// Reads `--flag value` and `--flag=value`.
    ///
    /// # Errors
    ///
    /// A message that names the flag, the value and what would be accepted.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let (mut options, mut args) = (Self::default(), args.into_iter());
        while let Some(arg) = args.next() {
            let (flag, value) = arg.split_once('=').map_or((&*arg, None), |(f, v)| (f, Some(v.to_owned())));
            let value = || value.or_else(|| args.next()).unwrap_or_default();
            match flag {
                "--addr" => options.addr = read(flag, value(), "an IPv4 or IPv6 address")?,
                "--port" => options.port = read(flag, value(), "0 to 65535")?,
                "--backlog" => options.backlog = read::<u16>(flag, value(), "0 to 65535")?.into(),
                "--max-children" => {
                    options.max_children = read::<NonZero<_>>(flag, value(), "1 or more")?.get()
                }
                _ => return Err(format!("{arg:?}: no such option")),
            }
        }
        Ok(options)
    }
}

fn read<T: std::str::FromStr>(flag: &str, value: String, expected: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{flag} {value:?}: expected {expected}"))
}
