//! Limits: a server meets the end of something (descriptors, processes, room, places for clients) and comes back.
//!
//! # References
//! getrlimit(2), accept(2), POSIX.1-2024 fork and write, listen(2), UNP 16 and 30.

use crate::clause::Clause;
use crate::scenario::generate::visit;
use crate::scenario::{Act, Client, Condition, Instance, Resource, Scenario, Setting, Step, act};
use crate::trace::query::witness;
use crate::trace::{Acted, Trace, What};
use crate::verdict::Verdict;

pub mod clients;
mod memory;
pub mod resources;

/// The family, in the order in which it is told.
pub const CLAUSES: &[&Clause] = &[
    &resources::DESCRIPTORS_RECOVER,
    &resources::PROCESSES_RECOVER,
    &clients::SURVIVES_FLOOD,
    &clients::LIMIT_WITHOUT_LOSS,
    &clients::IDLE_CLIENTS_HOLD_NOBODY,
    &clients::CLIENTS_RECORDED,
    &memory::MEMORY_BOUNDED,
    &clients::TINY_BUFFERS,
    &resources::FULL_DISK_LOG,
    &resources::SMALL_STACK,
];

const FIRST: Instance = Instance(0);
/// Clients from this number on come when the limit is lifted or the flood is over.
const LATER: u32 = 60;

/// The same act of some clients, at once.
fn each(clients: std::ops::Range<u32>, what: Act) -> Step {
    Step::Together(clients.map(|client| act(client, what)).collect())
}

/// Ends the check unless the server was launched as usual, listened at first (later waits may tell of its end), and was
/// left alone but for a limit of this kind.
fn started(scenario: &Scenario, trace: &Trace, limited: Option<Resource>) -> Result<(), Verdict> {
    for (_, step) in scenario.flat() {
        match step {
            Step::Launch(FIRST, setting) => {
                let plain = Setting { buffers: None, somaxconn: None, backlog: None, ..setting.clone() };
                witness(plain.is_usual(), "the server was launched in an unusual setting")?;
            }
            Step::Limit(_, resource, _) if Some(*resource) == limited => {}
            Step::Signal(..) | Step::Limit(..) | Step::Launch(..) => {
                return Err(Verdict::Inconclusive(format!("something else was done to the server: {step}")));
            }
            _ => {}
        }
    }
    let first = trace.events.iter().find_map(|event| match &event.what {
        What::Awaited { condition, met, .. } if *condition == Condition::Listening(FIRST) => Some(*met),
        _ => None,
    });
    match first {
        Some(true) => Ok(()),
        _ => trace.ready(FIRST).map(|_| ()),
    }
}

/// Ends the check unless the server lives and each client that came after the event was served; how many were.
fn serves_after(trace: &Trace, event: impl Fn(&What) -> bool, expected: &str) -> Result<usize, Verdict> {
    trace.lives(FIRST, expected)?;
    let last = trace.events.iter().rposition(|e| event(&e.what)).unwrap_or(0);
    let visitors: Vec<Client> = trace.events[last..]
        .iter()
        .filter_map(|event| match &event.what {
            What::Acted(Acted { client, act: Act::Visit(_), .. }) => Some(*client),
            _ => None,
        })
        .collect();
    if visitors.is_empty() {
        return Err(Verdict::Inconclusive("no client came afterwards".into()));
    }
    trace.all_served(&visitors)?;
    Ok(visitors.len())
}
