//! Reaping beside the work: it neither waits for a quiet hour, nor keeps anybody waiting.

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::{come, fixed, visit};
use crate::scenario::{Act, Condition, Instance, Payload, Scenario, Sig, Step, To, Who, act};
use crate::spec::fd::churn;
use crate::trace::aftermath::{first_step, in_context, left_working};
use crate::trace::query::{count, judge, witness};
use crate::trace::{Trace, What};
use crate::verdict::Verdict;

/// Zombies do not pile up while clients come and go.
pub(super) static BOUNDED_WHILE_BUSY: Clause = Clause {
    id: ClauseId("reap.bounded-while-busy"),
    level: Level::Should,
    requirement: "The server waits for children that have ended while it is busy, too.",
    why: "A server that reaps only when nothing else is to be done collects zombies exactly when processes \
          are needed most. The cure is to reap in each round of the loop, not in its idle branch.",
    citations: &["wait(2) NOTES", "UNP 5.10"],
    needs: &[Need::Forks, Need::Lasting],
    scenarios: churn,
    check: bounded_while_busy,
};

/// Clients that come while children die are served.
pub(super) static ACCEPT_GOES_ON: Clause = Clause {
    id: ClauseId("reap.accept-goes-on"),
    level: Level::Must,
    requirement: "The server serves the clients that come while children end.",
    why: "Each death interrupts the parent, in accept, in fork, in its log. Classic bugs: EINTR taken for an \
          error, a handler that waits for one child more than there is, an accept that is skipped.",
    citations: &["UNP 5.9", "POSIX.1-2024 accept", "signal(7)"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: come_and_go,
    check: all_clients_served,
};

/// The parent does not wait for a child that is busy.
pub(super) static DOES_NOT_BLOCK: Clause = Clause {
    id: ClauseId("reap.does-not-block"),
    level: Level::Must,
    requirement: "The server serves new clients while one child is busy with a client that stays.",
    why: "wait without WNOHANG returns when some child ends, and that may be tomorrow: until then nobody is \
          accepted. Classic bugs: wait right after fork; while (wait(NULL) > 0) in the handler. The cure is \
          WNOHANG.",
    citations: &["UNP 5.10", "POSIX.1-2024 waitpid"],
    needs: &[Need::Forks, Need::Lasting],
    scenarios: one_stays,
    check: does_not_block,
};

/// Many signals, much log, no deadlock.
pub(super) static SIGNAL_STORM: Clause = Clause {
    id: ClauseId("reap.signal-storm"),
    level: Level::Should,
    requirement: "The server survives a storm of SIGCHLD while it accepts and logs.",
    why: "A handler that allocates or writes to stdio may interrupt the very function that it calls, and \
          then waits for a lock that its own thread holds. The cure is to do nothing in a handler but to set \
          a flag or write a byte.",
    citations: &["signal-safety(7)", "POSIX.1-2024 XSH 2.4.3"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: storm,
    check: storm_survived,
};

/// Half of the clients leave while the other half comes, again and again.
fn come_and_go(profile: &Profile) -> BoxedStrategy<Scenario> {
    let half = profile.effort.pick(2, 4, 10).min(profile.clients / 2).min(profile.backlog / 2 + 1).max(1);
    let rounds = profile.effort.pick(2, 3, 20);
    let mut steps: Vec<Step> = (0..half).flat_map(come).collect();
    for _ in 0..rounds {
        let leave = (0..half).map(|client| act(client, Act::Close));
        steps.push(Step::Together(leave.chain((half..2 * half).map(visit)).collect()));
        steps.push(Step::Together((0..half).map(|client| act(client, Act::Connect(To::Target))).collect()));
        steps.extend((0..half).map(|client| act(client, Act::Exchange(Payload::greeting()))));
    }
    // Each of the last children ends by itself, while the server waits for clients: deaths in a row may be one signal,
    // and one interruption.
    steps.extend((0..half).flat_map(|client| [Step::Await(Condition::Still), act(client, Act::Close)]));
    steps.push(Step::Quiet);
    steps.push(visit(2 * half));
    fixed(steps)
}

fn one_stays(_: &Profile) -> BoxedStrategy<Scenario> {
    let mut steps = come(0).to_vec();
    // The child of the first visitor has ended, and the parent knows, when the second one comes.
    steps.extend([visit(1), Step::Await(Condition::Still), visit(2)]);
    steps.extend([act(0, Act::Exchange(Payload::greeting())), act(0, Act::Close), Step::Look]);
    fixed(steps)
}

fn storm(profile: &Profile) -> BoxedStrategy<Scenario> {
    let most = profile.effort.pick(4, 6, 16).min(profile.clients).min(2 * profile.backlog).max(2);
    let signals = profile.effort.pick(10, 20, 200);
    let stay = most / 2;
    let mut steps: Vec<Step> = (0..stay).flat_map(come).collect();
    let sig = || Step::Signal(Who::Acceptor(Instance(0)), Sig::Chld);
    let mut at_once: Vec<Step> = (0..stay).map(|client| act(client, Act::Close)).collect();
    at_once.extend((stay..most).map(visit));
    at_once.extend((0..signals).map(|_| sig()));
    steps.push(Step::Together(at_once));
    // Those at once may have been one; this one is taken by itself.
    steps.extend([Step::Await(Condition::Still), sig(), Step::Await(Condition::Still)]);
    steps.extend([visit(most), Step::Await(Condition::NoZombie)]);
    fixed(steps)
}

fn bounded_while_busy(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let watched = trace.windows().count();
        let from =
            trace.events.iter().position(|event| matches!(event.what, What::Looked { mark: true, .. }));
        let last = trace.events.iter().rposition(|event| matches!(event.what, What::Watched(_)));
        let (Some(from), Some(last)) = (from, last) else {
            return Err(Verdict::Inconclusive("nobody looked while clients came and went".into()));
        };
        let is_visit = |what: &What| match what {
            What::Acted(acted) => matches!(acted.act, Act::Visit(_) | Act::Connect(_)),
            _ => false,
        };
        let visits = trace.events[from..last].iter().filter(|event| is_visit(&event.what)).count();
        // Some reap by a timer of half a second: the busy time has to be longer than that.
        let busy_us = trace.events[last].at_us - trace.events[from].at_us;
        witness(visits >= 10 && busy_us >= 900_000, "clients came and went for too short a time")?;
        let look = trace.events[last..].iter().find_map(|event| match &event.what {
            What::Looked { look, .. } => Some(look),
            _ => None,
        });
        let look =
            look.ok_or_else(|| Verdict::Inconclusive("nobody looked while clients came and went".into()))?;
        let zombies = trace.new_zombies(look).count();
        if zombies * 4 > visits * 3 {
            return Err(Verdict::seen(
                format!(
                    "some of {visits} children waited for within {} ms of coming and going",
                    busy_us / 1000
                ),
                count(zombies, "zombie"),
            ));
        }
        Ok(format!("{} after {visits} visits in {watched} rounds", count(zombies, "zombie")))
    })
}

