//! What a run comes to: one outcome for each clause, and what else is worth a note.

use std::time::Duration;

use crate::clause::Clause;
use crate::command::TargetCommand;
use crate::outcome::{Cause, Finding, Outcome, Report};
use crate::plan::{Entry, Options};
use crate::profile::{Model, Profile};
use crate::run::cases::Tally;
use crate::run::settle::{Settled, unconfirmed};
use crate::spec;
use crate::trace::Isolation;
use crate::verdict::Verdict;

/// One outcome for each clause of the catalogue.
pub(super) fn outcomes(finding: impl Fn(&Clause) -> Finding) -> Vec<Outcome> {
    let outcome = |clause| Outcome {
        clause,
        finding: finding(clause),
        counterexample: None,
        cases: 0,
        duration: Duration::ZERO,
        expected: None,
    };
    spec::catalogue().map(outcome).collect()
}

/// The report on a run of which nothing is known, or not yet: of every clause this was found.
#[must_use]
pub fn unjudged(target: &TargetCommand, options: &Options, finding: impl Fn(&Clause) -> Finding) -> Report {
    let kernel = nix::sys::utsname::uname().map(|uname| uname.release().to_string_lossy().into_owned());
    Report {
        target: target.clone(),
        profile: None,
        kernel: kernel.unwrap_or_default(),
        isolation: options.isolation.unwrap_or(Isolation::Loopback),
        seed: options.seed,
        outcomes: outcomes(finding),
        duration: Duration::ZERO,
        enactments: 0,
        interrupted: true,
        notes: Vec::new(),
        options: options.repeat.clone(),
        stderr: Vec::new(),
        stale: Vec::new(),
    }
}

pub(super) fn outcome(entry: &Entry, tally: &Tally, settled: Option<Settled>) -> Outcome {
    let settled = settled.or_else(|| tally.failure.clone().map(unconfirmed));
    let (finding, counterexample) = match (&entry.cases, settled, tally.passed.clone(), tally.broken.clone())
    {
        (Err((cause, reason)), ..) => (Finding::Skipped(*cause, reason.clone()), None),
        (Ok(_), Some(settled), ..) => (settled.finding, settled.counterexample),
        (Ok(_), None, Some(seen), _) => (Finding::Judged(Verdict::Pass(seen)), None),
        (Ok(_), None, None, Some(error)) => (Finding::Broken(error), None),
        (Ok(_), None, None, None) if tally.moot.is_some() => {
            (Finding::Skipped(Cause::NotApplicable, tally.moot.clone().unwrap_or_default()), None)
        }
        (Ok(_), None, None, None) => {
            (Finding::Skipped(Cause::NotSelected, "the run ended before it".to_owned()), None)
        }
    };
    Outcome {
        clause: entry.clause,
        finding,
        counterexample,
        cases: tally.cases,
        duration: tally.duration,
        expected: None,
    }
}

pub(super) fn notes(profile: &Profile) -> Vec<String> {
    let mut notes = Vec::new();
    if profile.model == Model::OneShot {
        notes.push("the server serves one client and exits: most clauses do not apply".to_owned());
    }
    if profile.daemonizes {
        notes.push("the launched process ends and leaves a daemon behind, which is judged".to_owned());
    } else if !profile.launched_accepts {
        notes.push("the launched process is a wrapper: another process accepts, and is judged".to_owned());
    }
    if let Some(limit) = profile.client_limit {
        notes.push(format!("the server takes {limit} clients at once: no more were tried together"));
    }
    notes
}
