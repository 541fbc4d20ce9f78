//! The walk to the smallest scenario: one way of making it simpler after another, and round again while any of them helps.

use std::collections::HashSet;

use super::{PASSES, Pass, lives};
use crate::scenario::Scenario;
use crate::scenario::model::is_legal;

/// A walk. It offers a scenario; whoever tries it says if it will do, and the walk goes on from there.
#[derive(Debug)]
pub struct Walk {
    passes: Vec<Pass>,
    accepts: fn(&Scenario) -> bool,
    /// The smallest so far.
    smallest: Scenario,
    /// What the pass under way offers instead, and the next of it.
    offers: Vec<Scenario>,
    next: usize,
    pass: usize,
    /// Whether this round has led anywhere.
    moved: bool,
    /// What has been offered, as JSON.
    offered: HashSet<String>,
}

impl Walk {
    /// From any scenario.
    #[must_use]
    pub fn from(scenario: &Scenario) -> Self {
        Self::along(PASSES.to_vec(), |_| true, scenario)
    }

    /// From a scenario that makes sense step by step; so does each that is offered.
    #[must_use]
    pub fn from_lives(scenario: &Scenario) -> Self {
        Self::along(lives::PASSES.to_vec(), is_legal, scenario)
    }

    fn along(passes: Vec<Pass>, accepts: fn(&Scenario) -> bool, scenario: &Scenario) -> Self {
        Self {
            offers: passes[0](scenario),
            passes,
            accepts,
            smallest: scenario.clone(),
            next: 0,
            pass: 0,
            moved: false,
            offered: HashSet::from([key(scenario)]),
        }
    }

    /// A simpler scenario that was not offered before; `None` when there is none left.
    #[expect(clippy::should_implement_trait, reason = "what comes next hangs on what was accepted")]
    pub fn next(&mut self) -> Option<Scenario> {
        loop {
            while let Some(offer) = self.offers.get(self.next) {
                self.next += 1;
                let new = !offer.steps.is_empty() && self.offered.insert(key(offer));
                if new && (self.accepts)(offer) {
                    return Some(offer.clone());
                }
            }
            self.pass += 1;
            if self.pass == self.passes.len() {
                if !std::mem::take(&mut self.moved) {
                    return None;
                }
                self.pass = 0;
            }
            self.next = 0;
            self.offers = self.passes[self.pass](&self.smallest);
        }
    }

    /// The one that was offered last will do. The pass goes on where it was: what it offered before did not help, and
    /// what is gone has moved the rest up.
    pub fn accept(&mut self) {
        let Some(at) = self.next.checked_sub(1) else { return };
        if at < self.offers.len() {
            self.smallest = self.offers.swap_remove(at);
            self.offers = self.passes[self.pass](&self.smallest);
            self.next = at;
            self.moved = true;
        }
    }
}

fn key(scenario: &Scenario) -> String {
    // Plain data can always be written.
    serde_json::to_string(scenario).unwrap_or_default()
}