fn all_clients_served(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let first = first_step(scenario, |step| matches!(step, Step::Together(_)) || is_close(step));
        let first = first.ok_or_else(|| Verdict::Inconclusive("no child ended".into()))?;
        let clients = scenario.clients();
        trace.served_before(first, &clients)?;
        let closes = trace.all_acts().filter(|acted| acted.act == Act::Close).count();
        witness(closes > 0, "no client left, so no child ended")?;
        let context = format!("while {} ended", count(closes, "child").replace("childs", "children"));
        left_working(scenario)?;
        trace.lives(Instance(0), &format!("the server goes on, {context}"))?;
        trace.all_served(&clients).map_err(|verdict| in_context(verdict, &context))?;
        Ok(format!("{} served {context}", count(clients.len(), "client")))
    })
}

fn is_close(step: &Step) -> bool {
    matches!(step, Step::Do(_, Act::Close))
}

fn does_not_block(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let visit = first_step(scenario, |step| matches!(step, Step::Do(_, Act::Visit(_))));
        let visit = visit.ok_or_else(|| Verdict::Inconclusive("nobody came besides".into()))?;
        let before = trace.before(visit);
        let stays: Vec<_> =
            scenario.clients().into_iter().filter(|c| before.acts(*c).next().is_some()).collect();
        let open = |client: &&crate::scenario::Client| {
            before
                .last_act(**client)
                .is_some_and(|acted| matches!(acted.act, Act::Connect(_) | Act::Exchange(_)))
        };
        let open: Vec<_> = stays.iter().filter(open).collect();
        witness(!open.is_empty(), "no client stayed")?;
        trace.served_before(visit, &stays)?;
        let context = format!("while a child serves {}", open[0]);
        let seen = trace.goes_on(scenario, visit - 1, &context)?;
        trace.all_served(&stays)?;
        Ok(seen)
    })
}

fn storm_survived(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let storm = first_step(scenario, |step| matches!(step, Step::Signal(_, Sig::Chld)));
        let storm = storm.ok_or_else(|| Verdict::Inconclusive("no SIGCHLD was sent".into()))?;
        let sent = trace.signalled(Sig::Chld).len();
        witness(sent > 0, "nobody got SIGCHLD")?;
        trace.goes_on(scenario, storm, &format!("after {sent} x SIGCHLD"))?;
        trace.all_served(&scenario.clients())?;
        Ok(format!("{} served in a storm of {sent} x SIGCHLD", count(scenario.clients().len(), "client")))
    })
}
