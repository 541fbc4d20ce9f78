//! The accept queue: as long as was asked for, and nothing in it is lost.
//!
//! # References
//! POSIX.1-2024 listen, listen(2), tcp(7), UNP 4.5, and `net/core/sock.c` for the limit: a queue of backlog n takes n + 1.

mod order;
mod seen;

use proptest::prelude::Strategy;
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::{come, fixed, visit};
use crate::scenario::{
    Act, Client, Condition, Instance, Payload, Scenario, Setting, Sig, Step, To, Who, act,
};
use crate::trace::query::{applies, count, judge, witness};
use crate::trace::{Fate, Trace};
use crate::verdict::Verdict;

use seen::{asked, dials, listener, queue_of, unserved_before, was_stopped};

/// The family, in the order in which it is told.
pub const CLAUSES: &[&Clause] = &[
    &QUEUE_HOLDS_BACKLOG,
    &BACKLOG_NOT_TINY,
    &order::DRAINS_IN_ORDER,
    &DRAINS_OVERFILLED,
    &SURVIVES_ABANDONED,
    &SURVIVES_ABORTED,
    &STUCK_CLIENT_DOES_NOT_STOP_ACCEPT,
];

static QUEUE_HOLDS_BACKLOG: Clause = Clause {
    id: ClauseId("listen.queue-holds-backlog"),
    level: Level::Must,
    requirement: "The server listens with the backlog that was asked for: so many clients are connected before it accepts any.",
    why: "While a server is busy its clients wait in the accept queue. If the queue is shorter than the operator asked \
          for, a burst that was planned for is dropped, and each dropped client waits a second or more. The classic \
          bug is a constant of 1 or 5 in place of the argument.",
    citations: &["POSIX.1-2024 listen", "listen(2)", "UNP 4.5"],
    needs: &[Need::Namespaces, Need::Lasting],
    scenarios: exactly_full,
    check: queue_holds_backlog,
};

static BACKLOG_NOT_TINY: Clause = Clause {
    id: ClauseId("listen.backlog-not-tiny"),
    level: Level::Should,
    requirement: "The server listens with a backlog of at least 128, unless another one was asked for.",
    why: "A backlog of 1 or 5, as in old textbooks, drops clients in any burst; memory is taken only for clients that \
          wait. SOMAXCONN is the usual choice.",
    citations: &["listen(2)", "POSIX.1-2024 listen", "UNP 4.5"],
    needs: &[],
    scenarios: just_listening,
    check: backlog_not_tiny,
};

static DRAINS_OVERFILLED: Clause = Clause {
    id: ClauseId("listen.drains-overfilled"),
    level: Level::Must,
    requirement: "The server serves every client of a queue that was full, and those that had to wait for a place in it.",
    why: "The kernel keeps what it has acknowledged, and the others come back with a new SYN. A server that drops \
          connections when it comes back to a full queue loses clients who did nothing wrong.",
    citations: &["POSIX.1-2024 listen", "listen(2)", "tcp(7)"],
    needs: &[Need::Namespaces, Need::Lasting],
    scenarios: overfull,
    check: drains_overfilled,
};

static SURVIVES_ABANDONED: Clause = Clause {
    id: ClauseId("listen.survives-abandoned"),
    level: Level::Must,
    requirement: "The server goes on after a queue full of clients that have already left.",
    why: "Impatient clients close before they are accepted. accept still returns their connections, and reading gives \
          end of file at once. A server that takes this for an error, or for an attack, fails the clients behind them.",
    citations: &["UNP 5.11", "POSIX.1-2024 accept", "RFC 9293 3.6"],
    needs: &[Need::Namespaces, Need::Lasting],
    scenarios: full_of_the_departed,
    check: survives_the_departed,
};

