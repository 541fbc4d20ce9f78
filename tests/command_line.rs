//! The command as its users meet it: exit codes, streams, and answers to bad input.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use serde_json::Value;

fn sockspec(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sockspec")).args(words).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A check of one cheap clause against a command.
fn check(command: &[&str]) -> Output {
    sockspec(
        &[&["check", "--only", "start.listens-in-time", "--timeout-scale", "0.3", "--"], command].concat(),
    )
}

#[rstest]
#[case(&["check", "--jobs", "0"], "--jobs")]
#[case(&["check", "--backlog", "-1"], "--backlog")]
#[case(&["check", "--backlog", "70000"], "--backlog")]
#[case(&["check", "--clients", "0"], "--clients")]
#[case(&["check", "--only", "reap.every-chld"], "reap.every-child")]
#[case(&["check", "--only", "nothing.*"], "nothing.*")]
#[case(&["check", "--output", "/nonexistent/report.json"], "/nonexistent")]
#[case(&["check", "--time", "soon"], "--time")]
#[case(&["check", "--env", "NOVALUE"], "NOVALUE")]
#[case(&["check", "--format", "yaml"], "yaml")]
#[case(&["check", "--", "no-such-command-anywhere"], "no-such-command-anywhere")]
#[case(&["check", "--", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")], "chmod +x")]
#[case(&["check", "--"], "COMMAND")]
#[case(&["check", "--no-such-option"], "--no-such-option")]
#[case(&["explain", "reap.everything"], "reap.every")]
#[case(&["serve", "--port", "65536"], "65536")]
#[case(&["serve", "--defect", "never-reap"], "--defect list")]
#[case(&["serve", "--design", "self-pip"], "--design list")]
#[case(&["frobnicate"], "frobnicate")]
fn wrong_usage_is_exit_2_and_names_the_thing(#[case] words: &[&str], #[case] named: &str) {
    let output = sockspec(words);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(named), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
}

#[rstest]
#[case::exits_at_once(&["sh", "-c", "echo no licence >&2; exit 7"], "exited with status 7")]
#[case::says_why(&["sh", "-c", "echo no licence >&2; exit 7"], "no licence")]
#[case::never_listens(&["sh", "-c", "echo hello; exec sleep 1000"], "no socket in LISTEN")]
#[case::crashes(&["sh", "-c", "kill -SEGV $$"], "SIGSEGV")]
#[case::needs_an_interpreter(&["sh", "-c", "exec /nonexistent/srv"], "exited with status 127")]
fn a_server_that_does_not_start_fails_one_clause(#[case] command: &[&str], #[case] seen: &str) {
    let output = check(command);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("FAIL start.listens-in-time"), "{said}");
    assert!(said.contains(seen), "{said}");
}

#[test]
fn a_server_on_another_port_fails_one_clause() {
    let exe = env!("CARGO_BIN_EXE_sockspec");
    let script = format!("exec '{exe}' serve --port $(({{port}} + 1))");
    let output =
        sockspec(&["check", "--format", "json", "--timeout-scale", "0.3", "--", "sh", "-c", &script]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let failed: Vec<_> = clauses(&report).filter(|clause| clause["status"] == "fail").collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(failed[0]["id"], "start.port-honoured");
    assert!(
        clauses(&report).filter(|clause| clause["status"] == "skipped").all(|c| c["cause"] == "depends-on")
    );
}

#[test]
fn a_fork_bomb_is_contained() {
    let output = check(&["sh", "-c", "b() { b | b & }; b; sleep 1000"]);
    // It never listens; or it leaves so little of the machine that nobody can say so.
    assert!(matches!(output.status.code(), Some(1 | 3)), "{}", text(&output.stdout));
}

#[test]
fn gigabytes_on_stderr_do_no_harm() {
    let output = check(&["sh", "-c", "yes nonsense >&2"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(output.stdout.len() < 100_000);
}

#[test]
fn arguments_with_spaces_arrive_whole_and_can_be_pasted_back() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("my server");
    fs::write(&script, format!("#!/bin/sh\nexec '{}' serve --port \"$2\"\n", env!("CARGO_BIN_EXE_sockspec")))
        .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    let words = ["check", "--only", "echo.exact", "--format", "json", "--", script, "two words", "{port}"];
    let output = sockspec(&words);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["target"]["command"][1], "two words");
}

#[test]
fn never_reaps_is_found_out_in_a_step_or_two() {
    let exe = env!("CARGO_BIN_EXE_sockspec");
    let server = [exe, "serve", "--defect", "never-reaps", "--port", "{port}"];
    let output =
        sockspec(&[&["check", "--only", "reap.every-child", "--format", "json", "--"][..], &server].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema"], "sockspec.report/1");
    assert_eq!(report["conformance"], "does-not-conform");
    let clause = clauses(&report).find(|clause| clause["id"] == "reap.every-child").unwrap();
    assert_eq!(clause["status"], "fail");
    let steps = clause["counterexample"].as_array().unwrap();
    assert!((1..=2).contains(&steps.len()), "{steps:?}");
    let again = clause["again"].as_str().unwrap();
    assert!(again.starts_with("sockspec check --only reap.every-child --seed 1 -- "), "{again}");
}

#[test]
fn a_reader_that_leaves_is_no_disaster() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sockspec"))
        .arg("list")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(said, "");
}

#[test]
fn nothing_selected_by_level_is_no_green_run() {
    let output = sockspec(&["check", "--only", "reap.hangup-recorded", "--level", "must"]);
    assert_ne!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[test]
fn every_clause_can_be_explained() {
    let listed = sockspec(&["list", "--format", "json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let ids: Vec<_> = listed.as_array().or_else(|| listed["clauses"].as_array()).unwrap().clone();
    assert!(ids.len() >= 70);
    for clause in ids {
        let id = clause["id"].as_str().unwrap();
        let output = sockspec(&["explain", id]);
        assert_eq!(output.status.code(), Some(0), "{id}");
        assert!(text(&output.stdout).contains(id));
    }
}

fn clauses(report: &Value) -> impl Iterator<Item = &Value> {
    report["clauses"].as_array().unwrap().iter()
}
