//! The report for people.

use std::io::{self, Write};

use owo_colors::OwoColorize as _;

use super::page::{Page, counted, span};
use super::tally::{Counts, Tally};
use super::{Detail, Style, command_line, finding};
use crate::clause::Level;
use crate::outcome::{Conformance, Finding, Outcome, Report, Status};
use crate::profile::{Model, Profile};
use crate::trace::Isolation;
use crate::verdict::Verdict;

/// Writes the report, with colours.
///
/// # Errors
/// As the destination.
pub fn print(report: &Report, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let tally = Tally::of(report, style.strict);
    let page = &mut Page::new(out, style.width);
    let fails = |level| level == Level::Must || (style.strict && level == Level::Should);
    if style.detail == Detail::Quiet {
        if tally.counts.fail() > 0 {
            first_line(page, &tally)?;
        }
        finding::failures(page, report, style, fails)?;
        finding::stale(page, report)?;
        page.gap()?;
        return page.line(coloured(&tally, &tally.last_line()));
    }
    first_line(page, &tally)?;
    header(page, report, style)?;
    families(page, report, style)?;
    finding::failures(page, report, style, fails)?;
    finding::failures(page, report, style, |level| !fails(level))?;
    finding::expected(page, report)?;
    finding::undecided(page, report, style)?;
    finding::skipped(page, report, style)?;
    if style.detail == Detail::Verbose {
        finding::recorded(page, report)?;
    }
    finding::stale(page, report)?;
    page.gap()?;
    page.line(coloured(&tally, &tally.last_line()))
}

/// The verdict in one line, without colours.
#[must_use]
pub fn verdict(report: &Report, strict: bool) -> String {
    Tally::of(report, strict).last_line()
}

fn first_line(page: &mut Page<'_>, tally: &Tally) -> io::Result<()> {
    match tally.first_line() {
        Some(line) => page.line(coloured(tally, &line)),
        None => Ok(()),
    }
}

fn coloured(tally: &Tally, line: &str) -> String {
    match tally.conformance {
        Conformance::Conforms => line.green().bold().to_string(),
        Conformance::DoesNotConform => line.red().bold().to_string(),
        Conformance::Unknown => line.yellow().bold().to_string(),
    }
}

fn header(page: &mut Page<'_>, report: &Report, style: &Style) -> io::Result<()> {
    let command = if command_line::is_reference(&report.target) {
        "the built-in reference server".to_owned()
    } else {
        command_line::command(&report.target)
    };
    let kind = report
        .profile
        .as_ref()
        .map_or_else(|| "what kind of server it is could not be learned".to_owned(), describe);
    page.paragraph(0, &format!("{command}: {kind}"))?;
    if style.detail == Detail::Verbose || report.isolation != Isolation::Full {
        let kernel = format!(
            "Linux {}, isolation {}, seed {}, {}",
            report.kernel,
            isolation(report.isolation),
            report.seed,
            counted(usize::try_from(report.enactments).unwrap_or(usize::MAX), "enactment"),
        );
        page.line(kernel.dimmed())?;
    }
    for note in &report.notes {
        page.hanging(&format!("{} ", "note".cyan()), 5, 5, note)?;
    }
    page.gap()
}

/// The word for a rung, as `--isolation` takes it.
pub(crate) fn isolation(rung: Isolation) -> &'static str {
    match rung {
        Isolation::Full => "full",
        Isolation::NoProc => "no-proc",
        Isolation::Loopback => "loopback",
    }
}

