//! Connections that are gone when they are accepted, deaths that interrupt, and what is held for each client.

use proptest::prelude::Strategy;
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::{fixed, visit};
use crate::scenario::{Act, Client, Condition, Instance, Payload, Scenario, Sig, Step, To, Who, act};
use crate::spec::fd::churn;
use crate::spec::fork::{side_by_side, still_look};
use crate::trace::aftermath::{first_step, left_working};
use crate::trace::query::{count, judge, name, witness};
use crate::trace::{FdKind, Trace, What};
use crate::verdict::Verdict;

/// accept is interrupted, and goes on.
pub(super) static SURVIVES_CHILD_DEATH: Clause = Clause {
    id: ClauseId("accept.survives-child-death"),
    level: Level::Must,
    requirement: "The server goes on accepting when a child ends while it waits for a client.",
    why: "SIGCHLD interrupts accept, which then fails with EINTR. A server that takes that for an error ends \
          with its first client. The cure is to try again on EINTR, or SA_RESTART.",
    citations: &["UNP 5.9", "POSIX.1-2024 accept", "signal(7)"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: deaths_in_a_row,
    check: survives_child_death,
};

/// A client that reset while it was in the queue.
pub(super) static SURVIVES_RESET_BEFORE_ACCEPT: Clause = Clause {
    id: ClauseId("accept.survives-reset-before-accept"),
    level: Level::Must,
    requirement: "The server goes on when a client has reset its connection before it was accepted.",
    why: "On Linux accept returns such a connection, and the first read fails; on other systems accept \
          itself fails with ECONNABORTED. Neither is a reason to end. The cure is to close it and to accept \
          the next.",
    citations: &["UNP 5.11", "POSIX.1-2024 accept", "accept(2)"],
    needs: &[Need::Lasting],
    scenarios: reset_in_the_queue,
    check: survives_resets,
};

/// Many clients that are gone.
pub(super) static SURVIVES_VANISHED_PEER: Clause = Clause {
    id: ClauseId("accept.survives-vanished-peer"),
    level: Level::Must,
    requirement: "The server goes on when it cannot learn the address of a client that has gone.",
    why: "getpeername fails with ENOTCONN once the peer has reset. A server that wants to log the address \
          first, and trusts that it can, is ended by any port scanner.",
    citations: &["POSIX.1-2024 getpeername", "getpeername(2)", "UNP 5.11"],
    needs: &[Need::Lasting],
    scenarios: many_resets_in_the_queue,
    check: survives_resets,
};

/// The listening socket is the same from first to last.
pub(super) static LISTENER_STAYS: Clause = Clause {
    id: ClauseId("accept.listener-stays"),
    level: Level::Must,
    requirement: "The server keeps its listening socket while it serves, and does not open another one in \
                  its place.",
    why: "When the listening socket is closed all clients in its queue are reset, and until the next one is \
          there all others are refused. It has to live as long as the server.",
    citations: &["POSIX.1-2024 listen", "POSIX.1-2024 close", "UNP 4.6"],
    needs: &[Need::Lasting],
    scenarios: churn,
    check: listener_stays,
};

/// One descriptor for each client.
pub(super) static ONE_DESCRIPTOR_PER_CLIENT: Clause = Clause {
    id: ClauseId("accept.one-descriptor-per-client"),
    level: Level::Should,
    requirement: "The server's process that serves many clients holds one descriptor for each connection.",
    why: "accept returns a new descriptor for each connection. A copy for reading and one for writing halve \
          the number of clients that fit, and a copy that is forgotten keeps the connection open.",
    citations: &["POSIX.1-2024 accept", "POSIX.1-2024 dup"],
    needs: &[Need::Concurrent, Need::Lasting],
    scenarios: side_by_side,
    check: one_descriptor_per_client,
};

/// Whether silent clients are accepted at once, for the record.
pub(super) static DEFERRED: Clause = Clause {
    id: ClauseId("accept.deferred"),
    level: Level::May,
    requirement: "The server may leave a client in the queue until it has sent something.",
    why: "With TCP_DEFER_ACCEPT a client that is silent costs no process and no descriptor; but a client \
          that waits for the server to speak first waits in vain.",
    citations: &["tcp(7) TCP_DEFER_ACCEPT"],
    needs: &[Need::Lasting],
    scenarios: silent_at_first,
    check: deferred,
};

/// Children end one after another, by themselves and killed, and no client comes between.
fn deaths_in_a_row(profile: &Profile) -> BoxedStrategy<Scenario> {
    let clients = profile.effort.pick(3, 3, 8).min(profile.clients).max(1);
    (0..clients)
        .prop_map(move |killed| {
            let mut steps: Vec<Step> = Vec::new();
            for client in 0..clients {
                steps.push(act(client, Act::Connect(To::Target)));
                steps.push(act(client, Act::Exchange(Payload::greeting())));
            }
            steps.push(Step::Look);
            for client in 0..clients {
                if client == killed {
                    steps.push(Step::Signal(Who::Serving(Client(client)), Sig::Kill));
                } else {
                    steps.push(act(client, Act::Close));
                }
                steps.push(Step::Quiet);
            }
            steps.extend([act(killed, Act::Close), visit(clients), visit(clients + 1), Step::Quiet]);
            Scenario::served(steps)
        })
        .boxed()
}

/// A server that is stopped accepts nobody: so many clients come and reset, some with bytes sent, before it goes on.
fn resets(profile: &Profile, clients: u32) -> BoxedStrategy<Scenario> {
    let tree = Who::Tree(Instance(0));
    // So many fit into the queue, where they stay although they were reset.
    let clients = clients.min(profile.backlog.saturating_add(1)).max(1);
    let mut steps =
        vec![visit(clients), Step::Signal(tree, Sig::Stop), Step::Await(Condition::Stopped(tree))];
    for client in 0..clients {
        steps.push(act(client, Act::Connect(To::Target)));
        if client % 2 == 1 {
            steps.push(act(client, Act::Send(Payload::greeting())));
        }
        steps.push(act(client, Act::Reset));
    }
    steps.extend([Step::Signal(tree, Sig::Cont), visit(clients + 1), visit(clients + 2), Step::Quiet]);
    fixed(steps)
}

fn reset_in_the_queue(profile: &Profile) -> BoxedStrategy<Scenario> {
    resets(profile, 2)
}

fn many_resets_in_the_queue(profile: &Profile) -> BoxedStrategy<Scenario> {
    resets(profile, profile.effort.pick(4, 10, 60))
}

fn silent_at_first(_: &Profile) -> BoxedStrategy<Scenario> {
    fixed([
        act(0, Act::Connect(To::Target)),
        Step::Quiet,
        act(0, Act::Exchange(Payload::greeting())),
        act(0, Act::Close),
    ])
}

fn survives_child_death(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let came = first_step(scenario, |step| matches!(step, Step::Do(_, Act::Visit(_))));
        let came = came.ok_or_else(|| Verdict::Inconclusive("nobody came afterwards".into()))?;
        let before = trace.look_before(came);
        let locals: Vec<_> =
            scenario.clients().into_iter().filter_map(|client| trace.local(client)).collect();
        let ended = trace.looks().filter(|(step, _)| *step < came).any(|(_, look)| {
            let mut servers = locals.iter().flat_map(|local| look.servers(*local));
            servers.any(|process| before.is_some_and(|look| !look.lives(process.pid, process.started)))
        });
        witness(ended, "no child ended before the next client came")?;
        trace.only_servers_were_hurt()?;
        trace.goes_on(scenario, came - 1, "after children have ended while it waited for a client")
    })
}

