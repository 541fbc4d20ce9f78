//! What a campaign has found, for people and for programs.

use std::io::{self, Write};
use std::time::Duration;

use owo_colors::OwoColorize as _;
use serde::{Deserialize, Serialize};

use super::command_line;
use super::page::{Page, counted, span};
use super::text::describe;
use crate::case::Case;
use crate::clause::Clause;
use crate::run::fuzz::{Campaign, Campaigned, Shard, Tally};
use crate::spec;

/// The schema of the report for programs.
pub const SCHEMA: &str = "sockspec.fuzz/1";

/// The report for programs; reports of all shards are merged into one of the same form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of sockspec.
    pub version: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Seed.
    pub seed: u64,
    /// What was drawn from, as it was typed, and how long scenarios are: equal in all shards of a campaign.
    pub drawn: Drawn,
    /// Which part this is; after a merge, one part of one.
    pub shard: Shard,
    /// Cases enacted.
    pub cases: u64,
    /// Cases in which the harness itself failed.
    pub broken: u64,
    /// Wall-clock time, microseconds; after a merge, of all together.
    pub duration_us: u64,
    /// Whether it was stopped, or ended by time, so that nobody can say which cases belong to it.
    pub interrupted: bool,
    /// Passes by clause.
    pub clauses: Vec<(String, u64)>,
    /// How often each condition was met.
    pub conditions: Vec<(String, u64)>,
    /// What was found: a case for each clause.
    pub found: Vec<Case>,
}

/// What was drawn from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// Least and most.
    pub clients: (u32, u32),
    /// Least and most, bytes.
    pub payload: (u64, u64),
    /// Least and most.
    pub backlog: (u32, u32),
    /// `quick`, `default` or `thorough`.
    pub effort: crate::profile::Effort,
    /// Cases asked for, all shards together; `None` if time alone ended them.
    pub cases: Option<u64>,
}

impl Document {
    /// The document of one campaign.
    #[must_use]
    pub fn of(campaign: &Campaign, result: &Campaigned) -> Self {
        let ranges = &campaign.ranges;
        let tally = &result.tally;
        Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: result.target.argv.clone(),
            seed: campaign.options.seed,
            drawn: Drawn {
                clients: (*ranges.clients.start(), *ranges.clients.end()),
                payload: (*ranges.payload.start(), *ranges.payload.end()),
                backlog: (*ranges.backlog.start(), *ranges.backlog.end()),
                effort: campaign.options.effort,
                cases: campaign.cases,
            },
            shard: campaign.shard,
            cases: tally.cases,
            broken: tally.broken,
            duration_us: u64::try_from(result.duration.as_micros()).unwrap_or(u64::MAX),
            interrupted: result.interrupted,
            clauses: tally.passes.iter().map(|(id, n)| (id.0.to_owned(), *n)).collect(),
            conditions: tally.conditions.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
            found: result.found.iter().map(|(case, _)| case.clone()).collect(),
        }
    }
}

/// Prints one case that fails: what is required, expected and seen, the smallest scenario, and how to see it again.
///
/// # Errors
/// As the destination.
pub fn print_case(case: &Case, kept: &str, width: usize, out: &mut dyn Write) -> io::Result<()> {
    let page = &mut Page::new(out, width);
    let clause: Option<&Clause> = spec::catalogue().find(|clause| clause.id.0 == case.clause);
    let cited = clause.map(|clause| format!("({}, {})", clause.level, clause.citations.join(", ")));
    page.line(format_args!(
        "{} {} {}",
        "FAIL".red().bold(),
        case.clause.bold(),
        cited.unwrap_or_default().dimmed()
    ))?;
    if let Some(clause) = clause {
        page.paragraph(2, clause.requirement)?;
    }
    page.field("expected", &case.evidence.expected)?;
    let (failed, of) = case.rate;
    let enactments = counted(of as usize, "enactment");
    page.field("observed", &format!("{} in {failed} of {enactments}", case.evidence.observed))?;
    page.field("smallest", &case.scenario.in_words().join(" · "))?;
    if let Some(clause) = clause {
        page.field("why", clause.why)?;
    }
    page.field_raw("kept", kept)?;
    page.field_raw("again", &format!("sockspec replay {}", command_line::quote(&case.id())))
}

