//! Reports in every form, from one run, whole or partial.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use serde_json::Value;

const EXE: &str = env!("CARGO_BIN_EXE_sockspec");
const FAULTY: [&str; 6] = [EXE, "serve", "--defect", "never-reaps", "--port", "{port}"];

fn sockspec(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(EXE);
    command.current_dir(dir).args(args).env_remove("GITHUB_ACTIONS").stdin(Stdio::null());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn one_run_writes_all_reports_and_they_agree() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec![
        "check",
        "--effort",
        "quick",
        "--timeout-scale",
        "0.3",
        "--only",
        "reap.every-child",
        "--only",
        "echo.exact",
        "--format",
        "github",
    ];
    for report in
        ["json=a.json", "ndjson=a.ndjson", "junit=a.xml", "sarif=a.sarif", "markdown=a.md", "text=a.txt"]
    {
        args.extend(["--report", report]);
    }
    args.push("--");
    args.extend(FAULTY);
    let output = sockspec(dir.path(), &args);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).starts_with("::error title=reap.every-child (MUST)::"), "{}", said(&output));
    let file = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let document = json(&dir.path().join("a.json"));
    assert_eq!(document["partial"], false);
    assert_eq!(rebuilt(&file("a.ndjson")), document);
    assert!(file("a.xml").contains(r#"<testcase name="echo.exact" classname="sockspec.echo""#));
    assert!(file("a.xml").contains(r#"tests="3" failures="1" errors="0""#), "{}", file("a.xml"));
    let sarif = json(&dir.path().join("a.sarif"));
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "reap.every-child");
    assert!(file("a.md").contains("| FAIL | `reap.every-child`"));
    assert!(file("a.txt").contains("FAIL reap.every-child"));
}

/// The document that a stream of events tells of.
fn rebuilt(lines: &str) -> Value {
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[1], kinds[kinds.len() - 1]), ("begin", "planned", "end"));
    let mut clauses: Vec<&Value> = events.iter().filter(|event| event["event"] == "clause").collect();
    clauses.sort_by_key(|event| event["index"].as_u64());
    let mut document = events.last().unwrap()["report"].clone();
    document["clauses"] = clauses.into_iter().map(|event| event["clause"].clone()).collect::<Vec<_>>().into();
    document
}

#[test]
fn an_interrupted_run_leaves_reports_that_say_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.json"), "{\"an older\": \"report\"}").unwrap();
    let mut child = Command::new(EXE)
        .current_dir(dir.path())
        .args(["check", "--effort", "thorough", "--format", "ndjson", "--report", "json=a.json"])
        .args(["--report", "junit=a.xml", "--", EXE, "serve", "--port", "{port}"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let planned = lines.by_ref().map(Result::unwrap).find(|line| line.contains(r#""event":"planned""#));
    assert!(planned.is_some());
    // Whoever looks now sees a report on this run, not on the last one.
    assert_eq!(json(&dir.path().join("a.json"))["partial"], true);
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let last = lines.map(Result::unwrap).last().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&last["event"], &last["report"]["partial"]), (&"end".into(), &true.into()));
    assert_eq!(json(&dir.path().join("a.json"))["partial"], true);
    assert!(fs::read_to_string(dir.path().join("a.xml")).unwrap().contains(r#"<error type="partial""#));
}

#[test]
fn a_difference_is_a_regression_only_one_way() {
    let dir = tempfile::tempdir().unwrap();
    let good = [EXE, "serve", "--port", "{port}"];
    for (name, server) in [("old.json", &good[..]), ("new.json", &FAULTY[..])] {
        let quick = ["check", "--effort", "quick", "--timeout-scale", "0.3", "--only", "reap.every-child"];
        let args = [&quick[..], &["--format", "json", "--output", name, "-q", "--"]].concat();
        sockspec(dir.path(), &[&args[..], server].concat());
    }
    let worse = sockspec(dir.path(), &["diff", "old.json", "new.json"]);
    assert_eq!(worse.status.code(), Some(1), "{}", said(&worse));
    assert!(said(&worse).starts_with("REGRESSED reap.every-child (was pass, is fail)"), "{}", said(&worse));
    let better = sockspec(dir.path(), &["diff", "new.json", "old.json", "--format", "json"]);
    assert_eq!(better.status.code(), Some(0), "{}", said(&better));
    assert!(said(&better).contains(r#""change": "fixed""#), "{}", said(&better));
    fs::write(dir.path().join("no.json"), "[]").unwrap();
    for file in ["no.json", "missing.json"] {
        let unreadable = sockspec(dir.path(), &["diff", "old.json", file]);
        assert_eq!(unreadable.status.code(), Some(2), "{}", said(&unreadable));
        assert!(said(&unreadable).contains(file), "{}", said(&unreadable));
    }
}

#[test]
fn a_host_without_namespaces_does_not_suffice() {
    // In a user namespace of our own we may forbid further ones.
    let script = format!("echo 0 > /proc/sys/user/max_user_namespaces && exec '{EXE}' doctor --require full");
    let words = ["-Ur", "setpriv", "--bounding-set", "-sys_admin", "sh", "-c", &script];
    let output = Command::new("unshare").args(words).output().unwrap();
    if !String::from_utf8_lossy(&output.stdout).contains("isolation") {
        let forbidden = std::env::var("SOCKSPEC_SKIP").is_ok_and(|value| value == "forbid");
        assert!(!forbidden, "{}", said(&output));
        return; // This host has none to forbid: `sockspec doctor` says so.
    }
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("remedy"), "{}", said(&output));
}

#[rstest]
#[case(&["man"], ".TH sockspec 1")]
#[case(&["man", "check"], ".TH sockspec-check 1")]
#[case(&["man", "check"], "\\-\\-update\\-expectations")]
#[case(&["completions", "bash"], "--update-expectations")]
#[case(&["completions", "zsh"], "--report=")]
#[case(&["completions", "fish"], "-l no-config")]
fn man_pages_and_completions_come_from_the_same_definitions(#[case] args: &[&str], #[case] part: &str) {
    let output = sockspec(Path::new("/"), args);
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains(part), "{}", said(&output));
}

#[test]
fn recipes_can_be_read_and_say_options_that_exist() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/ci");
    let mut lines = Vec::new();
    for name in ["github.yml", "gitlab.yml"] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let documents = yaml_rust2::YamlLoader::load_from_str(&text).unwrap();
        let job = &documents[0]["jobs"]["sockspec"]["steps"];
        let script = documents[0]["sockspec"]["script"].as_vec().into_iter().flatten();
        let runs = job.as_vec().into_iter().flatten().map(|step| &step["run"]).chain(script);
        lines.extend(runs.filter_map(|run| run.as_str().map(str::to_owned)));
    }
    for name in ["docker.sh", "root.sh"] {
        let path = folder.join(name);
        assert!(Command::new("sh").arg("-n").arg(&path).status().unwrap().success(), "{name}");
    }
    let checked = lines.iter().filter(|line| line.starts_with("sockspec "));
    let mut count = 0;
    for line in checked {
        count += 1;
        // What a shell makes of the line, with this program asked for help on it.
        let script = format!("sockspec() {{ '{EXE}' \"$@\" --help >/dev/null; }}; {line}");
        let output = Command::new("sh")
            .args(["-ec", &script])
            .env("GITHUB_STEP_SUMMARY", "summary.md")
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {}", said(&output));
    }
    assert!(count >= 4, "{lines:?}");
    let nextest: toml::Table = fs::read_to_string(folder.join("nextest.toml")).unwrap().parse().unwrap();
    assert!(nextest.contains_key("test-groups"));
}
