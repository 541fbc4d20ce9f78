//! Counts what was found, and says the verdict in one line.

use std::time::Duration;

use super::page::{counted, span};
use crate::clause::Level;
use crate::outcome::{Cause, Conformance, Finding, Outcome, Report, Status};

/// How many clauses came to what end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) pass: usize,
    pub(crate) must_fail: usize,
    pub(crate) should_fail: usize,
    pub(crate) inconclusive: usize,
    pub(crate) broken: usize,
    pub(crate) not_applicable: usize,
    pub(crate) host: usize,
    pub(crate) not_selected: usize,
    pub(crate) depends_on: usize,
    /// What was known beforehand, and counts nowhere else.
    pub(crate) expected: usize,
    /// Of the inconclusive and the broken, those that keep the verdict unknown.
    pub(crate) undecided_must: usize,
}

impl Counts {
    pub(crate) fn of<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            counts.add(outcome);
        }
        counts
    }

    fn add(&mut self, outcome: &Outcome) {
        let must = outcome.clause.level == Level::Must;
        if outcome.expected.is_some() {
            self.expected += 1;
            return;
        }
        let slot = match &outcome.finding {
            Finding::Skipped(Cause::NotApplicable, _) => &mut self.not_applicable,
            Finding::Skipped(Cause::Host, _) => &mut self.host,
            Finding::Skipped(Cause::NotSelected, _) => &mut self.not_selected,
            Finding::Skipped(Cause::DependsOn, _) => &mut self.depends_on,
            Finding::Broken(_) => {
                self.undecided_must += usize::from(must);
                &mut self.broken
            }
            Finding::Judged(_) => match outcome.finding.status() {
                Status::Fail if must => &mut self.must_fail,
                Status::Fail => &mut self.should_fail,
                Status::Inconclusive => {
                    self.undecided_must += usize::from(must);
                    &mut self.inconclusive
                }
                Status::Pass | Status::Skipped | Status::Broken => &mut self.pass,
            },
        };
        *slot += 1;
    }

    pub(crate) fn fail(&self) -> usize {
        self.must_fail + self.should_fail
    }

    /// Clauses that were tried.
    pub(crate) fn tried(&self) -> usize {
        self.pass + self.fail() + self.inconclusive + self.broken + self.expected
    }

    /// "2 MUST and 1 SHOULD".
    fn failures(&self) -> String {
        match (self.must_fail, self.should_fail) {
            (must, 0) => format!("{must} MUST"),
            (0, should) => format!("{should} SHOULD"),
            (must, should) => format!("{must} MUST and {should} SHOULD"),
        }
    }
}

/// The verdict and the counts that it rests on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) conformance: Conformance,
    interrupted: bool,
    stale: usize,
    duration: Duration,
}

impl Tally {
    pub(crate) fn of(report: &Report, strict: bool) -> Self {
        Self {
            counts: Counts::of(&report.outcomes),
            conformance: report.conformance(strict),
            interrupted: report.interrupted,
            stale: report.stale.len(),
            duration: report.duration,
        }
    }

    /// The first line of a run in which the host kept clauses from being judged.
    pub(crate) fn first_line(&self) -> Option<String> {
        let host = self.counts.host;
        (host > 0).then(|| format!("{}; {host} could not be judged here", self.verdict()))
    }

    /// The last line of every run.
    pub(crate) fn last_line(&self) -> String {
        let mut line = match self.first_line() {
            Some(line) => line,
            None => self.verdict(),
        };
        let counts = &self.counts;
        let mut add = |n: usize, one: &str, many: &str| {
            if n > 0 {
                line.push_str(&format!(", {n} {}", if n == 1 { one } else { many }));
            }
        };
        if self.conformance != Conformance::Unknown {
            add(counts.inconclusive, "is inconclusive", "are inconclusive");
            add(counts.broken, "is broken", "are broken");
        }
        add(counts.expected, "fails as expected", "fail as expected");
        add(counts.depends_on, "depends on what failed", "depend on what failed");
        add(counts.not_applicable, "does not apply to this server", "do not apply to this server");
        format!("{line}, {}", span(self.duration))
    }

    fn verdict(&self) -> String {
        let counts = &self.counts;
        if self.interrupted {
            let failed = match counts.fail() {
                0 => String::new(),
                n => format!(", {} {}", counts.failures(), if n == 1 { "fails" } else { "fail" }),
            };
            return format!("interrupted: {}{failed}, the rest was not reached", passed(counts.pass));
        }
        match self.conformance {
            Conformance::Conforms => {
                let clauses = match counts.host {
                    0 => counted(counts.pass, "clause"),
                    host => format!("{} of {}", counts.pass, counted(counts.tried() + host, "clause")),
                };
                let warned = match counts.should_fail {
                    0 => String::new(),
                    1 => ", 1 SHOULD fails".to_owned(),
                    n => format!(", {n} SHOULD fail"),
                };
                // So ends the command that shows one failed SHOULD again.
                let nothing_passed = counts.pass + counts.host == 0 && counts.should_fail > 0;
                if nothing_passed {
                    return format!("conforms: no MUST fails{warned}");
                }
                format!("conforms in {clauses}{warned}")
            }
            Conformance::DoesNotConform if counts.fail() == 0 => {
                format!("does not conform: {} not hold", expectations(self.stale))
            }
            Conformance::DoesNotConform => format!(
                "does not conform: {} of {} {}",
                counts.failures(),
                counted(counts.tried(), "clause"),
                if counts.fail() == 1 { "fails" } else { "fail" }
            ),
            Conformance::Unknown => self.unknown(),
        }
    }

    fn unknown(&self) -> String {
        let counts = &self.counts;
        if counts.undecided_must == 0 {
            return "unknown: no clause was judged".to_owned();
        }
        let mut why = Vec::new();
        if counts.inconclusive > 0 {
            why.push(format!("{} inconclusive", counts.inconclusive));
        }
        if counts.broken > 0 {
            why.push(format!("{} broken", counts.broken));
        }
        format!(
            "unknown: {} MUST could not be decided ({}), {}",
            counts.undecided_must,
            why.join(", "),
            passed(counts.pass)
        )
    }
}

fn expectations(n: usize) -> String {
    format!("{} {}", counted(n, "expectation"), if n == 1 { "does" } else { "do" })
}

fn passed(n: usize) -> String {
    format!("{} {}", counted(n, "clause"), if n == 1 { "passes" } else { "pass" })
}
