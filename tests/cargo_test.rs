//! sockspec as a library for other people's tests: a test for each clause, a check as a value, a function as a server.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;

use rstest::rstest;
use serde_json::Value;
use sockspec::outcome::Status;
use sockspec::profile::Effort;
use sockspec::{Check, Report, TargetCommand, spec};

const NEVER_REAPS: &str = "--defect never-reaps";

/// Test binaries without libtest: of this package, and of the examples.
const TESTS: [&str; 3] = ["reference", "conformance", "clauses"];

/// A test binary and the folder of its package, where cargo starts it.
fn test_binary(name: &str) -> &'static (PathBuf, PathBuf) {
    static BUILT: OnceLock<BTreeMap<String, (PathBuf, PathBuf)>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let mut cargo = cargo(&["test", "--workspace", "--no-run", "--message-format=json"]);
        let output = cargo.args(TESTS.iter().flat_map(|test| ["--test", test])).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let messages = text(&output.stdout);
        let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let artifacts = messages.filter(|message| message["executable"].is_string());
        artifacts
            .map(|artifact| {
                let word = |value: &Value| value.as_str().unwrap().to_owned();
                let manifest = PathBuf::from(word(&artifact["manifest_path"]));
                let place = (word(&artifact["executable"]).into(), manifest.parent().unwrap().to_owned());
                (word(&artifact["target"]["name"]), place)
            })
            .collect()
    });
    &built[name]
}

/// cargo in this workspace, as it was called for this test.
fn cargo(words: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(words).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo
}

/// Runs a test binary; `serve` is what `tests/reference.rs` adds to its server's command.
fn run(name: &str, words: &[&str], serve: &str) -> Output {
    let (program, package) = test_binary(name);
    let mut test = Command::new(program);
    test.args(words).current_dir(package).env("SOCKSPEC_TEST_SERVE", serve);
    test.stdin(Stdio::null()).output().unwrap()
}

fn listed(name: &str, words: &[&str]) -> BTreeSet<String> {
    let output = run(name, &[&["--list", "--format", "terse"], words].concat(), "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    lines.lines().map(|line| line.strip_suffix(": test").expect(line).to_owned()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_list_has_every_clause_and_says_what_does_not_apply() {
    let catalogue: BTreeSet<String> = spec::catalogue().map(|clause| clause.id.to_string()).collect();
    assert_eq!(listed("conformance", &[]), catalogue);
    let ignored = listed("conformance", &["--ignored"]);
    assert!(ignored.contains("fork.child-exits") && !ignored.contains("echo.exact"), "{ignored:?}");
    let of_a_function = listed("clauses", &["--ignored"]);
    assert!(of_a_function.contains("start.listens-in-time"), "{of_a_function:?}");
    assert!(of_a_function.contains("listen.queue-holds-backlog"), "{of_a_function:?}");
    assert_eq!(listed("conformance", &["no-such"]), BTreeSet::new());
    let close = listed("conformance", &["close.", "--skip", "reset"]);
    assert!(!close.is_empty() && close.iter().all(|id| id.contains("close.") && !id.contains("reset")));
}

#[rstest]
#[case::one("reference", &["--exact", "echo.exact"], "", 0, "1 passed; 0 failed; 0 ignored")]
#[case::one_of_a_function("clauses", &["echo.exact", "--exact", "--nocapture"], "", 0, "1 passed; 0 failed")]
#[case::one_by_one("conformance", &["close.", "--test-threads", "1"], "", 0, " 0 failed")]
#[case::a_failure("reference", &["--exact", "reap.every-child"], NEVER_REAPS, 101, "smallest   connect c0")]
#[case::not_failed("reference", &["--exact", "echo.exact"], NEVER_REAPS, 0, "1 passed")]
#[case::does_not_serve("reference", &["--exact", "echo.exact"], "--no-such-option", 101, "start.listens-in-time")]
fn a_test_is_a_clause(
    #[case] name: &str,
    #[case] words: &[&str],
    #[case] serve: &str,
    #[case] status: i32,
    #[case] said: &str,
) {
    let output = run(name, words, serve);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(status), "{stdout}{}", text(&output.stderr));
    assert!(stdout.contains(said), "{stdout}");
}

