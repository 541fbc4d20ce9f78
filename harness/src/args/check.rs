//! What was typed after `sockspec check`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::TypedValueParser as _;

use super::outputs::{self, Output, ReportFormat};
use super::{LevelArg, Require, directory};
use crate::profile::Effort;
use crate::scenario::Sig;
use crate::target::account::Account;
use crate::trace::Isolation;

const CHECK_HELP: &str = "\
Placeholders in COMMAND, filled in for each launch:
  {port}     the port to listen on, also PORT in its environment
  {addr}     the address to listen on (--addr), also HOST in its environment
  {backlog}  the length of the accept queue (--backlog)
  {dir}      a fresh directory, also TMPDIR in its environment
A command without any is fine: the kernel is asked where it listens. The server may daemonize; it
runs with default signals, stdin from /dev/null, and none of our descriptors.

Exit status:
  0    conforms
  1    does not conform: a MUST failed (with --strict a SHOULD)
  2    usage: bad option, glob without a clause, command that cannot be run, output not writable
  3    unknown: nothing ran, a MUST could not be decided, or less isolation than is required
  130  interrupted; what was found so far is reported";

/// What was typed after `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = CHECK_HELP)]
pub struct CheckArgs {
    /// Tries only clauses whose id matches, such as 'reap.*'; a family's name stands for all of it. May be repeated; one
    /// match is enough.
    #[arg(long, value_name = "GLOB", help_heading = "What is checked")]
    pub only: Vec<String>,
    /// Leaves out clauses whose id matches. May be repeated; wins over --only.
    #[arg(long, value_name = "GLOB", help_heading = "What is checked")]
    pub skip: Vec<String>,
    /// The weakest level that is tried.
    #[arg(long, value_enum, default_value = "may", ignore_case = true, help_heading = "What is checked")]
    pub level: LevelArg,
    /// A failed SHOULD fails the run, as a failed MUST does.
    #[arg(long, help_heading = "What is checked")]
    pub strict: bool,
    /// How much is tried for each clause.
    #[arg(long, value_enum, default_value_t, help_heading = "What is checked")]
    pub effort: EffortArg,
    /// The most clients at once, 1 to 4096 [default: 20, and 72 where the question is how many there can be].
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=4096), help_heading = "What is checked")]
    pub clients: Option<u32>,
    /// Decides every generated scenario: the same seed tries the same again.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        allow_negative_numbers = true,
        help_heading = "What is checked"
    )]
    pub seed: u64,

    /// The backlog, 0 to 65535: what {backlog} says, or, without it, the value that is expected of the server.
    /// [default: 128 for {backlog}, and nothing is expected]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(0..=65535), help_heading = "The server")]
    pub backlog: Option<u32>,
    /// The address that {addr} and HOST say, IPv4 or IPv6.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1", help_heading = "The server")]
    pub addr: IpAddr,
    /// What the server does with a connection.
    #[arg(long, value_enum, default_value_t, help_heading = "The server")]
    pub service: Service,
    /// Adds to the server's environment, placeholders filled in. May be repeated.
    #[arg(long, value_name = "K=V", value_parser = variable, help_heading = "The server")]
    pub env: Vec<(String, String)>,
    /// The server's working directory. [default: this one]
    #[arg(long, value_name = "DIR", value_parser = directory, help_heading = "The server")]
    pub cwd: Option<PathBuf>,
    /// The signal by which this server is stopped: TERM, SIGTERM or 15.
    #[arg(long, value_name = "SIG", default_value = "TERM", allow_negative_numbers = true,
          value_parser = signal, help_heading = "The server")]
    pub stop_signal: Sig,
    /// The user whom the server is run as, a name or UID:GID; only root can become somebody else. [default: who runs this]
    #[arg(long, value_name = "USER", value_parser = user, help_heading = "The server")]
    pub user: Option<String>,

    /// Servers launched side by side, 1 to 1024. [default: as many as keep the CPUs busy]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(1..=1024).map(usize::from), help_heading = "The run")]
    pub jobs: Option<usize>,
    /// Ends the run after so long, such as 30s or 2min; what was not reached by then is skipped. [default: no end]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "The run")]
    pub time: Option<Duration>,
    /// Multiplies every deadline, for servers that are slow by nature; more than 0, at most 1000. A busy machine
    /// needs none of it: deadlines stand still while a process waits for a CPU.
    #[arg(long, value_name = "F", default_value_t = 1.0, allow_negative_numbers = true,
          value_parser = factor, help_heading = "The run")]
    pub timeout_scale: f64,
    /// How long the server may take until it listens, such as 30s. [default: 10s, scaled]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "The server")]
    pub ready_within: Option<Duration>,
    /// How long the server may take to end after its stop signal. [default: 2.5s, scaled]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "The server")]
    pub stop_within: Option<Duration>,
    /// How well the server is isolated from this host. `auto` takes the best that the host allows.
    #[arg(long, value_enum, default_value_t, help_heading = "The run")]
    pub isolation: IsolationArg,
    /// Does not run, and exits with 3, where the host allows less than this.
    #[arg(long, value_enum, value_name = "ISOLATION", help_heading = "The run")]
    pub require: Option<Require>,

    /// How to print. `json` is one document and nothing else.
    #[arg(long, value_enum, default_value_t, help_heading = "The report")]
    pub format: ReportFormat,
    /// Writes the report to FILE, all of it or nothing; stderr says the verdict. [default: stdout]
    #[arg(long, short, value_name = "FILE", help_heading = "The report")]
    pub output: Option<PathBuf>,
    /// Writes a further report, such as junit=out.xml. May be repeated.
    #[arg(long, value_name = "FORMAT=FILE", value_parser = outputs::output, help_heading = "The report")]
    pub report: Vec<Output>,
    /// Keeps the trace, the stderr and the scenario of each failure in DIR, which is made if need be.
    #[arg(long, value_name = "DIR", help_heading = "The report")]
    pub keep: Option<PathBuf>,
    /// Prints failures and the verdict only; no progress.
    #[arg(long, short, conflicts_with = "verbose", help_heading = "The report")]
    pub quiet: bool,
    /// Prints every clause with what was seen.
    #[arg(long, short, help_heading = "The report")]
    pub verbose: bool,

    /// Reads this configuration file. [default: sockspec.toml, in this folder or the nearest above]
    #[arg(long, value_name = "FILE", conflicts_with = "no_config", help_heading = "The configuration")]
    pub config: Option<PathBuf>,
    /// Reads no configuration file.
    #[arg(long, help_heading = "The configuration")]
    pub no_config: bool,
    /// Checks only the server of this name in the configuration file. May be repeated.
    #[arg(long, value_name = "NAME", conflicts_with = "command", help_heading = "The configuration")]
    pub target: Vec<String>,
    /// Checks three times, and writes what fails each time as expectations into the configuration file.
    #[arg(long, help_heading = "The configuration")]
    pub update_expectations: bool,

    /// The server: a program and its arguments. [default: those of the configuration file, or the built-in reference]
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// How much is tried for each clause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum EffortArg {
    /// The least that shows that the clause was exercised.
    Quick,
    /// A few scenarios for each clause.
    #[default]
    Default,
    /// Many scenarios, larger counts and sizes; takes minutes.
    Thorough,
}

