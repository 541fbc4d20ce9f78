//! The strategy of whole scenarios in a property test of somebody else's.

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sockspec::command::TargetCommand;
use sockspec::limits::Limits;
use sockspec::profile::{Model, Profile};
use sockspec::scenario::{Ranges, Scenario, any as any_scenario};
use sockspec::trace::{Isolation, Trace};
use sockspec::world::World as _;
use sockspec::world::live::Live;

/// A server of their own, and what they want to hold of it: here, that nobody gets what is not his.
fn holds(trace: &Trace) -> bool {
    trace.all_acts().all(|acted| acted.received <= acted.sent)
}

/// One of their servers and a scenario for it: composed with a strategy that is not ours.
fn tried() -> impl Strategy<Value = (u32, Scenario)> {
    let ranges = Ranges { clients: 1..=3, payload: 0..=5000, ..Ranges::default() };
    let profile = Profile::typical(Model::ForkPerConnection);
    (1..=64_u32).prop_flat_map(move |children| (Just(children), any_scenario(&ranges, &profile)))
}

#[test]
fn scenarios_are_drawn_and_enacted_in_a_property_test() {
    let mut live = Live::start(Isolation::Full).unwrap();
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() });
    let world = std::cell::RefCell::new(&mut live);
    runner
        .run(&tried(), |(children, scenario)| {
            let words = [env!("CARGO_BIN_EXE_sockspec"), "serve", "--port", "{port}", "--max-children"];
            let target =
                TargetCommand::from_words(words.map(str::to_owned).into_iter().chain([children.to_string()]));
            prop_assert!(Path::new(&target.argv[0]).exists());
            let trace = world.borrow_mut().enact(&target, &scenario, &Limits::default()).unwrap();
            prop_assert!(holds(&trace), "{trace:?}");
            Ok(())
        })
        .unwrap();
}
