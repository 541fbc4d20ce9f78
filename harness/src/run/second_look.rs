//! A second look at all that failed in the first round, or that nobody could judge there: which clause comes when, and which
//! stands for others. `settle` is what is done for each.

use std::sync::Arc;

use crate::command::TargetCommand;
use crate::outcome::{Cause, Counterexample, Failure, Finding};
use crate::plan::Entry;
use crate::profile::Profile;
use crate::run::cases::{Doubt, Tally};
use crate::run::conclude::Conclusions;
use crate::run::pace::Patience;
use crate::run::root::ROOTS;
use crate::run::settle::{Settled, Settler};
use crate::run::{Progress, Run};
use crate::trace::Trace;

/// What needs a second look.
pub(super) enum Unsettled {
    Failure(Box<Failure>),
    Doubt(Box<Doubt>),
}

impl Unsettled {
    /// What was seen.
    pub(super) fn trace(&self) -> &Trace {
        match self {
            Self::Failure(failure) => &failure.trace,
            Self::Doubt(doubt) => &doubt.trace,
        }
    }
}

pub(super) fn unsettled(tally: &Tally) -> Option<Unsettled> {
    match (&tally.failure, &tally.passed, &tally.moot, &tally.doubt) {
        (Some(failure), ..) => Some(Unsettled::Failure(Box::new(failure.clone()))),
        (None, None, None, Some(doubt)) => Some(Unsettled::Doubt(Box::new(doubt.clone()))),
        (None, ..) => None,
    }
}

/// What a second look needs to know.
pub(super) struct Looked<'a> {
    pub(super) plan: &'a [Entry],
    pub(super) target: &'a Arc<TargetCommand>,
    pub(super) profile: &'a Arc<Profile>,
    pub(super) tallies: &'a [Tally],
}

impl Run<'_> {
    /// Looks again at what failed, and at what nobody could judge. First at the roots: what they explain is told once, and not
    /// for each clause in whose scenarios the same thing happens.
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
        for root in &ROOTS {
            let is_root = |(index, _): &(usize, Unsettled)| looked.plan[*index].clause.id == root.id;
            let Some(at) = left.iter().position(is_root) else { continue };
            let first = vec![left.remove(at)];
            let Some(failed) = self.look_again(looked, first, &patience, concluded, tell).pop() else {
                continue;
            };
            if root.is_waited_for {
                patience.give_up();
            }
            let is_explained = |(index, seen): &mut (usize, Unsettled)| {
                root.explains(&failed, looked.plan[*index].clause, seen)
            };
            for (index, _) in left.extract_if(.., is_explained) {
                let finding = Finding::Skipped(Cause::DependsOn, format!("{} failed", root.id));
                let settled = Settled { finding, counterexample: None };
                tell(Progress::Settled(looked.plan[index].clause.id, settled.finding.status()));
                concluded.settled(index, &looked.tallies[index], settled, tell);
            }
        }
        self.look_again(looked, left, &patience, concluded, tell);
    }

    /// Looks again at these clauses. Returns the proofs of those that fail.
    fn look_again(
        &self,
        looked: &Looked<'_>,
        unsettled: Vec<(usize, Unsettled)>,
        patience: &Arc<Patience>,
        concluded: &mut Conclusions<'_>,
        tell: &mut dyn FnMut(Progress<'_>),
    ) -> Vec<Counterexample> {
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
        let mut failures = Vec::new();
        self.pool.each(jobs, |at, result| {
            let settled = result.unwrap_or_else(|error| Settled {
                finding: Finding::Broken(error.in_full()),
                counterexample: None,
            });
            failures.extend(settled.counterexample.clone());
            tell(Progress::Settled(looked.plan[indexes[at]].clause.id, settled.finding.status()));
            concluded.settled(indexes[at], &looked.tallies[indexes[at]], settled, tell);
            true
        });
        failures
    }
}
