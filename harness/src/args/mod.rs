//! What was typed on the command line; what follows from it is decided in [`decide`].

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::clause::Level;

pub mod campaign;
pub mod check;
pub mod configured;
pub mod decide;
pub mod fuzz;
pub mod outputs;
pub mod setup;

#[cfg(test)]
mod tests;

pub use crate::{globs, program};
pub use check::CheckArgs;
pub use decide::{CheckOptions, UsageError};
pub use fuzz::{FuzzArgs, MergeArgs, ReplayArgs};
pub use setup::{DiffArgs, InitArgs, ManArgs};

const EXAMPLES: &str = "\
Examples:
  sockspec check                                           the built-in reference server
  sockspec check -- ./my-server --port {port}              any command, in any language
  sockspec check --only 'reap.*' -v -- ./my-server {port}  one family, every clause of it
  sockspec check -- sockspec serve --defect never-reaps --port {port}
                                                           what a failure looks like
  sockspec fuzz --time 60s -- ./my-server --port {port}    look for what only combinations show
  sockspec explain reap.every-child                        why it matters, and the cure

Exit status: 0 conforms, 1 does not conform, 2 usage, 3 unknown, 130 interrupted.";

/// Says which clauses of the sockets contract a server breaks, with proof.
#[derive(Debug, Parser)]
#[command(name = "sockspec", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// When to use colour. NO_COLOR in the environment means never, for `auto`.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: When,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Verify a server: launch it, try every clause that applies, report.
    Check(Box<CheckArgs>),
    /// Fuzz a server: enact generated lives of many clients, make what fails small, and keep it.
    Fuzz(Box<FuzzArgs>),
    /// Enact a kept case again: does it still fail?
    Replay(ReplayArgs),
    /// Join the reports of all shards of a campaign.
    Merge(MergeArgs),
    /// Print the catalogue: every clause with its level and requirement.
    List(ListArgs),
    /// Explain one clause: why it matters, the classic bug, the cure, and how to see it fail.
    Explain(ExplainArgs),
    /// Be a server: the reference, a faulty one, or a correct one of another design.
    Serve(ServeArgs),
    /// Say what this host allows, and the remedy for what it does not.
    Doctor(DoctorArgs),
    /// Say what regressed, is fixed, new or gone between two reports.
    Diff(DiffArgs),
    /// Write a first sockspec.toml, by looking at this folder.
    Init(InitArgs),
    /// Print a manual page.
    Man(ManArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What was typed after `list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only clauses whose id matches one of these, such as 'reap.*' (quote it for the shell).
    #[arg(value_name = "GLOB")]
    pub globs: Vec<String>,
    /// The weakest level that is listed.
    #[arg(long, value_enum, default_value = "may", ignore_case = true)]
    pub level: LevelArg,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// What was typed after `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The id of the clause, as `sockspec list` prints it.
    #[arg(value_name = "CLAUSE")]
    pub clause: String,
}

/// What was typed after `doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Exit with 3 unless this host allows so much.
    #[arg(long, value_enum, value_name = "ISOLATION")]
    pub require: Option<Require>,
}

const SERVE_HELP: &str = "\
Stops within a second of SIGTERM or SIGINT. Exit status: 0 stopped, 1 cannot serve, 2 usage.

`--defect list` and `--design list` print the names and what each does.";

/// What was typed after `serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = SERVE_HELP)]
pub struct ServeArgs {
    /// The IPv4 or IPv6 address to listen on. `::` is all of IPv6 and nothing of IPv4.
    #[arg(long, default_value = "127.0.0.1")]
    pub addr: IpAddr,
    /// The port, 0 to 65535. For 0 the kernel chooses, and stdout says which.
    // Read later: one of the defects is in how it is read.
    #[arg(long, default_value = "7007", allow_negative_numbers = true)]
    pub port: String,
    /// Connections that may wait for accept, 0 to 65535. The kernel caps it at net.core.somaxconn.
    #[arg(long, value_name = "N", default_value_t = 128, allow_negative_numbers = true)]
    pub backlog: u16,
    /// Clients served at once, 1 to 65535; further ones wait in the backlog.
    #[arg(long, value_name = "N", default_value = "64", allow_negative_numbers = true)]
    pub max_children: NonZeroU16,
    /// Serve with this planted defect; `list` prints all.
    #[arg(long, value_name = "NAME", conflicts_with = "design")]
    pub defect: Option<String>,
    /// Serve correctly, by this other design; `list` prints all.
    #[arg(long, value_name = "NAME")]
    pub design: Option<String>,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document.
    Json,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal.
    #[default]
    Auto,
    /// Even into a pipe or file.
    Always,
    /// Not at all.
    Never,
}

/// Strength of a requirement, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LevelArg {
    /// Only what must be.
    Must,
    /// What must or should be.
    Should,
    /// All, and what is only recorded.
    May,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Must => Self::Must,
            LevelArg::Should => Self::Should,
            LevelArg::May => Self::May,
        }
    }
}

/// The least isolation with which a verdict counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Require {
    /// Own namespaces and a fresh /proc.
    Full,
}

/// Where `serve` finds what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// The reference server.
    Reference,
    /// A faulty server.
    Defect(String),
    /// A correct server of another design.
    Design(String),
    /// The names of all faulty servers.
    Defects,
    /// The names of all other designs.
    Designs,
}

impl ServeArgs {
    /// Which server is meant.
    #[must_use]
    pub fn served(&self) -> Served {
        match (self.defect.as_deref(), self.design.as_deref()) {
            (Some("list"), _) => Served::Defects,
            (Some(name), _) => Served::Defect(name.to_owned()),
            (None, Some("list")) => Served::Designs,
            (None, Some(name)) => Served::Design(name.to_owned()),
            (None, None) => Served::Reference,
        }
    }
}

/// What was typed, or an error of clap, which also carries `--help` and `--version`.
///
/// # Errors
/// If it cannot be understood. `check --` with nothing behind it is no way to say "the reference": an empty variable
/// of a script must not make it check another server than was meant.
pub fn parse(words: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Args, clap::Error> {
    let words: Vec<_> = words.into_iter().collect();
    let args = Args::try_parse_from(&words)?;
    let empty = words.last().is_some_and(|word| word == "--");
    let server = match &args.command {
        Command::Check(check) => Some(&check.command),
        Command::Fuzz(fuzz) => Some(&fuzz.command),
        Command::Replay(replay) => Some(&replay.command),
        Command::Merge(_)
        | Command::List(_)
        | Command::Explain(_)
        | Command::Serve(_)
        | Command::Doctor(_)
        | Command::Diff(_)
        | Command::Init(_)
        | Command::Man(_)
        | Command::Completions { .. } => None,
    };
    if let Some(server) = server
        && (empty && server.is_empty() || server.first().is_some_and(String::is_empty))
    {
        let mut command = <Args as clap::CommandFactory>::command();
        return Err(command.error(
            clap::error::ErrorKind::MissingRequiredArgument,
            "no COMMAND after --; leave -- out for the built-in reference server",
        ));
    }
    Ok(args)
}

/// The path that is meant by a directory option, if it is one.
pub(crate) fn directory(path: &str) -> Result<PathBuf, String> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(PathBuf::from(path)),
        Ok(_) => Err("not a directory".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
