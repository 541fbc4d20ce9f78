//! A test without libtest that looks like one: one test for each clause, named by its id.
//!
//! All tests of a process share one run of the engine, for the clauses that were asked for, so that a test binary takes as
//! long as `sockspec check`. Where each test has a process of its own (cargo-nextest), each runs its clause alone.
//!
//! What does not apply to this server or host is told by the baseline. In a list it is marked as ignored, because
//! runners decide by the list what they start, and some count a test that ignores itself as passed. Without `--list` or
//! `--ignored` the run tells it anyway, and the baseline is made only once.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::ExitCode as Status;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::check::{Check, CheckError};
use crate::clause::{Clause, ClauseId, Level};
use crate::globs::{did_you_mean, nearest};
use crate::in_process;
use crate::outcome::{Cause, Conformance, Finding, Outcome, Report, Status as Found};
use crate::report::{Detail, Style, text};
use crate::{run, spec};

/// The status of a run in which something failed, as with libtest.
const FAILED: u8 = 101;
/// The status of a run that was asked for what is not there, as `sockspec check`.
const USAGE: u8 = 2;
/// The status of a run that judged nothing, as `sockspec check`.
const UNKNOWN: u8 = 3;

/// Checks a server as a test without libtest (`harness = false`): call it in `main`. Takes the arguments of libtest.
///
/// There is one test for each clause, such as `reap.every-child`. It fails where `sockspec check` counts it: a MUST
/// that failed or could not be decided. A SHOULD that failed is ignored, with what was seen. The process fails if
/// nothing was selected or nothing was judged.
///
/// ```no_run
/// use std::process::ExitCode;
/// use sockspec::TargetCommand;
///
/// fn main() -> ExitCode {
///     sockspec::cargo_test(TargetCommand::new("./my-server").arg("{port}"))
/// }
/// ```
pub fn cargo_test(check: impl Into<Check>) -> Status {
    test(check.into(), Style::default())
}

/// As [`cargo_test`], and a failed SHOULD fails (`--strict`).
pub fn cargo_test_strictly(check: impl Into<Check>) -> Status {
    test(check.into(), Style { strict: true, ..Style::default() })
}

fn test(check: Check, style: Style) -> Status {
    if in_process::is_server() {
        // The target comes from somewhere else than the call that was meant; that is told at exit.
        return USAGE.into();
    }
    let arguments = Arguments::from_args();
    match tests(check, style, &arguments) {
        Ok(status) => status.into(),
        Err(error) => {
            let sources = std::iter::successors(std::error::Error::source(&error), |&error| error.source());
            let said = sources.fold(error.to_string(), |said, source| format!("{said}: {source}"));
            tell(&format!("error: {said}"));
            USAGE.into()
        }
    }
}

fn tests(check: Check, style: Style, arguments: &Arguments) -> Result<u8, CheckError> {
    let mut check = check.decided()?;
    let clauses = check.selected()?;
    let ignored = if arguments.list || arguments.ignored { inapplicable(&check)? } else { BTreeMap::new() };
    let trial = |clause: &Clause| {
        Trial::test(clause.id.0, || Ok(())).with_ignored_flag(ignored.contains_key(&clause.id))
    };
    let chosen: Vec<&'static Clause> = clauses
        .iter()
        .copied()
        .filter(|clause| {
            let trial = trial(clause);
            !arguments.is_filtered_out(&trial) && !arguments.is_ignored(&trial)
        })
        .collect();
    if !arguments.list && chosen.is_empty() {
        tell(&format!("error: {}", nothing_selected(arguments)));
        return Ok(USAGE);
    }
    if chosen.len() < clauses.len() {
        check.options.only = chosen.iter().map(|clause| clause.id.to_string()).collect();
    }
    if let Some(threads) = arguments.test_threads {
        check.options.jobs = Some(threads.clamp(1, 1024));
    }
    let shared = Arc::new(Shared { check, style, chosen, ran: OnceLock::new() });
    let trials = clauses.into_iter().map(|clause| {
        let shared = Arc::clone(&shared);
        Trial::ignorable_test(clause.id.0, move || shared.judge(clause))
            .with_ignored_flag(ignored.contains_key(&clause.id))
    });
    let conclusion = libtest_mimic::run(arguments, trials.collect());
    if arguments.list {
        return Ok(0);
    }
    Ok(if conclusion.has_failed() { FAILED } else { shared.conclude() })
}

/// Clauses that do not apply, with the reason. A harness that does not work here says so.
fn inapplicable(check: &Check) -> Result<BTreeMap<ClauseId, String>, CheckError> {
    Ok(run::inapplicable(&check.target, &check.options)?.into_iter().collect())
}