#[rstest]
#[case::no_such_test(&["no-such-test"], 2, "no-such-test")]
#[case::nearly(&["--exact", "echo.exct"], 2, "did you mean echo.exact")]
#[case::applies(&["--exact", "echo.exact", "--ignored"], 2, "--ignored")]
#[case::all_skipped(&["echo.exact", "--skip", "echo"], 2, "--skip")]
#[case::does_not_apply(&["--exact", "fork.child-exits"], 3, "no clause was judged")]
#[case::does_not_apply_but_is_wanted(&["--exact", "fork.child-exits", "--ignored"], 3, "no clause was judged")]
fn nothing_judged_is_never_green(#[case] words: &[&str], #[case] status: i32, #[case] said: &str) {
    let output = run("conformance", words, "");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}{}", text(&output.stdout));
    assert!(stderr.contains(said), "{stderr}");
}

#[test]
fn nextest_runs_each_clause_in_its_own_process() {
    let installed = cargo(&["nextest", "--version"]).output().is_ok_and(|output| output.status.success());
    if !installed {
        let _ = writeln!(io::stderr(), "skipped: cargo-nextest is not installed");
        return;
    }
    let ran = |words: &[&str]| {
        let mut nextest =
            cargo(&["nextest", "run", "--workspace", "--test", "conformance", "--test", "clauses"]);
        let output = nextest.args(["--no-fail-fast", "--color", "never"]).args(words).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let (status, said) = ran(&["-E", "test(close.)"]);
    let wanted = 2 * listed("conformance", &["close."]).len();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains(&format!("{wanted} tests run: {wanted} passed")), "{said}");
    let (status, said) = ran(&["-E", "test(=fork.child-exits)"]);
    assert_ne!(status, Some(0), "{said}");
    assert!(said.contains("2 skipped") || said.contains("no tests to run"), "{said}");
}

fn reference(more: &str) -> Check {
    let words = ["serve", "--addr", "{addr}", "--port", "{port}", "--backlog", "{backlog}"];
    let server = TargetCommand::new(env!("CARGO_BIN_EXE_sockspec")).args(words);
    server.args(more.split_whitespace()).check()
}

#[test]
fn a_failure_panics_with_what_the_command_prints() {
    let report = reference(NEVER_REAPS).only("reap.every-child").seed(7).run().unwrap();
    let panicked = catch_unwind(|| report.assert_conforms()).unwrap_err();
    let told = panicked.downcast_ref::<String>().unwrap();
    let exe = env!("CARGO_BIN_EXE_sockspec");
    let again = told.lines().find_map(|line| line.trim().strip_prefix("again      ")).unwrap();
    assert!(again.starts_with("sockspec check --only reap.every-child --seed 7 -- "), "{again}");
    let output =
        Command::new("sh").args(["-c", &again.replacen("sockspec", exe, 1)]).stdin(Stdio::null()).output();
    let printed = text(&output.unwrap().stdout);
    // But for pids and times.
    let same = |text: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|line| !line.starts_with("FAIL"));
        let fixed = ["FAIL", "  The server", "  expected", "  smallest", "  why", "  again"];
        lines.filter(|line| fixed.iter().any(|start| line.starts_with(start))).map(str::to_owned).collect()
    };
    assert_eq!(same(told), same(&printed));
    assert_eq!(same(told).len(), 6, "{told}");
}

#[test]
fn a_check_says_what_it_is_told() {
    let report = reference("").only("echo.*").skip("echo.empty").clients(5).effort(Effort::Quick).jobs(2);
    let report = report.run().unwrap();
    report.assert_conforms();
    assert!(report.outcomes.iter().filter(|it| it.clause.id.family() != "echo").all(is_skipped));
    assert_eq!(report.profile.as_ref().unwrap().clients, 5);
    assert_eq!(report.options, ["--effort quick", "--clients 5"]);
}

