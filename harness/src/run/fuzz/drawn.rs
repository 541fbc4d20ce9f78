//! Case after case of a seed: the same on every machine, with nothing shared.

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, TestRunner};

use crate::clause::Clause;
use crate::plan::rng;
use crate::profile::Profile;
use crate::run::cases::fits;
use crate::scenario::generate::fitted;
use crate::scenario::{Ranges, Scenario, any};

/// Every so manieth case is a scenario of the catalogue, for what no life of clients comes to by chance: exhaustion, more
/// clients than there is room for, circumstances of a launch.
const CATALOGUE_EVERY: u64 = 24;

/// The scenario of case `index` of a seed, the same on every machine, and the clause that alone judges it, if it is one
/// of the catalogue. One with more clients at once than the server takes is none: then it is a life like others.
#[must_use]
pub fn scenario(
    ranges: &Ranges,
    profile: &Profile,
    oracles: &[&'static Clause],
    seed: u64,
    index: u64,
) -> Option<(Scenario, Option<usize>)> {
    let mut runner = TestRunner::new_with_rng(Config::default(), rng(seed, "fuzz", index));
    if index % CATALOGUE_EVERY == CATALOGUE_EVERY - 1 && !oracles.is_empty() {
        let at = usize::try_from(index / CATALOGUE_EVERY).ok()? % oracles.len();
        let tree = (oracles[at].scenarios)(profile).new_tree(&mut runner).ok()?;
        let drawn = fitted(tree.current(), profile);
        if fits(oracles[at], profile, &drawn) {
            return Some((drawn, Some(at)));
        }
    }
    any(ranges, profile).new_tree(&mut runner).ok().map(|tree| (fitted(tree.current(), profile), None))
}
