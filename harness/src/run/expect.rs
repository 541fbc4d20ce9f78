//! Holds what was found against what was expected.

use std::time::SystemTime;

use crate::clause::ClauseId;
use crate::expectation::{Expectation, Expected, Unmet};
use crate::outcome::{Finding, Outcome, Report, Status};
use crate::plan::glob_matches;
use crate::profile::Profile;
use crate::trace::Isolation;

/// What is expected in the circumstances of a run.
#[derive(Debug)]
pub(super) struct Expecting<'a> {
    holding: Vec<&'a Expectation>,
    expired: Vec<&'a Expectation>,
}

impl<'a> Expecting<'a> {
    pub(super) fn of(
        all: &'a [Expectation],
        kernel: &str,
        isolation: Isolation,
        profile: Option<&Profile>,
    ) -> Self {
        // Begins with the date: 2026-12-31T23:59:59Z.
        let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let here = all.iter().filter(|it| it.when.holds(kernel, isolation, profile));
        let (expired, holding) = here.partition(|it| it.is_expired(&today[..10]));
        Self { holding, expired }
    }

    /// That this was expected of the clause, if it was.
    pub(super) fn expected(&self, id: ClauseId, finding: &Finding) -> Option<Expected> {
        let meant = |it: &&&Expectation| glob_matches(&it.clause, id) && is(it.status, finding.status());
        self.holding.iter().find(meant).map(|it| it.told())
    }

    fn stale(&self, outcomes: &[Outcome]) -> Vec<String> {
        let mut stale: Vec<String> = self.expired.iter().map(|it| expired(it)).collect();
        for (index, it) in self.holding.iter().enumerate() {
            let matched: Vec<&Outcome> =
                outcomes.iter().filter(|outcome| glob_matches(&it.clause, outcome.clause.id)).collect();
            let also = |other: &&&Expectation| {
                matched.iter().find(|outcome| glob_matches(&other.clause, outcome.clause.id))
            };
            if matched.is_empty() {
                stale.push(format!("{}: {} matches no clause", it.place, it.clause));
            } else if let Some(other) = self.holding[..index].iter().find(|other| also(other).is_some()) {
                let twice = also(&other).map(|outcome| outcome.clause.id.0).unwrap_or_default();
                stale.push(format!("{}: {twice} is expected twice, first at {}", it.place, other.place));
            } else if let Some(now) = surprise(it, &matched) {
                stale.push(format!(
                    "{}: {} was expected to {}, now {now}; take the expectation out",
                    it.place,
                    it.clause,
                    word(it.status),
                ));
            }
        }
        stale
    }
}

/// Marks what was expected, and says which expectations do not hold.
pub(super) fn settle(report: &mut Report, all: &[Expectation]) {
    let expecting = Expecting::of(all, &report.kernel, report.isolation, report.profile.as_ref());
    for outcome in &mut report.outcomes {
        outcome.expected = expecting.expected(outcome.clause.id, &outcome.finding);
    }
    // Of a run that did not reach its end nobody knows what would have failed.
    report.stale = if report.interrupted { Vec::new() } else { expecting.stale(&report.outcomes) };
}

fn is(unmet: Unmet, status: Status) -> bool {
    match unmet {
        Unmet::Fail => status == Status::Fail,
        Unmet::Inconclusive => status == Status::Inconclusive,
    }
}

fn word(unmet: Unmet) -> &'static str {
    match unmet {
        Unmet::Fail => "fail",
        Unmet::Inconclusive => "be inconclusive",
    }
}

fn expired(it: &Expectation) -> String {
    let until = it.until.as_deref().unwrap_or_default();
    format!("{}: that {} may {} has expired on {until}", it.place, it.clause, word(it.status))
}

/// What the clauses do now, if some of them pass and none does what was expected. What was not tried tells nothing.
fn surprise(it: &Expectation, matched: &[&Outcome]) -> Option<&'static str> {
    let any = |status| matched.iter().any(|outcome| outcome.finding.status() == status);
    let as_expected = matched.iter().any(|outcome| is(it.status, outcome.finding.status()));
    (!as_expected && any(Status::Pass)).then_some(if matched.len() == 1 { "passes" } else { "pass" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expectation::{KernelBound, When};
    use crate::outcome::Conformance;
    use crate::report::sample;

    fn expectation(clause: &str) -> Expectation {
        Expectation {
            clause: clause.to_owned(),
            status: Unmet::Fail,
            reason: "known".to_owned(),
            issue: None,
            until: None,
            when: When::default(),
            place: "sockspec.toml:3".to_owned(),
        }
    }

    fn settled(outcomes: Vec<Outcome>, all: &[Expectation]) -> Report {
        let mut report = sample::report(outcomes);
        settle(&mut report, all);
        report
    }

    #[test]
    fn an_expected_failure_fails_no_run() {
        let all = [expectation("reap.*")];
        let report = settled(vec![sample::failed(), sample::queue_passed()], &all);
        assert_eq!(report.conformance(true), Conformance::Conforms);
        assert_eq!((report.expected(), report.stale.len()), (1, 0));
        assert_eq!(settled(vec![sample::failed()], &[]).conformance(false), Conformance::DoesNotConform);
    }

    #[test]
    fn one_that_passes_now_fails_the_run() {
        let report = settled(vec![sample::passed()], &[expectation("reap.every-child")]);
        assert_eq!(report.conformance(false), Conformance::DoesNotConform);
        assert_eq!(
            report.stale,
            ["sockspec.toml:3: reap.every-child was expected to fail, now passes; take the expectation out"]
        );
    }

    #[test]
    fn one_that_has_expired_or_stands_twice_or_matches_nothing_fails_the_run() {
        let late = Expectation { until: Some("2020-01-01".to_owned()), ..expectation("reap.every-child") };
        let report = settled(vec![sample::failed()], &[late]);
        assert_eq!(report.conformance(false), Conformance::DoesNotConform);
        assert!(report.stale[0].ends_with("has expired on 2020-01-01"), "{:?}", report.stale);
        let twice = [expectation("reap.*"), expectation("reap.every-child")];
        let report = settled(vec![sample::failed()], &twice);
        assert!(report.stale[0].contains("reap.every-child is expected twice"), "{:?}", report.stale);
        let report = settled(vec![sample::passed()], &[expectation("nothing.*")]);
        assert!(report.stale[0].ends_with("matches no clause"), "{:?}", report.stale);
    }

    #[test]
    fn elsewhere_nothing_is_expected() {
        let mut it = expectation("reap.every-child");
        it.when.kernel = vec![KernelBound::parse("<6").unwrap()];
        let report = settled(vec![sample::passed()], std::slice::from_ref(&it));
        assert_eq!(report.stale, [""; 0]);
        let report = settled(vec![sample::failed()], &[it]);
        assert_eq!(report.conformance(false), Conformance::DoesNotConform);
    }

    #[test]
    fn what_was_not_tried_is_no_surprise() {
        let report = settled(
            vec![sample::not_applicable(), sample::passed()],
            &[expectation("fork.sibling-survives")],
        );
        assert_eq!(report.stale, [""; 0]);
    }
}
