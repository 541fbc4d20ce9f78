//! Reports for other people's programs, held against their published schemas (`fixtures/schemas`).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Checked, junit, sample, sarif};
use crate::outcome::{Counterexample, Failure, Outcome};
use crate::trace::build::Build;

fn schema(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/schemas").join(name)
}

/// Every kind of outcome, on two servers, one of which writes what no document may hold.
fn all() -> Vec<Checked> {
    let mut bytes: String = (0..0x20u8).map(char::from).collect();
    bytes.push_str("]]> <&\"' \u{7f}\u{85}\u{2028}\u{fffe}\u{ffff}\u{10ffff}\u{fffd} \u{202e}\n--> end");
    let nasty = |outcome: Outcome| {
        let counterexample = outcome.counterexample.map(|it| Counterexample {
            failure: Failure { trace: Build::empty().stderr(&bytes).trace(), ..it.failure },
            ..it
        });
        Outcome { counterexample, ..outcome }
    };
    let mut first = sample::report(vec![
        sample::warned(),
        nasty(sample::failed()),
        sample::inconclusive(),
        sample::broken(),
    ]);
    first.target.argv = vec!["./my srv%".to_owned(), bytes.clone()];
    first.stale = vec![format!("sockspec.toml:3: {bytes}")];
    let mut second = sample::report(vec![nasty(sample::expected()), sample::not_applicable()]);
    second.interrupted = true;
    vec![Checked { name: Some(bytes), report: first }, Checked { name: None, report: second }]
}

#[test]
fn sarif_is_valid() {
    let mut text = Vec::new();
    sarif::print(&all(), false, &mut text).unwrap();
    let log: Value = serde_json::from_slice(&text).unwrap();
    let schema = std::fs::read_to_string(schema("sarif-2.1.0.json")).unwrap();
    // A slip of its authors: the last bracket of a pattern is one too many. We write no `language`.
    let schema: Value = serde_json::from_str(&schema.replace("{2}]?$", "{2}$")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let problems: Vec<String> =
        validator.iter_errors(&log).map(|error| format!("{} at {}", error, error.instance_path())).collect();
    assert_eq!(problems, [""; 0]);
    assert_eq!(log["runs"][0]["results"].as_array().unwrap().len(), 4);
    assert_eq!(log["runs"][0]["results"][1]["ruleId"], "reap.every-child");
    assert_eq!(log["runs"][1]["results"][0]["suppressions"][0]["kind"], "external");
    assert_eq!(log["runs"][1]["invocations"][0]["executionSuccessful"], false);
}

#[test]
fn junit_is_valid_whatever_a_server_wrote() {
    let mut text = Vec::new();
    junit::print(&all(), false, &mut text).unwrap();
    let read = String::from_utf8(text.clone()).unwrap();
    assert!(read.contains("observed: 1 zombie"), "{read}");
    assert!(read.contains(r#"<error type="partial" message="partial: "#), "{read}");
    assert!(read.contains(r#"<skipped type="expected" message="#), "{read}");
    let validator = Command::new("xmllint")
        .args(["--noout", "--nonet", "--schema"])
        .arg(schema("junit-10.xsd"))
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut validator) = validator else {
        let forbidden = std::env::var("SOCKSPEC_SKIP").is_ok_and(|value| value == "forbid");
        assert!(!forbidden, "xmllint is missing: install libxml2-utils");
        return; // What it would say is said in .ci/run.
    };
    validator.stdin.take().unwrap().write_all(&text).unwrap();
    let output = validator.wait_with_output().unwrap();
    assert!(output.status.success(), "{}\n{read}", String::from_utf8_lossy(&output.stderr));
}
