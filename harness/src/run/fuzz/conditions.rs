//! Conditions that a campaign wants to have been in: each is counted, and one that never was is said.

use crate::scenario::{Act, Scenario, Sig, Step, Who};
use crate::trace::{Fate, Trace, What};

/// A condition, and how it shows.
pub type Condition = (&'static str, fn(&Scenario, &Trace) -> bool);

/// All of them.
pub const CONDITIONS: [Condition; 15] = [
    ("server stopped while clients come", |scenario, _| {
        signals(scenario).any(|(who, sig)| matches!(who, Who::Tree(_)) && sig == Sig::Stop)
    }),
    ("queue full", |_, trace| waited(trace, |queued, limit| queued > limit)),
    ("client turned back by a full queue", |_, trace| {
        acted(trace).any(|(act, fate)| matches!(act, Act::Join) && *fate == Fate::Done)
            && acted(trace).any(|(act, fate)| matches!(act, Act::Dial(_)) && *fate == Fate::Pending)
    }),
    ("child killed", |_, trace| killed(trace) > 0),
    ("several children killed", |_, trace| killed(trace) > 1),
    ("child killed in mid-transfer", |_, trace| {
        trace.events.iter().any(|event| match &event.what {
            What::Signalled { who: Who::Serving(client), sig: Sig::Kill, .. } => {
                let before = trace.before(event.step);
                before.last_act(*client).is_some_and(|acted| acted.sent > acted.received)
            }
            _ => false,
        })
    }),
    ("child stopped", |scenario, _| {
        signals(scenario).any(|(who, sig)| matches!(who, Who::Serving(_)) && sig == Sig::Stop)
    }),
    ("spurious signal", |scenario, _| {
        signals(scenario).any(|(_, sig)| matches!(sig, Sig::Chld | Sig::Winch | Sig::Urg))
    }),
    ("half-close", |scenario, _| acts(scenario, |act| matches!(act, Act::HalfClose))),
    ("reset", |scenario, _| acts(scenario, |act| matches!(act, Act::Reset))),
    ("slow reader", |scenario, _| acts(scenario, |act| matches!(act, Act::ReadSlowly { .. }))),
    ("small socket buffers", |scenario, _| {
        acts(scenario, |act| matches!(act, Act::ReceiveBuffer(_)))
            || launched(scenario, |setting| setting.buffers.is_some())
    }),
    ("payload beyond 64 KiB", |_, trace| trace.all_acts().any(|acted| acted.sent > 64 << 10)),
    ("backlog of 0 or 1", |scenario, _| {
        launched(scenario, |setting| setting.backlog.or(setting.somaxconn).is_some_and(|n| n < 2))
    }),
    ("more than 16 clients", |scenario, _| scenario.clients().len() > 18),
];

fn signals(scenario: &Scenario) -> impl Iterator<Item = (Who, Sig)> + '_ {
    scenario.steps.iter().filter_map(|step| match step {
        Step::Signal(who, sig) => Some((*who, *sig)),
        _ => None,
    })
}

fn acts(scenario: &Scenario, wanted: fn(&Act) -> bool) -> bool {
    scenario.flat().any(|(_, step)| matches!(step, Step::Do(_, act) if wanted(act)))
}

fn launched(scenario: &Scenario, wanted: fn(&crate::scenario::Setting) -> bool) -> bool {
    scenario.steps.iter().any(|step| matches!(step, Step::Launch(_, setting) if wanted(setting)))
}

fn acted(trace: &Trace) -> impl Iterator<Item = (&Act, &Fate)> {
    trace.all_acts().map(|acted| (&acted.act, &acted.fate))
}

/// Processes of the server that were killed while they served.
fn killed(trace: &Trace) -> usize {
    let killed = trace.events.iter().map(|event| match &event.what {
        What::Signalled { who: Who::Serving(_) | Who::Children(_), sig: Sig::Kill, pids } => pids.len(),
        _ => 0,
    });
    killed.sum()
}

/// Whether the queue was seen so: connections in it, and its limit.
fn waited(trace: &Trace, wanted: fn(u32, u32) -> bool) -> bool {
    trace.looks().any(|(_, look)| {
        look.listeners(trace.port()).any(|socket| wanted(socket.receive_queue, socket.send_queue))
    })
}
