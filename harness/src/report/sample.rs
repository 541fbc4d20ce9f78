//! Clauses, outcomes and reports for the tests of this module and of `args`.

use std::io::{self, Write};
use std::time::Duration;

use proptest::strategy::{BoxedStrategy, Just, Strategy as _};

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::command::TargetCommand;
use crate::expectation::Expected;
use crate::outcome::{Cause, Counterexample, Failure, Finding, Outcome, Report};
use crate::profile::Profile;
use crate::scenario::{Act, Scenario, To, act};
use crate::trace::build::{Build, profile};
use crate::trace::{Isolation, Trace};
use crate::verdict::{Evidence, Kind, Verdict};

static QUEUE: Clause = Clause {
    id: ClauseId("listen.value"),
    level: Level::Should,
    requirement: "The server asks for a queue of 128.",
    why: "A short queue refuses clients in a burst.",
    citations: &["listen(2)"],
    needs: &[],
    scenarios,
    check,
};

static SIBLING: Clause = Clause {
    id: ClauseId("fork.sibling-survives"),
    level: Level::Must,
    requirement: "The server goes on serving when a child is killed.",
    why: "One crash ends all connections.",
    citations: &["UNP 5.12"],
    needs: &[Need::Forks],
    scenarios,
    check,
};

static REAP: Clause = Clause {
    id: ClauseId("reap.every-child"),
    level: Level::Must,
    requirement: "The server waits for every child that has ended.",
    why: "A child that nobody waits for stays a zombie until fork fails. The cure is waitpid(-1, WNOHANG) until none \
          is left.",
    citations: &["POSIX.1-2024 waitpid"],
    needs: &[Need::Forks],
    scenarios,
    check,
};

static DRAIN: Clause = Clause {
    id: ClauseId("stop.drains"),
    level: Level::May,
    requirement: "The server lets its clients finish when it is stopped.",
    why: "It is the server's choice.",
    citations: &["UNP 5.12"],
    needs: &[],
    scenarios,
    check,
};

fn scenarios(_: &Profile) -> BoxedStrategy<Scenario> {
    Just(scenario()).boxed()
}

fn check(_: &Scenario, _: &Trace) -> Verdict {
    Verdict::Pass(String::new())
}

fn scenario() -> Scenario {
    Scenario::served([act(0, Act::Connect(To::Target)), act(0, Act::Close)])
}

pub(crate) fn catalogue() -> Vec<&'static Clause> {
    vec![&QUEUE, &SIBLING, &REAP, &DRAIN]
}

fn outcome(clause: &'static Clause, finding: Finding) -> Outcome {
    let duration = Duration::from_millis(90);
    Outcome { clause, finding, counterexample: None, cases: 12, duration, expected: None }
}

pub(crate) fn passed() -> Outcome {
    outcome(&REAP, Finding::Judged(Verdict::Pass("20 of 20 children reaped".to_owned())))
}

pub(crate) fn sibling_passed() -> Outcome {
    outcome(&SIBLING, Finding::Judged(Verdict::Pass("3 siblings served".to_owned())))
}

pub(crate) fn recorded() -> Outcome {
    outcome(&DRAIN, Finding::Judged(Verdict::Pass("4 of 4 clients could finish".to_owned())))
}

pub(crate) fn queue_passed() -> Outcome {
    outcome(&QUEUE, Finding::Judged(Verdict::Pass("128".to_owned())))
}

pub(crate) fn failed() -> Outcome {
    let evidence = Evidence {
        kind: Kind::Missing,
        expected: "no zombie within 1.5 s of the last close".to_owned(),
        observed: "1 zombie (pid 7, child of 2)".to_owned(),
    };
    let counterexample = Counterexample {
        failure: Failure {
            scenario: scenario(),
            trace: Build::empty()
                .stderr("listening on 127.0.0.1:7007\n\u{1b}[31mchild 7 ended\u{1b}[0m\n")
                .trace(),
            evidence: evidence.clone(),
        },
        rate: (3, 3),
    };
    let finding = Finding::Judged(Verdict::Fail(evidence));
    Outcome { counterexample: Some(counterexample), ..outcome(&REAP, finding) }
}

pub(crate) fn expected() -> Outcome {
    let expected = Expected {
        reason: "the reaper comes with the rewrite".to_owned(),
        issue: Some("#42".to_owned()),
        until: None,
    };
    Outcome { expected: Some(expected), ..failed() }
}

pub(crate) fn warned() -> Outcome {
    outcome(&QUEUE, Finding::Judged(Verdict::seen("a queue of at least 128", "a queue of 5")))
}

pub(crate) fn not_applicable() -> Outcome {
    skipped(Cause::NotApplicable, "the server does not fork")
}

pub(crate) fn skipped(cause: Cause, reason: &str) -> Outcome {
    outcome(&SIBLING, Finding::Skipped(cause, reason.to_owned()))
}

pub(crate) fn inconclusive() -> Outcome {
    outcome(&SIBLING, Finding::Judged(Verdict::Inconclusive("no child could be killed".to_owned())))
}

pub(crate) fn broken() -> Outcome {
    outcome(&DRAIN, Finding::Broken("read /proc/412/stat: permission denied".to_owned()))
}

pub(crate) fn report(outcomes: Vec<Outcome>) -> Report {
    Report {
        target: TargetCommand::from_words(["./srv", "{port}"]),
        profile: Some(profile()),
        kernel: "6.18.44".to_owned(),
        isolation: Isolation::Full,
        seed: 1,
        outcomes,
        duration: Duration::from_millis(3100),
        enactments: 310,
        interrupted: false,
        notes: Vec::new(),
        options: Vec::new(),
        stderr: Vec::new(),
        stale: Vec::new(),
    }
}

/// What is printed, without colours.
pub(crate) fn plain(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
    let mut text = anstream::StripStream::new(Vec::new());
    print(&mut text).expect("a Vec takes everything");
    String::from_utf8(text.into_inner()).expect("reports are UTF-8")
}
