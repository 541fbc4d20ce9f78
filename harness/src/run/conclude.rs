//! Concludes each clause as soon as nothing more will be tried for it, and tells of it.

use crate::outcome::Outcome;
use crate::plan::Entry;
use crate::run::Progress;
use crate::run::cases::{Tally, Work};
use crate::run::expect::Expecting;
use crate::run::outcomes::outcome;
use crate::run::settle::Settled;

/// What is concluded so far.
pub(super) struct Conclusions<'a> {
    plan: &'a [Entry],
    expecting: Expecting<'a>,
    /// Scenarios that are still to be enacted for each clause.
    left: Vec<usize>,
    outcomes: Vec<Option<Outcome>>,
}

impl<'a> Conclusions<'a> {
    pub(super) fn new(plan: &'a [Entry], works: &[Work], expecting: Expecting<'a>) -> Self {
        let mut left = vec![0; plan.len()];
        for work in works {
            work.entries.iter().for_each(|&index| left[index] += 1);
        }
        Self { plan, expecting, left, outcomes: plan.iter().map(|_| None).collect() }
    }

    /// Concludes clauses for which nothing will be tried.
    pub(super) fn untried(&mut self, tell: &mut dyn FnMut(Progress<'_>)) {
        for index in 0..self.plan.len() {
            if self.left[index] == 0 {
                self.conclude(index, &Tally::default(), None, tell);
            }
        }
    }

    /// Concludes clauses whose last scenario this was, unless they need a second look.
    pub(super) fn enacted(&mut self, work: &Work, tallies: &[Tally], tell: &mut dyn FnMut(Progress<'_>)) {
        for &index in &work.entries {
            self.left[index] -= 1;
            if self.left[index] == 0 && super::second_look::unsettled(&tallies[index]).is_none() {
                self.conclude(index, &tallies[index], None, tell);
            }
        }
    }

    /// Concludes a clause that was looked at again.
    pub(super) fn settled(
        &mut self,
        index: usize,
        tally: &Tally,
        settled: Settled,
        tell: &mut dyn FnMut(Progress<'_>),
    ) {
        self.conclude(index, tally, Some(settled), tell);
    }

    /// Concludes whatever is left: the run ended before it.
    pub(super) fn finish(mut self, tallies: &[Tally], tell: &mut dyn FnMut(Progress<'_>)) -> Vec<Outcome> {
        for (index, tally) in tallies.iter().enumerate() {
            if self.outcomes[index].is_none() {
                self.conclude(index, tally, None, tell);
            }
        }
        self.outcomes.into_iter().flatten().collect()
    }

    fn conclude(
        &mut self,
        index: usize,
        tally: &Tally,
        settled: Option<Settled>,
        tell: &mut dyn FnMut(Progress<'_>),
    ) {
        let mut outcome = outcome(&self.plan[index], tally, settled);
        outcome.expected = self.expecting.expected(outcome.clause.id, &outcome.finding);
        tell(Progress::Concluded(self.outcomes[index].insert(outcome)));
    }
}
