//! Many servers side by side: clauses by servers, only rows in which not all is well.

use std::io::{self, Write};

use super::markdown::escape;
use super::page::{Page, counted, span};
use super::ruling::{Checked, Ruling, ruling};
use super::text::verdict;

/// Columns of a clause's id.
const ID_WIDTH: usize = 34;

/// Writes the matrix for people.
///
/// # Errors
/// As the destination.
pub fn print(all: &[Checked], strict: bool, width: usize, out: &mut dyn Write) -> io::Result<()> {
    let page = &mut Page::new(out, width);
    let rows = rows(all, strict);
    let widths: Vec<usize> = all.iter().map(|checked| name(checked).chars().count().max(6)).collect();
    let line = |lead: &str, cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("  {cell:<width$}"));
        format!("{lead:<ID_WIDTH$}{}", padded.collect::<String>()).trim_end().to_owned()
    };
    page.gap()?;
    page.line(line("", &all.iter().map(|checked| name(checked).to_owned()).collect::<Vec<_>>()))?;
    for (id, cells) in &rows {
        let cells: Vec<String> = cells.iter().map(|ruling| word(*ruling).to_owned()).collect();
        page.line(line(id, &cells))?;
    }
    for (title, counted_as) in TOTALS {
        let count = |checked: &Checked| {
            let outcomes = checked.report.outcomes.iter();
            outcomes.filter(|outcome| counted_as.contains(&ruling(outcome, strict))).count().to_string()
        };
        page.line(line(title, &all.iter().map(count).collect::<Vec<_>>()))?;
    }
    page.gap()?;
    for checked in all {
        page.hanging(
            &checked.prefix(),
            checked.prefix().chars().count(),
            2,
            &verdict(&checked.report, strict),
        )?;
    }
    Ok(())
}

/// Writes the matrix as a table of Markdown.
pub(super) fn markdown(all: &[Checked], strict: bool, out: &mut dyn Write) -> io::Result<()> {
    let heads: Vec<String> = all.iter().map(|checked| escape(name(checked))).collect();
    writeln!(out, "| clause | {} |\n|---|{}", heads.join(" | "), "---|".repeat(all.len()))?;
    for (id, cells) in rows(all, strict) {
        let cells: Vec<&str> = cells.into_iter().map(word).collect();
        writeln!(out, "| `{id}` | {} |", cells.join(" | "))?;
    }
    for (title, counted_as) in TOTALS {
        let count = |checked: &Checked| {
            let outcomes = checked.report.outcomes.iter();
            outcomes.filter(|outcome| counted_as.contains(&ruling(outcome, strict))).count().to_string()
        };
        writeln!(out, "| **{title}** | {} |", all.iter().map(count).collect::<Vec<_>>().join(" | "))?;
    }
    writeln!(out)
}

/// The verdict on all of them, in one line.
#[must_use]
pub fn together(all: &[Checked], strict: bool) -> String {
    let spent = all.iter().map(|checked| checked.report.duration).sum();
    let conforming = all
        .iter()
        .filter(|checked| checked.report.conformance(strict) == crate::outcome::Conformance::Conforms);
    format!("{} of {} conform, {}", conforming.count(), counted(all.len(), "server"), span(spent))
}

/// Rows at the foot, and what is counted in each.
const TOTALS: [(&str, &[Ruling]); 5] = [
    ("pass", &[Ruling::Pass]),
    ("fail", &[Ruling::Fail, Ruling::Warning]),
    ("expected", &[Ruling::Expected]),
    ("undecided", &[Ruling::Unknown, Ruling::Doubt]),
    ("skipped", &[Ruling::Skipped]),
];

/// Every clause that some server was tried with and does not pass: servers of two kinds skip what applies to the other.
fn rows(all: &[Checked], strict: bool) -> Vec<(&'static str, Vec<Ruling>)> {
    let first = all.first().map(|checked| &checked.report.outcomes[..]).unwrap_or_default();
    let row = |id| -> Vec<Ruling> {
        let of = |checked: &Checked| {
            let mut outcomes = checked.report.outcomes.iter();
            let outcome = outcomes.find(|outcome| outcome.clause.id == id);
            outcome.map_or(Ruling::Unasked, |outcome| ruling(outcome, strict))
        };
        all.iter().map(of).collect()
    };
    let tells = |cells: &[Ruling]| {
        !cells.iter().all(|ruling| matches!(ruling, Ruling::Pass | Ruling::Skipped | Ruling::Unasked))
    };
    let rows = first.iter().map(|outcome| (outcome.clause.id.0, row(outcome.clause.id)));
    rows.filter(|(_, cells)| tells(cells)).collect()
}

fn name(checked: &Checked) -> &str {
    checked.name.as_deref().unwrap_or("server")
}

fn word(ruling: Ruling) -> &'static str {
    match ruling {
        Ruling::Pass => "pass",
        Ruling::Fail => "FAIL",
        Ruling::Warning => "warn",
        Ruling::Expected => "xfail",
        Ruling::Unknown => "?",
        Ruling::Doubt => "(?)",
        Ruling::Skipped | Ruling::Unasked => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn only_rows_that_differ_are_shown() {
        let named =
            |name: &str, outcomes| Checked { name: Some(name.to_owned()), report: sample::report(outcomes) };
        let all = [
            named("old", vec![sample::queue_passed(), sample::not_applicable(), sample::failed()]),
            named("new", vec![sample::queue_passed(), sample::not_applicable(), sample::passed()]),
        ];
        let text = sample::plain(|out| print(&all, false, 80, out));
        assert_eq!(
            text,
            "                                    old     new
reap.every-child                    FAIL    pass
pass                                1       2
fail                                1       0
expected                            0       0
undecided                           0       0
skipped                             1       1

old: does not conform: 1 MUST of 2 clauses fails, 1 does not apply to this
  server, 3.1 s
new: conforms in 2 clauses, 1 does not apply to this server, 3.1 s
"
        );
        assert_eq!(together(&all, false), "1 of 2 servers conform, 6.2 s");
    }
}
