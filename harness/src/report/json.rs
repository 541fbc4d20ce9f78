//! The report for programs: one JSON document, `sockspec.report/1`.
//!
//! Readers ignore fields that they do not know, so one may be added; none is renamed or taken away while the number of
//! the schema stays.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::command_line::again;
use super::finding::{evidence, stderr, steps};
use super::ruling::Checked;
use crate::clause::Level;
use crate::expectation::Expected;
use crate::outcome::{Cause, Conformance, Finding, Outcome, Report, Status};
use crate::profile::{Model, Profile};
use crate::trace::Isolation;
use crate::verdict::{Kind, Verdict};

/// Writes the report, and a new line at its end.
///
/// # Errors
/// As the destination.
pub fn print(report: &Report, strict: bool, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Document::of(report, strict))?;
    writeln!(out)
}

/// Writes the reports on several servers as one document, `sockspec.reports/1`, and a new line at its end.
///
/// # Errors
/// As the destination.
pub fn print_all(all: &[Checked], strict: bool, out: &mut dyn Write) -> io::Result<()> {
    let together = |it| all.iter().any(|checked: &Checked| checked.report.conformance(strict) == it);
    let conformance = if together(Conformance::DoesNotConform) {
        Conformance::DoesNotConform
    } else if together(Conformance::Unknown) || all.is_empty() {
        Conformance::Unknown
    } else {
        Conformance::Conforms
    };
    let document = Documents {
        schema: "sockspec.reports/1",
        tool: TOOL,
        conformance,
        partial: all.iter().any(|checked| checked.report.interrupted),
        targets: all
            .iter()
            .map(|checked| Named {
                name: checked.name.as_deref(),
                report: Document::of(&checked.report, strict),
            })
            .collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

#[derive(Serialize)]
struct Documents<'a> {
    schema: &'static str,
    tool: Tool,
    conformance: Conformance,
    partial: bool,
    targets: Vec<Named<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    name: Option<&'a str>,
    report: Document<'a>,
}

#[derive(Serialize)]
pub(super) struct Document<'a> {
    schema: &'static str,
    tool: Tool,
    host: Host<'a>,
    target: Target<'a>,
    seed: u64,
    duration_us: u64,
    conformance: Conformance,
    /// Whether the run was stopped before its end.
    partial: bool,
    counts: Counts,
    notes: &'a [String],
    /// Expectations that do not hold.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stale_expectations: &'a [String],
    /// Left out where they were told one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) clauses: Option<Vec<Entry<'a>>>,
}

pub(super) const TOOL: Tool = Tool { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") };

#[derive(Serialize)]
pub(super) struct Tool {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Host<'a> {
    kernel: &'a str,
    isolation: Isolation,
}

#[derive(Serialize)]
struct Target<'a> {
    command: &'a [String],
    profile: Option<Kept>,
}

/// What is told of a profile: that much is promised to readers.
#[derive(Serialize)]
struct Kept {
    model: Model,
    backlog: u32,
    processes_per_connection: u32,
    concurrent: bool,
    echoes: bool,
    client_limit: Option<u32>,
}

#[derive(Serialize)]
struct Counts {
    pass: usize,
    fail: usize,
    inconclusive: usize,
    skipped: usize,
    broken: usize,
    /// How many of these were expected to end so.
    #[serde(skip_serializing_if = "is_zero")]
    expected: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

#[derive(Serialize)]
pub(super) struct Entry<'a> {
    id: &'static str,
    level: Level,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    cases: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_us: Option<u64>,
    requirement: &'static str,
    citations: &'static [&'static str],
    /// Why a clause was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
    /// Why a clause was skipped, is inconclusive or broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// What was seen of a clause that passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed: Option<&'a str>,
    #[serde(flatten)]
    failure: Option<Failure<'a>>,
    /// That this end was expected, and why: then it fails no run.
    #[serde(skip_serializing_if = "Option::is_none")]
    expected_because: Option<&'a Expected>,
}