fn survives_resets(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let stop = first_step(scenario, |step| matches!(step, Step::Signal(Who::Tree(_), Sig::Stop)));
        let stop = stop.ok_or_else(|| Verdict::Inconclusive("the server was not stopped".into()))?;
        let go_on = first_step(scenario, |step| matches!(step, Step::Signal(Who::Tree(_), Sig::Cont)));
        let go_on = go_on.ok_or_else(|| Verdict::Inconclusive("the server did not go on".into()))?;
        let reset = |what: &What| matches!(what, What::Acted(acted) if acted.act == Act::Reset && acted.local.is_some());
        let resets = trace
            .events
            .iter()
            .filter(|event| event.step > stop && event.step < go_on && reset(&event.what))
            .count();
        witness(resets > 0, "no client reset its connection in the queue")?;
        trace.served_before(stop, &scenario.clients())?;
        trace.goes_on(scenario, go_on, &format!("after {} in the queue", count(resets, "reset")))
    })
}

fn listener_stays(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let first = trace.ready(Instance(0))?;
        left_working(scenario)?;
        let before: Vec<u64> = first.listening(Instance(0)).map(|socket| socket.inode).collect();
        let served =
            trace.all_acts().filter(|acted| matches!(acted.act, Act::Visit(_) | Act::Exchange(_))).count();
        witness(served > 0, "no client came")?;
        for (_, look) in trace.looks().skip(1) {
            if look.acceptor(Instance(0)).is_none() {
                return Err(Verdict::seen("the server listens all the time", "at one look nothing listened"));
            }
            if !look.listening(Instance(0)).any(|socket| before.contains(&socket.inode)) {
                return Err(Verdict::seen(
                    "the listening socket is the one that was there at the start",
                    "it was closed, and another one listens in its place",
                ));
            }
        }
        Ok(format!("the same socket listened all the time, {} long", count(served, "client")))
    })
}

fn one_descriptor_per_client(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let (_, look) = still_look(trace)?;
        let port = trace.port();
        let mut looked_at = 0;
        for client in scenario.clients() {
            let Some(socket) = trace.local(client).and_then(|local| look.peer_of(local)) else { continue };
            for process in look.processes.iter().filter(|process| process.holds(socket.inode)) {
                looked_at += 1;
                let copies = process.fds.iter().filter(|fd| fd.kind == FdKind::Socket(socket.inode)).count();
                // A process for one client may well use it as its stdin and stdout.
                if copies > 1 && look.connections_of(process, port).len() > 1 {
                    return Err(Verdict::seen(
                        format!("one descriptor for the connection of {client}"),
                        format!("{} holds {copies}", name(process)),
                    ));
                }
            }
        }
        witness(looked_at > 0, "no connection was seen")?;
        Ok(format!("{} looked at", count(looked_at, "connection")))
    })
}

fn deferred(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let (_, look) = still_look(trace)?;
        let client = scenario.clients().into_iter().find_map(|client| trace.local(client));
        let local = client.ok_or_else(|| Verdict::Inconclusive("no client came".into()))?;
        Ok(match look.holders(local).first() {
            Some(process) => format!("a silent client is accepted at once, by {}", name(process)),
            None => "a silent client is not accepted until it sends".into(),
        })
    })
}
