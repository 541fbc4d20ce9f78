//! Any order of comings, goings, kills and stops: in the end there is no zombie and no child too many.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::{Act, Client, Condition, Facet, Instance, Payload, Scenario, Sig, Step, To, Who, act};
use crate::spec::fork::processes;
use crate::spec::reap::no_zombie;
use crate::trace::Trace;
use crate::trace::aftermath::{all_left, left_working, newcomers};
use crate::trace::query::{count, judge, witness};
use crate::verdict::Verdict;

/// The invariant behind the other clauses of this family, on random schedules.
pub(super) static ANY_SCHEDULE: Clause = Clause {
    id: ClauseId("reap.any-schedule"),
    level: Level::Must,
    requirement: "The server has no zombie and no child left over after any schedule of connects, closes, \
                  kills and stops.",
    why: "Bugs of reaping hide in orders that nobody thought of: a death between two waits, a kill while a \
          sibling is stopped. This draws such orders, and shrinks the one that fails to the few steps that \
          matter.",
    citations: &["POSIX.1-2024 waitpid", "signal(7)", "UNP 5.10"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: schedules,
    check: nothing_is_left,
};

/// State of a client while a schedule is made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum There {
    Away,
    Served,
    /// Its process is stopped.
    Stopped,
    /// Its process was killed.
    Orphaned,
}

fn schedules(profile: &Profile) -> BoxedStrategy<Scenario> {
    let clients = profile.effort.pick(3, 4, 8).min(profile.clients).max(1);
    let length = profile.effort.pick(8, 16, 60_usize);
    vec((0..clients, any::<u8>()), length / 2..=length)
        .prop_map(move |draws| Scenario::served(schedule(clients, &draws)))
        .boxed()
}

/// Steps that make sense, one way or another, for each draw; then everybody leaves.
fn schedule(clients: u32, draws: &[(u32, u8)]) -> Vec<Step> {
    let mut there = vec![There::Away; clients as usize];
    let mut steps =
        vec![act(clients, Act::Visit(Payload::greeting())), Step::Await(Condition::NoZombie), Step::Mark];
    for &(client, draw) in draws {
        let state = &mut there[client as usize];
        let serving = Who::Serving(Client(client));
        let (next, made) = match (*state, draw % 8) {
            (There::Away, _) => (
                There::Served,
                vec![act(client, Act::Connect(To::Target)), act(client, Act::Exchange(Payload::greeting()))],
            ),
            (There::Served, 0 | 1) => (There::Served, vec![act(client, Act::Exchange(Payload::greeting()))]),
            (There::Served, 2) => (There::Away, vec![act(client, Act::Reset)]),
            (There::Served, 3 | 4) => (There::Orphaned, vec![Step::Signal(serving, Sig::Kill)]),
            (There::Served, 5) => (There::Stopped, vec![Step::Signal(serving, Sig::Stop)]),
            (There::Stopped, 0..4) => (There::Served, vec![Step::Signal(serving, Sig::Cont)]),
            (There::Stopped, _) => (There::Orphaned, vec![Step::Signal(serving, Sig::Kill)]),
            (There::Orphaned, 0) => (There::Away, vec![act(client, Act::Reset)]),
            (There::Served | There::Orphaned, _) => (There::Away, vec![act(client, Act::Close)]),
        };
        *state = next;
        steps.extend(made);
    }
    steps.push(Step::Signal(Who::Tree(Instance(0)), Sig::Cont));
    let stays = (0..clients).filter(|client| there[*client as usize] != There::Away);
    let leave: Vec<_> = stays.map(|client| act(client, Act::Close)).collect();
    if !leave.is_empty() {
        steps.push(Step::Together(leave));
    }
    steps.push(Step::Await(Condition::NoZombie));
    steps.push(Step::Await(Condition::Back(Facet::Processes)));
    steps.push(act(clients + 1, Act::Visit(Payload::greeting())));
    steps.push(Step::Look);
    steps
}

fn nothing_is_left(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        all_left(scenario)?;
        trace.only_servers_were_hurt()?;
        let mark =
            trace.mark().ok_or_else(|| Verdict::Inconclusive("nobody looked before the schedule".into()))?;
        let opened = trace.all_acts().filter(|acted| matches!(acted.act, Act::Connect(_))).count();
        witness(opened > 0, "no client came")?;
        trace.lives(Instance(0), "the server goes on after the schedule")?;
        no_zombie(trace, "of the end of the schedule")?;
        let (_, look) = trace
            .awaited(Condition::Back(Facet::Processes))
            .ok_or_else(|| Verdict::Inconclusive("nobody waited for the children to end".into()))?;
        let port = trace.port();
        let before = Facet::Processes.count(mark, Instance(0), port);
        let after = Facet::Processes.count(look, Instance(0), port);
        // As many as there were clients at once may be kept for the next ones.
        let kept_max = scenario.clients().len();
        if after > before + kept_max {
            return Err(Verdict::missing(
                format!("{} as before the schedule", processes(before)),
                format!("{after} after {} have come and gone", count(opened, "client")),
            ));
        }
        let last = scenario.steps.len().saturating_sub(3);
        trace.all_served(&newcomers(scenario, last.saturating_sub(1)))?;
        Ok(format!(
            "{} opened and gone, no zombie, {after} of {}",
            count(opened, "connection"),
            processes(before)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_ends_with_everybody_gone_and_nobody_stopped() {
        for seed in 0..200_u32 {
            let draws: Vec<_> =
                (0..20_u32).map(|n| ((seed + n * 7) % 3, (seed * 31 + n * 97).to_le_bytes()[0])).collect();
            let scenario = Scenario::served(schedule(3, &draws));
            assert!(all_left(&scenario).is_ok(), "{draws:?}");
            assert!(left_working(&scenario).is_ok(), "{draws:?}");
        }
    }
}