impl From<EffortArg> for Effort {
    fn from(effort: EffortArg) -> Self {
        match effort {
            EffortArg::Quick => Self::Quick,
            EffortArg::Default => Self::Default,
            EffortArg::Thorough => Self::Thorough,
        }
    }
}

/// What the server does with a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// Sends back what it receives (RFC 862).
    #[default]
    Echo,
}

/// How well the server is isolated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum IsolationArg {
    /// The best that the host allows.
    #[default]
    Auto,
    /// Own namespaces and a fresh /proc.
    Full,
    /// Own namespaces, the host's /proc.
    NoProc,
    /// The host's network, a supervisor that ends what is left.
    Loopback,
}

impl IsolationArg {
    /// The rung that is asked for; `None` is the best there is.
    #[must_use]
    pub fn rung(self) -> Option<Isolation> {
        match self {
            Self::Auto => None,
            Self::Full => Some(Isolation::Full),
            Self::NoProc => Some(Isolation::NoProc),
            Self::Loopback => Some(Isolation::Loopback),
        }
    }
}

/// Signals that may be said to stop a server, with their numbers on Linux.
const STOP_SIGNALS: [(Sig, &str, &str); 10] = [
    (Sig::Hup, "HUP", "1"),
    (Sig::Int, "INT", "2"),
    (Sig::Quit, "QUIT", "3"),
    (Sig::Abrt, "ABRT", "6"),
    (Sig::Usr1, "USR1", "10"),
    (Sig::Usr2, "USR2", "12"),
    (Sig::Pipe, "PIPE", "13"),
    (Sig::Term, "TERM", "15"),
    (Sig::Urg, "URG", "23"),
    (Sig::Winch, "WINCH", "28"),
];

pub(super) fn signal(word: &str) -> Result<Sig, String> {
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = STOP_SIGNALS.iter().find(|(_, its_name, number)| name == *its_name || upper == *number);
    known.map(|(sig, _, _)| *sig).ok_or_else(|| {
        let names: Vec<&str> = STOP_SIGNALS.iter().map(|(_, name, _)| *name).collect();
        format!("a server can be stopped in order by {}", names.join(", "))
    })
}

/// A user of this host whom we can become.
pub(super) fn user(word: &str) -> Result<String, String> {
    if Account::find(word)?.can_be_had() {
        Ok(word.to_owned())
    } else {
        Err("only root can run the server as another user".to_owned())
    }
}

pub(super) fn variable(word: &str) -> Result<(String, String), String> {
    match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

pub(super) fn duration(word: &str) -> Result<Duration, String> {
    match humantime::parse_duration(word) {
        Ok(duration) if duration.is_zero() => Err("nothing can be tried in no time".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; expected a number with a unit, such as 30s or 2min")),
    }
}

pub(super) fn factor(word: &str) -> Result<f64, String> {
    match word.parse::<f64>() {
        Ok(factor) if factor > 0.0 && factor <= 1000.0 => Ok(factor),
        _ => Err("expected a number above 0, at most 1000".to_owned()),
    }
}