/// "fork-per-connection server, backlog 128, one process for each connection".
pub(super) fn describe(profile: &Profile) -> String {
    let known = profile.model != Model::Unknown;
    let kind =
        if known { format!("{} server", profile.model) } else { "a server of unknown kind".to_owned() };
    let mut facts = vec![kind];
    facts.push(match profile.backlog_declared {
        Some(declared) if declared != profile.backlog => {
            format!("backlog {} ({declared} declared)", profile.backlog)
        }
        _ => format!("backlog {}", profile.backlog),
    });
    match profile.processes_per_connection {
        0 => {}
        1 => facts.push("one process per connection".to_owned()),
        n => facts.push(format!("{n} processes per connection")),
    }
    if let Some(limit) = profile.client_limit {
        facts.push(format!("at most {} at once", counted(limit as usize, "client")));
    }
    if profile.daemonizes {
        facts.push("daemonizes".to_owned());
    }
    if !profile.echoes {
        facts.push("does not echo".to_owned());
    }
    facts.join(", ")
}

/// One line for each family of which anything was tried or is to be told.
fn families(page: &mut Page<'_>, report: &Report, style: &Style) -> io::Result<()> {
    let mut rest = &report.outcomes[..];
    while let Some(first) = rest.first() {
        let family = first.clause.id.family();
        let len = rest.iter().take_while(|outcome| outcome.clause.id.family() == family).count();
        let (outcomes, others) = rest.split_at(len);
        rest = others;
        let counts = Counts::of(outcomes);
        if counts.not_selected == len {
            continue;
        }
        page.line(format_args!("{family:<8} {}", family_line(&counts, style)))?;
        if style.detail == Detail::Verbose {
            clauses(page, outcomes)?;
        }
    }
    Ok(())
}

fn family_line(counts: &Counts, style: &Style) -> String {
    let pass = format!("{:>3} pass", counts.pass);
    let well = counts.fail() + counts.expected == 0 && counts.inconclusive + counts.broken == 0;
    let mut parts = vec![if well && counts.pass > 0 { pass.green().to_string() } else { pass }];
    let (fail, warn) = match style.strict {
        true => (counts.fail(), 0),
        false => (counts.must_fail, counts.should_fail),
    };
    let skipped = counts.not_applicable + counts.host + counts.depends_on;
    let mut add = |n: usize, word: &dyn Fn(String) -> String, what: &str| {
        if n > 0 {
            parts.push(word(format!("{n} {what}")));
        }
    };
    add(fail, &|text| text.red().bold().to_string(), "fail");
    add(warn, &|text| text.yellow().to_string(), "warn");
    add(counts.inconclusive, &|text| text.magenta().to_string(), "inconclusive");
    add(counts.broken, &|text| text.magenta().to_string(), "broken");
    add(counts.expected, &|text| text.yellow().to_string(), "xfail");
    add(skipped, &|text| text.dimmed().to_string(), "skipped");
    parts.join(", ")
}

/// One line for each clause: what became of it, what was seen, in how many cases and how long.
fn clauses(page: &mut Page<'_>, outcomes: &[Outcome]) -> io::Result<()> {
    for outcome in outcomes {
        let clause = outcome.clause;
        let word = match outcome.finding.status() {
            _ if outcome.expected.is_some() => format!("{:<12}", "xfail").yellow().to_string(),
            Status::Pass => format!("{:<12}", "pass").green().to_string(),
            Status::Fail => format!("{:<12}", "fail").red().bold().to_string(),
            Status::Inconclusive => format!("{:<12}", "inconclusive").magenta().to_string(),
            Status::Broken => format!("{:<12}", "broken").magenta().to_string(),
            Status::Skipped => format!("{:<12}", "skipped").dimmed().to_string(),
        };
        let tried = format!(" ({}, {})", counted(outcome.cases as usize, "case"), span(outcome.duration));
        let text = match &outcome.finding {
            // What a MAY recorded stands in a block of its own.
            Finding::Judged(Verdict::Pass(seen)) if clause.level != Level::May => format!("{seen}{tried}"),
            Finding::Skipped(_, reason) => reason.clone(),
            Finding::Judged(_) | Finding::Broken(_) => tried.trim_start().to_owned(),
        };
        let lead = format!("  {word} {} ", clause.id);
        page.hanging(&lead, 16 + clause.id.0.len(), 17, &text)?;
    }
    page.gap()
}
