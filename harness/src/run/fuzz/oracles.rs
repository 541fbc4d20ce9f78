//! Which clauses can be judged from any scenario, and what one enactment says of them.

use crate::clause::{Clause, Host, Level};
use crate::plan::Options;
use crate::profile::Profile;
use crate::scenario::Scenario;
use crate::spec;
use crate::trace::Trace;
use crate::verdict::{Evidence, Verdict};

/// Families in the order in which they name a failure that several clauses see: what is nearest to the cause first.
const NEAREST: [&str; 8] = ["echo", "close", "reap", "fd", "fork", "accept", "listen", "limits"];

/// The clauses that apply to this server and can be judged from any trace; the one that names a failure best first.
#[must_use]
pub fn oracles(options: &Options, profile: &Profile, host: Host) -> Vec<&'static Clause> {
    let rank = |clause: &Clause| NEAREST.iter().position(|family| *family == clause.id.family());
    let mut oracles: Vec<&'static Clause> = spec::catalogue()
        .filter(|clause| clause.level > Level::May && options.selects(clause))
        .filter(|clause| rank(clause).is_some())
        .filter(|clause| clause.needs.iter().all(|need| need.unmet(profile, host).is_none()))
        .collect();
    oracles.sort_by_key(|clause| (std::cmp::Reverse(clause.level), rank(clause)));
    oracles
}

/// What the oracles say of one enactment, by their index.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) passed: Vec<usize>,
    pub(super) failed: Vec<(usize, Evidence)>,
}

/// Asks all of them, or only one.
pub(super) fn ask(oracles: &[&Clause], only: Option<usize>, scenario: &Scenario, trace: &Trace) -> Said {
    let mut said = Said::default();
    let asked = oracles.iter().enumerate().filter(|(index, _)| only.is_none_or(|only| only == *index));
    for (index, clause) in asked {
        match (clause.check)(scenario, trace) {
            Verdict::Pass(_) => said.passed.push(index),
            Verdict::Fail(evidence) => said.failed.push((index, evidence)),
            Verdict::Inconclusive(_) | Verdict::NotApplicable(_) => {}
        }
    }
    said
}
