//! What was typed after `sockspec fuzz`, `replay` and `merge`.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::TypedValueParser as _;

use super::check::{EffortArg, IsolationArg, duration, factor, signal, user, variable};
use super::directory;
use crate::run::fuzz::Shard;
use crate::scenario::Sig;

const FUZZ_HELP: &str = "\
Each case is a whole scenario: many clients that connect, send in cuts, read slowly, half-close, close, reset and come
back, while the server is stopped, its queue filled and its children killed. It is judged by every clause that can be.
The first case that fails is made as small as it goes and kept in --cases-dir; `sockspec replay` shows it again.

Case i of a seed is the same everywhere: `--shard 2/5` does the second fifth of a campaign, and `sockspec merge` joins
the five `--format json` reports.

Exit status:
  0    nothing found
  1    a clause is broken
  2    usage: bad option, bad range, command that cannot be run
  3    unknown: the server does not serve, or nothing could be enacted
  130  interrupted; what was found so far is reported";

/// What was typed after `fuzz`.
#[derive(Debug, clap::Args)]
#[command(after_help = FUZZ_HELP)]
pub struct FuzzArgs {
    /// Begins no further case after so long, such as 30s or 2min. [default: 60s, if --cases is not given]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "How much")]
    pub time: Option<Duration>,
    /// Ends after so many cases, those of all shards together.
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u64).range(1..), help_heading = "How much")]
    pub cases: Option<u64>,
    /// Goes on after the first failure, to find one for each clause.
    #[arg(long, help_heading = "How much")]
    pub keep_going: bool,
    /// Looks no longer than this for a smaller scenario that fails in the same way; a busy machine may want more.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "How much")]
    pub shrink_within: Duration,
    /// Enacts only part K of N of all cases: `2/5`, or `auto`: as SOCKSPEC_SHARD(S), Kubernetes or Slurm say.
    #[arg(long, value_name = "K/N", value_parser = shard, default_value = "1/1", help_heading = "How much")]
    pub shard: Shard,

    /// Clients in one scenario, such as 1..64; 1 to 4096.
    #[arg(long, value_name = "A..B", default_value = "1..64", allow_hyphen_values = true,
          value_parser = clients, help_heading = "What is tried")]
    pub clients: RangeInclusive<u32>,
    /// Bytes of one payload, such as 0..1MiB; up to 64MiB.
    #[arg(long, value_name = "A..B", default_value = "0..1MiB", allow_hyphen_values = true,
          value_parser = payload, help_heading = "What is tried")]
    pub payload: RangeInclusive<u64>,
    /// Limits of the accept queue, such as 0..4096; up to 65535.
    #[arg(long, value_name = "A..B", default_value = "0..4096", allow_hyphen_values = true,
          value_parser = backlog, help_heading = "What is tried")]
    pub backlog: RangeInclusive<u32>,
    /// Judges only by clauses whose id matches, such as 'reap.*'. May be repeated.
    #[arg(long, value_name = "GLOB", help_heading = "What is tried")]
    pub only: Vec<String>,
    /// Leaves out clauses whose id matches. May be repeated; wins over --only.
    #[arg(long, value_name = "GLOB", help_heading = "What is tried")]
    pub skip: Vec<String>,
    /// Length of the scenarios.
    #[arg(long, value_enum, default_value_t, help_heading = "What is tried")]
    pub effort: EffortArg,
    /// Decides every scenario.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        allow_negative_numbers = true,
        help_heading = "What is tried"
    )]
    pub seed: u64,

    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,

    /// How to print. `ndjson` tells events as they happen, one JSON document a line.
    #[arg(long, value_enum, default_value_t, help_heading = "The report")]
    pub format: FuzzFormat,
    /// Where cases are kept, and looked for: those kept for this command are tried first.
    #[arg(long, value_name = "DIR", default_value = crate::case::DIR, help_heading = "The report")]
    pub cases_dir: PathBuf,
    /// Prints the failure and the last line only; no progress.
    #[arg(long, short, help_heading = "The report")]
    pub quiet: bool,

    /// The server: a program and its arguments. [default: the built-in reference server]
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// How the server is launched, and in what surroundings.
#[derive(Debug, clap::Args)]
pub struct ServerArgs {
    /// The address that {addr} and HOST say, IPv4 or IPv6.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1", help_heading = "The server")]
    pub addr: IpAddr,
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
    /// Servers launched side by side, 1 to 1024. [default: three for each CPU]
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u16).range(1..=1024).map(usize::from), help_heading = "The run")]
    pub jobs: Option<usize>,
    /// Multiplies every deadline, for servers that are slow by nature; more than 0, at most 1000.
    #[arg(long, value_name = "F", default_value_t = 1.0, allow_negative_numbers = true,
          value_parser = factor, help_heading = "The run")]
    pub timeout_scale: f64,
    /// How well the server is isolated from this host. `auto` takes the best that the host allows.
    #[arg(long, value_enum, default_value_t, help_heading = "The run")]
    pub isolation: IsolationArg,
}

