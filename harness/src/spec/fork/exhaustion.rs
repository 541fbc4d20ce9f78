//! Processes are finite: a fork that fails costs one client at most, and past clients cost nothing.

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::fixed;
use crate::scenario::{
    Act, Amount, Client, Condition, Facet, Instance, Payload, Resource, Scenario, Step, To, Who, act,
};
use crate::spec::fd::{churn, growth};
use crate::trace::aftermath::{all_left, first_step, left_working};
use crate::trace::query::{applies, count, judge, span, witness};
use crate::trace::{Look, State, Trace, What};
use crate::verdict::Verdict;

/// A fork that fails is survived.
pub(super) static SURVIVES_PROCESS_LIMIT: Clause = Clause {
    id: ClauseId("fork.survives-process-limit"),
    level: Level::Must,
    requirement: "The server goes on serving new clients when processes can be made again after fork has \
                  failed.",
    why: "fork fails with EAGAIN or ENOMEM on a busy machine, and a moment later it works again. Classic \
          bugs: exit on -1, or to go on as if -1 were a child. The cure is to close that one connection, say \
          so, and accept the next.",
    citations: &["POSIX.1-2024 fork", "fork(2) ERRORS"],
    needs: &[Need::ProcessLimit, Need::Forks, Need::Lasting],
    scenarios: at_the_limit,
    check: survives_process_limit,
};

/// A fork that fails leaves nothing behind.
pub(super) static NO_LEAK_AT_PROCESS_LIMIT: Clause = Clause {
    id: ClauseId("fork.no-leak-at-process-limit"),
    level: Level::Must,
    requirement: "The server closes the connection for which it could make no process or thread.",
    why: "The path that is hardly ever taken is the one that forgets close(connfd): each fork or pthread_create that \
          fails then costs a descriptor for ever, and leaves a client waiting that nobody will serve.",
    citations: &["POSIX.1-2024 fork", "pthread_create(3) EAGAIN", "POSIX.1-2024 close"],
    needs: &[Need::ProcessLimit, Need::MakesForEach, Need::Lasting],
    scenarios: at_the_limit,
    check: no_leak_at_process_limit,
};

/// Past connections leave no process behind.
pub(super) static SURVIVES_CHURN: Clause = Clause {
    id: ClauseId("fork.survives-churn"),
    level: Level::Must,
    requirement: "The server serves client after client, and keeps no process of those that have left.",
    why: "What is kept for each client, be it a process, a zombie or a row in a table of children, ends the \
          service after so many clients, usually on the busiest day. The cure is to give back in one place \
          all that was taken.",
    citations: &["UNP 5.8", "POSIX.1-2024 fork", "POSIX.1-2024 waitpid"],
    needs: &[Need::Forks, Need::Lasting],
    scenarios: churn,
    check: survives_churn,
};

/// Clients that come while no process can be made, and two that come when that is over.
fn at_the_limit(_: &Profile) -> BoxedStrategy<Scenario> {
    let who = Who::Tree(Instance(0));
    let refused = [1, 2, 3];
    let mut steps = vec![
        act(0, Act::Visit(Payload::greeting())),
        Step::Await(Condition::Back(Facet::Processes)),
        Step::Mark,
        Step::Limit(who, Resource::Processes, Amount::InUse),
    ];
    for client in refused {
        steps.extend([act(client, Act::Connect(To::Target)), act(client, Act::Send(Payload::greeting()))]);
    }
    steps.extend([Step::Quiet, Step::Limit(who, Resource::Processes, Amount::Original)]);
    steps.extend(refused.map(|client| act(client, Act::Close)));
    steps.extend([4, 5].map(|client| act(client, Act::Visit(Payload::greeting()))));
    steps.push(Step::Await(Condition::Back(Facet::Connections)));
    fixed(steps)
}

/// The step of the limit, once it was set.
fn limit_of_processes(scenario: &Scenario, trace: &Trace) -> Result<usize, Verdict> {
    left_working(scenario)?;
    let is_limit = |step: &Step| matches!(step, Step::Limit(_, Resource::Processes, Amount::InUse));
    let step = first_step(scenario, is_limit)
        .ok_or_else(|| Verdict::Inconclusive("the scenario sets no limit of processes".into()))?;
    let done =
        trace.first(|what| matches!(what, What::Limited { resource: Resource::Processes, done: true, .. }));
    witness(done.is_some_and(|event| event.step == step), "the number of processes could not be limited")?;
    Ok(step)
}

