//! Command lines, good and bad.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use rstest::rstest;

use super::{Args, CheckOptions, Command, Served, decide, parse};
use crate::clause::Level;
use crate::profile::Effort;
use crate::report::{Detail, sample};
use crate::scenario::Sig;
use crate::trace::Isolation;

fn words(line: &[&str]) -> Vec<OsString> {
    std::iter::once("sockspec").chain(line.iter().copied()).map(OsString::from).collect()
}

/// What the words after `sockspec check` come to, or the message.
fn decided(line: &[&str]) -> Result<CheckOptions, String> {
    let args = parse(words(&[&["check"], line].concat())).map_err(|error| error.to_string())?;
    let Command::Check(typed) = args.command else { return Err("not a check".to_owned()) };
    CheckOptions::decide(*typed, &sample::catalogue(), Path::new("bin/sockspec"))
        .map_err(|error| error.to_string())
}

#[test]
fn clap_finds_nothing_wrong_with_its_tables() {
    <Args as clap::CommandFactory>::command().debug_assert();
}

#[test]
fn nothing_said_means_the_defaults_and_the_reference() {
    let decided = decided(&[]).unwrap();
    let expected =
        ["bin/sockspec", "serve", "--addr", "{addr}", "--port", "{port}", "--backlog", "{backlog}"];
    assert_eq!(decided.command.argv, expected);
    assert_eq!(decided.command.stop, Sig::Term);
    assert_eq!((decided.options.clients, decided.options.seed), (20, 1));
    assert_eq!((decided.options.level, decided.options.effort), (Level::May, Effort::Default));
    assert_eq!((decided.detail, decided.strict, decided.require), (Detail::Normal, false, None));
    assert_eq!(decided.options.repeat, [""; 0]);
}

#[test]
fn everything_can_be_said() {
    let line = "--only reap.* --only fork --skip *.value --level should --strict --effort thorough --clients 40 \
                --backlog 7 --service echo --seed 9 --jobs 3 --time 2min --timeout-scale 2.5 --env A=b=c --env D= \
                --cwd / --stop-signal SIGQUIT --format json --output out.json --keep kept --isolation no-proc \
                --require full -v --addr ::1 --color never -- sh -c true";
    let decided = decided(&line.split_whitespace().collect::<Vec<_>>()).unwrap();
    let options = &decided.options;
    assert_eq!(options.only, ["reap.*", "fork"]);
    assert_eq!(options.skip, ["*.value"]);
    assert_eq!((options.level, options.effort, decided.strict), (Level::Should, Effort::Thorough, true));
    assert_eq!((options.clients, options.seed, options.jobs), (40, 9, Some(3)));
    assert_eq!((options.time, options.timeout_scale), (Some(Duration::from_secs(120)), 2.5));
    assert_eq!((options.isolation, decided.require), (Some(Isolation::NoProc), Some(Isolation::Full)));
    assert_eq!(decided.command.argv, ["sh", "-c", "true"]);
    assert_eq!((decided.command.backlog, decided.command.stop), (Some(7), Sig::Quit));
    assert_eq!(decided.command.env.get("A").map(String::as_str), Some("b=c"));
    assert_eq!(decided.detail, Detail::Verbose);
    assert_eq!(
        options.repeat.join(" "),
        "--effort thorough --clients 40 --backlog 7 --addr ::1 --env A=b=c --env D= --cwd / --stop-signal SIGQUIT \
         --timeout-scale 2.5 --isolation no-proc"
    );
}

