//! What is written about the code is true of the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sockspec::clause::Level;
use sockspec::plan::glob_matches;
use sockspec::spec;

/// A file longer than this is two ideas.
const LINES_MAX: usize = 400;
/// Modules that `spec` may use: clauses are data and pure functions.
const SPEC_USES: [&str; 7] = ["limits", "profile", "scenario", "trace", "verdict", "clause", "spec"];

#[test]
fn modules_use_only_those_above_them() {
    let lib = read("harness/src/lib.rs");
    let order: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(order.len() > 10, "{order:?}");
    for file in sources("harness/src") {
        let Some(index) = order.iter().position(|module| module_of(&file) == *module) else { continue };
        let text = without_tests(&fs::read_to_string(&file).unwrap());
        for used in used_modules(&text) {
            let Some(at) = order.iter().position(|module| *module == used) else { continue };
            assert!(at <= index, "{} uses {used}, which stands below it in lib.rs", file.display());
            let pure = module_of(&file) != "spec" || SPEC_USES.contains(&used.as_str());
            assert!(pure, "{} uses {used}: clauses are data", file.display());
        }
    }
}

#[test]
fn files_are_short() {
    for folder in ["harness", "server-under-test", "fixtures", "tests"] {
        for file in sources(folder) {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            assert!(lines <= LINES_MAX, "{}: {lines} lines", file.display());
        }
    }
}

#[test]
fn unsafe_has_an_address() {
    for file in sources("harness").into_iter().chain(sources("tests")) {
        let text = fs::read_to_string(&file).unwrap();
        let words = [["un", "safe {"].concat(), ["(un", "safe)"].concat()];
        let has_none = words.iter().all(|word| !text.contains(word));
        assert!(has_none || module_of(&file) == "sys", "{}", file.display());
    }
}

#[test]
fn architecture_names_files_that_exist() {
    let text: String = read("ARCHITECTURE.md").split("```").step_by(2).collect();
    let names: Vec<&str> = text.split('`').skip(1).step_by(2).filter(|name| name.contains('/')).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names.iter().filter(|name| name.chars().all(|c| c.is_alphanumeric() || "/_-.".contains(c))) {
        let exists = ["", "harness/src/"].iter().any(|base| root().join(base).join(name).exists());
        assert!(exists, "ARCHITECTURE.md names `{name}`");
    }
}

#[test]
fn clauses_are_well_formed() {
    let families = ["start", "listen", "accept", "echo", "close", "fork", "reap", "fd", "limits", "stop"];
    let mut ids = BTreeSet::new();
    for clause in spec::catalogue() {
        let id = clause.id;
        assert!(ids.insert(id.0), "{id} stands twice");
        assert!(families.contains(&id.family()), "{id}: no such family");
        assert!(
            id.0.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c)),
            "{id}"
        );
        assert!(clause.requirement.starts_with("The server"), "{id}: {}", clause.requirement);
        assert!(clause.requirement.ends_with('.') && clause.why.ends_with('.'), "{id}");
        assert!(!clause.citations.is_empty(), "{id} cites nothing");
    }
    assert!(ids.len() >= 70, "{} clauses", ids.len());
}

#[test]
fn every_clause_that_can_fail_has_a_faulty_server() {
    let known: BTreeSet<&str> = spec::catalogue().map(|clause| clause.id.0).collect();
    let failed: BTreeSet<&str> =
        faulty_echo::defects().iter().flat_map(|defect| defect.fails.iter().copied()).collect();
    let unknown: Vec<_> = failed.difference(&known).collect();
    assert!(unknown.is_empty(), "defects are listed for clauses that do not exist: {unknown:?}");
    for also in faulty_echo::defects().iter().flat_map(|defect| defect.also) {
        assert!(spec::catalogue().any(|clause| glob_matches(also, clause.id)), "no clause is {also:?}");
    }
    let can_fail = spec::catalogue().filter(|clause| clause.level != Level::May);
    let unproven: Vec<_> = can_fail.map(|clause| clause.id.0).filter(|id| !failed.contains(id)).collect();
    assert!(unproven.is_empty(), "clauses that no defect fails: {unproven:?}");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// All Rust files below a folder.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The top-level module of the harness that a file belongs to.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(root().join("harness/src")).unwrap_or(file);
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The code before the unit tests.
fn without_tests(text: &str) -> String {
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// Top-level modules that a text names after `crate::`.
fn used_modules(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1).map(str::to_owned).collect::<Vec<_>>())
        .flat_map(|rest| {
            let group =
                rest.strip_prefix('{').map(|group| group.split('}').next().unwrap_or_default().to_owned());
            let names = group.unwrap_or(rest);
            names.split(',').map(first_name).collect::<Vec<_>>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

fn first_name(path: &str) -> String {
    path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
