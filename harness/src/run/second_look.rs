//! A second look at all that failed in the first round, or that nobody could judge there: which clause comes when, and which
//! stands for others. `settle` is what is done for each.

use std::sync::Arc;

use crate::clause::ClauseId;
use crate::command::TargetCommand;
use crate::outcome::{Cause, Failure, Finding, Status};
use crate::plan::Entry;
use crate::profile::Profile;
use crate::run::cases::{Doubt, Tally};
use crate::run::conclude::Conclusions;
use crate::run::pace::Patience;
use crate::run::pool::Pool;
use crate::run::settle::{Settled, Settler};
use crate::run::{Progress, Run, WAITING_AT_ONCE};
use crate::scenario::{Act, Scenario};
use crate::trace::{Acted, Ending, Fate, Trace, What};
use crate::verdict::{Kind, Verdict};

/// What needs a second look.
pub(super) enum Unsettled {
    Failure(Box<Failure>),
    Doubt(Doubt),
}

pub(super) fn unsettled(tally: &Tally) -> Option<Unsettled> {
    match (&tally.failure, &tally.passed, &tally.moot, &tally.doubt) {
        (Some(failure), ..) => Some(Unsettled::Failure(Box::new(failure.clone()))),
        (None, None, None, Some(doubt)) => Some(Unsettled::Doubt(doubt.clone())),
        (None, ..) => None,
    }
}

/// That a server ends its half of a connection when the client has. Where it does not, whoever reads to the end waits in
/// vain, whatever the scenario is about.
const ENDS: ClauseId = ClauseId("close.eof-reaches-client");

/// Beside its family, the clauses that ask for an end as such: its failure does not speak for theirs.
const ENDS_TOO: [ClauseId; 2] = [ClauseId("echo.empty"), ClauseId("echo.pipelined-close")];

/// What a second look needs to know.
pub(super) struct Looked<'a> {
    pub(super) plan: &'a [Entry],
    pub(super) target: &'a Arc<TargetCommand>,
    pub(super) profile: &'a Arc<Profile>,
    pub(super) tallies: &'a [Tally],
}

