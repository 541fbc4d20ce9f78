//! All children are killed at once, and the service goes on.

use proptest::prelude::Strategy;
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::{Model, Profile};
use crate::scenario::generate::{come, visit};
use crate::scenario::{Act, Client, Condition, Instance, Scenario, Sig, Step, Who, act};
use crate::spec::fork::death::victims;
use crate::trace::Trace;
use crate::trace::aftermath::first_step;
use crate::trace::query::{count, judge};
use crate::verdict::{Kind, Verdict};

/// All children are killed at once.
pub(super) static SERVES_AFTER_MASS_KILL: Clause = Clause {
    id: ClauseId("fork.serves-after-mass-kill"),
    level: Level::Must,
    requirement: "The server serves new clients after all its children were killed at once.",
    why: "The out-of-memory killer and operators kill in numbers. Classic bugs: a lock that dies with its \
          holder, a table of children that is never tidied, a parent that gives up; the cure is robust \
          locks, or none, and a loop that waits for every child.",
    citations: &["UNP 5.10", "UNP 30.8", "wait(2) NOTES"],
    needs: &[Need::ServingProcesses, Need::Concurrent, Need::Lasting],
    scenarios: kill_all,
    check: serves_after_mass_kill,
};

/// Workers are made anew.
pub(super) static REPLACES_KILLED_WORKER: Clause = Clause {
    id: ClauseId("fork.replaces-killed-worker"),
    level: Level::Should,
    requirement: "The server makes a new worker in place of one that was killed.",
    why: "With each worker that is lost the server serves one client less, until it listens and serves \
          nobody. The cure is a parent that waits for its workers and forks for each that ends.",
    citations: &["UNP 30.6", "wait(2)"],
    needs: &[Need::Prefork, Need::Lasting],
    scenarios: kill_all,
    check: serves_after_mass_kill,
};

const LISTEN: Instance = Instance(0);

/// For so long a supervisor may turn clients away before it starts workers again, lest it start them without end.
const RESPAWN_MS: u32 = 1200;

fn kill_all(profile: &Profile) -> BoxedStrategy<Scenario> {
    let most = profile.effort.pick(6, 6, 16).min(profile.clients).max(1);
    // More than there are places in a table of 64, or of 128.
    let many = profile.effort.pick(66, 132, 264_u32);
    let prefork = profile.model == Model::Prefork;
    (most.min(6)..=most)
        .prop_map(move |clients| {
            let mut steps: Vec<Step> = (0..clients).flat_map(come).collect();
            steps.extend([
                Step::Look,
                Step::Signal(Who::Acceptor(LISTEN), Sig::Stop),
                Step::Await(Condition::Stopped(Who::Acceptor(LISTEN))),
            ]);
            if prefork {
                steps.push(Step::Signal(Who::Children(LISTEN), Sig::Kill));
            }
            steps.extend((0..clients).map(|client| Step::Signal(Who::Serving(Client(client)), Sig::Kill)));
            steps.extend([Step::Quiet, Step::Signal(Who::Acceptor(LISTEN), Sig::Cont), Step::Quiet]);
            steps.extend((0..clients).map(|client| act(client, Act::Close)));
            if !prefork {
                steps.extend((0..many.div_ceil(clients)).flat_map(|_| killed_one_by_one(clients)));
            }
            steps.extend([visit(clients), visit(clients + 1)]);
            if prefork {
                steps.extend([Step::Pause(RESPAWN_MS), visit(clients + 2), visit(clients + 3)]);
            }
            steps.push(Step::Look);
            Scenario::served(steps)
        })
        .boxed()
}

/// Clients who come, whose processes are killed, and who leave.
fn killed_one_by_one(clients: u32) -> Vec<Step> {
    let kill = |client| Step::Signal(Who::Serving(Client(client)), Sig::Kill);
    let close = |client| act(client, Act::Close);
    let mut steps: Vec<Step> = (0..clients).flat_map(come).collect();
    steps.extend((0..clients).map(kill).chain((0..clients).map(close)));
    steps.push(Step::Await(Condition::NoZombie));
    steps
}

fn serves_after_mass_kill(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let (step, _, pids) = victims(scenario, trace, &[Sig::Kill])?;
        let context = format!("after {} had been killed", count(pids.len(), "child process"));
        let context = context.replace("child processs", "child processes");
        let pause = first_step(scenario, |step| matches!(step, Step::Pause(_)));
        match (trace.goes_on(scenario, step, &context), pause) {
            (Err(Verdict::Fail(turned_away)), Some(pause)) if turned_away.kind == Kind::Seen => {
                let seen = trace.goes_on(scenario, pause, &format!("{context} and some time had passed"))?;
                Ok(format!("{seen}; at once: {}", turned_away.observed))
            }
            (served, _) => served,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Payload;
    use crate::trace::build::Build;
    use crate::trace::{Acted, Ending, Fate, What};

    /// All are killed; one comes at once and is turned away, another one comes after a pause.
    fn judged(later: Fate) -> Verdict {
        let all = Who::Children(LISTEN);
        let steps = [Step::Signal(all, Sig::Kill), visit(1), Step::Pause(RESPAWN_MS), visit(2)];
        let scenario = Scenario::served(steps);
        let visit = Act::Visit(Payload::greeting());
        let build = Build::served().event(What::Signalled { who: all, sig: Sig::Kill, pids: vec![7] });
        let turned_away = |fate: Fate| {
            move |acted: &mut Acted| {
                if fate != Fate::Done {
                    (acted.received, acted.ending) = (0, Some(Ending::Reset));
                    acted.spans.clear();
                }
                acted.fate = fate;
            }
        };
        let trace =
            build.acted(1, visit, turned_away(Fate::Ended)).acted(2, visit, turned_away(later)).trace();
        serves_after_mass_kill(&scenario, &trace)
    }

    #[test]
    fn who_is_turned_away_at_first_is_served_later() {
        let Verdict::Pass(seen) = judged(Fate::Done) else { panic!("a supervisor may take its time") };
        assert!(seen.contains("at once:"), "{seen}");
        assert!(matches!(judged(Fate::Ended), Verdict::Fail(_)));
    }
}