/// Prints what a campaign has found and exercised.
///
/// # Errors
/// As the destination.
pub fn print(
    campaign: &Campaign,
    result: &Campaigned,
    kept: &[String],
    quiet: bool,
    width: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    for ((case, _), kept) in result.found.iter().zip(kept) {
        print_case(case, kept, width, out)?;
        writeln!(out)?;
    }
    let page = &mut Page::new(out, width);
    if let (Some(profile), false) = (&result.profile, quiet) {
        let command = if command_line::is_reference(&result.target) {
            "the built-in reference server".to_owned()
        } else {
            command_line::command(&result.target)
        };
        page.paragraph(0, &format!("{command}: {}", describe(profile)))?;
        page.gap()?;
        exercised(page, &result.tally)?;
    }
    if let Some(why) = &result.not_serving {
        page.paragraph(0, &format!("the server does not serve: {why}"))?;
    }
    if let Some(error) = &result.tally.error {
        page.paragraph(0, &format!("{} broken: {error}", counted(to_usize(result.tally.broken), "case")))?;
    }
    if result.tally.late > 0 {
        let times = counted(to_usize(result.tally.late), "failure");
        page.paragraph(0, &format!("{times} did not come again with more time: the server was late"))?;
    }
    page.gap()?;
    page.line(last_line(campaign, result))
}

/// What was exercised how often, and what never was.
fn exercised(page: &mut Page<'_>, tally: &Tally) -> io::Result<()> {
    page.line("exercised".bold())?;
    for (name, times) in tally.conditions.iter().filter(|(_, times)| *times > 0) {
        page.line(format_args!("{times:>9}  {name}"))?;
    }
    let never: Vec<&str> =
        tally.conditions.iter().filter(|(_, times)| *times == 0).map(|(name, _)| *name).collect();
    if !never.is_empty() {
        page.hanging(&format!("    {}  ", "never".yellow()), 11, 11, &never.join(", "))?;
    }
    let (judged, unjudged): (Vec<_>, Vec<_>) = tally.passes.iter().partition(|(_, times)| *times > 0);
    let clauses = format!("{} of {} clauses", judged.len(), judged.len() + unjudged.len());
    let rarest = judged.iter().min_by_key(|(_, times)| *times);
    let rarest = rarest.map(|(id, times)| format!("; the rarest one is {id}, {times} times"));
    page.hanging("           ", 11, 11, &format!("{clauses} passed{}", rarest.unwrap_or_default()))?;
    if !unjudged.is_empty() {
        let ids: Vec<&str> = unjudged.iter().map(|(id, _)| id.0).collect();
        page.hanging("           ", 11, 11, &format!("without a witness: {}", ids.join(", ")))?;
    }
    page.gap()
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// The outcome in one line.
#[must_use]
pub fn last_line(campaign: &Campaign, result: &Campaigned) -> String {
    let found = match result.found.len() {
        0 if result.tally.cases == 0 => "nothing was enacted".yellow().bold().to_string(),
        0 => "found nothing".green().bold().to_string(),
        n => format!("found {}", counted(n, "broken clause")).red().bold().to_string(),
    };
    let Shard { part, of } = campaign.shard;
    let shard = if of > 1 { format!(", part {part} of {of}") } else { String::new() };
    let stopped = if result.interrupted { ", interrupted" } else { "" };
    format!(
        "{found} in {}, {}{}, seed {}{shard}{stopped}",
        counted(to_usize(result.tally.cases), "case"),
        span(result.duration),
        rate(result.tally.cases, result.duration),
        campaign.options.seed
    )
}

/// " (205 a second)".
fn rate(cases: u64, duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1);
    format!(" ({} a second)", cases * 1000 / ms)
}

/// Why documents cannot be joined.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJoined {
    /// Not reports of one campaign.
    #[error("{0} belongs to another campaign than the first one: their {1} differ")]
    Other(String, &'static str),
    /// A part stands twice.
    #[error("part {0} of {1} is there twice")]
    Twice(u64, u64),
    /// A part is missing.
    #[error("part {0} of {1} is missing")]
    Missing(u64, u64),
    /// Nobody can say which cases it enacted.
    #[error("{0} was stopped before its end, or ended by time: it does not hold all of its cases")]
    Partial(String),
}

