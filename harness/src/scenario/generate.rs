//! Strategies for the parts of scenarios that can vary: sizes, classes, cuts, counts, orders.

use std::ops::RangeInclusive;

use proptest::prelude::{Just, Strategy, any};
use proptest::sample::select;
use proptest::strategy::BoxedStrategy;

use crate::profile::{Model, Profile};
use crate::scenario::{Act, Class, Condition, Cut, Payload, Scenario, Step, To, act};

/// The one scenario with these steps, after a usual launch.
pub fn fixed(steps: impl IntoIterator<Item = Step>) -> BoxedStrategy<Scenario> {
    Just(Scenario::served(steps)).boxed()
}

/// A client comes, says hello, and leaves when it has been answered.
pub(crate) fn visit(client: u32) -> Step {
    act(client, Act::Visit(Payload::greeting()))
}

/// A client comes, is served, and stays.
pub(crate) fn come(client: u32) -> [Step; 2] {
    [act(client, Act::Connect(To::Target)), act(client, Act::Exchange(Payload::greeting()))]
}

/// Payloads of so many bytes, of any class, in any cuts: for clauses about bytes. All other clauses use
/// [`Payload::greeting`], so that a server which mangles some bytes fails only where bytes are judged.
pub fn payload(len: RangeInclusive<u64>) -> impl Strategy<Value = Payload> + Clone {
    (len, any::<u16>(), class(), cut()).prop_map(|(len, seed, class, cut)| Payload {
        len,
        seed: u64::from(seed),
        class,
        cut,
    })
}

/// Any class; shrinks towards [`Class::Any`].
pub fn class() -> impl Strategy<Value = Class> + Clone {
    select(Class::ALL.to_vec())
}

/// Any cut that makes no more than some dozen sends; shrinks towards one send.
pub fn cut() -> impl Strategy<Value = Cut> + Clone {
    (0..=16_u32).prop_map(|pieces| if pieces <= 1 { Cut::Whole } else { Cut::Pieces(pieces) })
}

/// The scenario with clients that come one after another where more would come at once than the queue holds.
///
/// When the queue fills between a SYN and the ACK that ends the handshake, the kernel drops the ACK: the client counts
/// as connected, the server knows nothing of it, and what is sent then may be lost (tcp(7), `tcp_abort_on_overflow`).
/// That is the kernel's doing, and no server's. One by one, a client finds room or is not yet connected.
fn one_by_one(scenario: Scenario, backlog: u32) -> Scenario {
    let comes = |step: &Step| matches!(step, Step::Do(_, Act::Connect(_) | Act::Visit(_)));
    let chosen = |step: &Step| matches!(step, Step::Launch(_, setting) if setting.backlog.is_some() || setting.somaxconn.is_some());
    if scenario.steps.iter().any(chosen) {
        return scenario; // It has a queue of its own, and knows what it does.
    }
    let steps = scenario.steps.into_iter().flat_map(|step| match step {
        Step::Together(inner) if inner.iter().filter(|step| comes(step)).count() > backlog as usize => {
            let (mut steps, others): (Vec<Step>, Vec<Step>) = inner.into_iter().partition(comes);
            if !others.is_empty() {
                steps.push(Step::Together(others));
            }
            steps
        }
        step => vec![step],
    });
    Scenario { steps: steps.collect() }
}

/// The scenario as it suits this server: clients come one by one where the queue is short; and where processes are made beforehand, all of them are
/// there before anything is done, for a server in the middle of its start is another one.
#[must_use]
pub fn fitted(scenario: Scenario, profile: &Profile) -> Scenario {
    let scenario = one_by_one(scenario, profile.backlog);
    if profile.model != Model::Prefork || profile.restless {
        return scenario;
    }
    let settled = |step| match step {
        Step::Await(Condition::Listening(_)) => vec![step, Step::Await(Condition::Still)],
        step => vec![step],
    };
    Scenario { steps: scenario.steps.into_iter().flat_map(settled).collect() }
}

/// Sizes around the places where buffers, pages and segments end, up to `max` bytes.
pub fn edge(max: u64) -> impl Strategy<Value = u64> + Clone {
    let mut sizes: Vec<u64> = (0..=24)
        .flat_map(|power| [(1 << power) - 1, 1 << power, (1 << power) + 1])
        .chain([536, 1_000, 1_448, 1_460, 10_000, 21_845, 32_741, 65_483, 65_495, 100_000])
        .filter(|&size| size > 0 && size <= max)
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    select(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{To, act};
    use crate::trace::build::profile;

    #[test]
    fn processes_made_beforehand_are_waited_for() {
        let (scenario, mut profile) = (Scenario::served([]), profile());
        assert_eq!(fitted(scenario.clone(), &profile), scenario);
        profile.model = Model::Prefork;
        assert_eq!(fitted(scenario, &profile).steps.last(), Some(&Step::Await(Condition::Still)));
    }

    #[test]
    fn clients_that_the_queue_does_not_hold_come_one_by_one() {
        let burst = Step::Together((0..4).map(|client| act(client, Act::Connect(To::Target))).collect());
        let scenario = Scenario::served([burst]);
        assert_eq!(one_by_one(scenario.clone(), 128), scenario);
        let one_after_another = one_by_one(scenario, 3);
        assert_eq!(one_after_another.steps[2..].len(), 4);
        assert!(one_after_another.steps[2..].iter().all(|step| matches!(step, Step::Do(..))));
    }
}