#[rstest]
#[case(&["--backlog", "-1"], "-1 is not in 0..=65535")]
#[case(&["--backlog", "70000"], "70000 is not in 0..=65535")]
#[case(&["--backlog=many"], "'--backlog <N>'")]
#[case(&["--jobs", "0"], "0 is not in 1..=1024")]
#[case(&["--clients", "0"], "0 is not in 1..=4096")]
#[case(&["--clients", "4097"], "4097 is not in 1..=4096")]
#[case(&["--seed", "-3"], "'--seed <N>'")]
#[case(&["--timeout-scale", "0"], "expected a number above 0, at most 1000")]
#[case(&["--timeout-scale", "-1"], "expected a number above 0")]
#[case(&["--timeout-scale", "nan"], "expected a number above 0")]
#[case(&["--time", "0s"], "nothing can be tried in no time")]
#[case(&["--time", "5"], "such as 30s or 2min")]
#[case(&["--env", "NAME"], "expected NAME=VALUE")]
#[case(&["--env", "=value"], "expected NAME=VALUE")]
#[case(&["--cwd", "no/such/place"], "No such file or directory")]
#[case(&["--cwd", "Cargo.toml"], "not a directory")]
#[case(&["--stop-signal", "KILL"], "a server can be stopped in order by HUP, INT, QUIT")]
#[case(&["--stop-signal", "99"], "a server can be stopped in order by")]
#[case(&["--level", "maybe"], "[possible values: must, should, may]")]
#[case(&["--format", "xml"], "[possible values: text, json, ndjson, junit, github, sarif, markdown]")]
#[case(&["--report", "junit"], "expected FORMAT=FILE")]
#[case(&["--report", "xml=out"], "xml: no such format; there are text, json")]
#[case(&["--report", "json=-"], "stdout is what --format is for")]
#[case(&["--report", "json=a", "--report", "junit=a"], "two reports cannot go to one file")]
#[case(&["--ready-within", "0s"], "nothing can be tried in no time")]
#[case(&["--isolation", "none"], "[possible values: auto, full, no-proc, loopback]")]
#[case(&["--require", "loopback"], "[possible values: full]")]
#[case(&["--service", "http"], "[possible values: echo]")]
#[case(&["-q", "-v"], "cannot be used with")]
#[case(&["--no-such-option"], "unexpected argument '--no-such-option'")]
#[case(&["./srv"], "unexpected argument './srv'")]
#[case(&["--"], "no COMMAND after --")]
#[case(&["--", ""], "no COMMAND after --")]
#[case(&["--only", "fork.sibling-dies"], "--only fork.sibling-dies: matches no clause; did you mean fork.sibling-survives?")]
#[case(&["--skip", "xyzzy*"], "--skip xyzzy*: matches no clause; `sockspec list` prints all")]
#[case(&["--only", "reap.["], "--only reap.[: invalid range pattern")]
#[case(&["--", "./no-such-server"], "./no-such-server: not found; check the path")]
#[case(&["--", "no-such-server", "{port}"], "no-such-server: not found in PATH")]
fn bad_input_gets_a_clear_answer(#[case] line: &[&str], #[case] expected: &str) {
    let message = decided(line).unwrap_err();
    assert!(message.contains(expected), "{message}");
}

#[rstest]
#[case("TERM", Sig::Term)]
#[case("sigint", Sig::Int)]
#[case("15", Sig::Term)]
#[case("SIGWINCH", Sig::Winch)]
#[case("10", Sig::Usr1)]
fn a_stop_signal_is_a_name_or_a_number(#[case] word: &str, #[case] expected: Sig) {
    assert_eq!(decided(&["--stop-signal", word]).unwrap().command.stop, expected);
}

#[test]
fn help_is_no_error_and_errors_are() {
    assert!(!parse(words(&["check", "--help"])).unwrap_err().use_stderr());
    assert!(!parse(words(&["--version"])).unwrap_err().use_stderr());
    assert!(parse(words(&[])).unwrap_err().use_stderr());
}

#[test]
fn the_list_is_chosen_by_glob_and_level() {
    let catalogue = sample::catalogue();
    let ids = |globs: &[&str], level| -> Result<Vec<&str>, String> {
        let globs: Vec<String> = globs.iter().map(ToString::to_string).collect();
        let listed = decide::listed(&globs, level, &catalogue).map_err(|error| error.to_string())?;
        Ok(listed.iter().map(|clause| clause.id.0).collect())
    };
    assert_eq!(ids(&[], Level::May).unwrap().len(), 4);
    assert_eq!(ids(&[], Level::Must).unwrap(), ["fork.sibling-survives", "reap.every-child"]);
    assert_eq!(ids(&["reap.*", "fork*"], Level::May).unwrap(), ["fork.sibling-survives", "reap.every-child"]);
    assert_eq!(
        ids(&["nope"], Level::May).unwrap_err(),
        "nope: matches no clause; `sockspec list` prints all"
    );
}

#[test]
fn an_unknown_clause_has_neighbours() {
    let message = decide::clause("reap.all-children", &sample::catalogue()).unwrap_err().to_string();
    assert_eq!(message, "reap.all-children: no such clause; did you mean reap.every-child?");
    let message = decide::clause("reap", &sample::catalogue()).unwrap_err().to_string();
    assert_eq!(message, "reap: a family, not a clause; `sockspec list reap` prints its clauses");
    assert!(decide::clause("reap.every-child", &sample::catalogue()).is_ok());
}

#[rstest]
#[case(&[], Served::Reference)]
#[case(&["--defect", "list"], Served::Defects)]
#[case(&["--defect", "never-reaps"], Served::Defect("never-reaps".to_owned()))]
#[case(&["--design", "list"], Served::Designs)]
#[case(&["--design", "prefork"], Served::Design("prefork".to_owned()))]
fn serve_knows_which_server_is_meant(#[case] line: &[&str], #[case] expected: Served) {
    let args = parse(words(&[&["serve"], line].concat())).unwrap();
    let Command::Serve(serve) = args.command else { panic!("not serve") };
    assert_eq!(serve.served(), expected);
}

#[rstest]
#[case(&["--backlog", "-1"])]
#[case(&["--backlog", "70000"])]
#[case(&["--max-children", "0"])]
#[case(&["--addr", "localhost"])]
#[case(&["--defect", "a", "--design", "b"])]
fn serve_refuses_what_makes_no_sense(#[case] line: &[&str]) {
    assert!(parse(words(&[&["serve"], line].concat())).is_err());
}
