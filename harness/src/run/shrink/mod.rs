//! Looks for a smaller scenario that fails in the same way: fewer clients, fewer steps, smaller payloads.

use crate::scenario::{
    Act, Class, Client, Condition, Cut, Instance, Payload, Scenario, Setting, Sig, Step, Who,
};

mod lives;
mod walk;

pub(super) use lives::paced;
pub use walk::Walk;

/// A way to make a scenario simpler: what it offers instead, the boldest first.
type Pass = fn(&Scenario) -> Vec<Scenario>;

/// What can be done to any scenario. The first launch, waits and looks stay as long as they mean something: a wait for a
/// client goes with the client.
const PASSES: [Pass; 9] = [
    few_clients,
    fewer_clients,
    fewer_launches,
    fewer_stretches,
    without_a_stop,
    milder,
    fewer_steps,
    plainer_settings,
    smaller_payloads,
];

/// So many clients that each may be tried alone.
const FEW: usize = 6;

/// One client alone, or half of the clients.
fn few_clients(scenario: &Scenario) -> Vec<Scenario> {
    let clients = scenario.clients();
    let mut found = Vec::new();
    if clients.len() > 1 {
        let alone =
            |kept: &Client| clients.iter().copied().filter(|client| client != kept).collect::<Vec<_>>();
        let tried = if clients.len() > FEW { 2 } else { FEW };
        found.extend(clients.iter().take(tried).map(|kept| without(scenario, &alone(kept))));
    }
    for parts in [2, 4, 8] {
        let size = clients.len() / parts;
        if size > 1 {
            found.extend(clients.chunks(size).rev().map(|gone| without(scenario, gone)));
        }
    }
    found
}

/// One client less.
fn fewer_clients(scenario: &Scenario) -> Vec<Scenario> {
    let clients = scenario.clients();
    if clients.len() < 2 {
        return Vec::new();
    }
    clients.iter().rev().map(|client| without(scenario, &[*client])).collect()
}

/// Sizes to try for a payload that fails with `len` bytes: the smallest first, then closer and closer.
fn sizes(len: u64) -> Vec<u64> {
    let mut sizes = vec![1, 16];
    let mut gap = len / 2;
    while gap > 0 {
        // Both parities: some servers stumble over odd lengths only.
        sizes.extend([len - gap, len - gap + 1]);
        gap /= 2;
    }
    sizes.retain(|&size| size < len);
    sizes.dedup();
    sizes
}

/// The scenario without some of its clients.
fn without(scenario: &Scenario, gone: &[Client]) -> Scenario {
    let is_gone = |client: &Client| gone.contains(client);
    let stays = |step: &Step| match step {
        Step::Do(client, _) => !is_gone(client),
        Step::Signal(Who::Serving(client), _) | Step::Limit(Who::Serving(client), _, _) => !is_gone(client),
        Step::Await(
            Condition::Accepted(client)
            | Condition::ServerOfGone(client)
            | Condition::Stopped(Who::Serving(client)),
        ) => !is_gone(client),
        _ => true,
    };
    Scenario { steps: filtered(&scenario.steps, &stays) }
}

fn filtered(steps: &[Step], stays: &dyn Fn(&Step) -> bool) -> Vec<Step> {
    steps
        .iter()
        .filter(|step| stays(step))
        .filter_map(|step| match step {
            Step::Together(inner) => {
                let mut inner = filtered(inner, stays);
                match inner.len() {
                    0 => None,
                    1 => inner.pop(),
                    _ => Some(Step::Together(inner)),
                }
            }
            step => Some(step.clone()),
        })
        .collect()
}

/// The scenario without one of the launches after the first, and without all that is for what it launches.
fn fewer_launches(scenario: &Scenario) -> Vec<Scenario> {
    let launched = scenario.steps.iter().filter_map(|step| match step {
        Step::Launch(instance, _) => Some(*instance),
        _ => None,
    });
    let later: Vec<Instance> = launched.skip(1).collect();
    let found = later.into_iter().rev();
    found
        .map(|gone| Scenario { steps: filtered(&scenario.steps, &|step| instance(step) != Some(gone)) })
        .collect()
}

