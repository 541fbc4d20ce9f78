//! What a run has found: one outcome a clause, and the report of all.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clause::{Clause, Level};
use crate::command::TargetCommand;
use crate::expectation::Expected;
use crate::profile::Profile;
use crate::scenario::Scenario;
use crate::trace::{Isolation, Trace};
use crate::verdict::{Evidence, Verdict};

/// Why a clause was skipped that the user did not ask for; what a run did not reach has another reason.
pub const NOT_SELECTED: &str = "not selected";

/// What became of a clause in this run.
#[derive(Clone, Debug)]
pub enum Finding {
    /// It was tried, and a check has answered.
    Judged(Verdict),
    /// It was not tried.
    Skipped(Cause, String),
    /// The harness failed: what it was doing, and the error.
    Broken(String),
}

/// Why a clause was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It does not apply to this kind of server.
    NotApplicable,
    /// The host does not allow it.
    Host,
    /// The user did not ask for it, or stopped the run before it.
    NotSelected,
    /// Another clause, on which it depends, has failed.
    DependsOn,
}

/// The status of a clause in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the five words of the report")]
pub enum Status {
    Pass,
    Fail,
    Inconclusive,
    Skipped,
    Broken,
}

impl From<Verdict> for Finding {
    /// What a check says does not apply is a skip.
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::NotApplicable(reason) => Self::Skipped(Cause::NotApplicable, reason),
            verdict => Self::Judged(verdict),
        }
    }
}

impl Finding {
    /// The word for it.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Judged(Verdict::Pass(_)) => Status::Pass,
            Self::Judged(Verdict::Fail(_)) => Status::Fail,
            Self::Judged(Verdict::Inconclusive(_)) => Status::Inconclusive,
            Self::Skipped(..) | Self::Judged(Verdict::NotApplicable(_)) => Status::Skipped,
            Self::Broken(_) => Status::Broken,
        }
    }
}

/// One clause and what was found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The clause.
    pub clause: &'static Clause,
    /// What was found.
    pub finding: Finding,
    /// The smallest scenario that fails, for a failure.
    pub counterexample: Option<Counterexample>,
    /// Scenarios that were enacted for it, re-enactments and shrinking not counted.
    pub cases: u32,
    /// Time that its enactments took together.
    pub duration: Duration,
    /// That this was expected of it: then it is told, and fails no run.
    pub expected: Option<Expected>,
}

/// The smallest scenario that was found to break a clause.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What was done and seen.
    pub failure: Failure,
    /// How often it failed when enacted again: failures of enactments.
    pub rate: (u32, u32),
}

/// A scenario that breaks a clause, and the proof.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was done.
    pub scenario: Scenario,
    /// What was seen.
    pub trace: Trace,
    /// What the check said of it.
    pub evidence: Evidence,
}

/// Everything a run has found.
#[derive(Debug)]
pub struct Report {
    /// The server.
    pub target: TargetCommand,
    /// What kind of server it is; `None` if it could not be learned.
    pub profile: Option<Profile>,
    /// Release of the kernel.
    pub kernel: String,
    /// The rung of the isolation ladder.
    pub isolation: Isolation,
    /// Decides every generated scenario.
    pub seed: u64,
    /// In the order of the catalogue, one for each clause of it.
    pub outcomes: Vec<Outcome>,
    /// Wall-clock time of the run.
    pub duration: Duration,
    /// Enactments, all together.
    pub enactments: u64,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
    /// What a reader should know besides ("a wrapper does not pass signals on"), each said once.
    pub notes: Vec<String>,
    /// Options of the run that must be said again to repeat it ("--clients 40").
    pub options: Vec<String>,
    /// Last lines that the server wrote to stderr in the baseline: shown when it does not start.
    pub stderr: Vec<String>,
    /// Expectations that do not hold, one line each: they fail the run.
    pub stale: Vec<String>,
}

/// The verdict on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conformance {
    /// No MUST failed, and none stayed unknown, but for what was expected.
    Conforms,
    /// A MUST failed (with `--strict` a SHOULD too), or an expectation does not hold.
    DoesNotConform,
    /// Nothing ran, or a MUST was broken or inconclusive.
    Unknown,
}

impl Report {
    /// The verdict on the server. A failure wins over what is unknown; nothing exercised is unknown.
    #[must_use]
    pub fn conformance(&self, strict: bool) -> Conformance {
        let fails_at = if strict { Level::Should } else { Level::Must };
        let of =
            |status: Status| self.outcomes.iter().filter(move |outcome| outcome.finding.status() == status);
        let unexpected = |outcome: &&Outcome| outcome.expected.is_none();
        if of(Status::Fail).filter(unexpected).any(|outcome| outcome.clause.level >= fails_at)
            || !self.stale.is_empty()
        {
            return Conformance::DoesNotConform;
        }
        let unknown = of(Status::Broken)
            .chain(of(Status::Inconclusive))
            .filter(unexpected)
            .any(|outcome| outcome.clause.level >= Level::Must);
        let exercised = of(Status::Pass).chain(of(Status::Fail)).next().is_some();
        if unknown || !exercised || self.interrupted { Conformance::Unknown } else { Conformance::Conforms }
    }

    /// How many clauses were expected to end as they did.
    #[must_use]
    pub fn expected(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.expected.is_some()).count()
    }

    /// How many clauses have this status.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.finding.status() == status).count()
    }
}
