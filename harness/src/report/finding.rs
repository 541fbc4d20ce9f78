//! Prints what was found of single clauses: failures in full, the rest in a line or two.

use std::io;

use owo_colors::OwoColorize as _;

use super::command_line::again;
use super::page::{Page, counted};
use super::{Detail, Style};
use crate::clause::Level;
use crate::outcome::{Cause, Counterexample, Finding, Outcome, Report};
use crate::scenario::Scenario;
use crate::verdict::{Evidence, Verdict};

/// Lines of the server's stderr that are shown with a failure.
pub(crate) const STDERR_LINES: usize = 8;

/// What a check said of a clause that failed: of its smallest scenario, where there is one.
pub(crate) fn evidence(outcome: &Outcome) -> Option<&Evidence> {
    match (&outcome.finding, &outcome.counterexample) {
        (Finding::Judged(Verdict::Fail(_)), Some(counterexample)) => Some(&counterexample.failure.evidence),
        (Finding::Judged(Verdict::Fail(evidence)), None) => Some(evidence),
        _ => None,
    }
}

/// The steps of a scenario in words; never empty.
pub(crate) fn steps(scenario: &Scenario) -> Vec<String> {
    let steps = scenario.in_words();
    if steps.is_empty() { vec!["launch the server".to_owned()] } else { steps }
}

/// The last lines that the server wrote to stderr where the clause failed, or in the baseline if it never served.
pub(crate) fn stderr(report: &Report, outcome: &Outcome) -> Vec<String> {
    match &outcome.counterexample {
        Some(Counterexample { failure, .. }) => {
            let last = failure.trace.output.last();
            last.map_or_else(Vec::new, |output| output.stderr.last_lines(STDERR_LINES))
        }
        None => report.stderr[report.stderr.len().saturating_sub(STDERR_LINES)..].to_vec(),
    }
}

/// Prints all failures of which `wanted` is true of the level, in the order of the catalogue.
pub(crate) fn failures(
    page: &mut Page<'_>,
    report: &Report,
    style: &Style,
    wanted: impl Fn(Level) -> bool,
) -> io::Result<()> {
    let wanted = |outcome: &&Outcome| wanted(outcome.clause.level) && outcome.expected.is_none();
    for outcome in report.outcomes.iter().filter(wanted) {
        if let Some(evidence) = evidence(outcome) {
            page.gap()?;
            failure(page, report, style, outcome, evidence)?;
        }
    }
    Ok(())
}

/// Prints one failure.
pub(crate) fn failure(
    page: &mut Page<'_>,
    report: &Report,
    style: &Style,
    outcome: &Outcome,
    evidence: &Evidence,
) -> io::Result<()> {
    let clause = outcome.clause;
    let counts = clause.level == Level::Must || (style.strict && clause.level == Level::Should);
    let word = if counts { "FAIL".red().bold().to_string() } else { "WARN".yellow().bold().to_string() };
    let cited = format!("({}, {})", clause.level, clause.citations.join(", "));
    page.line(format_args!("{word} {} {}", clause.id.bold(), cited.dimmed()))?;
    page.paragraph(2, clause.requirement)?;
    page.field("expected", &evidence.expected)?;
    match outcome.counterexample.as_ref().map(|counterexample| counterexample.rate) {
        Some((failed, of)) => {
            let observed = format!("{} in {failed} of {}", evidence.observed, counted_enactments(of));
            page.field("observed", &observed)?;
        }
        None => page.field("observed", &evidence.observed)?,
    }
    if let Some(counterexample) = &outcome.counterexample {
        page.field("smallest", &steps(&counterexample.failure.scenario).join(" · "))?;
    }
    if counts || style.detail == Detail::Verbose {
        page.field("why", clause.why)?;
    }
    page.field_raw("again", &again(report, clause.id))?;
    if counts || style.detail == Detail::Verbose {
        page.field_lines("stderr", &stderr(report, outcome))?;
    }
    Ok(())
}

/// Prints what was known beforehand: what was seen, and why it is accepted.
pub(crate) fn expected(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let mut first = true;
    for outcome in &report.outcomes {
        let Some(expected) = &outcome.expected else { continue };
        if std::mem::take(&mut first) {
            page.gap()?;
        }
        let word = "XFAIL".yellow().bold().to_string();
        page.line(format_args!("{word} {} ({})", outcome.clause.id.bold(), outcome.clause.level))?;
        page.field("accepted", &expected.to_string())?;
        if let Some(evidence) = evidence(outcome) {
            page.field("observed", &evidence.observed)?;
        }
    }
    Ok(())
}