impl Run<'_> {
    /// Looks again at what failed, and at what nobody could judge. First at the ends of connections: if they are missing,
    /// that is one failure, and not one of each clause in whose scenarios a client reads to the end.
    pub(super) fn settle(
        &self,
        looked: &Looked<'_>,
        concluded: &mut Conclusions<'_>,
        tell: &mut dyn FnMut(Progress<'_>),
    ) {
        let numbered = looked.tallies.iter().enumerate();
        let mut left: Vec<(usize, Unsettled)> =
            numbered.filter_map(|(index, tally)| Some((index, unsettled(tally)?))).collect();
        tell(Progress::Confirming { clauses: left.len() });
        let patience = Arc::new(Patience::new(self.limits(looked.profile)));
        let is_about_ends = |(index, _): &(usize, Unsettled)| looked.plan[*index].clause.id == ENDS;
        if let Some(at) = left.iter().position(is_about_ends) {
            let ends = vec![left.remove(at)];
            let statuses = self.look_again(looked, ends, &patience, concluded, tell);
            if statuses == [Status::Fail] {
                patience.give_up();
                left.retain(|(index, unsettled)| {
                    let clause = looked.plan[*index].clause;
                    let excused = match unsettled {
                        Unsettled::Failure(failure) => {
                            clause.id.family() != ENDS.family()
                                && !ENDS_TOO.contains(&clause.id)
                                && lacks_ends_alone(clause.check, failure)
                        }
                        Unsettled::Doubt(doubt) => doubt.lacks_ends,
                    };
                    if excused {
                        let finding = Finding::Skipped(Cause::DependsOn, format!("{ENDS} failed"));
                        let settled = Settled { finding, counterexample: None };
                        tell(Progress::Settled(clause.id, settled.finding.status()));
                        concluded.settled(*index, &looked.tallies[*index], settled, tell);
                    }
                    !excused
                });
            }
        }
        self.look_again(looked, left, &patience, concluded, tell);
    }

    /// Looks again at these clauses. Returns what becomes of each, in the order in which they are settled.
    fn look_again(
        &self,
        looked: &Looked<'_>,
        unsettled: Vec<(usize, Unsettled)>,
        patience: &Arc<Patience>,
        concluded: &mut Conclusions<'_>,
        tell: &mut dyn FnMut(Progress<'_>),
    ) -> Vec<Status> {
        let indexes: Vec<usize> = unsettled.iter().map(|(index, _)| *index).collect();
        let jobs = unsettled.into_iter().map(|(index, unsettled)| {
            let (target, profile, patience) =
                (Arc::clone(looked.target), Arc::clone(looked.profile), Arc::clone(patience));
            let (clause, shrink_within) = (looked.plan[index].clause, self.options.shrink_within);
            let untried = looked.tallies[index].untried.clone();
            move |world: &mut dyn crate::world::World| {
                let settler = Settler {
                    clause,
                    target: &target,
                    profile: &profile,
                    patience: &patience,
                    untried: &untried,
                    shrink_within,
                    legal: false,
                };
                match unsettled {
                    Unsettled::Failure(failure) => settler.failure(world, *failure),
                    Unsettled::Doubt(doubt) => settler.doubt(world, &doubt.scenario),
                }
            }
        });
        let at_once = (self.options.jobs * WAITING_AT_ONCE).min(indexes.len());
        let mut statuses = Vec::new();
        Pool::with(self.source, self.stop, at_once, |pool| {
            pool.each(jobs, |at, result| {
                let settled = result.unwrap_or_else(|error| Settled {
                    finding: Finding::Broken(error.in_full()),
                    counterexample: None,
                });
                statuses.push(settled.finding.status());
                tell(Progress::Settled(looked.plan[indexes[at]].clause.id, settled.finding.status()));
                concluded.settled(indexes[at], &looked.tallies[indexes[at]], settled, tell);
                true
            })
        });
        statuses
    }
}

/// Whether the check would not fail if each client that has all its bytes had read the end of its connection, too.
fn lacks_ends_alone(check: fn(&Scenario, &Trace) -> Verdict, failure: &Failure) -> bool {
    let mut trace = failure.trace.clone();
    let mut missing = 0;
    for event in &mut trace.events {
        if let What::Acted(acted) = &mut event.what
            && lacks_its_end(acted)
        {
            (acted.fate, acted.ending) = (Fate::Done, Some(Ending::Eof));
            missing += 1;
        }
    }
    failure.evidence.kind == Kind::Missing
        && missing > 0
        && !matches!(check(&failure.scenario, &trace), Verdict::Fail(_))
}

/// Whether a client that has all its bytes waited for the end of its connection in vain.
pub(super) fn lacks_ends(trace: &Trace) -> bool {
    trace.all_acts().any(lacks_its_end)
}

fn lacks_its_end(acted: &Acted) -> bool {
    acted.fate == Fate::Missed
        && acted.received == acted.sent
        && matches!(acted.act, Act::ReadToEnd | Act::Visit(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Client, Payload};
    use crate::trace::build::Build;
    use crate::trace::query::judge;

    fn lacks(trace: Trace) -> bool {
        let check: fn(&Scenario, &Trace) -> Verdict =
            |_, trace| judge(|| trace.served(Client(0)).map(|bytes| bytes.to_string()));
        let Verdict::Fail(evidence) = check(&Scenario::default(), &trace) else { panic!("it passes") };
        lacks_ends_alone(check, &Failure { scenario: Scenario::default(), trace, evidence })
    }

    fn visited(received: u64, fate: Fate) -> Trace {
        let visit = Act::Visit(Payload::greeting());
        let became = |acted: &mut Acted| {
            (acted.fate, acted.received, acted.ending) = (fate, received, None);
            if received < acted.sent {
                acted.spans.clear();
            }
        };
        Build::served().acted(0, visit, became).trace()
    }

    #[test]
    fn clauses_about_ends_are_in_the_catalogue() {
        for id in [ENDS].iter().chain(&ENDS_TOO) {
            assert!(crate::spec::catalogue().any(|clause| clause.id == *id), "{id}");
        }
    }

    #[test]
    fn who_has_all_bytes_lacks_the_end_alone() {
        assert!(lacks(visited(16, Fate::Missed)));
        assert!(!lacks(visited(0, Fate::Missed)));
        assert!(!lacks(visited(0, Fate::Ended)));
    }
}
