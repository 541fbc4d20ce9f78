//! Reaping: a parent waits for every child that ends, whenever and however it ends.
//!
//! # References
//! POSIX.1-2024 waitpid, wait(2), signal(7), UNP 5.8 to 5.10.

use proptest::prelude::Strategy;
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::{Act, Condition, Facet, Instance, Payload, Scenario, Step, To, act};
use crate::trace::Trace;
use crate::trace::query::{count, judge, name, witness};
use crate::verdict::Verdict;

/// The family, in the order in which it is told.
pub const CLAUSES: &[&Clause] = &[&EVERY_CHILD];

/// No zombie is left when the clients have left, one after another.
pub static EVERY_CHILD: Clause = Clause {
    id: ClauseId("reap.every-child"),
    level: Level::Must,
    requirement: "The server waits for every child that has ended.",
    why: "A child that nobody waits for stays in the process table as a zombie; when the table or the user's limit \
          is full, fork fails and the server serves nobody. The classic bug is to have no SIGCHLD handler at all; \
          the cure is waitpid(-1, WNOHANG) in a loop until none is left.",
    citations: &["POSIX.1-2024 waitpid", "wait(2) NOTES", "UNP 5.8"],
    needs: &[Need::ServingProcesses, Need::Lasting],
    scenarios: one_by_one,
    check: no_zombie_is_left,
};

fn one_by_one(profile: &Profile) -> BoxedStrategy<Scenario> {
    let most = profile.effort.pick(2, 4, 32_u32);
    (1..=most)
        .prop_map(|clients| {
            let lives = (0..clients).flat_map(|client| {
                [
                    act(client, Act::Connect(To::Target)),
                    act(client, Act::Exchange(Payload::greeting())),
                    act(client, Act::Close),
                ]
            });
            let end = [Step::Await(Condition::NoZombie), Step::Await(Condition::Back(Facet::Connections))];
            Scenario::served(lives.chain(end))
        })
        .boxed()
}

fn no_zombie_is_left(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let clients = scenario.clients();
        witness(!clients.is_empty(), "no client came")?;
        let (met, look) = trace
            .awaited(Condition::NoZombie)
            .ok_or_else(|| Verdict::Inconclusive("nobody waited for the zombies to go".into()))?;
        let zombies: Vec<_> = look.zombies().map(name).collect();
        if !met {
            let within = trace.circumstances.limits.settle_within;
            return Err(Verdict::missing(
                format!("no zombie within {within:?} of the last close"),
                format!("{}: {}", count(zombies.len(), "zombie"), zombies.join("; ")),
            ));
        }
        Ok(format!("{} left, no zombie", count(clients.len(), "client")))
    })
}