/// How `fuzz` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FuzzFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON document at the end.
    Json,
    /// One JSON document a line, as things happen.
    Ndjson,
}

const REPLAY_HELP: &str = "\
Exit status:
  0    FIXED: the case does not fail any more
  1    FAILED: it does
  2    usage: no such case, no case file, command that cannot be run
  3    ERROR: it could not be decided";

/// What was typed after `replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = REPLAY_HELP)]
pub struct ReplayArgs {
    /// A case: a file, or its name in --cases-dir.
    #[arg(value_name = "CASE", required_unless_present = "judge")]
    pub case: Option<String>,
    /// Judges a saved trace, as `fuzz` keeps it beside each case (ID.trace), and launches nothing.
    #[arg(long, value_name = "TRACE", conflicts_with_all = ["emit", "command", "case"])]
    pub judge: Option<PathBuf>,
    /// Prints a standalone program that shows the case without sockspec. It is run first, and not printed if it does
    /// not show it.
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    pub emit: Option<EmitArg>,
    /// Stops where the case fails, with server and clients still there, says how to look into them, and waits for Enter,
    /// the end of stdin or Ctrl-C.
    #[arg(long, conflicts_with_all = ["emit", "judge"])]
    pub hold: bool,
    /// Where names of cases are looked for.
    #[arg(long, value_name = "DIR", default_value = crate::case::DIR)]
    pub cases_dir: PathBuf,
    /// Multiplies every deadline.
    #[arg(long, value_name = "F", default_value_t = 1.0, allow_negative_numbers = true, value_parser = factor)]
    pub timeout_scale: f64,
    /// How well the server is isolated from this host.
    #[arg(long, value_enum, default_value_t)]
    pub isolation: IsolationArg,
    /// Another server than the one for which the case was kept.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Language of a standalone program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EmitArg {
    /// Python 3, its standard library alone.
    Python,
    /// C, with libc alone.
    C,
    /// A shell script with common tools.
    Sh,
}

/// What was typed after `merge`.
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// Reports of `sockspec fuzz --format json`, one of each shard.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// `A..B` or `A..=B`, both included, or one number. Sizes may have a unit.
fn range<T: Copy + PartialOrd + TryFrom<u64>>(word: &str, most: u64) -> Result<RangeInclusive<T>, String> {
    let (least, last) = word.split_once("..").unwrap_or((word, word));
    let number = |word: &str| {
        let value = size(word)?;
        if value > most {
            return Err(format!("{word} is more than {most}"));
        }
        T::try_from(value).map_err(|_| format!("{word} is too much"))
    };
    let (least, last) = (number(least)?, number(last.strip_prefix('=').unwrap_or(last))?);
    if least > last {
        return Err("the range is empty: its end lies before its begin".to_owned());
    }
    Ok(least..=last)
}

fn size(word: &str) -> Result<u64, String> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match word[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        unit => return Err(format!("{unit}: no such unit; KiB and MiB are known")),
    };
    let number =
        u64::from_str(digits).map_err(|_| "expected a range of numbers, such as 1..64".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| format!("{word} is too much"))
}

fn clients(word: &str) -> Result<RangeInclusive<u32>, String> {
    match range(word, 4096)? {
        range if *range.start() == 0 => Err("a scenario has at least 1 client".to_owned()),
        range => Ok(range),
    }
}