/// The same, once it is seen that it was felt: a client came under it, and no process was made for it.
fn limit_was_felt(scenario: &Scenario, trace: &Trace) -> Result<usize, Verdict> {
    let step = limit_of_processes(scenario, trace)?;
    let look = trace
        .looks()
        .find_map(|(index, look)| (index > step).then_some(look))
        .ok_or_else(|| Verdict::Inconclusive("nobody looked under the limit".into()))?;
    let felt = |client: &&Client| {
        let came = trace.acts(**client).find_map(|acted| acted.local);
        let before = trace.before(step).acts(**client).next().is_some();
        !before && !is_visitor(scenario, **client) && came.is_some_and(|local| look.servers(local).is_empty())
    };
    let clients = scenario.clients();
    witness(
        clients.iter().any(|client| felt(&client)),
        "a process was made for each client under the limit",
    )?;
    Ok(step)
}

fn is_visitor(scenario: &Scenario, client: Client) -> bool {
    scenario.flat().any(|(_, step)| matches!(step, Step::Do(other, Act::Visit(_)) if *other == client))
}

fn survives_process_limit(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let step = limit_was_felt(scenario, trace)?;
        trace.goes_on(scenario, step, "when processes could be made again after fork had failed")
    })
}

fn no_leak_at_process_limit(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        all_left(scenario)?;
        let refused = refused(scenario, trace)?;
        let (_, look) = trace
            .awaited(Condition::Back(Facet::Connections))
            .ok_or_else(|| Verdict::Inconclusive("nobody waited for the connections to go".into()))?;
        applies(look.acceptor(Instance(0)).is_some(), "the server ended when no process could be made")?;
        let kept: Vec<_> = refused.iter().filter(|client| is_kept(trace, look, **client)).collect();
        if !kept.is_empty() {
            let within = span(trace.circumstances.limits.settle_within);
            let names: Vec<_> = kept.iter().map(ToString::to_string).collect();
            return Err(Verdict::missing(
                format!(
                    "each connection for which fork or pthread_create failed is closed within {within} of its \
                     client's close"
                ),
                format!("{} still open: {}", count(kept.len(), "connection"), names.join(", ")),
            ));
        }
        Ok(format!(
            "{} came while no process or thread could be made, none of their connections is left",
            count(refused.len(), "client")
        ))
    })
}

/// The clients that came under the limit, once it is seen that it was felt.
fn refused(scenario: &Scenario, trace: &Trace) -> Result<Vec<Client>, Verdict> {
    let forks = trace.circumstances.profile.as_ref().is_some_and(|profile| profile.forks);
    let step = if forks { limit_was_felt(scenario, trace)? } else { limit_of_processes(scenario, trace)? };
    let came =
        |client: &Client| !is_visitor(scenario, *client) && trace.before(step).acts(*client).next().is_none();
    let mut refused: Vec<_> = scenario.clients().into_iter().filter(came).collect();
    if !forks {
        // A pool of threads has some to spare.
        refused.retain(|client| trace.acts(*client).all(|acted| acted.received == 0));
        applies(!refused.is_empty(), "each client under the limit was served by a thread that was there")?;
    }
    Ok(refused)
}

/// Whether a process still holds the server's end of a connection that the client has left.
fn is_kept(trace: &Trace, look: &Look, client: Client) -> bool {
    let peer = trace.local(client).and_then(|local| look.peer_of(local));
    peer.is_some_and(|socket| {
        socket.state != State::TimeWait && look.processes.iter().any(|process| process.holds(socket.inode))
    })
}

fn survives_churn(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        all_left(scenario)?;
        let came = growth(trace, Facet::Processes)?;
        let clients: Vec<_> = scenario.clients();
        trace.all_served(&clients)?;
        trace.lives(Instance(0), "the server goes on after many clients")?;
        if came.grew * 2 >= came.visits && came.grew > 3 {
            return Err(Verdict::missing(
                format!("no more processes than before {}", count(came.visits, "visit")),
                format!("{} more ({} zombies)", came.grew, came.last.zombies().count()),
            ));
        }
        Ok(format!(
            "{}, {} processes before and {} after",
            count(came.visits, "visit"),
            came.before,
            came.after
        ))
    })
}
