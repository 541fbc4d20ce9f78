//! What a trace tells of a queue.

use super::TREE;
use crate::profile::{Model, Profile};
use crate::scenario::{Act, Client, Condition, Instance, Scenario, Step};
use crate::trace::{Acted, Fate, Look, Socket, Trace};

/// The socket in LISTEN, as the first look after the queue was filled has it.
pub(super) fn listener(trace: &Trace) -> Option<(&Look, &Socket)> {
    let look = trace.plain_looks().next()?;
    Some((look, look.listeners(trace.port()).next()?))
}

/// Whether the server is an event loop of one task, as far as was seen.
pub(super) fn has_one_task(trace: &Trace) -> bool {
    let is_loop = |profile: &Profile| profile.model == Model::EventLoop;
    let tasks = |look: &Look| look.of(Instance(0)).map(|process| process.threads).sum::<u32>();
    trace.circumstances.profile.as_ref().is_none_or(is_loop)
        && trace.looks().all(|(_, look)| tasks(look) <= 1)
}

/// The limit that the queue is to have: what was asked for, but never more than `net.core.somaxconn`.
pub(super) fn asked(scenario: &Scenario, trace: &Trace) -> Option<u32> {
    let setting = scenario.steps.iter().find_map(|step| match step {
        Step::Launch(_, setting) => setting.backlog,
        _ => None,
    });
    let declared = trace.circumstances.profile.as_ref().and_then(|profile| profile.backlog_declared);
    setting.or(declared).map(|backlog| backlog.min(trace.circumstances.somaxconn))
}

/// Dials that came while the server was stopped: those that were connected, and those that had to wait.
pub(super) fn dials(trace: &Trace) -> (Vec<&Acted>, Vec<&Acted>) {
    let dials = trace.all_acts().filter(|acted| matches!(acted.act, Act::Dial(_)));
    dials.partition(|acted| acted.fate == Fate::Done)
}

/// How many had come before anybody was dialled, and were not seen to be served: they may be in the queue as well.
pub(super) fn unserved_before(scenario: &Scenario, trace: &Trace) -> usize {
    let dialled = scenario.flat().find(|(_, step)| matches!(step, Step::Do(_, Act::Dial(_))));
    let Some((dial, _)) = dialled else { return 0 };
    let before = trace.before(dial);
    let answered = |acted: &Acted| {
        let answer = matches!(acted.act, Act::Exchange(_) | Act::PingPong(_) | Act::Visit(_) | Act::Read);
        answer && acted.fate == Fate::Done
    };
    let waits =
        |client: &Client| before.acts(*client).next().is_some() && !before.acts(*client).any(answered);
    scenario.clients().into_iter().filter(waits).count()
}

pub(super) fn was_stopped(trace: &Trace) -> bool {
    matches!(trace.awaited(Condition::Stopped(TREE)), Some((true, _)))
}

/// The clients that were dialled.
pub(super) fn queue_of(trace: &Trace) -> Vec<Client> {
    let mut clients: Vec<Client> = trace
        .all_acts()
        .filter(|acted| matches!(acted.act, Act::Dial(_)))
        .map(|acted| acted.client)
        .collect();
    clients.dedup();
    clients
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Payload, To, act};
    use crate::trace::build::Build;

    #[test]
    fn who_came_before_and_was_not_served_may_be_in_the_queue() {
        let (connect, hello) = (Act::Connect(To::Target), Act::Exchange(Payload::of(9)));
        let dial = Act::Dial(To::Target);
        let steps = [act(0, connect), act(0, hello), act(1, connect), act(2, dial)];
        let trace = Build::served().done(0, connect).done(0, hello).done(1, connect).done(2, dial).trace();
        assert_eq!(unserved_before(&Scenario::served(steps), &trace), 1);
        assert_eq!(unserved_before(&Scenario::served([act(0, connect)]), &trace), 0);
    }
}
