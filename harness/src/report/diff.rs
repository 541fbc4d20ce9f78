//! What changed between two reports: what regressed, what is fixed, what is new or gone.

use std::collections::BTreeMap;
use std::io::{self, Write};

use owo_colors::OwoColorize as _;
use serde::{Deserialize, Serialize};

use super::page::{Page, clean, counted};
use crate::clause::Level;
use crate::outcome::Status;

/// The part of a report that is compared.
#[derive(Debug, Deserialize)]
struct Document {
    clauses: Vec<Clause>,
}

#[derive(Clone, Debug, Deserialize)]
struct Clause {
    id: String,
    level: Level,
    status: Status,
    #[serde(default)]
    expected_because: Option<serde_json::Value>,
    #[serde(default)]
    expected: Option<String>,
    #[serde(default)]
    observed: Option<String>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Several {
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    #[serde(default)]
    name: Option<String>,
    report: Document,
}

/// Clauses by the name of their server and their id.
#[derive(Debug)]
pub struct Snapshot(BTreeMap<(String, String), Clause>);

impl Snapshot {
    /// Reads a report of `sockspec check --format json`, on one server or several.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let no_report = |error| format!("no report of `sockspec check --format json`: {error}");
        let document: serde_json::Value = serde_json::from_slice(text).map_err(no_report)?;
        let targets = match document["schema"].as_str() {
            Some("sockspec.report/1") => {
                let report = serde_json::from_value(document).map_err(no_report)?;
                vec![Target { name: None, report }]
            }
            Some("sockspec.reports/1") => {
                serde_json::from_value::<Several>(document).map_err(no_report)?.targets
            }
            schema => {
                let schema = schema.unwrap_or("none");
                return Err(format!(
                    "schema {schema}; this program reads sockspec.report/1 and sockspec.reports/1"
                ));
            }
        };
        let mut clauses = BTreeMap::new();
        for Target { name, report } in targets {
            let name = name.unwrap_or_default();
            for clause in report.clauses {
                clauses.insert((name.clone(), clause.id.clone()), clause);
            }
        }
        Ok(Self(clauses))
    }
}

/// What became of a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It fails now, or a MUST that passed cannot be decided any more.
    Regressed,
    /// It fails, and was not judged before.
    New,
    /// It was judged, and is not any more.
    Gone,
    /// It failed, and passes.
    Fixed,
}

/// A clause that is not as it was.
#[derive(Clone, Debug, Serialize)]
pub struct Changed {
    /// What became of it.
    pub change: Change,
    /// The server's name, where there are several.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
    /// The id.
    pub clause: String,
    /// How it was.
    pub was: Option<Status>,
    /// How it is.
    pub is: Option<Status>,
    /// What was seen, or why nothing was.
    pub seen: String,
}

/// Everything that changed, regressions first.
#[must_use]
pub fn compare(old: &Snapshot, new: &Snapshot) -> Vec<Changed> {
    let keys: std::collections::BTreeSet<_> = old.0.keys().chain(new.0.keys()).collect();
    let mut changed: Vec<Changed> = keys
        .into_iter()
        .filter_map(|key| {
            let (was, is) = (old.0.get(key), new.0.get(key));
            Some(Changed {
                change: change(was, is)?,
                target: key.0.clone(),
                clause: key.1.clone(),
                was: was.map(|clause| clause.status),
                is: is.map(|clause| clause.status),
                seen: is.map(seen).unwrap_or_default(),
            })
        })
        .collect();
    changed.sort_by_key(|it| it.change);
    changed
}

fn change(was: Option<&Clause>, is: Option<&Clause>) -> Option<Change> {
    let judged = |clause: &&Clause| matches!(clause.status, Status::Pass | Status::Fail);
    let undecided = |clause: &Clause| matches!(clause.status, Status::Inconclusive | Status::Broken);
    let tried = was.filter(|clause| clause.status != Status::Skipped);
    match (tried, is) {
        (Some(was), Some(is)) if is.status == Status::Fail && was.status != Status::Fail => {
            is.expected_because.is_none().then_some(Change::Regressed)
        }
        (None, Some(is)) if is.status == Status::Fail => Some(Change::New),
        (Some(was), Some(is)) if was.status == Status::Fail && is.status == Status::Pass => {
            Some(Change::Fixed)
        }
        (Some(was), Some(is)) if was.status == Status::Pass && undecided(is) => {
            Some(if is.level == Level::Must { Change::Regressed } else { Change::Gone })
        }
        (Some(was), is) if judged(&was) && is.as_ref().is_none_or(|is| !judged(is)) => Some(Change::Gone),
        _ => None,
    }
}

