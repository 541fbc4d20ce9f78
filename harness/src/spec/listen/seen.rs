//! What a trace tells of a queue.

use super::TREE;
use crate::scenario::{Act, Client, Condition, Scenario, Step};
use crate::trace::{Acted, Fate, Look, Socket, Trace};

/// The socket in LISTEN, as the first look after the queue was filled has it.
pub(super) fn listener(trace: &Trace) -> Option<(&Look, &Socket)> {
    let look = trace.plain_looks().next()?;
    Some((look, look.listeners(trace.port()).next()?))
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