/// Why there is nothing to run, and what may have been meant.
fn nothing_selected(arguments: &Arguments) -> String {
    let ignored = if arguments.ignored { " that does not apply to this server (--ignored)" } else { "" };
    let skipped = if arguments.skip.is_empty() { "" } else { " and is not left out by --skip" };
    match &arguments.filter {
        Some(filter) => {
            let catalogue: Vec<&Clause> = spec::catalogue().collect();
            let exists = catalogue.iter().any(|clause| clause.id.0.contains(filter.as_str()));
            let meant = if exists { String::new() } else { did_you_mean(&nearest(filter, &catalogue)) };
            let how = if arguments.exact { "is named" } else { "has" };
            format!("no test{ignored} {how} {filter:?}{skipped}{meant}")
        }
        None => format!("there is no test{ignored}{skipped}"),
    }
}

/// What all tests of this process share.
struct Shared {
    check: Check,
    style: Style,
    /// The clauses that are tried.
    chosen: Vec<&'static Clause>,
    ran: OnceLock<Result<Report, String>>,
}

impl Shared {
    /// The one run; whoever asks first runs it, and all others wait.
    fn report(&self) -> Result<&Report, Failed> {
        let ran = self.ran.get_or_init(|| {
            let Check { target, options } = &self.check;
            run::check(target, options, &AtomicBool::new(false), &mut |_| {}).map_err(|error| error.in_full())
        });
        ran.as_ref().map_err(|error| Failed::from(format!("sockspec cannot work here: {error}")))
    }

    /// What the test of a clause comes to.
    fn judge(&self, clause: &Clause) -> Result<Completion, Failed> {
        let report = self.report()?;
        let outcome = report.outcomes.iter().find(|outcome| outcome.clause.id == clause.id);
        let Some(outcome) = outcome else { return Err(format!("{}: not in the report", clause.id).into()) };
        let counts = clause.level == Level::Must;
        let fails = counts || (self.style.strict && clause.level == Level::Should);
        match (outcome.finding.status(), &outcome.finding) {
            (Found::Pass, _) => Ok(Completion::Completed),
            (Found::Fail, _) if fails => Err(self.said(report, clause.id).into()),
            (Found::Inconclusive | Found::Broken, _) if counts => Err(self.said(report, clause.id).into()),
            (Found::Fail, _) => Ok(Completion::ignored_with(warning(report, outcome))),
            (Found::Skipped, Finding::Skipped(Cause::DependsOn, _)) if !self.tells_failure(report) => {
                let failed = report.outcomes.iter().filter(|outcome| outcome.finding.status() == Found::Fail);
                let said: Vec<String> = failed.map(|outcome| self.said(report, outcome.clause.id)).collect();
                Err(said.concat().into())
            }
            (Found::Inconclusive | Found::Broken | Found::Skipped, _) => {
                Ok(Completion::ignored_with(one_line(&self.said(report, clause.id))))
            }
        }
    }

    /// Whether a clause that failed has a test here.
    fn tells_failure(&self, report: &Report) -> bool {
        let failed =
            |id| report.outcomes.iter().any(|it| it.clause.id == id && it.finding.status() == Found::Fail);
        self.chosen.iter().any(|clause| failed(clause.id))
    }

    fn said(&self, report: &Report, id: ClauseId) -> String {
        report.in_words(id, &self.style)
    }

    /// The status where no test failed: that of the same `sockspec check`, but for a clause below MUST that could not be
    /// decided and stands alone in its process.
    fn conclude(&self) -> u8 {
        let Some(Ok(report)) = self.ran.get() else { return UNKNOWN };
        let Style { strict, .. } = self.style;
        if report.conformance(strict) == Conformance::DoesNotConform {
            return FAILED;
        }
        let tried = |outcome: &Outcome| outcome.finding.status() != Found::Skipped;
        if report.outcomes.iter().any(tried) {
            return 0;
        }
        let style = Style { detail: Detail::Quiet, ..self.style };
        let reasons: Vec<String> =
            self.chosen.iter().map(|clause| report.in_words(clause.id, &style)).collect();
        tell(&format!("error: {}; {}", text::verdict(report, strict), one_line(&reasons[0])));
        UNKNOWN
    }
}

/// What a SHOULD that failed says in one line.
fn warning(report: &Report, outcome: &Outcome) -> String {
    match &outcome.finding {
        Finding::Judged(crate::verdict::Verdict::Fail(evidence)) => {
            one_line(&format!("SHOULD: expected {}; observed {}", evidence.expected, evidence.observed))
        }
        _ => one_line(&report.in_words(outcome.clause.id, &Style::default())),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn tell(line: &str) {
    // Nobody reads it? Then the status says it.
    let _ = writeln!(io::stderr(), "{line}");
}