/// Prints expectations that do not hold.
pub(crate) fn stale(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    if !report.stale.is_empty() {
        page.gap()?;
    }
    for stale in &report.stale {
        page.hanging(&format!("{} ", "ERROR".red().bold()), 6, 6, stale)?;
    }
    Ok(())
}

fn counted_enactments(n: u32) -> String {
    if n == 1 { "1 enactment".to_owned() } else { format!("{n} enactments") }
}

/// Prints what could not be decided, with reasons. Clauses with the same reason are told together.
pub(crate) fn undecided(page: &mut Page<'_>, report: &Report, style: &Style) -> io::Result<()> {
    let mut groups: Vec<(&str, &str, Vec<&Outcome>)> = Vec::new();
    for outcome in report.outcomes.iter().filter(|outcome| outcome.expected.is_none()) {
        let (word, reason) = match &outcome.finding {
            Finding::Judged(Verdict::Inconclusive(reason)) => ("INCONCLUSIVE", reason),
            Finding::Broken(reason) => ("BROKEN", reason),
            Finding::Judged(Verdict::Pass(_) | Verdict::Fail(_) | Verdict::NotApplicable(_))
            | Finding::Skipped(..) => continue,
        };
        match groups.iter_mut().find(|group| group.0 == word && group.1 == reason) {
            Some(group) => group.2.push(outcome),
            None => groups.push((word, reason, vec![outcome])),
        }
    }
    if !groups.is_empty() {
        page.gap()?;
    }
    for (word, reason, outcomes) in groups {
        let word = word.magenta().bold().to_string();
        let [outcome] = outcomes[..] else {
            page.line(format_args!("{word} {}", counted(outcomes.len(), "clause")))?;
            page.paragraph(2, reason)?;
            let shown = if style.detail == Detail::Verbose { outcomes.len() } else { 3.min(outcomes.len()) };
            let mut ids: Vec<String> =
                outcomes[..shown].iter().map(|outcome| outcome.clause.id.to_string()).collect();
            if shown < outcomes.len() {
                ids.push(format!("and {} more", outcomes.len() - shown));
            }
            page.paragraph(2, &ids.join(", "))?;
            continue;
        };
        page.line(format_args!("{word} {} ({})", outcome.clause.id.bold(), outcome.clause.level))?;
        page.paragraph(2, reason)?;
    }
    Ok(())
}

/// Prints what was skipped, one line for each cause and reason.
pub(crate) fn skipped(page: &mut Page<'_>, report: &Report, style: &Style) -> io::Result<()> {
    let mut groups: Vec<(Cause, &str, usize)> = Vec::new();
    for outcome in &report.outcomes {
        let Finding::Skipped(cause, reason) = &outcome.finding else { continue };
        // Who leaves clauses out knows it; who was interrupted is told in the last line.
        if *cause == Cause::NotSelected && style.detail != Detail::Verbose {
            continue;
        }
        match groups.iter_mut().find(|group| group.0 == *cause && group.1 == reason) {
            Some(group) => group.2 += 1,
            None => groups.push((*cause, reason, 1)),
        }
    }
    for (index, (cause, reason, n)) in groups.iter().enumerate() {
        if index == 0 {
            page.gap()?;
        }
        let said = match cause {
            Cause::NotApplicable => "not applicable",
            Cause::Host => "not possible here (`sockspec doctor` says why)",
            Cause::NotSelected => "not selected",
            Cause::DependsOn => "not reached",
        };
        let word = "skipped".dimmed().to_string();
        page.hanging(&format!("{word} {n:>3} "), 12, 12, &format!("{said}: {reason}"))?;
    }
    Ok(())
}

/// Prints what was seen of clauses that leave the choice to the server.
pub(crate) fn recorded(page: &mut Page<'_>, report: &Report) -> io::Result<()> {
    let mut first = true;
    for outcome in report.outcomes.iter().filter(|outcome| outcome.clause.level == Level::May) {
        let Finding::Judged(Verdict::Pass(seen)) = &outcome.finding else { continue };
        if first {
            page.gap()?;
            page.line("recorded".bold())?;
            first = false;
        }
        page.hanging(&format!("  {} ", outcome.clause.id), 3 + outcome.clause.id.0.len(), 4, seen)?;
    }
    Ok(())
}
