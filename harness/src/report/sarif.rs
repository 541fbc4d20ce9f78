//! The report as SARIF 2.1.0: a run for each server, a rule for each clause, a result for each that did not pass.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::command_line::command;
use super::page::clean;
use super::ruling::{Checked, Ruling, details, gist, partial, ruling};
use crate::clause::{Clause, Level};
use crate::outcome::{Outcome, Report, Status};

/// Writes the log on all servers.
///
/// # Errors
/// As the destination.
pub fn print(all: &[Checked], strict: bool, out: &mut dyn Write) -> io::Result<()> {
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": all.iter().map(|checked| run(checked, strict)).collect::<Vec<_>>(),
    });
    serde_json::to_writer_pretty(&mut *out, &log)?;
    writeln!(out)
}

fn run(checked: &Checked, strict: bool) -> Value {
    let report = &checked.report;
    let judged: Vec<&Outcome> =
        report.outcomes.iter().filter(|outcome| ruling(outcome, strict) != Ruling::Unasked).collect();
    let results = judged.iter().enumerate();
    let results: Vec<Value> =
        results.filter_map(|(index, outcome)| result(checked, outcome, index, strict)).collect();
    json!({
        "tool": {"driver": {
            "name": "sockspec",
            "version": env!("CARGO_PKG_VERSION"),
            "informationUri": env!("CARGO_PKG_REPOSITORY"),
            "rules": judged.iter().map(|outcome| rule(outcome.clause)).collect::<Vec<_>>(),
        }},
        "automationDetails": {"id": format!("sockspec/{}", checked.name.as_deref().unwrap_or("server"))},
        "invocations": [invocation(report)],
        "columnKind": "unicodeCodePoints",
        "results": results,
    })
}

fn rule(clause: &Clause) -> Value {
    let level = match clause.level {
        Level::Must => "error",
        Level::Should => "warning",
        Level::May => "note",
    };
    json!({
        "id": clause.id.0,
        "shortDescription": {"text": clause.requirement},
        "fullDescription": {"text": clause.why},
        "help": {"text": format!("{} Cited: {}.", clause.why, clause.citations.join(", "))},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": [clause.id.family(), clause.level.to_string()]},
    })
}

fn result(checked: &Checked, outcome: &Outcome, index: usize, strict: bool) -> Option<Value> {
    let failed = outcome.finding.status() == Status::Fail;
    let (kind, level) = match ruling(outcome, strict) {
        Ruling::Fail => ("fail", "error"),
        Ruling::Warning => ("fail", "warning"),
        Ruling::Expected if failed => ("fail", "warning"),
        Ruling::Expected | Ruling::Unknown | Ruling::Doubt => ("open", "none"),
        Ruling::Pass | Ruling::Skipped | Ruling::Unasked => return None,
    };
    let text = if failed { details(&checked.report, outcome).join("\n") } else { gist(outcome) };
    let id = outcome.clause.id.0;
    let mut result = json!({
        "ruleId": id,
        "ruleIndex": index,
        "kind": kind,
        "level": level,
        "message": {"text": format!("{}{text}", checked.prefix())},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": place(&checked.report)},
            "region": {"startLine": 1},
        }}],
        // The same clause of the same server is the same alert, whatever was seen this time.
        "partialFingerprints": {"sockspecClause/v1": format!("{}{id}", checked.prefix())},
    });
    if let Some(expected) = &outcome.expected {
        let justification = clean(&expected.to_string());
        result["suppressions"] = json!([{"kind": "external", "justification": justification}]);
    }
    Some(result)
}

fn invocation(report: &Report) -> Value {
    let note = |text: &str| json!({"level": "error", "message": {"text": clean(text)}});
    let notes: Vec<Value> =
        partial(report).into_iter().chain(report.stale.iter().map(String::as_str)).map(note).collect();
    let broken = report.count(Status::Broken) > 0;
    json!({
        "commandLine": clean(&command(&report.target)),
        "executionSuccessful": !report.interrupted && !broken,
        "toolExecutionNotifications": notes,
    })
}

/// Viewers want a file for each result: the program, if its path is given, else the configuration.
fn place(report: &Report) -> String {
    let program = report.target.argv.first().map(String::as_str).unwrap_or_default();
    if !program.contains('/') || program.contains('{') {
        return "sockspec.toml".to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    let relative = Path::new(program).strip_prefix(&here).map_or(program.into(), Path::to_string_lossy);
    let path = percent_encoded(relative.trim_start_matches("./"));
    if path.starts_with('/') { format!("file://{path}") } else { path }
}

fn percent_encoded(path: &str) -> String {
    let mut encoded = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
