//! What the server is asked to do, and how it is asked on a command line.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;

/// The text of `--help`.
pub const HELP: &str = "\
Usage: forking-echo [OPTIONS]

Sends back what each client sends; one child process per connection.

  --addr ADDR         IPv4 or IPv6 address to listen on (default 127.0.0.1; :: is all of IPv6 and no IPv4)
  --port PORT         0 to 65535; 0 lets the kernel choose, and stdout says which (default 7007)
  --backlog N         connections the kernel completes ahead of accept (default 128; at most net.core.somaxconn)
  --max-children N    clients served at once; further ones wait in the backlog (default 64)
  -h, --help          this text
  -V, --version       the version

SIGTERM and SIGINT stop it within a second. Exit: 0 stopped, 1 cannot serve, 2 bad arguments.
";

/// What to serve, and how much of it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The local address; `0.0.0.0` and `::` stand for all of their family.
    pub addr: IpAddr,
    /// The local port; 0 lets the kernel choose.
    pub port: u16,
    /// The length of the accept queue; Linux holds one more, and never more than `net.core.somaxconn`.
    pub backlog: i32,
    /// The most connections served at once.
    pub max_children: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { addr: Ipv4Addr::LOCALHOST.into(), port: 7007, backlog: 128, max_children: 64 }
    }
}

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Serve.
    Serve(Options),
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

impl Options {
    /// Reads `--flag value` and `--flag=value`.
    ///
    /// # Errors
    ///
    /// A message that names the flag, the value and what would be accepted.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Request, String> {
        let mut options = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let (flag, attached) = match arg.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            let mut value = || attached.clone().or_else(|| args.next()).ok_or(format!("{flag}: no value given"));
            match flag {
                "--addr" => options.addr = read(flag, &value()?, "an IPv4 or IPv6 address", |_| true)?,
                "--port" => options.port = read(flag, &value()?, "a number from 0 to 65535", |_| true)?,
                "--backlog" => options.backlog = read(flag, &value()?, "a number, 0 or more", |n| *n >= 0)?,
                "--max-children" => {
                    let most: NonZeroUsize = read(flag, &value()?, "a number, 1 or more", |_| true)?;
                    options.max_children = most.get();
                }
                "-h" | "--help" => return Ok(Request::Help),
                "-V" | "--version" => return Ok(Request::Version),
                _ => return Err(format!("{arg}: no such option")),
            }
        }
        Ok(Request::Serve(options))
    }
}

fn read<T: std::str::FromStr>(
    flag: &str,
    value: &str,
    expected: &str,
    allowed: fn(&T) -> bool,
) -> Result<T, String> {
    let parsed = value.parse().ok().filter(allowed);
    parsed.ok_or_else(|| format!("{flag} {value}: expected {expected}"))
}
