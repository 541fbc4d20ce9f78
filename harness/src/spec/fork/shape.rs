//! Who holds what: the child one connection, the parent the listening socket, and neither the other's.

use std::collections::BTreeSet;

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::fixed;
use crate::scenario::{Act, Client, Condition, Facet, Instance, Payload, Scenario, Step, To, act};
use crate::trace::aftermath::all_left;
use crate::trace::query::{count, judge, name, span, witness};
use crate::trace::{Look, Process, Trace, What};
use crate::verdict::Verdict;

/// How clients are served, for the record.
pub(super) static PER_CONNECTION: Clause = Clause {
    id: ClauseId("fork.per-connection"),
    level: Level::May,
    requirement: "The server may make a process for each connection.",
    why: "A process for each connection keeps clients apart by the strongest wall there is, and costs a fork \
          each. Threads and event loops are as good; this says which kind the server is.",
    citations: &["UNP 4.8", "UNP 30.5", "fork(2)"],
    needs: &[Need::Lasting, Need::Concurrent],
    scenarios: side_by_side,
    check: per_connection,
};

/// A child ends with its connection.
pub(super) static CHILD_EXITS: Clause = Clause {
    id: ClauseId("fork.child-exits"),
    level: Level::Must,
    requirement: "The server's child ends when the connection that it was made for has ended.",
    why: "A child that stays takes a process for ever, and the limit of processes is reached after so many \
          clients. Classic bugs: the child sleeps on, or falls through into its parent's accept loop; the \
          cure is _exit right after the conversation.",
    citations: &["UNP 4.8", "UNP 5.2", "POSIX.1-2024 fork"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: side_by_side,
    check: child_exits,
};

/// A child does not hold the listening socket.
pub(super) static CHILD_CLOSES_LISTENER: Clause = Clause {
    id: ClauseId("fork.child-closes-listener"),
    level: Level::Must,
    requirement: "The server's child does not hold the listening socket.",
    why: "As long as one child holds a copy the port stays in LISTEN, even if the parent is dead: a restart \
          fails with EADDRINUSE, and clients connect to a queue from which nobody takes them. The cure is \
          close(listenfd) as the first thing that a child does.",
    citations: &["UNP 4.8", "POSIX.1-2024 fork", "close(2)"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: side_by_side,
    check: child_closes_listener,
};

/// The parent does not keep the connection that a child serves.
pub(super) static PARENT_CLOSES_CONNECTION: Clause = Clause {
    id: ClauseId("fork.parent-closes-connection"),
    level: Level::Must,
    requirement: "The server's parent process closes its copy of each connection that a child serves.",
    why: "A connection ends when its last descriptor is closed. If the parent keeps a copy the client waits \
          for an end of file that never comes, and the parent runs out of descriptors. The cure is \
          close(connfd) right after fork.",
    citations: &["UNP 4.8", "POSIX.1-2024 close", "POSIX.1-2024 fork"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: side_by_side,
    check: parent_closes_connection,
};

/// A child holds no connection but its own.
pub(super) static CHILD_HOLDS_ONE_CONNECTION: Clause = Clause {
    id: ClauseId("fork.child-holds-one-connection"),
    level: Level::Must,
    requirement: "The server's child holds the connection that it serves, and no other.",
    why: "A copy of a sibling's connection keeps that client from its end of file for as long as this child \
          lives. It comes about when the parent forks before it has closed an earlier connection.",
    citations: &["UNP 4.8", "POSIX.1-2024 fork"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: side_by_side,
    check: child_holds_one_connection,
};

/// Some clients side by side, who leave in good order; then as many again, who just close; then as many twice, who reset,
/// so that more processes stay than any pool keeps if these do not end; then nobody comes any more.
pub(in crate::spec) fn side_by_side(profile: &Profile) -> BoxedStrategy<Scenario> {
    let most = profile.effort.pick(2, 3, 8).min(profile.clients).max(1);
    let come =
        |client| [act(client, Act::Connect(To::Target)), act(client, Act::Exchange(Payload::greeting()))];
    let leave = |client| [act(client, Act::HalfClose), act(client, Act::ReadToEnd), act(client, Act::Close)];
    let mut steps = vec![Step::Mark];
    steps.extend((0..most).flat_map(come));
    steps.push(Step::Quiet);
    steps.extend((0..most).flat_map(leave));
    for (batch, last) in [(1, Act::Close), (2, Act::Reset), (3, Act::Reset)] {
        let clients = batch * most..(batch + 1) * most;
        steps.extend(clients.clone().flat_map(come));
        steps.push(Step::Look);
        steps.extend(clients.map(|client| act(client, last)));
    }
    // Right after the last close its child still lives.
    steps.push(Step::Await(Condition::Still));
    steps.push(Step::Await(Condition::NoZombie));
    steps.push(Step::Await(Condition::Back(Facet::Processes)));
    steps.push(Step::Await(Condition::Back(Facet::Connections)));
    fixed(steps)
}

/// The look at which all clients were there and nothing moved, and whether that came true.
pub(in crate::spec) fn still_look(trace: &Trace) -> Result<(bool, &Look), Verdict> {
    let found = trace.events.iter().find_map(|event| match &event.what {
        What::Looked { quiet: Some(quiet), look, .. } => Some((*quiet, look)),
        _ => None,
    });
    found.ok_or_else(|| Verdict::Inconclusive("nobody looked while the clients were there".into()))
}

/// A client, and the processes that were made to serve it: those that hold its connection, are not the acceptor, and
/// were not there before the clients.
pub(in crate::spec) fn made_for<'a>(
    scenario: &Scenario,
    trace: &'a Trace,
    look: &'a Look,
) -> Vec<(Client, &'a Process)> {
    let mark = trace.mark();
    let is_new = |process: &&Process| {
        mark.and_then(|mark| mark.process(process.pid)).is_none_or(|old| old.started != process.started)
    };
    let mut made = Vec::new();
    for client in scenario.clients() {
        let Some(local) = trace.local(client) else { continue };
        made.extend(look.servers(local).into_iter().filter(is_new).map(|process| (client, process)));
    }
    made
}

fn per_connection(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let (_, look) = still_look(trace)?;
        let there =
            |client: &&Client| trace.local(**client).is_some_and(|local| look.peer_of(local).is_some());
        let clients = scenario.clients();
        let connected = clients.iter().filter(there).count();
        witness(connected > 0, "no client was connected")?;
        let made: BTreeSet<i32> =
            made_for(scenario, trace, look).iter().map(|(_, process)| process.pid).collect();
        Ok(format!("{} at once, {} made for them", count(connected, "client"), processes(made.len())))
    })
}

/// "1 process", "3 processes".
pub(in crate::spec) fn processes(n: usize) -> String {
    if n == 1 { "1 process".into() } else { format!("{n} processes") }
}

fn child_exits(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        all_left(scenario)?;
        witness(trace.mark().is_some(), "nobody looked before the clients came")?;
        let mut made = BTreeSet::new();
        let mut at_once = 0;
        for (_, look) in trace.looks() {
            let now: BTreeSet<_> =
                made_for(scenario, trace, look).iter().map(|(_, p)| (p.pid, p.started)).collect();
            at_once = at_once.max(now.len());
            made.extend(now);
        }
        witness(!made.is_empty(), "no process was seen that was made for a client")?;
        let (_, look) = trace
            .awaited(Condition::Back(Facet::Processes))
            .ok_or_else(|| Verdict::Inconclusive("nobody waited for the processes to end".into()))?;
        let alive: Vec<_> = made.iter().filter(|(pid, started)| look.lives(*pid, *started)).collect();
        // A server that keeps children to use them again has no more of them than it had clients at once.
        if alive.len() > at_once {
            let pids: Vec<_> = alive.iter().map(|(pid, _)| pid.to_string()).collect();
            let within = span(trace.circumstances.limits.settle_within);
            return Err(Verdict::missing(
                format!("each child has ended within {within} of its client's close"),
                format!("{} of {} still live: pid {}", alive.len(), processes(made.len()), pids.join(", ")),
            ));
        }
        Ok(format!(
            "{} served {} and ended",
            processes(made.len()),
            count(scenario.clients().len(), "client")
        ))
    })
}

