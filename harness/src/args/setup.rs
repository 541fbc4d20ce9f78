//! What was typed after the commands that check nothing.

use std::path::PathBuf;

use super::Format;

/// What was typed after `init`.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Prints the JSON Schema of sockspec.toml instead.
    #[arg(long)]
    pub schema: bool,
}

const DIFF_HELP: &str = "\
Exit status: 0 nothing regressed, 1 something did, 2 a file is no report.

A clause regressed if it fails unexpectedly and did not before, or if it is a MUST that passed and cannot be decided
any more.";

/// What was typed after `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = DIFF_HELP)]
pub struct DiffArgs {
    /// A report of `sockspec check --format json`.
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// A later one.
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// What was typed after `man`.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The command that the page is about. [default: sockspec as a whole]
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}