#[derive(Serialize)]
struct Failure<'a> {
    evidence: Kind,
    expected: &'a str,
    observed: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counterexample: Option<Vec<String>>,
    again: String,
    stderr: Vec<String>,
}

impl<'a> Document<'a> {
    pub(super) fn of(report: &'a Report, strict: bool) -> Self {
        Self {
            schema: "sockspec.report/1",
            tool: TOOL,
            host: Host { kernel: &report.kernel, isolation: report.isolation },
            target: Target { command: &report.target.argv, profile: report.profile.as_ref().map(Kept::of) },
            seed: report.seed,
            duration_us: microseconds(report.duration),
            conformance: report.conformance(strict),
            partial: report.interrupted,
            counts: Counts {
                pass: report.count(Status::Pass),
                fail: report.count(Status::Fail),
                inconclusive: report.count(Status::Inconclusive),
                skipped: report.count(Status::Skipped),
                broken: report.count(Status::Broken),
                expected: report.expected(),
            },
            notes: &report.notes,
            stale_expectations: &report.stale,
            clauses: Some(report.outcomes.iter().map(|outcome| Entry::of(report, outcome)).collect()),
        }
    }
}

impl Kept {
    fn of(profile: &Profile) -> Self {
        Self {
            model: profile.model,
            backlog: profile.backlog,
            processes_per_connection: profile.processes_per_connection,
            concurrent: profile.concurrent,
            echoes: profile.echoes,
            client_limit: profile.client_limit,
        }
    }
}

impl<'a> Entry<'a> {
    pub(super) fn of(report: &'a Report, outcome: &'a Outcome) -> Self {
        let clause = outcome.clause;
        let status = outcome.finding.status();
        let tried = status != Status::Skipped;
        let (mut cause, mut reason, mut passed) = (None, None, None);
        match &outcome.finding {
            Finding::Judged(Verdict::Pass(seen)) => passed = Some(seen.as_str()),
            Finding::Judged(Verdict::Fail(_)) => {}
            Finding::Judged(Verdict::Inconclusive(why) | Verdict::NotApplicable(why))
            | Finding::Broken(why) => reason = Some(why.as_str()),
            Finding::Skipped(its_cause, why) => (cause, reason) = (Some(*its_cause), Some(why.as_str())),
        }
        Self {
            id: clause.id.0,
            level: clause.level,
            status,
            cases: tried.then_some(outcome.cases),
            duration_us: tried.then(|| microseconds(outcome.duration)),
            requirement: clause.requirement,
            citations: clause.citations,
            cause,
            reason,
            passed,
            failure: Failure::of(report, outcome),
            expected_because: outcome.expected.as_ref(),
        }
    }
}

