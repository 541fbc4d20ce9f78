//! The scenarios of a plan, each enacted once, and judged by every clause that asked for it.

use std::time::Duration;

use crate::clause::{Clause, Level};
use crate::error::Error;
use crate::outcome::Failure;
use crate::plan::Entry;
use crate::profile::{Model, Profile};
use crate::scenario::{Act, Client, Scenario, Step};
use crate::trace::Trace;
use crate::verdict::Verdict;

/// One scenario and the clauses that want it, by their index in the plan.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) scenario: Scenario,
    pub(super) entries: Vec<usize>,
}

/// All scenarios of a plan, each once, the longest first: so the end of a run is not spent waiting for one of them.
pub(super) fn works(plan: &[Entry]) -> Vec<Work> {
    let mut works: Vec<Work> = Vec::new();
    for (index, entry) in plan.iter().enumerate() {
        for scenario in entry.cases.iter().flatten() {
            match works.iter_mut().find(|work| work.scenario == *scenario) {
                Some(work) => work.entries.push(index),
                None => works.push(Work { scenario: scenario.clone(), entries: vec![index] }),
            }
        }
    }
    works.sort_by_key(|work| std::cmp::Reverse(weight(&work.scenario)));
    works
}

/// About how long a scenario takes, milliseconds: only the order of scenarios hangs on it.
fn weight(scenario: &Scenario) -> u64 {
    scenario
        .flat()
        .map(|(_, step)| match step {
            Step::Launch(..) => 3,
            Step::Watch(..) | Step::Pause(_) => step.takes_ms(),
            Step::Quiet => 25,
            Step::Do(_, Act::Linger(ms)) => u64::from(*ms),
            Step::Do(_, Act::ReadSlowly { pause_ms, times, .. }) => u64::from(*pause_ms) * u64::from(*times),
            Step::Do(_, Act::Stall { .. }) => 300,
            Step::Do(_, Act::Join) => 300,
            Step::Do(_, Act::Exchange(payload) | Act::Visit(payload) | Act::Send(payload)) => {
                1 + payload.len / 50_000
            }
            Step::Do(..) => 1,
            _ => 0,
        })
        .sum()
}

/// What is known of one clause so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) cases: u32,
    pub(super) duration: Duration,
    pub(super) passed: Option<String>,
    pub(super) doubt: Option<Doubt>,
    /// The simplest failure so far.
    pub(super) failure: Option<Failure>,
    pub(super) broken: Option<String>,
    /// Why it does not apply to this server.
    pub(super) moot: Option<String>,
    /// Scenarios left out, since it had failed before their turn came.
    pub(super) untried: Vec<Scenario>,
}

/// A scenario that did not decide.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    pub(super) scenario: Scenario,
    pub(super) trace: Trace,
}

/// Lets every clause that wanted this scenario judge what was seen; nothing was seen if all of them had failed before.
pub(super) fn judge(
    work: &Work,
    plan: &[Entry],
    result: Result<Option<(Trace, Duration)>, Error>,
    tallies: &mut [Tally],
) {
    for &index in &work.entries {
        let tally = &mut tallies[index];
        match &result {
            Err(error) => tally.broken = Some(error.in_full()),
            Ok(None) => tally.untried.push(work.scenario.clone()),
            Ok(Some((trace, took))) => {
                tally.cases += 1;
                tally.duration += *took;
                match (plan[index].clause.check)(&work.scenario, trace) {
                    Verdict::Pass(seen) => tally.passed = Some(seen),
                    Verdict::Inconclusive(_) => {
                        tally.doubt = Some(Doubt { scenario: work.scenario.clone(), trace: trace.clone() });
                    }
                    Verdict::NotApplicable(reason) => tally.moot = Some(reason),
                    Verdict::Fail(evidence) => {
                        let simplest = tally
                            .failure
                            .as_ref()
                            .is_none_or(|failure| weight(&work.scenario) < weight(&failure.scenario));
                        if simplest {
                            let (scenario, trace) = (work.scenario.clone(), trace.clone());
                            tally.failure = Some(Failure { scenario, trace, evidence });
                        }
                    }
                }
            }
        }
    }
}

/// Whether a scenario has no more clients at once than the server takes. What happens beyond a limit is what the family
/// `limits` asks; and what is no MUST may be asked of a server that takes few.
pub(super) fn fits(clause: &Clause, profile: &Profile, scenario: &Scenario) -> bool {
    let one_shot = profile.model == Model::OneShot;
    let is_free = clause.needs.iter().any(|need| need.is_of_make())
        || (!one_shot && (clause.id.family() == "limits" || clause.level < Level::Must));
    let (at_once, all) = crowd(scenario);
    is_free || (at_once <= profile.clients as usize && (!one_shot || all <= 1))
}

/// The most clients that a scenario has connected at once, and how many connections it makes in all.
#[must_use]
pub(super) fn crowd(scenario: &Scenario) -> (usize, usize) {
    let mut open: Vec<Client> = Vec::new();
    let (mut most, mut all) = (0, 0);
    for (_, step) in scenario.flat() {
        let Step::Do(client, act) = step else { continue };
        match act {
            Act::Connect(_) | Act::Dial(_) | Act::Visit(_) => {
                all += 1;
                open.retain(|other| other != client);
                open.push(*client);
                most = most.max(open.len());
                if matches!(act, Act::Visit(_)) {
                    open.pop();
                }
            }
            Act::Close | Act::Reset => open.retain(|other| other != client),
            _ => {}
        }
    }
    (most, all)
}
