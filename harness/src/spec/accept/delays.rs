//! One client keeps no other one waiting.

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::{Model, Profile};
use crate::scenario::generate::{come, fixed, visit};
use crate::scenario::{Act, Client, Instance, Payload, Scenario, Step, To, act};
use crate::spec::echo::stalled;
use crate::trace::aftermath::{in_context, left_working, newcomers};
use crate::trace::query::{bytes, count, judge, millis, witness};
use crate::trace::{Acted, Fate, Look, Trace, What};
use crate::verdict::Verdict;

/// All clients are served side by side.
pub(super) static CONCURRENT: Clause = Clause {
    id: ClauseId("accept.concurrent"),
    level: Level::Must,
    requirement: "The server serves all of its clients side by side.",
    why: "Every client's bytes have to come back while all the others are there. Classic bugs: a fixed table \
          of clients with no check of its end, a thread joined right after it was started, a set that is \
          built once.",
    citations: &["UNP 4.8", "UNP 6.8", "RFC 862"],
    needs: &[Need::MadeForMany, Need::Lasting],
    scenarios: in_turns,
    check: concurrent,
};

/// A client that is silent holds nobody up.
pub(super) static IDLE_CLIENT_DELAYS_NOBODY: Clause = Clause {
    id: ClauseId("accept.idle-client-delays-nobody"),
    level: Level::Should,
    requirement: "The server serves other clients while one is connected and silent.",
    why: "A server that serves one client at a time is at the mercy of the slowest: whoever connects and \
          says nothing has taken it from all others. The cure is a process, a thread or an event loop.",
    citations: &["UNP 4.8", "UNP 30.1"],
    needs: &[Need::Lasting],
    scenarios: one_silent,
    check: idle_client_delays_nobody,
};

/// Nor one that does not read.
pub(super) static STUCK_CLIENT_DELAYS_NOBODY: Clause = Clause {
    id: ClauseId("accept.stuck-client-delays-nobody"),
    level: Level::Must,
    requirement: "The server serves other clients while one does not read what it is sent.",
    why: "When a client's window is full a blocking write waits, and with it everybody whom the same thread \
          serves. The cure is non-blocking sockets and a buffer for each client, or a thread for each.",
    citations: &["RFC 9293 3.8.6", "UNP 16.2", "POSIX.1-2024 send"],
    needs: &[Need::Concurrent, Need::Echo, Need::Lasting],
    scenarios: stalled,
    check: stuck_client_delays_nobody,
};

/// Clients that are there and idle slow nobody down.
pub(super) static PROMPT_BESIDE_IDLE_CLIENTS: Clause = Clause {
    id: ClauseId("accept.prompt-beside-idle-clients"),
    level: Level::Should,
    requirement: "The server serves a new client as promptly beside idle clients as alone.",
    why: "Work at each event for every client that is there turns many idle clients into a slow server. The \
          cure is to touch only those of whom poll or epoll tells.",
    citations: &["UNP 6.10", "epoll(7)"],
    needs: &[Need::Concurrent, Need::Lasting],
    scenarios: in_turns,
    check: prompt_beside_idle_clients,
};

/// A visit alone; then all clients at once, who speak in turns; visits while all but one are idle.
fn in_turns(profile: &Profile) -> BoxedStrategy<Scenario> {
    if !profile.concurrent {
        return two_at_once();
    }
    let clients = profile.clients.min(profile.effort.pick(20, 64, 1000)).max(2);
    let rounds = profile.effort.pick(1, 2, 8);
    // A visitor is one of them who has left its place.
    let idle = clients - 1;
    let mut steps = vec![visit(clients), visit(clients)];
    // One by one, so that a short queue is never full.
    steps.extend((0..clients).flat_map(come));
    for _ in 1..rounds {
        steps.extend((0..clients).map(greet));
    }
    steps.extend([act(idle, Act::Close), Step::Quiet]);
    steps.extend([1, 2, 3].map(|n| visit(clients + n)));
    steps.push(Step::Together((0..idle).map(|client| act(client, Act::Close)).collect()));
    steps.push(Step::Look);
    fixed(steps)
}

/// For a server that does not serve side by side, as the baseline says: it is seen what it makes for a client, a process
/// or a thread, and then two come at once.
fn two_at_once() -> BoxedStrategy<Scenario> {
    let mut steps = vec![visit(2), visit(2), Step::Quiet];
    steps.extend(come(0));
    steps.extend([Step::Quiet, act(0, Act::Close), Step::Quiet]);
    steps.extend(come(0));
    steps.extend(come(1));
    steps.extend([act(0, Act::Close), act(1, Act::Close), Step::Look]);
    fixed(steps)
}

fn greet(client: u32) -> Step {
    act(client, Act::Exchange(Payload::greeting()))
}

fn one_silent(_: &Profile) -> BoxedStrategy<Scenario> {
    fixed([
        act(0, Act::Connect(To::Target)),
        Step::Quiet,
        act(1, Act::Visit(Payload::greeting())),
        act(0, Act::Exchange(Payload::greeting())),
        act(0, Act::Close),
    ])
}

/// Most clients that had been served and were still there, at any moment.
fn at_once(scenario: &Scenario, trace: &Trace) -> usize {
    let mut there: Vec<Client> = Vec::new();
    let mut most = 0;
    for acted in trace.all_acts() {
        there.retain(|client| *client != acted.client);
        if matches!(acted.act, Act::Exchange(_)) && acted.fate == Fate::Done {
            there.push(acted.client);
        }
        most = most.max(there.len());
    }
    most.min(scenario.clients().len())
}