static SURVIVES_ABORTED: Clause = Clause {
    id: ClauseId("listen.survives-aborted"),
    level: Level::Must,
    requirement: "The server goes on after a queue full of clients that have reset their connections.",
    why: "On Linux accept returns a connection that was reset in the queue, with what was sent before; its first read \
          or its getpeername fails. None of this may end the server.",
    citations: &["UNP 5.11", "POSIX.1-2024 accept", "accept(2)"],
    needs: &[Need::Namespaces, Need::Lasting],
    scenarios: full_of_the_aborted,
    check: survives_the_departed,
};

static STUCK_CLIENT_DOES_NOT_STOP_ACCEPT: Clause = Clause {
    id: ClauseId("listen.stuck-client-does-not-stop-accept"),
    level: Level::Should,
    requirement: "The server takes clients off its queue while another client is stuck.",
    why: "A client that reads nothing must not keep the server from accept: the queue behind it fills, and then \
          everybody is shut out.",
    citations: &["UNP 30.1", "POSIX.1-2024 accept"],
    needs: &[Need::Concurrent, Need::Lasting],
    scenarios: beside_a_stuck_client,
    check: queue_is_drained,
};

const FIRST: Instance = Instance(0);
const TREE: Who = Who::Tree(FIRST);
/// Client numbers of those that are no part of a queue.
const EARLY: u32 = 90;
const LATE: u32 = 91;
const CROWD: u32 = 100;

fn together(clients: u32, what: Act) -> Step {
    Step::Together((0..clients).map(|client| act(client, what)).collect())
}

/// A server that listens with this limit is stopped, so that clients come, one by one, into a queue that nobody drains.
fn queued(profile: &Profile, limit: u32, arrivals: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let setting = Setting {
        // The queue's limit is the smaller of both, whatever the server makes of what it is told.
        backlog: profile.backlog_given.then_some(limit),
        somaxconn: Some(limit),
        ..Setting::default()
    };
    let mut steps = Scenario::launched(setting, [visit(EARLY)]).steps;
    steps.extend([Step::Signal(TREE, Sig::Stop), Step::Await(Condition::Stopped(TREE))]);
    steps.extend(arrivals);
    steps
}

/// Limits of queues that can be filled and over-filled by `spare` with the clients there are.
fn limits(profile: &Profile, spare: u32) -> std::ops::RangeInclusive<u32> {
    let most = profile.effort.pick(4, 8, 128);
    // A backlog that we give may be anything, whatever the server made of it in the baseline.
    let own = if profile.backlog_given { u32::MAX } else { profile.backlog };
    0..=most.min(own).min(profile.clients.saturating_sub(1 + spare))
}

fn exactly_full(profile: &Profile) -> BoxedStrategy<Scenario> {
    let profile = profile.clone();
    let most = *limits(&profile, 0).end();
    // A server that listens with a constant of 1 or 2 is found by any of these.
    (most.min(3)..=most)
        .prop_map(move |limit| {
            let arrivals = (0..=limit).map(|client| act(client, Act::Dial(To::Target)));
            let mut steps = queued(&profile, limit, arrivals);
            steps.push(Step::Look);
            steps.extend([Step::Signal(TREE, Sig::Cont), together(limit + 1, Act::Join)]);
            steps.extend([
                together(limit + 1, Act::Exchange(Payload::greeting())),
                together(limit + 1, Act::Close),
            ]);
            steps.extend([Step::Await(Condition::QueueEmpty), visit(LATE)]);
            Scenario { steps }
        })
        .boxed()
}

fn just_listening(_: &Profile) -> BoxedStrategy<Scenario> {
    fixed([Step::Look])
}

fn overfull(profile: &Profile) -> BoxedStrategy<Scenario> {
    // One waiting client shows as much as many: it comes back after a second.
    let profile = profile.clone();
    let limit = *limits(&profile, 1).end();
    let clients = limit + 2;
    let arrivals = (0..clients).map(|client| act(client, Act::Dial(To::Target)));
    let mut steps = queued(&profile, limit, arrivals);
    // Others were there before, side by side: threads that were made for them wait for work.
    let crowd = CROWD..CROWD + if profile.concurrent { limit } else { 0 };
    let leave = crowd.clone().map(|client| act(client, Act::Close));
    steps.splice(2..2, crowd.flat_map(come).chain(leave));
    steps.extend([Step::Look, Step::Signal(TREE, Sig::Cont), together(clients, Act::Join)]);
    steps.extend([
        together(clients, Act::Exchange(Payload::greeting())),
        together(clients, Act::Close),
        visit(LATE),
    ]);
    proptest::prelude::Just(Scenario { steps }).boxed()
}

