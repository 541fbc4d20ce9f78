//! What an outcome means for the run, in the words that all reports for programs share.

use super::command_line::again;
use super::finding::{evidence, stderr, steps};
use super::page::clean;
use crate::clause::Level;
use crate::outcome::{Cause, Finding, NOT_SELECTED, Outcome, Report, Status};
use crate::verdict::Verdict;

/// A server that was checked, with the name that tells it from others of the same run.
#[derive(Debug)]
pub struct Checked {
    /// Its name in the configuration file; `None` for a server that was typed.
    pub name: Option<String>,
    /// What was found.
    pub report: Report,
}

impl Checked {
    /// `name: `, or nothing.
    pub(crate) fn prefix(&self) -> String {
        self.name.as_deref().map(|name| format!("{name}: ")).unwrap_or_default()
    }
}

/// What an outcome means for the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    Pass,
    /// It fails the run.
    Fail,
    /// A failure that fails no run.
    Warning,
    /// It was known beforehand.
    Expected,
    /// It keeps the verdict unknown.
    Unknown,
    /// It could not be decided, and nothing depends on it.
    Doubt,
    Skipped,
    /// The user asked for other clauses.
    Unasked,
}

pub(crate) fn ruling(outcome: &Outcome, strict: bool) -> Ruling {
    let level = outcome.clause.level;
    if outcome.expected.is_some() {
        return Ruling::Expected;
    }
    match (outcome.finding.status(), &outcome.finding) {
        (Status::Pass, _) => Ruling::Pass,
        (Status::Fail, _) if level == Level::Must || (strict && level == Level::Should) => Ruling::Fail,
        (Status::Fail, _) => Ruling::Warning,
        (Status::Inconclusive | Status::Broken, _) if level == Level::Must => Ruling::Unknown,
        (Status::Inconclusive | Status::Broken, _) => Ruling::Doubt,
        (_, Finding::Skipped(Cause::NotSelected, reason)) if reason == NOT_SELECTED => Ruling::Unasked,
        (Status::Skipped, _) => Ruling::Skipped,
    }
}

/// One line: what was seen, or why nothing was.
pub(crate) fn gist(outcome: &Outcome) -> String {
    let said = match &outcome.finding {
        Finding::Judged(Verdict::Pass(seen)) => seen.clone(),
        Finding::Judged(Verdict::Fail(found)) => {
            let found = evidence(outcome).unwrap_or(found);
            format!("expected {}; observed {}", found.expected, found.observed)
        }
        Finding::Judged(Verdict::Inconclusive(why)) => format!("inconclusive: {why}"),
        Finding::Judged(Verdict::NotApplicable(why)) | Finding::Skipped(_, why) => why.clone(),
        Finding::Broken(why) => format!("the harness failed: {why}"),
    };
    match &outcome.expected {
        Some(expected) => format!("{} (expected: {})", clean(&said), clean(&expected.to_string())),
        None => clean(&said),
    }
}

/// All that a reader of a failure needs, a fact a line, without control bytes.
pub(crate) fn details(report: &Report, outcome: &Outcome) -> Vec<String> {
    let clause = outcome.clause;
    let mut lines = vec![clause.requirement.to_owned()];
    let mut say = |name: &str, text: &str| lines.push(format!("{name}: {}", clean(text)));
    if let Some(evidence) = evidence(outcome) {
        say("expected", &evidence.expected);
        say("observed", &evidence.observed);
        if let Some(counterexample) = &outcome.counterexample {
            let (failed, of) = counterexample.rate;
            say("rate", &format!("{failed} of {of}"));
            say("smallest", &steps(&counterexample.failure.scenario).join(" · "));
        }
        say("why", clause.why);
        say("cited", &clause.citations.join(", "));
        say("again", &again(report, clause.id));
        for line in stderr(report, outcome) {
            say("stderr", &line);
        }
    }
    lines
}

/// Why a report does not tell of a whole run, if it does not.
pub(crate) fn partial(report: &Report) -> Option<&'static str> {
    report.interrupted.then_some("partial: the run did not reach its end")
}