impl<'a> Failure<'a> {
    fn of(report: &'a Report, outcome: &'a Outcome) -> Option<Self> {
        let evidence = evidence(outcome)?;
        let counterexample = outcome.counterexample.as_ref();
        Some(Self {
            evidence: evidence.kind,
            expected: &evidence.expected,
            observed: &evidence.observed,
            rate: counterexample.map(|it| format!("{}/{}", it.rate.0, it.rate.1)),
            counterexample: counterexample.map(|it| steps(&it.failure.scenario)),
            again: again(report, outcome.clause.id),
            stderr: stderr(report, outcome),
        })
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::report::sample;

    fn document(report: &Report, strict: bool) -> Value {
        let mut text = Vec::new();
        print(report, strict, &mut text).unwrap();
        assert_eq!(text.last(), Some(&b'\n'));
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn the_document_has_what_is_promised() {
        let report = sample::report(vec![sample::failed(), sample::not_applicable()]);
        let expected = json!({
            "schema": "sockspec.report/1",
            "tool": {"name": "sockspec", "version": env!("CARGO_PKG_VERSION")},
            "host": {"kernel": "6.18.44", "isolation": "full"},
            "target": {"command": ["./srv", "{port}"], "profile": {
                "model": "fork-per-connection", "backlog": 128, "processes_per_connection": 1,
                "concurrent": true, "echoes": true, "client_limit": null}},
            "seed": 1, "duration_us": 3_100_000,
            "conformance": "does-not-conform", "partial": false, "notes": [],
            "counts": {"pass": 0, "fail": 1, "inconclusive": 0, "skipped": 1, "broken": 0},
            "clauses": [
                {"id": "reap.every-child", "level": "must", "status": "fail", "cases": 12, "duration_us": 90_000,
                 "requirement": "The server waits for every child that has ended.",
                 "citations": ["POSIX.1-2024 waitpid"],
                 "expected": "no zombie within 1.5 s of the last close",
                 "observed": "1 zombie (pid 7, child of 2)", "rate": "3/3", "evidence": "missing",
                 "counterexample": ["connect c0", "close c0"],
                 "again": "sockspec check --only reap.every-child --seed 1 -- ./srv {port}",
                 "stderr": ["listening on 127.0.0.1:7007", "\u{1b}[31mchild 7 ended\u{1b}[0m"]},
                {"id": "fork.sibling-survives", "level": "must", "status": "skipped",
                 "requirement": "The server goes on serving when a child is killed.",
                 "citations": ["UNP 5.12"],
                 "cause": "not-applicable", "reason": "the server does not fork"}],
        });
        assert_eq!(document(&report, false), expected);
    }

    #[test]
    fn its_fields_stand_in_the_promised_order() {
        let mut text = Vec::new();
        print(&sample::report(vec![sample::passed()]), false, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let fields =
            ["schema", "tool", "host", "target", "seed", "duration_us", "conformance", "counts", "clauses"];
        let places: Vec<_> =
            fields.iter().map(|field| text.find(&format!("\n  \"{field}\"")).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
    }

    #[test]
    fn a_run_that_was_interrupted_is_partial_and_unknown() {
        let mut report = sample::report(vec![sample::passed()]);
        report.interrupted = true;
        report.profile = None;
        let document = document(&report, false);
        assert_eq!(document["partial"], true);
        assert_eq!(document["conformance"], "unknown");
        assert_eq!(document["target"]["profile"], Value::Null);
        assert_eq!(document["clauses"][0]["passed"], "20 of 20 children reaped");
    }

    #[test]
    fn what_was_expected_is_told_and_fails_no_run() {
        let mut report = sample::report(vec![sample::expected(), sample::sibling_passed()]);
        let it = document(&report, false);
        assert_eq!((&it["conformance"], &it["counts"]["expected"]), (&json!("conforms"), &json!(1)));
        let why = json!({"reason": "the reaper comes with the rewrite", "issue": "#42"});
        assert_eq!(
            (&it["clauses"][0]["status"], &it["clauses"][0]["expected_because"]),
            (&json!("fail"), &why)
        );
        report.stale = vec!["it passes".to_owned()];
        let it = document(&report, false);
        assert_eq!(it["stale_expectations"], json!(["it passes"]));
        assert_eq!(it["conformance"], "does-not-conform");
    }

    #[test]
    fn several_servers_have_a_document_each() {
        let named = |name: &str, outcome| Checked {
            name: Some(name.to_owned()),
            report: sample::report(vec![outcome]),
        };
        let mut text = Vec::new();
        print_all(&[named("a", sample::passed()), named("b", sample::failed())], false, &mut text).unwrap();
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document["schema"], "sockspec.reports/1");
        assert_eq!(document["conformance"], "does-not-conform");
        assert_eq!(document["targets"][1]["name"], "b");
        assert_eq!(document["targets"][1]["report"]["schema"], "sockspec.report/1");
    }

    #[test]
    fn a_failed_should_counts_only_if_strict() {
        let report = sample::report(vec![sample::passed(), sample::warned()]);
        assert_eq!(document(&report, false)["conformance"], "conforms");
        assert_eq!(document(&report, true)["conformance"], "does-not-conform");
    }
}