/// A queue full of clients that left, each in the way that `leave` says.
fn full_of(profile: &Profile, leave: fn(u32) -> Vec<Step>) -> BoxedStrategy<Scenario> {
    let profile = profile.clone();
    let most = *limits(&profile, 0).end();
    (most.min(3)..=most)
        .prop_map(move |limit| {
            let arrivals = (0..=limit).flat_map(|client| {
                let mut steps = vec![act(client, Act::Connect(To::Target))];
                steps.extend(leave(client));
                steps
            });
            let mut steps = queued(&profile, limit, arrivals);
            steps.extend([Step::Look, Step::Signal(TREE, Sig::Cont), Step::Await(Condition::QueueEmpty)]);
            steps.extend([visit(LATE), visit(LATE + 1), Step::Quiet]);
            Scenario { steps }
        })
        .boxed()
}

fn full_of_the_departed(profile: &Profile) -> BoxedStrategy<Scenario> {
    full_of(profile, |client| vec![act(client, Act::Close)])
}

fn full_of_the_aborted(profile: &Profile) -> BoxedStrategy<Scenario> {
    full_of(profile, |client| match client % 2 {
        0 => vec![act(client, Act::Reset)],
        _ => vec![act(client, Act::Send(Payload::greeting())), act(client, Act::Reset)],
    })
}

fn beside_a_stuck_client(profile: &Profile) -> BoxedStrategy<Scenario> {
    let others = profile.clients.saturating_sub(1).clamp(1, 3);
    let setting = Setting { buffers: Some(16_384), ..Setting::default() };
    let stuck = [act(0, Act::Connect(To::Target)), act(0, Act::Stall { max: 16 << 20 })];
    let steps = stuck.into_iter().chain([
        Step::Together((1..=others).map(|client| act(client, Act::Connect(To::Target))).collect()),
        Step::Await(Condition::QueueEmpty),
        Step::Together((1..=others).map(|client| act(client, Act::Exchange(Payload::greeting()))).collect()),
    ]);
    proptest::prelude::Just(Scenario::launched(setting, steps)).boxed()
}

fn queue_holds_backlog(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(FIRST)?;
        witness(was_stopped(trace), "the server was not stopped, so the queue was not its own")?;
        let (_, socket) =
            listener(trace).ok_or_else(|| Verdict::Inconclusive("nobody looked at the queue".into()))?;
        let (connected, waiting) = dials(trace);
        let limit = asked(scenario, trace).unwrap_or(socket.send_queue);
        let expected = format!("a queue for {limit} clients, as was asked for");
        if socket.send_queue < limit {
            return Err(Verdict::seen(
                expected,
                format!("the kernel holds a limit of {}", socket.send_queue),
            ));
        }
        let tried = connected.len() + waiting.len();
        witness(tried > 0, "nobody tried to connect")?;
        if connected.len() + unserved_before(scenario, trace) < tried.min(limit as usize) {
            let observed = format!("{} of {} connected, then the queue was full", connected.len(), tried);
            return Err(Verdict::seen(expected, observed));
        }
        trace.all_served(&queue_of(trace))?;
        Ok(format!("{} in a queue of backlog {}", count(connected.len(), "client"), socket.send_queue))
    })
}

