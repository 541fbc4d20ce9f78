//! What can be done to the lives of clients, where every step must still make sense after those before it.

use super::{
    Pass, edited, few_clients, fewer_clients, fewer_steps, fewer_stretches, milder, plainer_settings,
    smaller_payloads, without_a_stop,
};
use crate::scenario::model::Model;
use crate::scenario::{Act, Class, Client, Condition, Cut, Payload, Scenario, Step, Who};

/// All that can be done to such a scenario, in the order in which it is tried.
pub(super) const PASSES: [Pass; 16] = [
    few_clients,
    shorter,
    all_plainer,
    fewer_clients,
    fewer_stretches,
    without_a_stop,
    plainer_settings,
    fewer_steps,
    smaller_payloads,
    milder,
    joined,
    one_by_one,
    without_a_wait,
    plainer_acts,
    plainer_payloads,
    renumbered,
];

/// The first part of the scenario.
fn shorter(scenario: &Scenario) -> Vec<Scenario> {
    let len = scenario.steps.len();
    let mut left = len / 2;
    let mut found = Vec::new();
    while left > 0 {
        found.push(Scenario { steps: scenario.steps[..len - left].to_vec() });
        left /= 2;
    }
    found
}

/// The scenario with all settings usual, and with all payloads plain, whole, or cut to one size: many clients together may
/// need little each.
fn all_plainer(scenario: &Scenario) -> Vec<Scenario> {
    let with = |edit: &dyn Fn(&mut Payload)| {
        let mut plain = scenario.clone();
        payloads(&mut plain).into_iter().for_each(edit);
        plain
    };
    let plain = |payload: &mut Payload| {
        *payload = Payload { seed: 0, ..Payload::of(payload.len.min(16)).class(Class::Line) };
    };
    let mut found = vec![with(&plain)];
    found.extend([16, 256, 4096].map(|most| with(&|payload| payload.len = payload.len.min(most))));
    found.push(with(&|payload| payload.cut = Cut::Whole));
    found.push(with(&|payload| payload.class = Class::Line));
    found.push(with(&|payload| payload.seed = 0));
    found.push(with(&|payload| payload.len = payload.len.min(1)));
    found
}

fn payloads(scenario: &mut Scenario) -> Vec<&mut Payload> {
    fn of(step: &mut Step) -> Vec<&mut Payload> {
        match step {
            Step::Do(
                _,
                Act::Send(payload) | Act::Exchange(payload) | Act::PingPong(payload) | Act::Visit(payload),
            ) => vec![payload],
            Step::Together(steps) => steps.iter_mut().flat_map(of).collect(),
            _ => Vec::new(),
        }
    }
    scenario.steps.iter_mut().flat_map(of).collect()
}

/// The scenario without one of its waits for quiet, and one of its looks.
fn without_a_wait(scenario: &Scenario) -> Vec<Scenario> {
    let waits = |step: &Step| matches!(step, Step::Quiet | Step::Look);
    let indexes = (0..scenario.steps.len()).rev().filter(|&index| waits(&scenario.steps[index]));
    indexes.map(|index| replaced(scenario, index, [])).collect()
}

/// The scenario with what is done at once done one after another.
fn one_by_one(scenario: &Scenario) -> Vec<Scenario> {
    let steps = scenario.steps.iter().enumerate();
    steps
        .filter_map(|(index, step)| match step {
            Step::Together(inner) => Some(replaced(scenario, index, inner.clone())),
            _ => None,
        })
        .collect()
}

/// The scenario with one client doing what another one did, where it is connected all that time.
fn joined(scenario: &Scenario) -> Vec<Scenario> {
    let clients = scenario.clients();
    let mut found = Vec::new();
    for &gone in clients.iter().rev() {
        for &kept in clients.iter().filter(|client| **client != gone) {
            found.push(Scenario { steps: with_joined(&scenario.steps, gone, kept) });
        }
    }
    found
}

fn with_joined(steps: &[Step], gone: Client, kept: Client) -> Vec<Step> {
    let comes_or_goes = |act: &Act| {
        matches!(
            act,
            Act::Connect(_)
                | Act::Dial(_)
                | Act::Join
                | Act::Close
                | Act::Reset
                | Act::HalfClose
                | Act::ReadToEnd
                | Act::ReceiveBuffer(_)
                | Act::SendBuffer(_)
        )
    };
    let one = |step: &Step| match step {
        Step::Do(client, act) if *client == gone => match act {
            Act::Visit(payload) => Some(Step::Do(kept, Act::Exchange(*payload))),
            act if comes_or_goes(act) => None,
            act => Some(Step::Do(kept, *act)),
        },
        Step::Signal(Who::Serving(client), sig) if *client == gone => {
            Some(Step::Signal(Who::Serving(kept), *sig))
        }
        Step::Await(Condition::Stopped(Who::Serving(client))) if *client == gone => {
            Some(Step::Await(Condition::Stopped(Who::Serving(kept))))
        }
        step => Some(step.clone()),
    };
    each(steps, &one)
}

/// What becomes of the steps, those made at once too.
fn each(steps: &[Step], one: &dyn Fn(&Step) -> Option<Step>) -> Vec<Step> {
    let mut found = Vec::new();
    for step in steps {
        match step {
            Step::Together(inner) => {
                let mut inner: Vec<Step> = inner.iter().filter_map(one).collect();
                match inner.len() {
                    0 => {}
                    1 => found.extend(inner.pop()),
                    _ => found.push(Step::Together(inner)),
                }
            }
            step => found.extend(one(step)),
        }
    }
    found
}

