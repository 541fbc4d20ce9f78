//! Whole texts, as a person sees them.

use super::sample::{self, plain};
use super::text::print;
use super::{Detail, Style};
use crate::outcome::{Cause, Report};
use crate::trace::Isolation;

const NORMAL: Style = Style { detail: Detail::Normal, width: 80, strict: false };
const QUIET: Style = Style { detail: Detail::Quiet, ..NORMAL };
const VERBOSE: Style = Style { detail: Detail::Verbose, ..NORMAL };

#[track_caller]
fn check(report: &Report, style: &Style, expected: &str) {
    let text = plain(|out| print(report, style, out));
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn all_is_well() {
    let report = sample::report(vec![
        sample::queue_passed(),
        sample::sibling_passed(),
        sample::passed(),
        sample::recorded(),
    ]);
    check(
        &report,
        &NORMAL,
        "\
./srv {port}: fork-per-connection server, backlog 128, one process per
connection

listen     1 pass
fork       1 pass
reap       1 pass
stop       1 pass

conforms in 4 clauses, 3.1 s
",
    );
    check(&report, &QUIET, "conforms in 4 clauses, 3.1 s\n");
}

#[test]
fn every_clause_with_what_was_seen() {
    let mut report = sample::report(vec![sample::not_applicable(), sample::passed(), sample::recorded()]);
    report.notes = vec!["a wrapper does not pass signals on".to_owned()];
    check(
        &report,
        &VERBOSE,
        "\
./srv {port}: fork-per-connection server, backlog 128, one process per
connection
Linux 6.18.44, isolation full, seed 1, 310 enactments
note a wrapper does not pass signals on

fork       0 pass, 1 skipped
  skipped      fork.sibling-survives the server does not fork

reap       1 pass
  pass         reap.every-child 20 of 20 children reaped (12 cases, 90 ms)

stop       1 pass
  pass         stop.drains (12 cases, 90 ms)

skipped   1 not applicable: the server does not fork

recorded
  stop.drains 4 of 4 clients could finish

conforms in 2 clauses, 1 does not apply to this server, 3.1 s
",
    );
}

const FAILURE: &str = "\
FAIL reap.every-child (MUST, POSIX.1-2024 waitpid)
  The server waits for every child that has ended.
  expected   no zombie within 1.5 s of the last close
  observed   1 zombie (pid 7, child of 2) in 3 of 3 enactments
  smallest   connect c0 · close c0
  why        A child that nobody waits for stays a zombie until fork fails. The
             cure is waitpid(-1, WNOHANG) until none is left.
  again      sockspec check --only reap.every-child --seed 1 -- ./srv {port}
  stderr     listening on 127.0.0.1:7007
             \\x1b[31mchild 7 ended\\x1b[0m
";

#[test]
fn a_failure_tells_both_sides() {
    let report = sample::report(vec![sample::warned(), sample::sibling_passed(), sample::failed()]);
    check(
        &report,
        &NORMAL,
        &format!(
            "\
./srv {{port}}: fork-per-connection server, backlog 128, one process per
connection

listen     0 pass, 1 warn
fork       1 pass
reap       0 pass, 1 fail

{FAILURE}
WARN listen.value (SHOULD, listen(2))
  The server asks for a queue of 128.
  expected   a queue of at least 128
  observed   a queue of 5
  again      sockspec check --only listen.value --seed 1 -- ./srv {{port}}

does not conform: 1 MUST and 1 SHOULD of 3 clauses fail, 3.1 s
"
        ),
    );
    let quiet = format!("{FAILURE}\ndoes not conform: 1 MUST and 1 SHOULD of 3 clauses fail, 3.1 s\n");
    check(&report, &QUIET, &quiet);
}

#[test]
fn a_server_that_does_not_start_shows_what_it_said() {
    let mut failed = sample::failed();
    failed.counterexample = None;
    let mut report =
        sample::report(vec![failed, sample::skipped(Cause::DependsOn, "reap.every-child has failed")]);
    report.profile = None;
    report.target.argv = vec!["./my srv".to_owned()];
    report.stderr = vec!["libfoo.so: cannot open shared object file".to_owned()];
    check(
        &report,
        &Style { width: 100, ..NORMAL },
        "\
'./my srv': what kind of server it is could not be learned

reap       0 pass, 1 fail
fork       0 pass, 1 skipped

FAIL reap.every-child (MUST, POSIX.1-2024 waitpid)
  The server waits for every child that has ended.
  expected   no zombie within 1.5 s of the last close
  observed   1 zombie (pid 7, child of 2)
  why        A child that nobody waits for stays a zombie until fork fails. The cure is waitpid(-1,
             WNOHANG) until none is left.
  again      sockspec check --only reap.every-child --seed 1 -- './my srv'
  stderr     libfoo.so: cannot open shared object file

skipped   1 not reached: reap.every-child has failed

does not conform: 1 MUST of 1 clause fails, 1 depends on what failed, 3.1 s
",
    );
}

#[test]
fn a_host_that_kept_clauses_from_being_judged_is_told_first() {
    let host = sample::skipped(Cause::Host, "namespaces cannot be made here");
    let mut report = sample::report(vec![sample::queue_passed(), host, sample::passed()]);
    report.isolation = Isolation::Loopback;
    check(
        &report,
        &NORMAL,
        "\
conforms in 2 of 3 clauses; 1 could not be judged here
./srv {port}: fork-per-connection server, backlog 128, one process per
connection
Linux 6.18.44, isolation loopback, seed 1, 310 enactments

listen     1 pass
fork       0 pass, 1 skipped
reap       1 pass

skipped   1 not possible here (`sockspec doctor` says why): namespaces cannot be
            made here

conforms in 2 of 3 clauses; 1 could not be judged here, 3.1 s
",
    );
}

#[test]
fn what_is_unknown_is_said_with_its_reason() {
    let report =
        sample::report(vec![sample::inconclusive(), sample::passed(), sample::broken(), sample::broken()]);
    check(
        &report,
        &NORMAL,
        "\
./srv {port}: fork-per-connection server, backlog 128, one process per
connection

fork       0 pass, 1 inconclusive
reap       1 pass
stop       0 pass, 2 broken

INCONCLUSIVE fork.sibling-survives (MUST)
  no child could be killed
BROKEN 2 clauses
  read /proc/412/stat: permission denied
  stop.drains, stop.drains

unknown: 1 MUST could not be decided (1 inconclusive, 2 broken), 1 clause passes, 3.1 s
",
    );
}

#[test]
fn what_was_expected_is_told_with_its_reason_and_fails_no_run() {
    let mut report = sample::report(vec![sample::expected(), sample::sibling_passed()]);
    check(
        &report,
        &NORMAL,
        "\
./srv {port}: fork-per-connection server, backlog 128, one process per
connection

reap       0 pass, 1 xfail
fork       1 pass

XFAIL reap.every-child (MUST)
  accepted   the reaper comes with the rewrite (#42)
  observed   1 zombie (pid 7, child of 2)

conforms in 1 clause, 1 fails as expected, 3.1 s
",
    );
    report.stale = vec!["sockspec.toml:9: reap.once was expected to fail, now passes".to_owned()];
    check(
        &report,
        &QUIET,
        "\
ERROR sockspec.toml:9: reap.once was expected to fail, now passes

does not conform: 1 expectation does not hold, 1 fails as expected, 3.1 s
",
    );
}

#[test]
fn an_interrupted_run_tells_what_it_has() {
    let mut report =
        sample::report(vec![sample::failed(), sample::skipped(Cause::NotSelected, "not reached")]);
    report.interrupted = true;
    check(
        &report,
        &QUIET,
        &format!("{FAILURE}\ninterrupted: 0 clauses pass, 1 MUST fails, the rest was not reached, 3.1 s\n"),
    );
    check(&sample::report(vec![]), &QUIET, "unknown: no clause was judged, 3.1 s\n");
}

#[test]
fn strict_makes_a_failure_of_a_warning() {
    let report = sample::report(vec![sample::passed(), sample::warned()]);
    let text = plain(|out| print(&report, &Style { strict: true, ..QUIET }, out));
    assert!(text.starts_with("FAIL listen.value (SHOULD"), "{text}");
    assert!(text.contains("why        A short queue"), "{text}");
    check(&report, &QUIET, "conforms in 1 clause, 1 SHOULD fails, 3.1 s\n");
    let alone = sample::report(vec![sample::warned()]);
    check(&alone, &QUIET, "conforms: no MUST fails, 1 SHOULD fails, 3.1 s\n");
}