fn backlog_not_tiny(scenario: &Scenario, trace: &Trace) -> Verdict {
    const USUAL: u32 = 128;
    judge(|| {
        let look = trace.ready(FIRST)?;
        let socket = look.listeners(trace.port()).next();
        let limit = socket.map_or(0, |socket| socket.send_queue);
        let wanted = asked(scenario, trace).unwrap_or(USUAL.min(trace.circumstances.somaxconn));
        if limit < wanted {
            return Err(Verdict::seen(
                format!("a backlog of at least {wanted}"),
                format!("a backlog of {limit}"),
            ));
        }
        Ok(format!("a backlog of {limit}"))
    })
}

fn drains_overfilled(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let look = trace.ready(FIRST)?;
        witness(was_stopped(trace), "the server was not stopped, so the queue was not full")?;
        let (connected, waiting) = dials(trace);
        let queues = look.listeners(trace.port()).count();
        if waiting.is_empty() && queues > 1 {
            let spread = format!("the clients were spread over {queues} accept queues");
            return Err(Verdict::NotApplicable(spread));
        }
        let queued = listener(trace).map_or(0, |(_, socket)| socket.receive_queue as usize);
        if waiting.is_empty() && queued < connected.len() {
            let deferred = "clients are in the queue only once they have sent something (TCP_DEFER_ACCEPT)";
            return Err(Verdict::NotApplicable(deferred.into()));
        }
        witness(!waiting.is_empty(), "the queue was never full")?;
        trace.all_served(&queue_of(trace))?;
        trace.served(Client(LATE))?;
        Ok(format!("{} in the queue and {} before it, all served", connected.len(), waiting.len()))
    })
}

fn survives_the_departed(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(FIRST)?;
        witness(was_stopped(trace), "the server was not stopped, so the clients were served")?;
        let left = trace.all_acts().filter(|acted| matches!(acted.act, Act::Close | Act::Reset)).count();
        let queued = listener(trace).map_or(0, |(_, socket)| socket.receive_queue);
        witness(left > 0 && queued > 0, "no client that had left was in the queue")?;
        trace.lives(FIRST, "the server goes on after clients that have left")?;
        let late: Vec<Client> = trace
            .all_acts()
            .filter(|acted| matches!(acted.act, Act::Visit(_)) && acted.client.0 >= LATE)
            .map(|acted| acted.client)
            .collect();
        witness(!late.is_empty(), "no client came afterwards")?;
        trace.all_served(&late)?;
        Ok(format!("{queued} in the queue had left; the next clients were served"))
    })
}

fn queue_is_drained(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(FIRST)?;
        let stuck = trace
            .all_acts()
            .find(|acted| matches!(acted.act, Act::Stall { .. }) && acted.fate == Fate::Stalled);
        let went_on =
            trace.all_acts().any(|acted| matches!(acted.act, Act::Stall { .. }) && acted.fate == Fate::Done);
        applies(stuck.is_some() || !went_on, "the server makes no client wait that does not read")?;
        let stuck = stuck.ok_or_else(|| Verdict::Inconclusive("no client was stuck".into()))?;
        let others: Vec<Client> = trace
            .all_acts()
            .filter(|acted| matches!(acted.act, Act::Connect(_)) && acted.client != stuck.client)
            .map(|acted| acted.client)
            .collect();
        witness(!others.is_empty(), "no other client came")?;
        match trace.awaited(Condition::QueueEmpty) {
            Some((false, look)) => {
                let queue = look.listeners(trace.port()).map(|socket| socket.receive_queue).sum::<u32>();
                Err(Verdict::missing(
                    "the queue is drained beside a stuck client",
                    format!("{queue} still wait in it"),
                ))
            }
            Some((true, _)) => Ok(format!("{} accepted beside a stuck one", count(others.len(), "client"))),
            None => Err(Verdict::Inconclusive("nobody looked at the queue".into())),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Effort;
    use crate::trace::build::profile;

    #[test]
    fn queues_are_filled_with_the_clients_there_are() {
        for clients in [1, 2, 3, 20] {
            let profile = Profile { clients, effort: Effort::Thorough, ..profile() };
            assert!(*limits(&profile, 1).end() <= clients.saturating_sub(2));
        }
    }
}