fn child_closes_listener(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let (_, look) = still_look(trace)?;
        let made = made_for(scenario, trace, look);
        witness(!made.is_empty(), "no process was seen that was made for a client")?;
        let listening: Vec<_> = look.listening(Instance(0)).collect();
        for (client, process) in &made {
            if let Some(socket) = listening.iter().find(|socket| process.holds(socket.inode)) {
                return Err(Verdict::seen(
                    format!("the process that serves {client} has closed the listening socket"),
                    format!("{} holds the socket in LISTEN on {}", name(process), socket.local),
                ));
            }
        }
        Ok(format!("{} looked at, none holds a listening socket", processes(made.len())))
    })
}

fn parent_closes_connection(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let (quiet, look) = still_look(trace)?;
        let acceptor = look
            .acceptor(Instance(0))
            .ok_or_else(|| Verdict::Inconclusive("nobody accepted any more at that moment".into()))?;
        let mut served = made_for(scenario, trace, look);
        if !quiet {
            // The parent may be just about to close the last one.
            served.pop();
        }
        witness(!served.is_empty(), "no process was seen that was made for a client")?;
        for (client, process) in &served {
            let inode =
                trace.local(*client).and_then(|local| look.peer_of(local)).map_or(0, |socket| socket.inode);
            if acceptor.holds(inode) {
                return Err(Verdict::seen(
                    format!("only the child holds the connection of {client}"),
                    format!("{} serves it; the accepting pid {} holds a copy", name(process), acceptor.pid),
                ));
            }
        }
        Ok(format!("{} served by children, none held by the parent", count(served.len(), "connection")))
    })
}

