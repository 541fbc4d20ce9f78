//! Every planted defect is caught by a clause it is listed for; every good server is left in peace.
//!
//! One libtest test for each server (libtest-mimic), since the lists are data. A server is checked as a user would
//! check it, through `sockspec serve`.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use sockspec::clause::Level;
use sockspec::command::TargetCommand;
use sockspec::outcome::{Outcome, Report, Status};
use sockspec::plan::Options;
use sockspec::profile::Effort;
use sockspec::run;

/// Checks at once: each has several enactments under way by itself.
const CHECKS_AT_ONCE: usize = 4;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(CHECKS_AT_ONCE));
    let defects = faulty_echo::defects()
        .iter()
        .map(|defect| Trial::test(format!("defect::{}", defect.name), || is_caught(defect)));
    let designs = good_echo::designs()
        .iter()
        .map(|design| Trial::test(format!("good::{}", design.name), || conforms(&["--design", design.name])));
    let reference = [Trial::test("good::reference", || conforms(&[]))];
    libtest_mimic::run(&arguments, reference.into_iter().chain(designs).chain(defects).collect()).exit();
}

/// The clauses it is listed for find the defect, and no other MUST fails but those that may.
fn is_caught(defect: &'static faulty_echo::Defect) -> Result<(), Failed> {
    let report = check(&["--defect", defect.name], Effort::Quick)?;
    let listed = |outcome: &&Outcome| defect.fails.contains(&outcome.clause.id.0);
    let allowed = |outcome: &&Outcome| listed(outcome) || defect.also.contains(&outcome.clause.id.0);
    let failed = |outcome: &&Outcome| outcome.finding.status() == Status::Fail;
    let must = |outcome: &&Outcome| outcome.clause.level == Level::Must;
    let missed: Vec<String> =
        report.outcomes.iter().filter(listed).filter(|outcome| !failed(outcome)).map(describe).collect();
    let wrong: Vec<String> = report
        .outcomes
        .iter()
        .filter(failed)
        .filter(must)
        .filter(|outcome| !allowed(outcome))
        .map(describe)
        .collect();
    if missed.is_empty() && wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{}\nmissed: {missed:#?}\nfailed, but not listed: {wrong:#?}", defect.summary).into())
}

/// No MUST fails, and none is in doubt.
fn conforms(server: &[&str]) -> Result<(), Failed> {
    let report = check(server, Effort::Default)?;
    let doubtful = [Status::Fail, Status::Inconclusive, Status::Broken];
    let bad = |outcome: &&Outcome| {
        outcome.clause.level == Level::Must && doubtful.contains(&outcome.finding.status())
    };
    let mut bad: Vec<String> = report.outcomes.iter().filter(bad).map(describe).collect();
    if report.count(Status::Pass) == 0 {
        bad.push("nothing was exercised".to_owned());
    }
    if bad.is_empty() { Ok(()) } else { Err(format!("{bad:#?}").into()) }
}

fn check(server: &[&str], effort: Effort) -> Result<Report, Failed> {
    let sockspec = env!("CARGO_BIN_EXE_sockspec");
    let placeholders = ["--addr", "{addr}", "--port", "{port}", "--backlog", "{backlog}"];
    let words = [sockspec, "serve"].into_iter().chain(server.iter().copied()).chain(placeholders);
    // What is small is tested elsewhere: here it would cost the most time.
    let options = Options { effort, shrink_within: Duration::ZERO, ..Options::default() };
    Ok(run::check(&TargetCommand::new(words), &options, &AtomicBool::new(false), &mut |_| {})?)
}

fn describe(outcome: &Outcome) -> String {
    let steps = outcome.counterexample.as_ref().map(|it| it.failure.scenario.in_words()).unwrap_or_default();
    format!("{} {:?} after {}", outcome.clause.id, outcome.finding, steps.join(" · "))
}
