//! Every planted defect is caught by a clause it is listed for; every good server is left in peace.
//!
//! One libtest test for each server (libtest-mimic), since the lists are data. A server is checked as a user would
//! check it, through `sockspec serve`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use sockspec::clause::Level;
use sockspec::command::TargetCommand;
use sockspec::outcome::{Outcome, Report, Status};
use sockspec::plan::{Options, glob_matches};
use sockspec::profile::Effort;
use sockspec::run;

/// Checks at once: each has several enactments under way by itself.
const CHECKS_AT_ONCE: usize = 12;

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
///
/// Some defects show only with some timings, and timings are the machine's: a difference counts if it is there again.
fn is_caught(defect: &'static faulty_echo::Defect) -> Result<(), Failed> {
    let first = differences(defect)?;
    if first.is_empty() {
        return Ok(());
    }
    let mut again = differences(defect)?;
    again.retain(|id, _| first.contains_key(id));
    tell(defect.name, &first);
    if again.is_empty() { Ok(()) } else { Err(format!("{}\n{again:#?}", defect.summary).into()) }
}

/// Listed clauses that do not find the defect, and MUSTs that fail and are not listed, each with what became of it.
fn differences(defect: &faulty_echo::Defect) -> Result<BTreeMap<&'static str, String>, Failed> {
    let report = check(&["--defect", defect.name], Effort::Quick)?;
    let differs = |outcome: &&Outcome| {
        let id = outcome.clause.id.0;
        let failed = outcome.finding.status() == Status::Fail;
        let must = outcome.clause.level == Level::Must;
        if defect.fails.contains(&id) {
            !failed
        } else {
            failed && must && !defect.also.iter().any(|also| glob_matches(also, outcome.clause.id))
        }
    };
    Ok(report.outcomes.iter().filter(differs).map(|it| (it.clause.id.0, describe(it))).collect())
}

/// No MUST fails, and none is in doubt: at once, or when looked at again because the machine was too busy.
fn conforms(server: &[&str]) -> Result<(), Failed> {
    let first = doubts(server)?;
    if first.is_empty() {
        return Ok(());
    }
    tell(&server.join(" "), &first);
    let again = doubts(server)?;
    if again.is_empty() { Ok(()) } else { Err(format!("{again:#?}").into()) }
}

fn doubts(server: &[&str]) -> Result<BTreeMap<&'static str, String>, Failed> {
    let report = check(server, Effort::Default)?;
    if report.count(Status::Pass) == 0 {
        return Err("nothing was exercised".into());
    }
    let doubtful = [Status::Fail, Status::Inconclusive, Status::Broken];
    let bad = |outcome: &&Outcome| {
        outcome.clause.level == Level::Must && doubtful.contains(&outcome.finding.status())
    };
    Ok(report.outcomes.iter().filter(bad).map(|it| (it.clause.id.0, describe(it))).collect())
}

/// What was seen once is told, even if it does not count.
fn tell(server: &str, differences: &BTreeMap<&'static str, String>) {
    let _ = writeln!(std::io::stderr(), "{server}: once: {differences:#?}");
}

fn check(server: &[&str], effort: Effort) -> Result<Report, Failed> {
    let sockspec = env!("CARGO_BIN_EXE_sockspec");
    let placeholders = ["--addr", "{addr}", "--port", "{port}", "--backlog", "{backlog}"];
    let words = [sockspec, "serve"].into_iter().chain(server.iter().copied()).chain(placeholders);
    // What is small is tested elsewhere: here it would cost the most time.
    let options = Options { effort, shrink_within: Duration::ZERO, ..Options::default() };
    Ok(run::check(&TargetCommand::from_words(words), &options, &AtomicBool::new(false), &mut |_| {})?)
}

fn describe(outcome: &Outcome) -> String {
    let steps = outcome.counterexample.as_ref().map(|it| it.failure.scenario.in_words()).unwrap_or_default();
    format!("{} {:?} after {}", outcome.clause.id, outcome.finding, steps.join(" · "))
}
