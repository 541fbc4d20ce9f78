//! What holds of every generated scenario.

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::*;
use crate::run::cases::crowd;
use crate::scenario::model::is_legal;
use crate::scenario::{Act, Payload, Step, any};
use crate::trace::aftermath::{all_left, left_working};
use crate::trace::build::profile;

#[test]
fn every_scenario_makes_sense_and_ends_with_everybody_gone() {
    let mut runner = TestRunner::deterministic();
    let strategy = any(&Ranges::default(), &profile());
    for _ in 0..500 {
        let scenario = strategy.new_tree(&mut runner).unwrap().current();
        assert!(is_legal(&scenario), "{scenario:?}");
        assert!(all_left(&scenario).is_ok() && left_working(&scenario).is_ok(), "{scenario:?}");
    }
}

#[test]
fn a_case_is_the_same_everywhere() {
    let case = |seed, index| scenario(&Ranges::default(), &profile(), &[], seed, index);
    assert_eq!(case(3, 7), case(3, 7));
    assert_ne!(case(3, 7), case(3, 8));
    assert_ne!(case(3, 7), case(4, 7));
}

#[test]
fn the_ranges_are_kept_to() {
    let mut runner = TestRunner::deterministic();
    let ranges = Ranges { clients: 2..=3, payload: 7..=9, backlog: 5..=6, own_network: true };
    let strategy = any(&ranges, &profile());
    for _ in 0..200 {
        let scenario = strategy.new_tree(&mut runner).unwrap().current();
        assert!(crowd(&scenario).0 <= 3, "{scenario:?}");
        for (_, step) in scenario.flat() {
            match step {
                Step::Do(_, Act::Exchange(payload)) => {
                    assert!((7..=9).contains(&payload.len) || *payload == Payload::greeting());
                }
                Step::Launch(_, setting) => {
                    assert!(setting.backlog.or(setting.somaxconn).is_none_or(|n| (5..=6).contains(&n)));
                }
                _ => {}
            }
        }
    }
}
