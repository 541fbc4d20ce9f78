//! What becomes of a clause: its scenarios judged, and all of that in one outcome.

use std::time::Duration;

use crate::clause::{Clause, ClauseId, Level};
use crate::error::Error;
use crate::outcome::{Cause, Finding, Status};
use crate::plan::Entry;
use crate::run::cases::{Tally, Work, crowd, judge};
use crate::run::outcomes::outcome;
use crate::run::second_look::{Unsettled, unsettled};
use crate::scenario::{Act, Payload, Scenario, Step, To, act};
use crate::trace::build::{Build, serving};
use crate::trace::{Exit, Trace};
use crate::verdict::Verdict;

/// Judges by the exit status: 0 passes, 1 fails, 2 does not apply; none is doubt.
static STATUS: Clause = Clause {
    id: ClauseId("stop.scripted"),
    level: Level::Must,
    requirement: "The server exits with status 0.",
    why: "It is played.",
    citations: &["exit(3)"],
    needs: &[],
    scenarios: |_| unreachable!("its scenarios are given"),
    check: |_, trace| match trace.exit(crate::scenario::Instance(0)) {
        Some((_, Exit::Code(0))) => Verdict::Pass("0".into()),
        Some((_, Exit::Code(1))) => Verdict::seen("0", "1"),
        Some(_) => Verdict::NotApplicable("it has no status".into()),
        None => Verdict::Inconclusive("it runs".into()),
    },
};

fn exited(code: i32) -> Option<Trace> {
    Some(Build::served().exited(0, Exit::Code(code)).trace())
}

fn runs() -> Option<Trace> {
    Some(Build::served().looked(serving()).trace())
}

fn entry() -> Entry {
    Entry { clause: &STATUS, cases: Ok(Vec::new()) }
}

/// What is known after these enactments: `None` was not enacted.
fn tally(enactments: Vec<Option<Trace>>) -> Tally {
    let mut tallies = [Tally::default()];
    for seen in enactments {
        let work = Work { scenario: Scenario::served([Step::Look]), entries: vec![0] };
        judge(&work, &[entry()], Ok(seen.map(|trace| (trace, Duration::ZERO))), &mut tallies);
    }
    let [tally] = tallies;
    tally
}

fn status(tally: &Tally) -> Status {
    outcome(&entry(), tally, None).finding.status()
}

#[test]
fn one_failure_outweighs_all_passes() {
    assert_eq!(status(&tally(vec![exited(0), exited(0)])), Status::Pass);
    let mixed = tally(vec![exited(0), exited(1), exited(0), runs()]);
    assert_eq!((status(&mixed), mixed.cases), (Status::Fail, 4));
    assert!(matches!(unsettled(&mixed), Some(Unsettled::Failure(_))));
}

#[test]
fn a_doubt_is_looked_at_again_only_where_nothing_else_is_known() {
    assert!(matches!(unsettled(&tally(vec![runs(), runs()])), Some(Unsettled::Doubt(_))));
    for known in [exited(0), exited(2)] {
        assert!(unsettled(&tally(vec![runs(), known])).is_none());
    }
}

#[test]
fn what_does_not_apply_is_skipped_unless_it_was_judged_elsewhere() {
    assert_eq!(status(&tally(vec![exited(2)])), Status::Skipped);
    assert_eq!(status(&tally(vec![exited(2), exited(0)])), Status::Pass);
    assert_eq!(status(&tally(vec![exited(1), exited(2)])), Status::Fail);
}

#[test]
fn nothing_enacted_is_no_pass() {
    let untried = tally(vec![None]);
    let finding = outcome(&entry(), &untried, None).finding;
    assert!(matches!(finding, Finding::Skipped(Cause::NotSelected, _)), "{finding:?}");
    assert_eq!(untried.untried.len(), 1);
}

#[test]
fn a_broken_enactment_breaks_the_clause_where_nothing_passed() {
    let mut tallies = [Tally::default()];
    let work = Work { scenario: Scenario::default(), entries: vec![0] };
    judge(&work, &[entry()], Err(Error::EnactorDied("killed".into())), &mut tallies);
    assert_eq!(status(&tallies[0]), Status::Broken);
}

#[test]
fn the_simplest_failure_is_kept() {
    let mut tallies = [Tally::default()];
    for length in [3, 1, 2] {
        let scenario = Scenario::served((0..length).map(|client| act(client, Act::Connect(To::Target))));
        let work = Work { scenario, entries: vec![0] };
        let failed = Some((exited(1).unwrap(), Duration::ZERO));
        judge(&work, &[entry()], Ok(failed), &mut tallies);
    }
    assert_eq!(tallies[0].failure.as_ref().unwrap().scenario.clients().len(), 1);
}

#[test]
fn a_crowd_is_who_is_there_at_once() {
    let (connect, visit) = (Act::Connect(To::Target), Act::Visit(Payload::greeting()));
    let scenario = Scenario::served([
        Step::Together(vec![act(0, connect), act(1, Act::Dial(To::Target))]),
        act(0, Act::Close),
        act(2, visit),
        act(3, visit),
        act(1, Act::Reset),
        act(0, connect),
    ]);
    assert_eq!(crowd(&scenario), (2, 5));
}
