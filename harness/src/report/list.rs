//! Prints the catalogue: as a table, or as JSON for programs.

use std::io::{self, Write};

use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::page::Page;
use crate::clause::{Clause, Level};

/// Writes a table of id, level and requirement, grouped by family.
///
/// # Errors
/// As the destination.
pub fn print(clauses: &[&Clause], width: usize, out: &mut dyn Write) -> io::Result<()> {
    let ids = clauses.iter().map(|clause| clause.id.0.len()).max().unwrap_or(0);
    let page = &mut Page::new(out, width);
    let mut family = "";
    for clause in clauses {
        if clause.id.family() != family {
            family = clause.id.family();
            page.gap()?;
        }
        let level = format!("{:<6}", clause.level);
        let level = match clause.level {
            Level::Must => level.bold().to_string(),
            Level::Should => level,
            Level::May => level.dimmed().to_string(),
        };
        let column = ids + 2 + 6 + 2;
        page.hanging(&format!("{:<ids$}  {level}  ", clause.id), column, column, clause.requirement)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    clauses: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    id: &'static str,
    level: Level,
    requirement: &'static str,
    why: &'static str,
    citations: &'static [&'static str],
}

/// Writes the same as a JSON document, `sockspec.clauses/1`.
///
/// # Errors
/// As the destination.
pub fn print_json(clauses: &[&Clause], out: &mut dyn Write) -> io::Result<()> {
    let entry = |clause: &&Clause| Entry {
        id: clause.id.0,
        level: clause.level,
        requirement: clause.requirement,
        why: clause.why,
        citations: clause.citations,
    };
    let document = Document { schema: "sockspec.clauses/1", clauses: clauses.iter().map(entry).collect() };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn families_are_set_apart_and_long_requirements_wrapped() {
        let text = sample::plain(|out| print(&sample::catalogue(), 60, out));
        assert_eq!(
            text,
            "\
listen.value           SHOULD  The server asks for a queue
                               of 128.

fork.sibling-survives  MUST    The server goes on serving
                               when a child is killed.

reap.every-child       MUST    The server waits for every
                               child that has ended.

stop.drains            MAY     The server lets its clients
                               finish when it is stopped.
"
        );
    }

    #[test]
    fn the_json_names_each_clause() {
        let mut text = Vec::new();
        print_json(&sample::catalogue(), &mut text).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document["schema"], "sockspec.clauses/1");
        assert_eq!(document["clauses"][2]["id"], "reap.every-child");
        assert_eq!(document["clauses"][2]["level"], "must");
    }
}
