//! Brings the expectations of a file up to date, and leaves all else in it as it is, comments too.

use std::collections::BTreeSet;

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use crate::clause::ClauseId;
use crate::plan::glob_matches;

/// What was found of one server, by ids of clauses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its name, where there are several.
    pub target: Option<String>,
    /// What fails.
    pub failing: BTreeSet<ClauseId>,
    /// What passes.
    pub passing: BTreeSet<ClauseId>,
}

/// The text with an expectation for each failure, and without those that pass now.
///
/// What is true only in some circumstances (`when`), and what a glob says, is left alone.
///
/// # Errors
/// If the text cannot be edited.
pub fn updated(text: &str, found: &[Found], today: &str) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let expect = document.entry("expect").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let Some(tables) = expect.as_array_of_tables_mut() else {
        return Err("`expect` is an inline array; write [[expect]] tables".to_owned());
    };
    tables.retain(|table| !passes_now(table, found));
    for Found { target, failing, .. } in found {
        for id in failing {
            if !tables.iter().any(|table| covers(table, target.as_deref(), *id)) {
                tables.push(expectation(*id, target.as_deref(), today));
            }
        }
    }
    if tables.is_empty() {
        document.remove("expect");
    }
    Ok(document.to_string())
}

fn passes_now(table: &Table, found: &[Found]) -> bool {
    let clause = word(table, "clause").unwrap_or_default();
    let meant = |it: &&Found| word(table, "target").is_none_or(|target| it.target.as_deref() == Some(target));
    let is = |ids: &BTreeSet<ClauseId>| ids.iter().any(|id| id.0 == clause);
    word(table, "status").is_none_or(|status| status == "fail")
        && !table.contains_key("when")
        && found.iter().filter(meant).any(|it| is(&it.passing))
        && !found.iter().filter(meant).any(|it| is(&it.failing))
}

fn covers(table: &Table, target: Option<&str>, id: ClauseId) -> bool {
    let clause = word(table, "clause").unwrap_or_default();
    glob_matches(clause, id) && word(table, "target").is_none_or(|named| Some(named) == target)
}

fn expectation(id: ClauseId, target: Option<&str>, today: &str) -> Table {
    let mut table = Table::new();
    table.insert("clause", value(id.0));
    if let Some(target) = target {
        table.insert("target", value(target));
    }
    table.insert("reason", value(format!("found on {today}, not looked into yet")));
    table.decor_mut().set_prefix("\n");
    table
}

fn word<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.get(key).and_then(Item::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(target: Option<&str>, failing: &[&'static str], passing: &[&'static str]) -> Found {
        let ids = |ids: &[&'static str]| ids.iter().map(|id| ClauseId(id)).collect();
        Found { target: target.map(str::to_owned), failing: ids(failing), passing: ids(passing) }
    }

    const TEXT: &str = "\
# ours
[check]
effort = 'quick' # enough

# this one is hard
[[expect]]
clause = 'reap.every-child'
reason = 'known' # since 2019

[[expect]]
clause = 'echo.exact'
reason = 'mended'
";

    #[test]
    fn failures_come_in_passes_go_out_and_comments_stay() {
        let found = [found(None, &["fork.sibling-survives", "reap.every-child"], &["echo.exact"])];
        let text = updated(TEXT, &found, "2026-01-02").unwrap();
        let replaced = TEXT.split_inclusive("[[expect]]").take(2).collect::<String>()
            + "\nclause = \"fork.sibling-survives\"\nreason = \"found on 2026-01-02, not looked into yet\"\n";
        assert_eq!(text, replaced);
        assert_eq!(updated(&text, &found, "2027-01-01").unwrap(), text);
    }

    #[test]
    fn each_server_has_its_own() {
        let all = [found(Some("a"), &["echo.exact"], &[]), found(Some("b"), &[], &["echo.exact"])];
        let text = updated("", &all, "2026-01-02").unwrap();
        assert!(text.contains("clause = \"echo.exact\"\ntarget = \"a\"\n"), "{text}");
        let mended = [found(Some("a"), &[], &["echo.exact"]), found(Some("b"), &["echo.exact"], &[])];
        let text = updated(&text, &mended, "2026-01-02").unwrap();
        assert!(text.contains("target = \"b\"") && !text.contains("target = \"a\""), "{text}");
    }

    #[test]
    fn globs_and_circumstances_are_left_alone() {
        let text = "[[expect]]\nclause = 'reap.*'\nreason = 'r'\n\n[[expect]]\nclause = 'echo.exact'\nreason = 'r'\nwhen = { kernel = '<6' }\n";
        let found = [found(None, &["reap.every-child"], &["echo.exact"])];
        assert_eq!(updated(text, &found, "2026-01-02").unwrap(), text);
        assert!(updated("expect = [{ clause = 'a' }]", &found, "x").is_err());
    }
}
