//! `sockspec.toml`: found, obeyed, overridden, explained and brought up to date.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

const EXE: &str = env!("CARGO_BIN_EXE_sockspec");

fn sockspec(dir: &Path, args: &[&str]) -> Output {
    Command::new(EXE).current_dir(dir).args(args).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A folder with a file; `GOOD` and `FAULTY` in it are commands.
fn folder(text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = text
        .replace("GOOD", &format!("['{EXE}', 'serve', '--port', '{{port}}']"))
        .replace("FAULTY", &format!("['{EXE}', 'serve', '--defect', 'never-reaps', '--port', '{{port}}']"));
    fs::write(dir.path().join("sockspec.toml"), text).unwrap();
    dir
}

const ONE: &str = "\
[check]
effort = 'quick'
timeout-scale = 0.3
only = ['reap.every-child', 'echo.exact']

[[target]]
name = 'faulty'
command = FAULTY
";

const EXPECTED: &str = "
[[expect]]
clause = 'reap.every-child'
reason = 'the reaper comes later'
issue = '#42'
";

#[test]
fn an_expected_failure_fails_no_run_and_is_told() {
    let dir = folder(&format!("{ONE}{EXPECTED}"));
    let below = dir.path().join("a/b");
    fs::create_dir_all(&below).unwrap();
    let output = sockspec(&below, &["check", "--report", "json=out.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("XFAIL reap.every-child"), "{}", said(&output));
    assert!(said(&output).contains("the reaper comes later (#42)"), "{}", said(&output));
    let report: Value = serde_json::from_slice(&fs::read(below.join("out.json")).unwrap()).unwrap();
    let clauses = report["targets"][0]["report"]["clauses"].as_array().unwrap();
    let reaped = clauses.iter().find(|clause| clause["id"] == "reap.every-child").unwrap();
    assert_eq!(reaped["expected_because"]["reason"], "the reaper comes later");
    let typed =
        sockspec(dir.path(), &["check", "--no-config", "--only", "echo.exact", "-q", "--", EXE, "serve"]);
    assert_eq!(typed.status.code(), Some(0), "{}", said(&typed));
}

#[rstest]
#[case::passes_now("echo.exact", "", "echo.exact was expected to fail, now passes", 1)]
#[case::expired("reap.every-child", "until = 2020-01-31", "has expired on 2020-01-31", 1)]
#[case::unknown("reap.every-chlid", "", "matches no clause; did you mean reap.every-child", 2)]
#[case::no_such_target("reap.every-child", "target = 'other'", "there is no target other", 2)]
#[case::no_date("reap.every-child", "until = 'soon'", "expected a date such as 2026-12-31", 2)]
#[case::no_kernel("reap.every-child", "when = { kernel = 'new' }", "compares no kernel", 2)]
fn an_expectation_that_does_not_hold_fails_the_run(
    #[case] clause: &str,
    #[case] more: &str,
    #[case] part: &str,
    #[case] code: i32,
) {
    let dir = folder(&format!("{ONE}\n[[expect]]\nclause = '{clause}'\nreason = 'known'\n{more}\n"));
    let output = sockspec(dir.path(), &["check", "-q"]);
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    let line = said(&output).lines().find(|line| line.contains(part)).map(str::to_owned);
    assert!(line.is_some_and(|line| line.contains("sockspec.toml:")), "{}", said(&output));
}

#[test]
fn one_that_stands_twice_is_an_error() {
    let dir = folder(&format!("{ONE}{EXPECTED}{EXPECTED}"));
    let output = sockspec(dir.path(), &["check"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("sockspec.toml:16:10: reap.every-child is expected twice"),
        "{}",
        said(&output)
    );
}

#[rstest]
#[case("[check]\njobs = 0\n", "sockspec.toml:2:8: ", "0 is not in 1..=1024")]
#[case("[check]\neffort = 'quik'\n", "sockspec.toml:2:10: ", "quick")]
#[case(
    "[check]\nclient = 3\n",
    "sockspec.toml:2:1: unknown key `client`; did you mean `clients`?",
    "2 | client = 3"
)]
#[case(
    "[[target]]\nname = 'a'\ncommand = GOOD\nstop-signal = 'KILL'\n",
    "sockspec.toml:4:15: ",
    "stop-signal = 'KILL'"
)]
#[case("[[target]]\nname = 'a'\ncommand = ['no-such-program']\n", "no-such-program: not found in PATH", "")]
fn a_mistake_is_shown_where_it_stands(#[case] text: &str, #[case] place: &str, #[case] part: &str) {
    let output = sockspec(folder(text).path(), &["check"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains(place) && said(&output).contains(part), "{}", said(&output));
    assert!(!said(&output).contains("panicked"), "{}", said(&output));
}

#[test]
fn the_command_line_overrides_the_file() {
    let dir = folder(&ONE.replace("[check]", "[check]\nverbose = true\nseed = 3"));
    let args =
        ["check", "--only", "echo.exact", "--seed", "9", "-q", "--format", "json", "--target", "faulty"];
    let output = sockspec(dir.path(), &args);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["targets"][0]["report"]["seed"], 9);
    assert_eq!(document["targets"][0]["report"]["counts"]["pass"], 1);
    let unknown = sockspec(dir.path(), &["check", "--target", "falty"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", said(&unknown));
    assert!(said(&unknown).contains("there are faulty"), "{}", said(&unknown));
}

#[test]
fn many_servers_stand_side_by_side() {
    let dir = folder(&format!("{ONE}\n[[target]]\nname = 'good'\ncommand = GOOD\n"));
    let output = sockspec(dir.path(), &["check", "-q"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let text = said(&output);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(rows.contains(&vec!["faulty", "good"]), "{text}");
    assert!(rows.contains(&vec!["reap.every-child", "FAIL", "pass"]), "{text}");
    assert!(!text.contains("echo.exact"), "{text}");
    assert!(text.contains("1 of 2 servers conform"), "{text}");
}

#[test]
fn expectations_are_written_from_three_runs_and_comments_stay() {
    let dir = folder(&format!("# by hand\n{ONE}"));
    let output = sockspec(dir.path(), &["check", "--update-expectations"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = fs::read_to_string(dir.path().join("sockspec.toml")).unwrap();
    assert!(text.starts_with("# by hand\n"), "{text}");
    assert!(text.contains("[[expect]]\nclause = \"reap.every-child\"\n"), "{text}");
    let output = sockspec(dir.path(), &["check", "-q"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn a_first_file_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("server.py"), "import socket\n").unwrap();
    let output = sockspec(dir.path(), &["init"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = fs::read_to_string(dir.path().join("sockspec.toml")).unwrap();
    assert!(text.contains(r#"command = ["python3", "server.py", "{port}"]"#), "{text}");
    let again = sockspec(dir.path(), &["init"]);
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));
    assert_eq!(fs::read_to_string(dir.path().join("sockspec.toml")).unwrap(), text);
    let schema: Value = serde_json::from_slice(&sockspec(dir.path(), &["init", "--schema"]).stdout).unwrap();
    assert!(schema["properties"]["expect"].is_object(), "{schema}");
}

#[test]
fn a_server_is_run_as_the_user_that_the_file_names() {
    let dir = folder(
        "[[target]]\nname = 'a'\nuser = '65534:65533'\n\
         command = ['sh', '-c', 'echo it is $(id -u):$(id -g), of $(id -G) >&2; exit 7']\n",
    );
    let output = sockspec(dir.path(), &["check", "--only", "echo.exact"]);
    let said = said(&output);
    if nix::unistd::geteuid().is_root() {
        assert!(said.contains("stderr     it is 65534:65533, of 65533"), "{said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
    } else {
        assert!(said.contains("only root can run the server as another user"), "{said}");
        assert_eq!(output.status.code(), Some(2), "{said}");
    }
}

/// Root of a container without `CAP_SYS_RESOURCE` may set limits of its own processes only.
#[test]
fn a_server_of_another_user_can_be_limited() {
    let dir = folder(&format!(
        "[[target]]\nname = 'a'\nuser = '65534'\ncommand = ['{}', 'serve', '--port', '{{port}}']\n",
        env!("CARGO_BIN_EXE_sockspec")
    ));
    let output = sockspec(dir.path(), &["check", "--only", "limits.descriptors-recover"]);
    let said = said(&output);
    if nix::unistd::geteuid().is_root() {
        assert!(said.contains("conforms in 1 clause"), "{said}");
    } else {
        assert!(said.contains("only root can run the server as another user"), "{said}");
    }
}
