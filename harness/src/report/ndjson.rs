//! The report as it happens, `sockspec.events/1`: one JSON object a line.
//!
//! `begin`, `planned`, a `clause` as soon as nothing more will be tried for it, `end`. The document of
//! [`json`](super::json) is the `report` of `end`, with the `clause` of all clause events, by `index`, as its
//! `clauses`. A stream without `end` is of a run that was killed.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::json::{Document, Entry, TOOL};
use crate::outcome::{Outcome, Report};
use crate::run::Progress;
use crate::spec;

/// The stream of one server.
pub struct Stream<'a> {
    out: &'a mut dyn Write,
    name: Option<&'a str>,
    strict: bool,
    /// What is known beforehand: the target, the seed and the options.
    unjudged: &'a Report,
    told: BTreeSet<&'static str>,
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("name", &self.name).field("told", &self.told).finish_non_exhaustive()
    }
}

impl<'a> Stream<'a> {
    /// A stream to this place.
    pub fn new(out: &'a mut dyn Write, name: Option<&'a str>, strict: bool, unjudged: &'a Report) -> Self {
        Self { out, name, strict, unjudged, told: BTreeSet::new() }
    }

    /// Says what will be checked.
    ///
    /// # Errors
    /// As the destination.
    pub fn begin(&mut self) -> io::Result<()> {
        let unjudged = self.unjudged;
        let begin = json!({
            "event": "begin", "schema": "sockspec.events/1", "tool": TOOL, "seed": unjudged.seed,
            "command": unjudged.target.argv, "options": unjudged.options,
        });
        self.event(begin)
    }

    /// Tells of progress, where it is worth a line.
    ///
    /// # Errors
    /// As the destination.
    pub fn tell(&mut self, progress: &Progress<'_>) -> io::Result<()> {
        match progress {
            Progress::Planned { scenarios } => self.event(
                json!({"event": "planned", "scenarios": scenarios, "clauses": spec::catalogue().count()}),
            ),
            Progress::Concluded(outcome) => self.clause(self.unjudged, outcome),
            Progress::Enacted { .. } | Progress::Confirming { .. } | Progress::Settled(..) => Ok(()),
        }
    }

    /// Tells what was not told yet, and ends.
    ///
    /// # Errors
    /// As the destination.
    pub fn end(&mut self, report: &Report) -> io::Result<()> {
        for outcome in &report.outcomes {
            if !self.told.contains(outcome.clause.id.0) {
                self.clause(report, outcome)?;
            }
        }
        let mut document = Document::of(report, self.strict);
        document.clauses = None;
        self.event(json!({"event": "end", "report": document}))
    }

    fn clause(&mut self, report: &Report, outcome: &Outcome) -> io::Result<()> {
        self.told.insert(outcome.clause.id.0);
        let index = spec::catalogue().position(|clause| clause.id == outcome.clause.id);
        self.event(json!({"event": "clause", "index": index, "clause": Entry::of(report, outcome)}))
    }

    fn event(&mut self, mut event: Value) -> io::Result<()> {
        if let (Some(name), Some(fields)) = (self.name, event.as_object_mut()) {
            fields.insert("target".to_owned(), name.into());
        }
        writeln!(self.out, "{event}")?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{json, sample};

    /// The document that a stream tells of.
    fn rebuilt(lines: &str) -> Value {
        let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut clauses: Vec<&Value> = events.iter().filter(|event| event["event"] == "clause").collect();
        clauses.sort_by_key(|event| event["index"].as_u64());
        let clauses: Vec<Value> = clauses.into_iter().map(|event| event["clause"].clone()).collect();
        let mut document = events.last().unwrap()["report"].clone();
        document["clauses"] = clauses.into();
        document
    }

    #[test]
    fn the_document_can_be_rebuilt_from_the_stream() {
        let report = sample::report(vec![sample::failed(), sample::expected(), sample::inconclusive()]);
        let unjudged = sample::report(Vec::new());
        let mut text = Vec::new();
        let mut stream = Stream::new(&mut text, Some("a"), false, &unjudged);
        stream.begin().unwrap();
        stream.tell(&Progress::Planned { scenarios: 9 }).unwrap();
        stream.tell(&Progress::Concluded(&report.outcomes[0])).unwrap();
        stream.end(&report).unwrap();
        let text = String::from_utf8(text).unwrap();
        let mut document = Vec::new();
        json::print(&report, false, &mut document).unwrap();
        let mut document: Value = serde_json::from_slice(&document).unwrap();
        // Two outcomes of one clause, which no run has: the first was told.
        document["clauses"].as_array_mut().unwrap().remove(1);
        let mut again = rebuilt(&text);
        let by_id = |value: &Value| value["id"].as_str().map(str::to_owned);
        document["clauses"].as_array_mut().unwrap().sort_by_key(by_id);
        again["clauses"].as_array_mut().unwrap().sort_by_key(by_id);
        assert_eq!(again, document);
        assert!(text.lines().all(|line| line.contains(r#""target":"a""#)), "{text}");
        assert!(text.starts_with(r#"{"command":["./srv","{port}"],"event":"begin""#), "{text}");
    }
}
