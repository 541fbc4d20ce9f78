//! Stopping: a server that is told to end does, gives its port back, and can be started again at once.
//!
//! # References
//! signal(7), POSIX.1-2024 bind and close, RFC 9293 3.6, UNP 5.12, 5.15 and 7.5.

use crate::clause::Clause;
use crate::profile::Profile;
use crate::scenario::{Act, Client, Condition, Instance, Payload, Sig, Step, To, Who, act};
use crate::trace::{Look, Process, Trace, What};
use crate::verdict::Verdict;

pub mod port;
pub mod remains;
pub mod restart;
pub mod signal;
pub mod wrapper;

/// The family, in the order in which it is told.
pub const CLAUSES: &[&Clause] = &[
    &signal::SIGTERM,
    &signal::SIGINT,
    &signal::STATUS,
    &wrapper::PASSES_SIGNAL_ON,
    &remains::IDLE_CLIENT_DOES_NOT_HOLD,
    &remains::STUCK_CLIENT_DOES_NOT_HOLD,
    &remains::NO_ORPHAN,
    &remains::CHILDREN_REAPED,
    &signal::DRAINS,
    &signal::QUEUED_CLIENTS_TOLD,
    &port::PORT_FREED,
    &port::PORT_FREED_AFTER_KILL,
    &restart::RESTART_AT_ONCE,
    &restart::RESTART_BESIDE_OPEN_CONNECTIONS,
    &restart::RESTART_LOOP,
    &restart::OLD_CLIENT_GETS_RESET,
];

const FIRST: Instance = Instance(0);

/// Signals an instance, and waits until it has gone. A wrapper may die of the signal and not pass it on: its server
/// gets it the second time. SIGINT goes to all at once where there is a wrapper, as from a terminal.
fn ending(profile: &Profile, instance: Instance, sig: Sig) -> Vec<Step> {
    let mut steps = telling(profile, instance, sig);
    steps.push(Step::Await(Condition::Gone(instance)));
    steps
}

/// The same without the wait.
fn telling(profile: &Profile, instance: Instance, sig: Sig) -> Vec<Step> {
    let wrapped = !profile.launched_accepts && !profile.daemonizes;
    let who = if wrapped && sig == Sig::Int { Who::Tree(instance) } else { Who::Launched(instance) };
    let signal = Step::Signal(who, sig);
    let mut steps = detached(profile, instance);
    steps.push(signal.clone());
    if wrapped && sig != Sig::Int {
        steps.extend([Step::Await(Condition::Exited(instance)), signal]);
    }
    steps
}

/// Where the launched process ends by itself, a daemon's, waits until it has: the signal is not for it.
fn detached(profile: &Profile, instance: Instance) -> Vec<Step> {
    if profile.daemonizes { vec![Step::Await(Condition::Exited(instance))] } else { Vec::new() }
}

/// So many clients connect and are served, and stay.
fn connected(clients: u32) -> Vec<Step> {
    vec![
        Step::Together((0..clients).map(|client| act(client, Act::Connect(To::Target))).collect()),
        Step::Together((0..clients).map(|client| act(client, Act::Exchange(Payload::greeting()))).collect()),
    ]
}

/// The same act of the first so many clients, at once.
fn each(clients: u32, what: Act) -> Step {
    Step::Together((0..clients).map(|client| act(client, what)).collect())
}

/// Clients that can stay connected side by side: at most `most`.
fn side_by_side(profile: &Profile, most: u32) -> u32 {
    if profile.concurrent { profile.clients.clamp(1, most) } else { 1 }
}

/// Waits for the end of the first instance, after the signal: what was there at the end of each.
fn waits(trace: &Trace, sig: Sig) -> Result<Vec<&Look>, Verdict> {
    trace.ready(FIRST)?;
    let last = trace
        .events
        .iter()
        .rposition(|event| {
            let whole =
                |who: &Who| matches!(who, Who::Launched(FIRST) | Who::Acceptor(FIRST) | Who::Tree(FIRST));
            matches!(&event.what, What::Signalled { who, sig: sent, .. } if *sent == sig && whole(who))
        })
        .ok_or_else(|| Verdict::Inconclusive("nobody told the server to stop".into()))?;
    if trace.signalled(sig).is_empty() {
        return Err(Verdict::Inconclusive("there was nobody to get the signal".into()));
    }
    let looks: Vec<_> = trace.events[last..]
        .iter()
        .filter_map(|event| match &event.what {
            What::Awaited { condition, look, .. } if *condition == Condition::Gone(FIRST) => Some(look),
            _ => None,
        })
        .collect();
    if looks.is_empty() {
        return Err(Verdict::Inconclusive("nobody waited for the end of the server".into()));
    }
    Ok(looks)
}

/// The same, up to the first client that leaves.
fn waits_beside_clients(trace: &Trace, sig: Sig) -> Result<Vec<&Look>, Verdict> {
    let all = waits(trace, sig)?;
    let is_told = |what: &What| matches!(what, What::Signalled { sig: sent, .. } if *sent == sig);
    let signalled = trace.events.iter().position(|event| is_told(&event.what)).unwrap_or(0);
    let leaves =
        |what: &What| matches!(what, What::Acted(acted) if matches!(acted.act, Act::Close | Act::Reset));
    let before = trace.events[signalled..].iter().take_while(|event| !leaves(&event.what));
    let count = before
        .filter(|event| matches!(event.what, What::Awaited { condition: Condition::Gone(FIRST), .. }))
        .count();
    if count == 0 {
        return Err(Verdict::Inconclusive(
            "nobody waited for the end of the server while a client was there".into(),
        ));
    }
    Ok(all.into_iter().take(count).collect())
}

/// Of the processes that got the signal, those that still run.
fn survivors<'a>(trace: &Trace, sig: Sig, look: &'a Look) -> Vec<&'a Process> {
    trace
        .signalled(sig)
        .iter()
        .filter_map(|&pid| look.process(pid))
        .filter(|process| !process.is_zombie())
        .collect()
}

/// Clients that were connected when the signal was sent.
fn clients_at(trace: &Trace, sig: Sig) -> Vec<Client> {
    let mut connected = Vec::new();
    for event in &trace.events {
        match &event.what {
            What::Signalled { sig: sent, .. } if *sent == sig => break,
            What::Acted(acted) => {
                connected.retain(|client| *client != acted.client);
                let leaves = matches!(acted.act, Act::Close | Act::Reset | Act::Visit(_));
                if acted.local.is_some() && acted.ending.is_none() && !leaves {
                    connected.push(acted.client);
                }
            }
            _ => {}
        }
    }
    connected
}