fn payload(word: &str) -> Result<RangeInclusive<u64>, String> {
    range(word, 64 << 20)
}

fn backlog(word: &str) -> Result<RangeInclusive<u32>, String> {
    range(word, 65535)
}

/// Variables that say part and number of parts, and what the first part is called.
const SHARD_VARIABLES: [(&str, &str, u64); 4] = [
    ("SOCKSPEC_SHARD", "SOCKSPEC_SHARDS", 1),
    ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", 0),
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", 0),
    ("PARALLEL_SEQ", "PARALLEL_JOBS", 1),
];

fn shard(word: &str) -> Result<Shard, String> {
    if word == "auto" {
        return shard_from(&|name| std::env::var(name).ok());
    }
    let parts = word.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    let (part, of) = parts.ok_or("expected K/N, such as 2/5, or auto")?;
    whole(part, of)
}

fn shard_from(variable: &dyn Fn(&str) -> Option<String>) -> Result<Shard, String> {
    for (part, of, first) in SHARD_VARIABLES {
        let (Some(its_part), Some(its_of)) = (variable(part), variable(of)) else { continue };
        let number = |name: &str, value: &str| {
            value.parse::<u64>().map_err(|_| format!("{name}={value}: not a number"))
        };
        // Slurm arrays may begin anywhere.
        let first = variable("SLURM_ARRAY_TASK_MIN")
            .filter(|_| part.starts_with("SLURM"))
            .map_or(Ok(first), |least| number("SLURM_ARRAY_TASK_MIN", &least))?;
        let at = number(part, &its_part)?;
        let part = at.checked_sub(first).ok_or_else(|| format!("{part}={at}: the first one is {first}"))?;
        return whole(part + 1, number(of, &its_of)?);
    }
    let names: Vec<String> = SHARD_VARIABLES.iter().map(|(part, of, _)| format!("{part} and {of}")).collect();
    Err(format!("auto finds none of the variables it knows: {}", names.join(", ")))
}

fn whole(part: u64, of: u64) -> Result<Shard, String> {
    if part == 0 || part > of {
        return Err(format!("there is no part {part} of {of}: parts are numbered from 1"));
    }
    Ok(Shard { part, of })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1..64", Ok(1..=64))]
    #[case("3", Ok(3..=3))]
    #[case("2..=4", Ok(2..=4))]
    #[case("64..1", Err("the range is empty: its end lies before its begin"))]
    #[case("0..4", Err("a scenario has at least 1 client"))]
    #[case("1..5000", Err("5000 is more than 4096"))]
    #[case("-1..5", Err("expected a range of numbers, such as 1..64"))]
    #[case("1..4GiB", Err("gib: no such unit; KiB and MiB are known"))]
    fn ranges_of_clients(#[case] word: &str, #[case] expected: Result<RangeInclusive<u32>, &str>) {
        assert_eq!(clients(word), expected.map_err(str::to_owned));
    }

    #[rstest]
    #[case("2/5", Ok((2, 5)))]
    #[case("0/5", Err("there is no part 0 of 5: parts are numbered from 1"))]
    #[case("6/5", Err("there is no part 6 of 5: parts are numbered from 1"))]
    #[case("half", Err("expected K/N, such as 2/5, or auto"))]
    fn shards(#[case] word: &str, #[case] expected: Result<(u64, u64), &str>) {
        assert_eq!(shard(word).map(|it| (it.part, it.of)), expected.map_err(str::to_owned));
    }

    #[rstest]
    #[case(&[("JOB_COMPLETION_INDEX", "0"), ("JOB_COMPLETIONS", "4")], (1, 4))]
    #[case(&[("SLURM_ARRAY_TASK_ID", "7"), ("SLURM_ARRAY_TASK_COUNT", "3"), ("SLURM_ARRAY_TASK_MIN", "5")], (3, 3))]
    #[case(&[("PARALLEL_SEQ", "2"), ("PARALLEL_JOBS", "2")], (2, 2))]
    fn shards_from_the_environment(#[case] set: &[(&str, &str)], #[case] expected: (u64, u64)) {
        let variable =
            |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        assert_eq!(shard_from(&variable).map(|it| (it.part, it.of)), Ok(expected));
    }
}
