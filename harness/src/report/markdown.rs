//! The report as Markdown: for the summary of a job, or a comment.

use std::io::{self, Write};

use super::matrix;
use super::page::clean;
use super::ruling::{Checked, Ruling, details, gist, partial, ruling};
use super::text::verdict;
use crate::outcome::{Conformance, Outcome};

/// Writes the verdict, a table of what did not pass, and the proof of each failure folded away.
///
/// # Errors
/// As the destination.
pub fn print(all: &[Checked], strict: bool, out: &mut dyn Write) -> io::Result<()> {
    if all.len() > 1 {
        writeln!(out, "## sockspec: {} servers\n", all.len())?;
        matrix::markdown(all, strict, out)?;
    }
    for checked in all {
        server(checked, strict, out)?;
    }
    Ok(())
}

fn server(checked: &Checked, strict: bool, out: &mut dyn Write) -> io::Result<()> {
    let report = &checked.report;
    let mark = match report.conformance(strict) {
        Conformance::Conforms => "✅",
        Conformance::DoesNotConform => "❌",
        Conformance::Unknown => "❔",
    };
    let name = checked.name.as_deref().unwrap_or("sockspec");
    writeln!(out, "### {mark} {}: {}\n", escape(name), escape(&verdict(report, strict)))?;
    writeln!(out, "{}\n", code(&report.target.argv.join(" ")))?;
    if let Some(why) = partial(report) {
        writeln!(out, "**{why}**\n")?;
    }
    for stale in &report.stale {
        writeln!(out, "- **expectation**: {}", escape(stale))?;
    }
    if !report.stale.is_empty() {
        writeln!(out)?;
    }
    let told: Vec<(&Outcome, &str)> = report
        .outcomes
        .iter()
        .filter_map(|outcome| Some((outcome, word(ruling(outcome, strict))?)))
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    writeln!(out, "| | clause | level | what was seen |\n|---|---|---|---|")?;
    for (outcome, word) in &told {
        let clause = outcome.clause;
        writeln!(out, "| {word} | `{}` | {} | {} |", clause.id, clause.level, escape(&gist(outcome)))?;
    }
    writeln!(out)?;
    for (outcome, _) in told.iter().filter(|(outcome, _)| super::finding::evidence(outcome).is_some()) {
        let lines = details(report, outcome).join("\n");
        let fence = fence(&lines);
        writeln!(out, "<details><summary><code>{}</code></summary>\n", outcome.clause.id)?;
        writeln!(out, "{fence}text\n{lines}\n{fence}\n\n</details>\n")?;
    }
    Ok(())
}

fn word(ruling: Ruling) -> Option<&'static str> {
    match ruling {
        Ruling::Fail => Some("FAIL"),
        Ruling::Warning => Some("WARN"),
        Ruling::Expected => Some("XFAIL"),
        Ruling::Unknown => Some("UNKNOWN"),
        Ruling::Doubt => Some("undecided"),
        Ruling::Pass | Ruling::Skipped | Ruling::Unasked => None,
    }
}

/// Text as it is, wherever Markdown or HTML would see more in it; on one line.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in clean(text).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '$' => escaped.extend(['\\', c]),
            // Nobody is called by what a server wrote.
            '@' => escaped.push_str("&#64;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn code(text: &str) -> String {
    let text = clean(text);
    let ticks = "`".repeat(longest_run(&text) + 1);
    format!("{ticks} {text} {ticks}")
}

fn fence(text: &str) -> String {
    "`".repeat(longest_run(text).max(2) + 1)
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn what_did_not_pass_stands_in_the_table_and_failures_are_proved() {
        let report = sample::report(vec![sample::failed(), sample::sibling_passed(), sample::warned()]);
        let text = sample::plain(|out| print(&[Checked { name: None, report }], false, out));
        assert!(
            text.starts_with("### ❌ sockspec: does not conform: 1 MUST and 1 SHOULD of 3 clauses fail"),
            "{text}"
        );
        assert!(text.contains("| FAIL | `reap.every-child` | MUST | expected no zombie"), "{text}");
        assert!(text.contains("| WARN | `listen.value` | SHOULD |"), "{text}");
        assert!(!text.contains("fork.sibling-survives"), "{text}");
        assert!(text.contains("```text\nThe server waits"), "{text}");
    }

    #[test]
    fn a_server_cannot_write_markup() {
        assert_eq!(escape("<b>|x|</b>\n@all `c`"), "&lt;b&gt;\\|x\\|&lt;/b&gt; &#64;all \\`c\\`");
        assert_eq!(fence("a ```` b"), "`````");
        assert_eq!(code("./srv {port}"), "` ./srv {port} `");
    }

    #[test]
    fn a_partial_report_says_so() {
        let mut report = sample::report(vec![sample::passed()]);
        report.interrupted = true;
        let text = sample::plain(|out| print(&[Checked { name: None, report }], false, out));
        assert!(text.contains("**partial"), "{text}");
    }
}