/// The instance that a step is for, if it names one.
fn instance(step: &Step) -> Option<Instance> {
    let of = |who: &Who| match who {
        Who::Launched(instance)
        | Who::Acceptor(instance)
        | Who::Children(instance)
        | Who::Child(instance, _)
        | Who::Tree(instance) => Some(*instance),
        Who::Serving(_) => None,
    };
    match step {
        Step::Launch(instance, _)
        | Step::Await(
            Condition::Listening(instance)
            | Condition::Exited(instance)
            | Condition::Gone(instance)
            | Condition::Announced(instance),
        ) => Some(*instance),
        Step::Signal(who, _) | Step::Limit(who, ..) | Step::Await(Condition::Stopped(who)) => of(who),
        _ => None,
    }
}

fn is_removable(step: &Step) -> bool {
    matches!(step, Step::Do(..) | Step::Signal(..) | Step::Limit(..) | Step::Together(_))
}

/// The scenario without one half, quarter or eighth of what is done in it.
fn fewer_stretches(scenario: &Scenario) -> Vec<Scenario> {
    let len = scenario.steps.len();
    let mut found = Vec::new();
    for parts in [2, 4, 8] {
        let size = len / parts;
        if size < 2 {
            break;
        }
        for start in (0..len).step_by(size).rev() {
            let gone = |index: usize| (start..start + size).contains(&index);
            let steps = scenario.steps.iter().enumerate();
            let steps = steps.filter(|(index, step)| !(gone(*index) && is_removable(step)));
            found.push(Scenario { steps: steps.map(|(_, step)| step.clone()).collect() });
        }
    }
    found
}

/// The scenario without one of its stops: the signal, the wait for it, and the signal by which it goes on.
fn without_a_stop(scenario: &Scenario) -> Vec<Scenario> {
    let stops = scenario.steps.iter().enumerate().filter_map(|(index, step)| match step {
        Step::Signal(who, Sig::Stop) => Some((index, *who)),
        _ => None,
    });
    stops
        .map(|(stop, stopped)| {
            let mut steps = scenario.steps.clone();
            let goes_on = |step: &Step| *step == Step::Signal(stopped, Sig::Cont);
            if let Some(after) = steps[stop..].iter().position(goes_on) {
                steps.remove(stop + after);
            }
            steps.remove(stop);
            if steps.get(stop) == Some(&Step::Await(Condition::Stopped(stopped))) {
                steps.remove(stop);
            }
            Scenario { steps }
        })
        .collect()
}

/// The scenario with a half-close in the place of a kill, where the client then reads to the end.
fn milder(scenario: &Scenario) -> Vec<Scenario> {
    let steps = scenario.steps.iter().enumerate();
    let kills = steps.filter(|(_, step)| matches!(step, Step::Signal(_, Sig::Kill)));
    let reader = |step: &Step| match step {
        Step::Do(client, Act::ReadToEnd) => Some(*client),
        _ => None,
    };
    kills
        .filter_map(|(index, _)| {
            let client = scenario.steps[index..].iter().find_map(reader)?;
            let mut steps = scenario.steps.clone();
            steps[index] = Step::Do(client, Act::HalfClose);
            Some(Scenario { steps })
        })
        .collect()
}

/// The scenario with one step less, for each step that does something.
fn fewer_steps(scenario: &Scenario) -> Vec<Scenario> {
    (0..scenario.steps.len())
        .rev()
        .filter(|&index| is_removable(&scenario.steps[index]))
        .map(|index| {
            let mut steps = scenario.steps.clone();
            steps.remove(index);
            Scenario { steps }
        })
        .collect()
}

/// The scenario with one setting more at its default.
fn plainer_settings(scenario: &Scenario) -> Vec<Scenario> {
    let usual = Setting::default();
    edited(scenario, &|step| match step {
        Step::Launch(instance, setting) if !setting.is_usual() => {
            let mut plainer = vec![usual.clone()];
            plainer.push(Setting { somaxconn: None, ..setting.clone() });
            plainer.push(Setting { buffers: None, ..setting.clone() });
            plainer.push(Setting { rlimits: Vec::new(), ..setting.clone() });
            plainer.retain(|plainer| plainer != setting);
            plainer.into_iter().map(|setting| Step::Launch(*instance, setting)).collect()
        }
        _ => Vec::new(),
    })
}