fn is_skipped(outcome: &sockspec::outcome::Outcome) -> bool {
    outcome.finding.status() == Status::Skipped
}

/// Echo, a thread for each client.
fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept()?;
        thread::spawn(move || io::copy(&mut &client, &mut &client));
    }
}

#[test]
fn a_function_is_a_server_and_keeps_what_it_captured() {
    let limit = spec::catalogue().count();
    let server = TargetCommand::in_process(move |listener| {
        assert!(limit > 100, "what was captured is there");
        serve(&listener)
    });
    let report = server.check().only("echo.exact").only("start").only("stop.sigterm").run().unwrap();
    report.assert_conforms();
    assert_eq!(report.count(Status::Pass), 2);
    assert!(report.outcomes.iter().filter(|it| it.clause.id.family() == "start").all(is_skipped));
}

/// Each of several functions of a test is found, also from one place.
#[test]
fn a_test_may_have_several_servers() {
    let mangled = [false, true].map(|mangles| {
        TargetCommand::in_process(move |listener: TcpListener| -> io::Result<()> {
            if !mangles {
                return serve(&listener);
            }
            loop {
                let mut client: TcpStream = listener.accept()?.0;
                let mut bytes = [0; 100];
                while let Ok(len @ 1..) = client.read(&mut bytes) {
                    bytes[..len].make_ascii_uppercase();
                    client.write_all(&bytes[..len])?;
                }
            }
        })
    });
    let failures = mangled.map(|server| {
        let report = server.check().only("echo.exact").run().unwrap();
        report.count(Status::Fail)
    });
    assert_eq!(failures, [0, 1]);
}

#[test]
fn a_forking_server_in_a_test_is_judged_as_one() {
    let server = TargetCommand::in_process(|listener: TcpListener| {
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (addr, port) = (address.ip(), address.port());
        server_under_test::serve(&server_under_test::Options { addr, port, ..Default::default() })
    });
    let report = server.check().only("reap").only("stop.sigterm").effort(Effort::Quick).run().unwrap();
    report.assert_conforms();
    assert_eq!(report.profile.unwrap().model.to_string(), "fork-per-connection");
}

fn last_words(report: &Report) -> String {
    assert!(catch_unwind(|| report.assert_conforms()).is_err());
    report.stderr.join("\n")
}

#[test]
fn a_function_that_panics_is_told() {
    let server = TargetCommand::in_process(|_listener: TcpListener| -> () { panic!("no licence") });
    // A backtrace would push the words out of the last lines.
    let report =
        server.env("RUST_BACKTRACE", "0").check().only("echo.exact").timeout_scale(0.3).run().unwrap();
    let said = last_words(&report);
    assert!(said.contains("no licence"), "{said}");
}

#[test]
fn a_test_that_does_not_come_to_its_server_is_told() {
    if std::env::var_os(sockspec::target::MARKER).is_some() {
        return; // Started again, it goes another way.
    }
    let server = TargetCommand::in_process(|listener: TcpListener| serve(&listener));
    let report = server.check().only("echo.exact").timeout_scale(0.3).run().unwrap();
    let said = last_words(&report);
    assert!(said.contains("did not come to TargetCommand::in_process"), "{said}");
}

#[test]
fn a_server_does_not_check_servers() {
    let first = TargetCommand::in_process(|listener: TcpListener| serve(&listener));
    let checked = first.check().only("echo.exact").run();
    let second = TargetCommand::in_process(|listener: TcpListener| serve(&listener));
    if std::env::var_os(sockspec::target::MARKER).is_some() {
        // Only a process that was to be the second server comes here.
        assert!(
            checked.unwrap_err().to_string().contains("make all targets of a test before its first check")
        );
        return;
    }
    checked.unwrap().assert_conforms();
    second.check().only("echo.exact").run().unwrap().assert_conforms();
}
