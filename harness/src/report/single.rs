//! What is printed of one clause alone.

use std::io::{self, Write};

use super::Style;
use super::finding::{evidence, failure};
use super::page::Page;
use crate::clause::ClauseId;
use crate::outcome::{Finding, Report};
use crate::verdict::Verdict;

/// Writes what was found of the clause: a failure in full, anything else in a sentence.
///
/// # Errors
/// As the destination.
pub(crate) fn print(report: &Report, id: ClauseId, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let page = &mut Page::new(out, style.width);
    let Some(outcome) = report.outcomes.iter().find(|outcome| outcome.clause.id == id) else { return Ok(()) };
    if let Some(evidence) = evidence(outcome) {
        return failure(page, report, style, outcome, evidence);
    }
    match &outcome.finding {
        Finding::Judged(Verdict::Pass(seen)) => page.paragraph(0, seen),
        Finding::Judged(Verdict::Inconclusive(doubt)) => page.paragraph(0, &format!("inconclusive: {doubt}")),
        Finding::Broken(error) => page.paragraph(0, &format!("broken: {error}")),
        Finding::Skipped(_, reason) | Finding::Judged(Verdict::NotApplicable(reason)) => {
            page.paragraph(0, reason)
        }
        Finding::Judged(Verdict::Fail(evidence)) => page.paragraph(0, &evidence.observed),
    }
}