/// The scenario with one act of a plainer kind.
fn plainer_acts(scenario: &Scenario) -> Vec<Scenario> {
    let mut found = edited(scenario, &|step| match step {
        Step::Do(client, Act::PingPong(payload)) => vec![Step::Do(*client, Act::Exchange(*payload))],
        Step::Do(client, Act::Send(payload)) => vec![Step::Do(*client, Act::Exchange(*payload))],
        Step::Do(client, Act::ReadSlowly { .. }) => vec![Step::Do(*client, Act::Read)],
        Step::Do(client, Act::Reset) => vec![Step::Do(*client, Act::Close)],
        _ => Vec::new(),
    });
    found.extend(scenario.clients().into_iter().map(|client| connected(scenario, client)));
    found
}

/// The scenario with a client that connects, where it dialled and was waited for.
fn connected(scenario: &Scenario, who: Client) -> Scenario {
    let one = |step: &Step| match step {
        Step::Do(client, Act::Dial(to)) if *client == who => Some(Step::Do(who, Act::Connect(*to))),
        Step::Do(client, Act::Join) if *client == who => None,
        step => Some(step.clone()),
    };
    Scenario { steps: each(&scenario.steps, &one) }
}

/// The scenario with one payload of the usual seed.
fn plainer_payloads(scenario: &Scenario) -> Vec<Scenario> {
    let mut found = Vec::new();
    for at in 0..payloads(&mut scenario.clone()).len() {
        let mut plain = scenario.clone();
        payloads(&mut plain)[at].seed = 0;
        found.push(plain);
    }
    found
}

/// The scenario with its clients numbered from 0 on, in the order in which they come.
fn renumbered(scenario: &Scenario) -> Vec<Scenario> {
    let mut order: Vec<Client> = Vec::new();
    for (_, step) in scenario.flat() {
        if let Step::Do(client, _) = step
            && !order.contains(client)
        {
            order.push(*client);
        }
    }
    let number = |client: Client| {
        let at = order.iter().position(|known| *known == client).and_then(|at| u32::try_from(at).ok());
        at.map_or(client, Client)
    };
    let steps = scenario.steps.iter().map(|step| with_clients(step, &number)).collect();
    vec![Scenario { steps }]
}

fn with_clients(step: &Step, number: &dyn Fn(Client) -> Client) -> Step {
    let who = |who: Who| match who {
        Who::Serving(client) => Who::Serving(number(client)),
        who => who,
    };
    match step {
        Step::Do(client, act) => Step::Do(number(*client), *act),
        Step::Signal(whom, sig) => Step::Signal(who(*whom), *sig),
        Step::Limit(whom, resource, amount) => Step::Limit(who(*whom), *resource, *amount),
        Step::Together(steps) => {
            Step::Together(steps.iter().map(|step| with_clients(step, number)).collect())
        }
        Step::Await(condition) => Step::Await(match *condition {
            Condition::ServerOfGone(client) => Condition::ServerOfGone(number(client)),
            Condition::Accepted(client) => Condition::Accepted(number(client)),
            Condition::Stopped(whom) => Condition::Stopped(who(whom)),
            condition => condition,
        }),
        step => step.clone(),
    }
}

fn replaced(scenario: &Scenario, index: usize, by: impl IntoIterator<Item = Step>) -> Scenario {
    let mut steps = scenario.steps.clone();
    steps.splice(index..=index, by);
    Scenario { steps }
}

/// The scenario in other paces, for a failure that comes only now and then: with a wait until nothing moves after
/// everything that takes the server time to notice, and with exchanges that follow each other made at once.
pub(in crate::run) fn paced(scenario: &Scenario) -> Vec<Scenario> {
    let mut calm = Vec::new();
    let mut model = Model::default();
    for step in &scenario.steps {
        let sense = model.take(step);
        calm.push(step.clone());
        let is_noticed = |act: &Act| matches!(act, Act::Close | Act::Reset | Act::HalfClose);
        let takes_time = match step {
            Step::Signal(..) => true,
            Step::Do(_, act) => is_noticed(act),
            Step::Together(steps) => {
                steps.iter().any(|step| matches!(step, Step::Do(_, act) if is_noticed(act)))
            }
            _ => false,
        };
        if sense && takes_time && model.clone().take(&Step::Quiet) {
            calm.push(Step::Quiet);
        }
    }
    let mut crowded: Vec<Step> = Vec::new();
    for step in &scenario.steps {
        let Step::Do(client, Act::Exchange(_)) = step else {
            crowded.push(step.clone());
            continue;
        };
        let is_other = |step: &Step| matches!(step, Step::Do(other, Act::Exchange(_)) if other != client);
        match crowded.last_mut() {
            Some(Step::Together(steps)) if steps.iter().all(is_other) => steps.push(step.clone()),
            Some(last) if is_other(last) => *last = Step::Together(vec![last.clone(), step.clone()]),
            _ => crowded.push(step.clone()),
        }
    }
    vec![Scenario { steps: calm }, Scenario { steps: crowded }]
}