/// Joins the reports of all shards of one campaign, each with the name of its file.
///
/// # Errors
/// Unless they are the parts 1 to n of the same campaign, each once and whole.
pub fn join(documents: &[(String, Document)]) -> Result<Document, NotJoined> {
    let mut joined = documents[0].1.clone();
    let of = joined.shard.of;
    let mut parts: Vec<u64> = Vec::new();
    for (name, document) in documents {
        let differs = [
            (document.version != joined.version, "versions of sockspec"),
            (document.command != joined.command, "commands"),
            (document.seed != joined.seed, "seeds"),
            (document.drawn != joined.drawn, "ranges"),
            (document.shard.of != of, "numbers of parts"),
        ];
        if let Some((_, what)) = differs.iter().find(|(differs, _)| *differs) {
            return Err(NotJoined::Other(name.clone(), what));
        }
        if parts.contains(&document.shard.part) {
            return Err(NotJoined::Twice(document.shard.part, of));
        }
        let whole = document.drawn.cases.map(|cases| share(cases, document.shard));
        if document.interrupted
            || (document.found.is_empty() && whole != Some(document.cases + document.broken))
        {
            return Err(NotJoined::Partial(name.clone()));
        }
        parts.push(document.shard.part);
    }
    if let Some(part) = (1..=of).find(|part| !parts.contains(part)) {
        return Err(NotJoined::Missing(part, of));
    }
    for (_, document) in &documents[1..] {
        joined.cases += document.cases;
        joined.broken += document.broken;
        joined.duration_us += document.duration_us;
        add(&mut joined.clauses, &document.clauses);
        add(&mut joined.conditions, &document.conditions);
        let new =
            document.found.iter().filter(|case| !joined.found.iter().any(|old| old.clause == case.clause));
        let new: Vec<Case> = new.cloned().collect();
        joined.found.extend(new);
    }
    joined.shard = Shard::default();
    Ok(joined)
}

/// How many of all cases belong to a part.
#[must_use]
pub fn share(cases: u64, shard: Shard) -> u64 {
    (cases + shard.of - shard.part) / shard.of
}

fn add(sums: &mut Vec<(String, u64)>, more: &[(String, u64)]) {
    for (name, times) in more {
        match sums.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum += times,
            None => sums.push((name.clone(), *times)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(part: u64, of: u64) -> (String, Document) {
        let shard = Shard { part, of };
        let document = Document {
            schema: SCHEMA.into(),
            version: "0".into(),
            command: vec!["./srv".into()],
            seed: 1,
            drawn: Drawn {
                clients: (1, 4),
                payload: (0, 9),
                backlog: (0, 9),
                effort: crate::profile::Effort::Default,
                cases: Some(10),
            },
            shard,
            cases: share(10, shard),
            broken: 0,
            duration_us: 5,
            interrupted: false,
            clauses: vec![("echo.exact".into(), 3)],
            conditions: vec![("reset".into(), part)],
            found: Vec::new(),
        };
        (format!("{part}.json"), document)
    }

    #[test]
    fn all_parts_make_a_whole() {
        let joined = join(&[document(2, 3), document(1, 3), document(3, 3)]).unwrap();
        assert_eq!((joined.cases, joined.shard, joined.duration_us), (10, Shard::default(), 15));
        assert_eq!(joined.conditions, [("reset".to_owned(), 6)]);
        assert_eq!(joined.clauses, [("echo.exact".to_owned(), 9)]);
    }

    #[test]
    fn what_is_missing_or_twice_or_of_another_campaign_is_said() {
        assert_eq!(join(&[document(1, 3), document(3, 3)]), Err(NotJoined::Missing(2, 3)));
        assert_eq!(join(&[document(1, 2), document(1, 2)]), Err(NotJoined::Twice(1, 2)));
        let mut other = document(2, 2);
        other.1.seed = 7;
        assert_eq!(join(&[document(1, 2), other]), Err(NotJoined::Other("2.json".into(), "seeds")));
        let mut partial = document(2, 2);
        partial.1.cases -= 1;
        assert_eq!(join(&[document(1, 2), partial]), Err(NotJoined::Partial("2.json".into())));
    }
}
