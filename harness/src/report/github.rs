//! The report as annotations of a GitHub workflow: one command a line.

use std::io::{self, Write};

use super::ruling::{Checked, Ruling, details, gist, partial, ruling};

/// Writes an annotation for each failure, and for what else fails the run.
///
/// # Errors
/// As the destination.
pub fn print(all: &[Checked], strict: bool, out: &mut dyn Write) -> io::Result<()> {
    for checked in all {
        let report = &checked.report;
        let mut say = |command: &str, title: &str, lines: &[String]| {
            let title = property(&format!("{}{title}", checked.prefix()));
            writeln!(out, "::{command} title={title}::{}", data(&lines.join("\n")))
        };
        if let Some(why) = partial(report) {
            say("error", "sockspec", &[why.to_owned()])?;
        }
        for stale in &report.stale {
            say("error", "expectation", std::slice::from_ref(stale))?;
        }
        for outcome in &report.outcomes {
            let clause = outcome.clause;
            let title = format!("{} ({})", clause.id, clause.level);
            match ruling(outcome, strict) {
                Ruling::Fail => say("error", &title, &details(report, outcome))?,
                Ruling::Warning => say("warning", &title, &details(report, outcome))?,
                Ruling::Unknown => say("error", &title, &[gist(outcome)])?,
                Ruling::Expected => say("notice", &title, &[gist(outcome)])?,
                Ruling::Pass | Ruling::Doubt | Ruling::Skipped | Ruling::Unasked => {}
            }
        }
    }
    Ok(())
}

/// What follows the second `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_failure_is_one_line_whatever_the_server_wrote() {
        let mut report = sample::report(vec![sample::failed(), sample::warned(), sample::expected()]);
        report.stale = vec!["sockspec.toml:3: 100% stale".to_owned()];
        let text =
            sample::plain(|out| print(&[Checked { name: Some("a, b".to_owned()), report }], false, out));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0], "::error title=a%2C b%3A expectation::sockspec.toml:3: 100%25 stale");
        assert!(
            lines[1].starts_with("::error title=a%2C b%3A reap.every-child (MUST)::The server waits"),
            "{text}"
        );
        assert!(lines[1].contains("%0Astderr: \\x1b[31mchild 7 ended"), "{text}");
        assert!(lines[2].starts_with("::warning "), "{text}");
        assert!(lines[3].starts_with("::notice "), "{text}");
    }
}