fn seen(clause: &Clause) -> String {
    match (&clause.expected, &clause.observed, &clause.reason) {
        (Some(expected), Some(observed), _) => format!("expected {expected}; observed {observed}"),
        (_, _, reason) => reason.clone().unwrap_or_default(),
    }
}

/// Whether anything regressed.
#[must_use]
pub fn regressed(changed: &[Changed]) -> bool {
    changed.iter().any(|it| it.change == Change::Regressed)
}

/// Writes what changed, for people.
///
/// # Errors
/// As the destination.
pub fn print(changed: &[Changed], width: usize, out: &mut dyn Write) -> io::Result<()> {
    let page = &mut Page::new(out, width);
    for it in changed {
        let word = match it.change {
            Change::Regressed => "REGRESSED".red().bold().to_string(),
            Change::New => "NEW FAIL ".yellow().bold().to_string(),
            Change::Gone => "GONE     ".magenta().to_string(),
            Change::Fixed => "FIXED    ".green().bold().to_string(),
        };
        let target = if it.target.is_empty() { String::new() } else { format!("{}: ", clean(&it.target)) };
        let status = |status| status_word(status);
        let text = format!("{target}{} (was {}, is {})", it.clause, status(it.was), status(it.is));
        page.hanging(&format!("{word} "), 10, 10, &text)?;
        if !it.seen.is_empty() {
            page.paragraph(10, &it.seen)?;
        }
    }
    page.gap()?;
    let count = |change| changed.iter().filter(|it| it.change == change).count();
    page.line(format_args!(
        "{}, {} fixed, {} new, {} gone",
        counted(count(Change::Regressed), "regression"),
        count(Change::Fixed),
        count(Change::New),
        count(Change::Gone)
    ))
}

/// Writes what changed as one JSON document, `sockspec.diff/1`.
///
/// # Errors
/// As the destination.
pub fn print_json(changed: &[Changed], out: &mut dyn Write) -> io::Result<()> {
    let document = serde_json::json!({
        "schema": "sockspec.diff/1", "regressed": regressed(changed), "changes": changed,
    });
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn status_word(status: Option<Status>) -> &'static str {
    match status {
        Some(Status::Pass) => "pass",
        Some(Status::Fail) => "fail",
        Some(Status::Inconclusive) => "inconclusive",
        Some(Status::Skipped) => "skipped",
        Some(Status::Broken) => "broken",
        None => "not there",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::outcome::Outcome;
    use crate::report::{json, sample};

    fn snapshot(outcome: Option<Outcome>) -> Snapshot {
        let mut text = Vec::new();
        json::print(&sample::report(outcome.into_iter().collect()), false, &mut text).unwrap();
        Snapshot::read(&text).unwrap()
    }

    #[rstest]
    #[case(Some(sample::passed()), Some(sample::failed()), Some(Change::Regressed))]
    #[case(Some(sample::passed()), Some(sample::expected()), None)]
    #[case(Some(sample::failed()), Some(sample::passed()), Some(Change::Fixed))]
    #[case(Some(sample::failed()), Some(sample::failed()), None)]
    #[case(Some(sample::sibling_passed()), Some(sample::inconclusive()), Some(Change::Regressed))]
    #[case(Some(sample::sibling_passed()), Some(sample::not_applicable()), Some(Change::Gone))]
    #[case(Some(sample::recorded()), Some(sample::broken()), Some(Change::Gone))]
    #[case(None, Some(sample::failed()), Some(Change::New))]
    #[case(None, Some(sample::passed()), None)]
    #[case(Some(sample::passed()), None, Some(Change::Gone))]
    #[case(Some(sample::not_applicable()), None, None)]
    fn each_change_has_its_name(
        #[case] old: Option<Outcome>,
        #[case] new: Option<Outcome>,
        #[case] expected: Option<Change>,
    ) {
        let changed = compare(&snapshot(old), &snapshot(new));
        assert_eq!(changed.first().map(|it| it.change), expected, "{changed:?}");
    }

    #[test]
    fn the_text_says_how_it_was_and_is() {
        let changed = compare(&snapshot(Some(sample::passed())), &snapshot(Some(sample::failed())));
        let text = sample::plain(|out| print(&changed, 80, out));
        assert_eq!(
            text,
            "\
REGRESSED reap.every-child (was pass, is fail)
          expected no zombie within 1.5 s of the last close; observed 1 zombie
          (pid 7, child of 2)

1 regression, 0 fixed, 0 new, 0 gone
"
        );
    }

    #[test]
    fn what_is_no_report_is_refused() {
        assert!(Snapshot::read(b"{").unwrap_err().starts_with("no report of"));
        assert!(Snapshot::read(b"{\"schema\": \"other\"}").unwrap_err().contains("schema other"));
    }
}