fn concurrent(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let clients = scenario.clients();
        let stay = |client: &Client| trace.acts(*client).any(|acted| matches!(acted.act, Act::Exchange(_)));
        let staying: Vec<_> = clients.into_iter().filter(stay).collect();
        let profile = trace.circumstances.profile.as_ref();
        if profile.is_some_and(|profile| !profile.concurrent && !makes_something(profile, trace)) {
            return Ok("it is made to serve one client at a time".into());
        }
        trace.all_served(&staying)?;
        trace.lives(Instance(0), "the server goes on with many clients at once")?;
        let most = at_once(scenario, trace);
        witness(most > 1, "there were never two clients at once")?;
        Ok(format!("{} served at once", count(most, "client")))
    })
}

/// Whether something was there for a client, and only as long as the client was: a process or a thread. Runtimes start
/// threads too, but not just then. Workers that were made beforehand count as well.
fn makes_something(profile: &Profile, trace: &Trace) -> bool {
    let tasks = |look: &Look| -> u32 {
        look.of(Instance(0)).filter(|process| !process.is_zombie()).map(|process| process.threads).sum()
    };
    let counts: Vec<u32> = trace
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::Looked { quiet: Some(_), look, .. } => Some(tasks(look)),
            _ => None,
        })
        .collect();
    let comes_and_goes = matches!(counts[..], [before, with, after, ..] if with > before && after < with);
    comes_and_goes || profile.model == Model::Prefork
}

fn idle_client_delays_nobody(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let mut silent = None;
        for acted in trace.all_acts() {
            match acted.act {
                Act::Connect(_) if acted.fate == Fate::Done => silent = Some(acted.client),
                Act::Visit(_) => break,
                _ if silent == Some(acted.client) => silent = None,
                _ => {}
            }
        }
        let silent = silent.ok_or_else(|| Verdict::Inconclusive("no silent client was there".into()))?;
        let others = newcomers(scenario, 0);
        witness(!others.is_empty(), "nobody came besides")?;
        let context = format!("while {silent} is connected and silent");
        trace.all_served(&others).map_err(|verdict| in_context(verdict, &context))?;
        Ok(format!("{} served {context}", count(others.len(), "client")))
    })
}

fn stuck_client_delays_nobody(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let is_stuck = |acted: &&Acted| {
            matches!(acted.act, Act::Stall { .. } | Act::Send(_))
                && acted.received < acted.sent
                && acted.ending.is_none()
        };
        // The clients of the same step come to its end in any order.
        let visits = |acted: &&Acted| matches!(acted.act, Act::Visit(_));
        let stuck: Vec<_> = trace.all_acts().take_while(|acted| !visits(acted)).filter(is_stuck).collect();
        let most = stuck.iter().map(|acted| (acted.sent - acted.received, acted.client)).max();
        let (unread, client) = most.unwrap_or((0, Client(0)));
        witness(unread >= 32 << 10, "no client had left much unread")?;
        let context = format!("while {client} has left {} unread", bytes(unread));
        let others = newcomers(scenario, 0);
        witness(!others.is_empty(), "nobody came besides")?;
        trace.all_served(&others).map_err(|verdict| in_context(verdict, &context))?;
        Ok(format!("{} served {context}", count(others.len(), "client")))
    })
}

fn prompt_beside_idle_clients(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let is_first = |acted: &&Acted| !matches!(acted.act, Act::Visit(_));
        let alone: Vec<_> = trace.all_acts().take_while(|acted| !is_first(acted)).collect();
        let beside: Vec<_> = trace
            .all_acts()
            .skip_while(|acted| !is_first(acted))
            .filter(|acted| matches!(acted.act, Act::Visit(_)))
            .collect();
        let done = |acts: &[&Acted]| acts.iter().filter(|a| a.fate == Fate::Done).map(|a| a.took_us).min();
        let (Some(alone), Some(beside)) = (done(&alone), done(&beside)) else {
            return Err(Verdict::Inconclusive("no visit alone and no visit beside others to compare".into()));
        };
        let idle = at_once(scenario, trace);
        witness(idle > 1, "there were no idle clients")?;
        let within = 100_000 + 4 * alone;
        if beside > within {
            return Err(Verdict::missing(
                format!(
                    "a visit beside {} takes no longer than {}",
                    count(idle, "idle client"),
                    millis(within)
                ),
                format!("{} at best; alone it took {}", millis(beside), millis(alone)),
            ));
        }
        Ok(format!("{} alone, {} beside {}", millis(alone), millis(beside), count(idle, "idle client")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::Build;

    const GREETING: Act = Act::Exchange(Payload {
        len: 9,
        seed: 0,
        class: crate::scenario::Class::Any,
        cut: crate::scenario::Cut::Whole,
    });

    #[test]
    fn a_client_that_leaves_before_the_next_comes_is_not_at_once() {
        let one_by_one = Build::served().done(0, GREETING).done(0, Act::Close).done(1, GREETING).trace();
        let together = Build::served().done(0, GREETING).done(1, GREETING).trace();
        let scenario = Scenario::served([act(0, GREETING), act(1, GREETING)]);
        assert_eq!(at_once(&scenario, &one_by_one), 1);
        assert_eq!(at_once(&scenario, &together), 2);
    }

    #[test]
    fn slow_beside_others_is_slow() {
        let visit = Act::Visit(Payload::of(9));
        let took = |us| {
            let trace = Build::served()
                .acted(5, visit, |acted| acted.took_us = 1000)
                .done(0, GREETING)
                .done(1, GREETING)
                .acted(6, visit, |acted| acted.took_us = us)
                .trace();
            let steps = [act(5, visit), act(0, GREETING), act(1, GREETING), act(6, visit)];
            prompt_beside_idle_clients(&Scenario::served(steps), &trace)
        };
        assert!(matches!(took(90_000), Verdict::Pass(_)));
        assert!(matches!(took(250_000), Verdict::Fail(_)));
    }
}
