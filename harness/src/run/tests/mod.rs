//! Runs in scripted worlds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::clause::Host;
use crate::command::TargetCommand;
use crate::error::Error;
use crate::limits::Limits;
use crate::outcome::{Cause, Conformance, Finding, Report, Status};
use crate::plan::Options;
use crate::run::check_in;
use crate::scenario::{Condition, Instance, Scenario};
use crate::trace::build::Build;
use crate::trace::{Exit, Isolation, Look, Trace};

mod baseline;
mod judge;
mod pool;
mod scripted;
mod settle;

use baseline::{AT_ONCE, Shown, many, with_one_each};

fn checked<F>(play: F) -> Result<Report, Error>
where
    F: FnMut(&Scenario, &Limits) -> Result<Trace, Error> + Clone + Sync + 'static,
{
    let host = Host { isolation: Isolation::Full, process_limit: true };
    let target = TargetCommand::from_words(["srv", "{port}"]);
    let options = Options { only: vec!["reap".into()], jobs: Some(2), ..Options::default() };
    check_in(&scripted::Stage(play), host, &target, &options, &AtomicBool::new(false), &mut |_| {})
}

#[test]
fn a_server_that_does_not_start_fails_that_clause_and_is_asked_no_more() {
    let report = checked(|_, _| {
        let build = Build::empty().awaited(Condition::Listening(Instance(0)), false, Look::default());
        Ok(build.exited(0, Exit::Code(1)).trace())
    })
    .unwrap();
    assert_eq!(report.conformance(false), Conformance::DoesNotConform);
    for outcome in &report.outcomes {
        let id = outcome.clause.id;
        match &outcome.finding {
            Finding::Judged(_) => assert_eq!(id.0, "start.listens-in-time"),
            Finding::Skipped(Cause::DependsOn, _) => assert_eq!(id.family(), "reap"),
            Finding::Skipped(Cause::NotSelected, _) => assert_ne!(id.family(), "reap"),
            other => panic!("{id}: {other:?}"),
        }
    }
    assert_eq!(report.count(Status::Fail), 1);
}

#[test]
fn a_harness_that_fails_at_once_blames_nobody() {
    let error =
        checked(|_, _| Err(Error::system("mount /proc", io::ErrorKind::PermissionDenied))).unwrap_err();
    assert_eq!(error.in_full(), "mount /proc: permission denied");
}

#[test]
fn a_harness_that_fails_later_leaves_the_clauses_in_doubt() {
    let enactments = Arc::new(AtomicU32::new(0));
    let report = checked(move |scenario, _| match enactments.fetch_add(1, Ordering::Relaxed) {
        0 => Ok(Shown { looks: |clients| with_one_each(clients, false), ..AT_ONCE }.trace()),
        1 => Ok(many(scenario, &[], None)),
        _ => Err(Error::EnactorDied("killed".into())),
    })
    .unwrap();
    assert_eq!(report.conformance(false), Conformance::Unknown);
    assert!(report.count(Status::Broken) > 5, "{:?}", report.outcomes);
    assert_eq!((report.count(Status::Fail), report.count(Status::Pass)), (0, 0));
}
