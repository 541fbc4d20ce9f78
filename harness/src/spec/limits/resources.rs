//! Descriptors, processes, memory, room on the disk: what runs out, and is there again later.

use proptest::prelude::Strategy;
use proptest::strategy::{BoxedStrategy, Just};

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::fixed;
use crate::scenario::{Act, Amount, Condition, Payload, Resource, Scenario, Setting, Step, To, Who};
use crate::spec::limits::{FIRST, LATER, each, serves_after, started, visit};
use crate::trace::query::{count, judge, witness};
use crate::trace::{Fate, Trace, What};
use crate::verdict::Verdict;

/// Clients that wait while no descriptor is left do not end the service.
pub static DESCRIPTORS_RECOVER: Clause = Clause {
    id: ClauseId("limits.descriptors-recover"),
    level: Level::Must,
    requirement: "The server serves new clients again when descriptors are free again after it had run out of them.",
    why: "accept fails with EMFILE while the table of descriptors is full, and succeeds again a moment later. The classic \
          bug is to take that error for the end: to exit, to leave the accept loop, or to stop watching the listener. \
          The cure is to wait a little and to call accept again.",
    citations: &["accept(2) EMFILE", "getrlimit(2) RLIMIT_NOFILE", "POSIX.1-2024 accept"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: |profile| exhausted(profile, Resource::Descriptors),
    check: |scenario, trace| recovers(scenario, trace, Resource::Descriptors),
};

/// Nor do clients for whom no process can be made.
pub static PROCESSES_RECOVER: Clause = Clause {
    id: ClauseId("limits.processes-recover"),
    level: Level::Must,
    requirement: "The server serves new clients again when processes can be made again after that had failed.",
    why: "fork and pthread_create fail with EAGAIN while the user has as many processes as allowed. One client has bad \
          luck then; a server that exits, or whose accepting thread dies of the exception, refuses all later ones too.",
    citations: &["POSIX.1-2024 fork", "fork(2) EAGAIN", "pthread_create(3) EAGAIN"],
    needs: &[Need::ProcessLimit, Need::Lasting, Need::Echo],
    scenarios: |profile| exhausted(profile, Resource::Processes),
    check: |scenario, trace| recovers(scenario, trace, Resource::Processes),
};

/// A log that can no longer be written stops nobody.
pub static FULL_DISK_LOG: Clause = Clause {
    id: ClauseId("limits.full-disk-log"),
    level: Level::Should,
    requirement: "The server goes on serving when it can no longer write to files.",
    why: "A disk fills up, or a log reaches its limit: write fails with ENOSPC or EFBIG, or SIGXFSZ comes. A server that \
          dies of its own log turns a full disk into an outage.",
    citations: &["POSIX.1-2024 write", "getrlimit(2) RLIMIT_FSIZE"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: |_| {
        let limit = Step::Limit(Who::Tree(FIRST), Resource::FileSize, Amount::Exactly(0));
        fixed([visit(0), limit, visit(LATER), visit(LATER + 1), visit(LATER + 2), Step::Look])
    },
    check: serves_without_files,
};

/// Whether a small stack is enough.
pub static SMALL_STACK: Clause = Clause {
    id: ClauseId("limits.small-stack"),
    level: Level::May,
    requirement: "The server may work with a stack of 256 KiB.",
    why: "Small systems give small stacks, and a thread for each client multiplies them; it is good to know what is enough.",
    citations: &["getrlimit(2) RLIMIT_STACK"],
    needs: &[Need::Echo],
    scenarios: |_| {
        let setting = Setting { rlimits: vec![(Resource::Stack, 256 << 10)], ..Setting::default() };
        Just(Scenario::launched(setting, [visit(0)])).boxed()
    },
    check: says_whether_it_works,
};

/// Clients come while there is nothing left for them, then leave; then there is enough again.
fn exhausted(profile: &Profile, resource: Resource) -> BoxedStrategy<Scenario> {
    let most = profile.clients.clamp(1, profile.effort.pick(3, 4, 16));
    let (warm, concurrent) = (0..most.min(3), profile.concurrent);
    (most.min(3)..=most)
        .prop_map(move |clients| {
            let limit = |amount| Step::Limit(Who::Tree(FIRST), resource, amount);
            let mut steps = vec![
                // What is loaded, or started, for the first clients only is there afterwards.
                each(warm.clone(), Act::Visit(Payload::greeting())),
                visit(0),
                // Workers that were made beforehand may still be about to open what they need.
                Step::Quiet,
                limit(Amount::InUse),
                each(0..clients, Act::Dial(To::Target)),
                Step::Watch(20, 3),
                limit(Amount::Original),
            ];
            // Those in the queue do not leave before they were accepted: that is another matter.
            if concurrent {
                steps.push(each(0..clients, Act::Exchange(Payload::greeting())));
            }
            steps.extend([
                each(0..clients, Act::HalfClose),
                Step::Await(Condition::QueueEmpty),
                each(0..clients, Act::Close),
                visit(LATER),
                visit(LATER + 1),
                Step::Look,
            ]);
            Scenario::served(steps)
        })
        .boxed()
}

fn recovers(scenario: &Scenario, trace: &Trace, resource: Resource) -> Verdict {
    judge(|| {
        started(scenario, trace, Some(resource))?;
        let limit = |what: &What| matches!(what, What::Limited { resource: r, .. } if *r == resource);
        let limits: Vec<usize> = (0..trace.events.len()).filter(|&n| limit(&trace.events[n].what)).collect();
        let [first, .., last] = *limits else {
            return Err(Verdict::Inconclusive(format!("no limit of {resource} came and went")));
        };
        let done = matches!(trace.events[first].what, What::Limited { done: true, .. });
        witness(done, format!("the limit of {resource} could not be set"))?;
        let came = trace.events[first..last]
            .iter()
            .filter(|event| matches!(&event.what, What::Acted(acted) if acted.fate != Fate::Unconnected))
            .count();
        witness(came > 0, "no client came while the limit was in force")?;
        if runtime_gave_up(trace) {
            return Err(Verdict::Inconclusive(
                "the language's runtime could not start a thread of its own".into(),
            ));
        }
        let expected =
            format!("the server lives, and serves new clients when it has enough {resource} again");
        let served = serves_after(trace, limit, &expected)?;
        Ok(format!("{} came to the limit; {served} of {served} served afterwards", count(came, "client")))
    })
}

/// The Go runtime starts threads when it sees fit, and ends the program if it cannot: no fault of the server's code.
fn runtime_gave_up(trace: &Trace) -> bool {
    trace.output.iter().any(|output| output.stderr.text().contains("failed to create new OS thread"))
}

fn serves_without_files(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        started(scenario, trace, Some(Resource::FileSize))?;
        let limit =
            |what: &What| matches!(what, What::Limited { resource: Resource::FileSize, done: true, .. });
        witness(trace.first(limit).is_some(), "files could not be limited")?;
        let served = serves_after(trace, limit, "the server lives when it can no longer write to files")?;
        Ok(format!("{} served while no file could be written", count(served, "client")))
    })
}