/// The scenario with one payload smaller or plainer.
fn smaller_payloads(scenario: &Scenario) -> Vec<Scenario> {
    edited(scenario, &|step| {
        let Step::Do(client, act) = step else { return Vec::new() };
        let make: fn(Payload) -> Act = match act {
            Act::Send(_) => Act::Send,
            Act::Exchange(_) => Act::Exchange,
            Act::PingPong(_) => Act::PingPong,
            Act::Visit(_) => Act::Visit,
            _ => return Vec::new(),
        };
        let (Act::Send(payload) | Act::Exchange(payload) | Act::PingPong(payload) | Act::Visit(payload)) =
            *act
        else {
            return Vec::new();
        };
        let mut smaller: Vec<Payload> =
            sizes(payload.len).into_iter().map(|len| Payload { len, ..payload }).collect();
        smaller.push(payload.cut(Cut::Whole));
        smaller.push(payload.class(Class::Line));
        smaller.push(payload.class(Class::Any));
        smaller.retain(|smaller| {
            *smaller != payload && !(payload.class == Class::Line && smaller.class == Class::Any)
        });
        smaller.into_iter().map(|payload| Step::Do(*client, make(payload))).collect()
    })
}

/// One scenario for each replacement that `edit` offers for any step, inside `Together` too.
fn edited(scenario: &Scenario, edit: &dyn Fn(&Step) -> Vec<Step>) -> Vec<Scenario> {
    let mut found = Vec::new();
    for (index, step) in scenario.steps.iter().enumerate() {
        let mut replace = |step: Step| {
            let mut steps = scenario.steps.clone();
            steps[index] = step;
            found.push(Scenario { steps });
        };
        if let Step::Together(inner) = step {
            for (at, part) in inner.iter().enumerate() {
                for part in edit(part) {
                    let mut inner = inner.clone();
                    inner[at] = part;
                    replace(Step::Together(inner));
                }
            }
        } else {
            edit(step).into_iter().for_each(replace);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{To, act};

    /// Shrinks as far as it goes, keeping whatever `fails`.
    fn minimum(mut scenario: Scenario, fails: &dyn Fn(&Scenario) -> bool) -> Scenario {
        let mut walk = Walk::from(&scenario);
        while let Some(simpler) = walk.next() {
            if fails(&simpler) {
                walk.accept();
                scenario = simpler;
            }
        }
        scenario
    }

    fn largest(scenario: &Scenario) -> u64 {
        scenario
            .flat()
            .filter_map(|(_, step)| match step {
                Step::Do(_, Act::Exchange(payload)) => Some(payload.len),
                _ => None,
            })
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn a_cut_at_4096_shrinks_to_one_client_and_4097_bytes() {
        let lives = (0..9)
            .flat_map(|c| [act(c, Act::Connect(To::Target)), act(c, Act::Exchange(Payload::of(70_000)))]);
        let scenario = Scenario::served(lives);
        let shrunk = minimum(scenario, &|s| largest(s) > 4096);
        assert_eq!(largest(&shrunk), 4097);
        assert_eq!(shrunk.clients().len(), 1);
    }

    #[test]
    fn a_stop_goes_with_its_end() {
        let tree = Who::Tree(crate::scenario::Instance(0));
        let scenario = Scenario::served([
            Step::Signal(tree, Sig::Stop),
            Step::Await(Condition::Stopped(tree)),
            act(0, Act::Connect(To::Target)),
            Step::Signal(tree, Sig::Cont),
        ]);
        assert_eq!(without_a_stop(&scenario), [Scenario::served([act(0, Act::Connect(To::Target))])]);
    }

    #[test]
    fn a_launch_that_does_not_matter_takes_its_waits_with_it() {
        let bad = Setting { port: Some("65536".into()), ..Setting::default() };
        let launch =
            |n| [Step::Launch(Instance(n), bad.clone()), Step::Await(Condition::Listening(Instance(n)))];
        let three = Scenario { steps: (0..3).flat_map(launch).collect() };
        assert_eq!(minimum(three.clone(), &|s| s.steps.contains(&launch(0)[0])).steps.len(), 2);
        assert_eq!(fewer_launches(&three)[0], Scenario { steps: (0..2).flat_map(launch).collect() });
    }

    #[test]
    fn a_client_that_does_not_matter_takes_its_waits_with_it() {
        let scenario = Scenario::served([
            Step::Together(vec![act(0, Act::Connect(To::Target)), act(1, Act::Connect(To::Target))]),
            Step::Await(Condition::Accepted(Client(1))),
        ]);
        let shrunk = without(&scenario, &[Client(1)]);
        assert_eq!(shrunk.steps[2..], [act(0, Act::Connect(To::Target))]);
    }
}
