//! Servers that nobody here wrote: every failure is one that was examined by hand (`fixtures/servers/README.md`).
//!
//! One libtest test for each server, ignored visibly if its program is not installed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use sockspec::clause::Level;
use sockspec::command::TargetCommand;
use sockspec::outcome::Status;
use sockspec::plan::Options;
use sockspec::profile::Effort;
use sockspec::run;

/// Checks at once: each mostly waits for what does not come.
const CHECKS_AT_ONCE: usize = 8;

struct Server {
    name: String,
    program: String,
    command: Vec<String>,
    fails: BTreeSet<String>,
    /// Fail only with some timings.
    sometimes: BTreeSet<String>,
}

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(CHECKS_AT_ONCE));
    let forbid = std::env::var("SOCKSPEC_SKIP").is_ok_and(|value| value == "forbid");
    let trials = servers().into_iter().map(|server| {
        let missing = !installed(&server.program);
        let name = format!("foreign::{}", server.name);
        if missing && forbid {
            return Trial::test(name, move || Err(format!("{} is not installed", server.program).into()));
        }
        Trial::test(name, move || fails_as_examined(&server)).with_ignored_flag(missing)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// Every MUST that was examined fails, and no other.
fn fails_as_examined(server: &Server) -> Result<(), Failed> {
    let options = Options { effort: Effort::Quick, shrink_within: Duration::ZERO, ..Options::default() };
    let command = TargetCommand { cwd: Some(root()), ..TargetCommand::from_words(server.command.clone()) };
    let report = run::check(&command, &options, &AtomicBool::new(false), &mut |_| {})?;
    let failed: BTreeSet<String> = report
        .outcomes
        .iter()
        .filter(|outcome| outcome.clause.level == Level::Must && outcome.finding.status() == Status::Fail)
        .map(|outcome| outcome.clause.id.to_string())
        .collect();
    if failed.is_superset(&server.fails)
        && failed.iter().all(|id| server.fails.contains(id) || server.sometimes.contains(id))
    {
        return Ok(());
    }
    let findings: Vec<String> = report
        .outcomes
        .iter()
        .filter(|outcome| failed.symmetric_difference(&server.fails).any(|id| id == outcome.clause.id.0))
        .map(|outcome| format!("{} {:?}", outcome.clause.id, outcome.finding))
        .collect();
    Err(format!("not as examined: {findings:#?}").into())
}

/// The two tables of the README.
fn servers() -> Vec<Server> {
    let text = std::fs::read_to_string(root().join("fixtures/servers/README.md")).unwrap_or_default();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").map(|cell| cell.trim_matches('`')).collect())
        .collect();
    let commands = rows.iter().filter(|row| row.len() == 4 && row[0] != "server");
    commands
        .map(|row| Server {
            name: row[0].to_owned(),
            program: row[1].to_owned(),
            command: row[3].split(' ').map(str::to_owned).collect(),
            fails: examined(&rows, row[0], false),
            sometimes: examined(&rows, row[0], true),
        })
        .collect()
}

/// The clauses that stand in the second table for this server.
fn examined(rows: &[Vec<&str>], server: &str, sometimes: bool) -> BTreeSet<String> {
    let rows = rows.iter().filter(|row| row.len() == 3 && row[0] == server);
    rows.filter(|row| row[2].starts_with("sometimes: ") == sometimes).map(|row| row[1].to_owned()).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let here = |folder: PathBuf| folder.join(program).exists();
    std::env::split_paths(&path).any(here) || Path::new("/usr/sbin").join(program).exists()
}
