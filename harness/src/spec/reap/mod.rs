//! Reaping: a parent waits for every child that ends, whenever and however it ends.
//!
//! # References
//! POSIX.1-2024 waitpid, wait(2), signal(7), UNP 5.8 to 5.10.

use proptest::prelude::Strategy;
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::{come, fixed};
use crate::scenario::{Act, Client, Condition, Facet, Instance, Payload, Scenario, Sig, Step, To, Who, act};
use crate::spec::fork::side_by_side;
use crate::trace::query::{count, judge, name, span, witness};
use crate::trace::{Look, Trace, What};
use crate::verdict::Verdict;

mod busy;
mod schedule;
mod signals;
mod simultaneous;

/// The family, in the order in which it is told.
pub const CLAUSES: &[&Clause] = &[
    &EVERY_CHILD,
    &WITHOUT_NEW_CONNECTION,
    &simultaneous::SIMULTANEOUS,
    &simultaneous::KILLED_CHILD,
    &schedule::ANY_SCHEDULE,
    &busy::BOUNDED_WHILE_BUSY,
    &busy::ACCEPT_GOES_ON,
    &busy::DOES_NOT_BLOCK,
    &simultaneous::INSTANT_DEATH,
    &busy::SIGNAL_STORM,
    &simultaneous::FOREIGN_CHILD,
    &NO_LASTING_ORPHAN,
    &signals::SPURIOUS_SIGCHLD,
    &signals::SURVIVES_SIGPIPE,
    &signals::BENIGN_SIGNALS,
    &signals::STOP_AND_CONTINUE,
    &signals::HANGUP_RECORDED,
];

/// No zombie is left when the clients have left, one after another.
pub static EVERY_CHILD: Clause = Clause {
    id: ClauseId("reap.every-child"),
    level: Level::Must,
    requirement: "The server waits for every child that has ended.",
    why: "A child that nobody waits for stays in the process table as a zombie; when the table or the user's \
          limit is full, fork fails and the server serves nobody. The classic bug is to have no SIGCHLD \
          handler at all; the cure is waitpid(-1, WNOHANG) in a loop until none is left.",
    citations: &["POSIX.1-2024 waitpid", "wait(2) NOTES", "UNP 5.8"],
    needs: &[Need::ServingProcesses, Need::Lasting],
    scenarios: one_by_one,
    check: no_zombie_is_left,
};

/// The last children are waited for although nobody comes any more.
pub static WITHOUT_NEW_CONNECTION: Clause = Clause {
    id: ClauseId("reap.without-new-connection"),
    level: Level::Must,
    requirement: "The server waits for its children without being woken by a new client.",
    why: "A server that reaps only when accept returns keeps the zombies of its busiest hour through the \
          whole night. The cure is to let SIGCHLD interrupt or wake the loop: a handler, signalfd, or a \
          short timer.",
    citations: &["POSIX.1-2024 waitpid", "signal(7)", "UNP 5.8"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: all_but_the_eldest,
    check: no_zombie_is_left,
};

/// Processes that are nobody's children any more, for the record.
pub static NO_LASTING_ORPHAN: Clause = Clause {
    id: ClauseId("reap.no-lasting-orphan"),
    level: Level::May,
    requirement: "The server may leave the reaping of its processes to init, by a double fork.",
    why: "An orphan is reaped by init, so the double fork needs no SIGCHLD at all; but the server no longer \
          knows who works for it, and cannot end them when it stops.",
    citations: &["wait(2) NOTES", "prctl(2) PR_SET_CHILD_SUBREAPER"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: side_by_side,
    check: orphans,
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
            // Right after the last close its child still lives: once nothing moves it has ended.
            let end = [
                Step::Await(Condition::Back(Facet::Connections)),
                Step::Quiet,
                Step::Await(Condition::NoZombie),
            ];
            Scenario::served(lives.chain(end))
        })
        .boxed()
}

/// As many as there may be at once; all leave but the first, then that one, too. One of the children was stopped for a
/// while: it is none of those that have ended.
fn all_but_the_eldest(profile: &Profile) -> BoxedStrategy<Scenario> {
    let crowd = if profile.concurrent { profile.clients.max(1) } else { 1 };
    let mut steps: Vec<Step> = (0..crowd).flat_map(come).collect();
    if crowd > 3 {
        let one = Who::Serving(Client(1));
        steps.extend([Step::Look, Step::Signal(one, Sig::Stop), Step::Await(Condition::Stopped(one))]);
        // Whoever is told of it waits for children now, or when this one has ended.
        steps.extend([act(2, Act::Close), Step::Await(Condition::ServerOfGone(Client(2)))]);
        steps.push(Step::Signal(one, Sig::Cont));
    }
    let leave = (1..crowd).filter(|&client| crowd <= 3 || client != 2).map(|client| act(client, Act::Close));
    steps.extend([Step::Together(leave.collect()), Step::Quiet, Step::Await(Condition::NoZombie)]);
    steps.extend([act(0, Act::Close), Step::Await(Condition::Back(Facet::Connections))]);
    steps.extend([Step::Quiet, Step::Await(Condition::NoZombie)]);
    fixed(steps)
}

fn no_zombie_is_left(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let clients = scenario.clients();
        witness(!clients.is_empty(), "no client came")?;
        no_zombie(trace, "of the last close")?;
        for event in &trace.events {
            if let What::Awaited { condition: Condition::NoZombie, met, look, .. } = &event.what {
                none_left(trace, *met, look, "of the close of all but the first client")?;
            }
        }
        Ok(format!("{} left, no zombie", count(clients.len(), "client")))
    })
}

/// Ends the check unless the zombies have gone when they were waited for; `since` says since when they should.
///
/// # Errors
/// A failure, *missing*, that names the zombies; [`Verdict::Inconclusive`] where nobody waited.
pub(in crate::spec) fn no_zombie(trace: &Trace, since: &str) -> Result<(), Verdict> {
    let (met, look) = trace
        .awaited(Condition::NoZombie)
        .ok_or_else(|| Verdict::Inconclusive("nobody waited for the zombies to go".into()))?;
    none_left(trace, met, look, since)
}

/// Ends the check if there were zombies when they had been waited for in vain.
fn none_left(trace: &Trace, met: bool, look: &Look, since: &str) -> Result<(), Verdict> {
    let zombies: Vec<_> = trace.new_zombies(look).map(name).collect();
    if met || zombies.is_empty() {
        return Ok(());
    }
    let within = span(trace.circumstances.limits.settle_within);
    Err(Verdict::missing(
        format!("no zombie within {within} {since}"),
        format!("{}: {}", count(zombies.len(), "zombie"), zombies.join("; ")),
    ))
}

fn orphans(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let launched = trace.ready(Instance(0))?;
        let first: Vec<_> = launched.of(Instance(0)).map(|process| process.pid).collect();
        let orphans = |look: &Look| {
            look.of(Instance(0)).filter(|process| process.ppid == 1 && !first.contains(&process.pid)).count()
        };
        let most = trace.looks().map(|(_, look)| orphans(look)).max().unwrap_or(0);
        let last = trace.last_look().map_or(0, orphans);
        Ok(format!("{} at most, {last} at the end", count(most, "orphan")))
    })
}