fn says_whether_it_works(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let small =
            |setting: &Setting| setting.rlimits.iter().any(|(resource, _)| *resource == Resource::Stack);
        let launched =
            scenario.steps.iter().any(|step| matches!(step, Step::Launch(FIRST, setting) if small(setting)));
        witness(launched, "the server was launched with the usual stack")?;
        let starts = trace
            .awaited(Condition::Listening(FIRST))
            .ok_or_else(|| Verdict::Inconclusive("the server was not launched and awaited".into()))?
            .0;
        if !starts {
            return Ok("it does not start with a stack of 256 KiB".into());
        }
        Ok(match trace.all_served(&scenario.clients()) {
            Ok(_) => "it serves with a stack of 256 KiB".into(),
            Err(_) => "it starts with a stack of 256 KiB, and does not serve".into(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Exit;
    use crate::trace::build::{Build, serving};
    use crate::verdict::Kind;

    fn limited(done: bool) -> What {
        What::Limited { who: Who::Tree(FIRST), resource: Resource::Descriptors, value: 4, done }
    }

    fn exhausted() -> Build {
        Build::served().event(limited(true)).done(0, Act::Dial(To::Target)).event(limited(true)).awaited(
            Condition::QueueEmpty,
            true,
            serving(),
        )
    }

    fn judged(trace: &Trace) -> Verdict {
        (DESCRIPTORS_RECOVER.check)(&Scenario::default(), trace)
    }

    #[test]
    fn a_server_that_comes_back_passes() {
        assert!(matches!(judged(&exhausted().visited(LATER).trace()), Verdict::Pass(_)));
        assert!(matches!(judged(&Build::served().visited(LATER).trace()), Verdict::Inconclusive(_)));
    }

    #[test]
    fn a_server_that_exits_or_falls_silent_fails() {
        let exited = exhausted().exited(0, Exit::Code(1)).trace();
        assert!(matches!(judged(&exited), Verdict::Fail(e) if e.kind == Kind::Seen), "exited");
        let silent = exhausted()
            .acted(LATER, Act::Visit(Payload::greeting()), |acted| {
                (acted.fate, acted.received, acted.ending) = (Fate::Missed, 0, None);
                acted.spans.clear();
            })
            .trace();
        assert!(matches!(judged(&silent), Verdict::Fail(e) if e.kind == Kind::Missing), "silent");
    }

    #[test]
    fn a_go_program_that_lost_a_thread_of_its_runtime_is_not_judged() {
        let text = "runtime: failed to create new OS thread (have 4 already; errno=11)\n";
        let exited = exhausted().stderr(text).exited(0, Exit::Code(2)).trace();
        assert!(matches!(judged(&exited), Verdict::Inconclusive(_)));
    }
}
