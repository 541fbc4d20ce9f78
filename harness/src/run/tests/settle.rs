//! What a second look makes of a failure or a doubt.

use std::time::Duration;

use crate::clause::{Clause, ClauseId, Level};
use crate::command::TargetCommand;
use crate::limits::Limits;
use crate::outcome::{Failure, Status};
use crate::run::pace::Patience;
use crate::run::settle::{Settled, Settler};
use crate::run::tests::scripted::Scripted;
use crate::scenario::{Condition, Instance, Scenario, Step};
use crate::trace::build::{Build, profile, serving};
use crate::trace::{Exit, Trace, What};
use crate::verdict::{Kind, Verdict};

static REAPED: Clause = Clause {
    id: ClauseId("reap.scripted"),
    level: Level::Must,
    requirement: "The server reaps, and lives.",
    why: "It is played.",
    citations: &["wait(2)"],
    needs: &[],
    scenarios: |_| unreachable!("its scenarios are given"),
    check: |_, trace| match (trace.exit(Instance(0)), trace.awaited(Condition::NoZombie)) {
        _ if trace.windows().next().is_some() => Verdict::measured("it rests", "it spins"),
        (Some(_), _) => Verdict::seen("it lives", "it does not"),
        (None, Some((true, _))) => Verdict::Pass("no zombie".into()),
        (None, Some((false, _))) => Verdict::missing("no zombie", "1 zombie"),
        (None, None) => Verdict::Inconclusive("nobody has ended".into()),
    },
};

/// What is seen in an enactment.
type Play = fn() -> Trace;

fn gone() -> Trace {
    Build::served().awaited(Condition::NoZombie, true, serving()).trace()
}

fn gone_late() -> Trace {
    let condition = Condition::NoZombie;
    Build::served().event(What::Awaited { condition, met: true, took_us: 4_000_000, look: serving() }).trace()
}

fn left() -> Trace {
    Build::served().awaited(Condition::NoZombie, false, serving()).trace()
}

fn too_busy() -> Trace {
    let starved = What::Starved { target_cpu_ns: 0, wall_us: 0 };
    Build::served().awaited(Condition::NoZombie, false, serving()).event(starved).trace()
}

/// It takes all the CPU there is, so that others wait.
fn spins() -> Trace {
    let starved = What::Starved { target_cpu_ns: 0, wall_us: 0 };
    Build::served().window(99_000).event(starved).trace()
}

fn nothing() -> Trace {
    Build::served().trace()
}

fn died() -> Trace {
    Build::served().exited(0, Exit::Code(1)).trace()
}

fn scenario() -> Scenario {
    Scenario::served([Step::Await(Condition::NoZombie)])
}

/// Settles what was seen first, by these further enactments and no others.
fn settled(first: &Trace, then: &[Play], untried: &[Scenario]) -> Settled {
    settled_with(&Patience::new(Limits::default()), first, then, untried)
}

fn settled_with(patience: &Patience, first: &Trace, then: &[Play], untried: &[Scenario]) -> Settled {
    let (target, limits) = (TargetCommand::new("srv"), patience.usual());
    let settler = Settler {
        clause: &REAPED,
        target: &target,
        profile: &profile(),
        patience,
        untried,
        shrink_within: Duration::ZERO,
        legal: false,
    };
    let verdict = (REAPED.check)(&scenario(), first);
    let hurried = matches!(&verdict, Verdict::Fail(evidence) if evidence.kind != Kind::Missing);
    let mut further = then.iter();
    let mut world = Scripted(|_: &Scenario, given: &Limits| {
        assert_eq!(*given, if hurried { limits.clone() } else { limits.patient() });
        Ok(further.next().expect("no further enactment")())
    });
    let settled = match verdict {
        Verdict::Fail(evidence) => {
            let failure = Failure { scenario: scenario(), trace: first.clone(), evidence };
            settler.failure(&mut world, failure).unwrap()
        }
        _ => settler.doubt(&mut world, &scenario()).unwrap(),
    };
    assert_eq!(further.count(), 0, "enactments that were not asked for");
    settled
}

/// The status, and the rate of a failure.
fn comes_to(first: &Trace, then: &[Play]) -> (Status, Option<(u32, u32)>) {
    let Settled { finding, counterexample } = settled(first, then, &[]);
    (finding.status(), counterexample.map(|it| it.rate))
}

#[test]
fn what_is_missing_again_fails() {
    assert_eq!(comes_to(&left(), &[left]), (Status::Fail, Some((2, 2))));
    assert_eq!(comes_to(&left(), &[gone, gone, left]), (Status::Fail, Some((2, 4))));
}

#[test]
fn what_was_late_once_passes_if_it_was_judged_again() {
    assert_eq!(comes_to(&left(), &[gone as Play; 5]).0, Status::Pass);
    assert_eq!(comes_to(&left(), &[nothing, nothing, nothing, nothing, gone]).0, Status::Pass);
    assert_eq!(comes_to(&left(), &[nothing as Play; 5]).0, Status::Inconclusive);
    assert_eq!(comes_to(&left(), &[too_busy as Play; 5]).0, Status::Inconclusive);
}

#[test]
fn what_was_seen_to_come_late_is_tried_no_more() {
    assert_eq!(comes_to(&left(), &[gone_late, gone_late]).0, Status::Pass);
    assert_eq!(comes_to(&left(), &[gone_late, left]).0, Status::Fail);
    assert_eq!(comes_to(&left(), &[gone_late, gone, gone_late]).0, Status::Pass);
}

#[test]
fn a_second_look_ends() {
    let mut patience = Patience::new(Limits::default());
    patience.second_look = Duration::ZERO;
    let status = |then: &[Play]| settled_with(&patience, &left(), then, &[]).finding.status();
    assert_eq!(status(&[gone, nothing]), Status::Inconclusive);
    assert_eq!(status(&[gone, left]), Status::Fail);
    assert_eq!(status(&[gone, gone]), Status::Pass);
}

#[test]
fn scenarios_left_out_are_tried_after_lateness() {
    let other = Scenario::served([Step::Quiet]);
    let settled = settled(&left(), &[gone, gone, gone, gone, gone, left], std::slice::from_ref(&other));
    let counterexample = settled.counterexample.unwrap();
    assert_eq!((counterexample.failure.scenario, counterexample.rate), (other, (1, 1)));
}

#[test]
fn what_must_never_happen_counts_once_seen() {
    assert_eq!(comes_to(&died(), &[gone, gone]), (Status::Fail, Some((1, 3))));
    assert_eq!(comes_to(&died(), &[died, nothing]), (Status::Fail, Some((2, 3))));
}

#[test]
fn what_was_measured_counts_if_it_is_so_again_however_busy_the_machine_is() {
    assert_eq!(comes_to(&spins(), &[spins]), (Status::Fail, Some((2, 2))));
    assert_eq!(comes_to(&spins(), &[gone as Play; 5]).0, Status::Pass);
}

#[test]
fn a_doubt_is_looked_at_once_more() {
    assert_eq!(comes_to(&nothing(), &[nothing]), (Status::Inconclusive, None));
    assert_eq!(comes_to(&nothing(), &[gone]), (Status::Pass, None));
    assert_eq!(comes_to(&nothing(), &[left, left]), (Status::Fail, Some((2, 2))));
}
