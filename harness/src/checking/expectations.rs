//! `check --update-expectations`: three runs, and what they agree on goes into the configuration file.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use sockspec::clause::ClauseId;
use sockspec::config::Config;
use sockspec::config::update::{Found, updated};
use sockspec::exit_code::ExitCode;
use sockspec::outcome::{Report, Status};
use sockspec::report::destination::Destination;
use sockspec::report::progress::ProgressLine;
use sockspec::run;

use super::Wanted;
use crate::{Ended, Failure, not_writable, stop_on_signals};

/// Fewer runs do not tell what fails now and then.
const RUNS: usize = 3;

pub(super) fn update(wanted: Vec<Wanted>, config: &Config) -> Ended {
    let destination = Destination::probe(Some(&config.path)).map_err(not_writable(Some(&config.path)))?;
    let stop = stop_on_signals().map_err(Failure::unknown)?;
    let mut all = Vec::new();
    for mut wanted in wanted {
        wanted.decided.options.expect = Vec::new();
        match agreed(&wanted, &stop)? {
            Some(found) => all.push(found),
            None => return Ok(ExitCode::Interrupted.into()),
        }
    }
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let text = updated(&config.text, &all, &now[..10])
        .map_err(|problem| Failure::usage(format!("{}: {problem}", config.path.display())))?;
    let known = if text == config.text {
        "is as it was"
    } else {
        destination.write(text.as_bytes()).map_err(not_writable(Some(&config.path)))?;
        "is brought up to date"
    };
    let failing: usize = all.iter().map(|found| found.failing.len()).sum();
    let _ =
        writeln!(io::stderr(), "{}: {known}; {failing} fail in each of {RUNS} runs", config.path.display());
    Ok(ExitCode::Conforms.into())
}

/// What all runs agree on; nothing if they were interrupted.
fn agreed(wanted: &Wanted, stop: &AtomicBool) -> Result<Option<Found>, Failure> {
    let mut runs: Vec<Found> = Vec::new();
    for _ in 0..RUNS {
        let mut line = ProgressLine::shown();
        let decided = &wanted.decided;
        let run = run::check(&decided.command, &decided.options, stop, &mut |progress| line.tell(progress));
        line.clear();
        let report = run.map_err(Failure::unknown)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let of = |status| ids(&report, status);
        runs.push(Found {
            target: wanted.name.clone(),
            failing: of(Status::Fail),
            passing: of(Status::Pass),
        });
    }
    let differ: BTreeSet<ClauseId> = runs
        .windows(2)
        .flat_map(|two| two[0].failing.symmetric_difference(&two[1].failing).copied())
        .collect();
    if !differ.is_empty() {
        let ids: Vec<&str> = differ.iter().map(|id| id.0).collect();
        return Err(Failure::unknown(format!(
            "{RUNS} runs do not agree on {}; nothing was written",
            ids.join(", ")
        )));
    }
    Ok(runs.pop())
}

fn ids(report: &Report, status: Status) -> BTreeSet<ClauseId> {
    let outcomes = report.outcomes.iter().filter(|outcome| outcome.finding.status() == status);
    outcomes.map(|outcome| outcome.clause.id).collect()
}