fn child_holds_one_connection(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let (_, look) = still_look(trace)?;
        let made = made_for(scenario, trace, look);
        let clients: BTreeSet<_> = made.iter().map(|(client, _)| client).collect();
        witness(clients.len() > 1, "fewer than two clients were served by processes made for them")?;
        for (client, process) in &made {
            let held = look.connections_of(process, trace.port());
            let shared =
                |inode: &u64| made.iter().any(|(_, other)| other.pid != process.pid && other.holds(*inode));
            if held.len() > 1 && held.iter().any(shared) {
                return Err(Verdict::seen(
                    format!("the process that serves {client} holds one connection"),
                    format!("{} holds {}", name(process), count(held.len(), "connection")),
                ));
            }
        }
        Ok(format!("{} looked at, each holds one connection", processes(made.len())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::State;
    use crate::trace::build::{Build, LISTENER, SERVER, connection, process, profile, serving};

    fn scenario() -> Scenario {
        let steps = [0, 1].into_iter().flat_map(|c| [act(c, Act::Connect(To::Target)), act(c, Act::Close)]);
        Scenario::served(steps)
    }

    /// Two clients, served by pids 10 and 11; the parent and pid 11 hold these sockets besides.
    fn looked(parent: &[u64], second: &[u64]) -> Trace {
        let mut look = serving();
        let held: Vec<u64> = [LISTENER].iter().chain(parent).copied().collect();
        let own: Vec<u64> = [201].iter().chain(second).copied().collect();
        look.processes =
            vec![process(SERVER, 1, &held), process(10, SERVER, &[200]), process(11, SERVER, &own)];
        look.sockets.extend([connection(State::Established, 0, 200), connection(State::Established, 1, 201)]);
        Build::served()
            .marked(serving())
            .done(0, Act::Connect(To::Target))
            .done(1, Act::Connect(To::Target))
            .event(What::Looked { mark: false, quiet: Some(true), look: look.clone() })
            .awaited(Condition::Back(Facet::Processes), false, look)
            .trace()
    }

    #[test]
    fn a_tidy_pair_of_parent_and_children_passes() {
        let trace = looked(&[], &[]);
        for check in [child_closes_listener, parent_closes_connection, child_holds_one_connection] {
            assert!(matches!(check(&scenario(), &trace), Verdict::Pass(_)));
        }
    }

    #[test]
    fn each_copy_too_many_is_named() {
        let fails = |verdict| matches!(verdict, Verdict::Fail(_));
        assert!(fails(child_closes_listener(&scenario(), &looked(&[], &[LISTENER]))));
        assert!(fails(parent_closes_connection(&scenario(), &looked(&[201], &[]))));
        assert!(fails(child_holds_one_connection(&scenario(), &looked(&[], &[200]))));
    }

    #[test]
    fn children_that_could_be_used_again_are_no_leak() {
        // Both were there at once: two are no more than two.
        assert!(matches!(child_exits(&scenario(), &looked(&[], &[])), Verdict::Pass(_)));
    }

    #[test]
    fn the_scenario_lets_all_clients_leave() {
        use proptest::strategy::{Strategy, ValueTree};
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let scenario = side_by_side(&profile()).new_tree(&mut runner).unwrap().current();
        assert!(all_left(&scenario).is_ok());
    }
}
