//! What is left of a server that was told to stop: itself, kept by an idle client, or its children.

use proptest::prelude::{Just, Strategy};
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::{come, fixed};
use crate::scenario::{Act, Client, Condition, Payload, Scenario, Setting, Sig, Step, To, Who, act};
use crate::spec::echo::is_unread;
use crate::spec::stop::{
    FIRST, clients_at, connected, detached, each, ending, side_by_side, survivors, waits,
    waits_beside_clients,
};
use crate::trace::query::{applies, count, judge, name, span, witness};
use crate::trace::{Look, Trace};
use crate::verdict::Verdict;

/// An idle client cannot keep the server alive.
pub static IDLE_CLIENT_DOES_NOT_HOLD: Clause = Clause {
    id: ClauseId("stop.idle-client-does-not-hold"),
    level: Level::Should,
    requirement: "The server ends when it is told to stop although an idle client is connected.",
    why: "A client may stay connected for days. If the server waits for it, every stop ends in SIGKILL, and what \
          draining was meant to save is lost; the cure is to give clients a limited time.",
    citations: &["signal(7)"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: beside_clients,
    check: ends_beside_a_client,
};

/// Nor can one that does not read.
pub static STUCK_CLIENT_DOES_NOT_HOLD: Clause = Clause {
    id: ClauseId("stop.stuck-client-does-not-hold"),
    level: Level::Should,
    requirement: "The server ends when it is told to stop although a client does not read what it is sent.",
    why: "A write to a client that does not read may wait for ever. Where it is tried again after each interruption, \
          whoever set a flag in the handler of SIGTERM sets it in vain; the cure is to look at the flag there, too, and to \
          give clients a limited time.",
    citations: &["signal(7)", "POSIX.1-2024 send EINTR"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: beside_a_stuck_client,
    check: ends_beside_a_client,
};

/// Nothing of the server stays behind.
pub static NO_ORPHAN: Clause = Clause {
    id: ClauseId("stop.no-orphan"),
    level: Level::Should,
    requirement: "The server leaves no process behind when it has been told to stop and has ended.",
    why: "A child that outlives its parent is seen by no supervisor: it goes on with the old code and the old settings, \
          and nobody waits for it. The cure is to signal the children and to wait for them before the parent ends.",
    citations: &["POSIX.1-2024 _exit", "prctl(2) PR_SET_CHILD_SUBREAPER"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: beside_a_crowd,
    check: leaves_nobody,
};

/// A server that is stopping still waits for its children.
pub static CHILDREN_REAPED: Clause = Clause {
    id: ClauseId("stop.children-reaped"),
    level: Level::Should,
    requirement: "The server waits for its children while it stops.",
    why: "Many servers stop reaping when they leave the accept loop. A library that closes its server this way leaves \
          its host program a zombie for each client; the cure is to wait for every child after the loop.",
    citations: &["POSIX.1-2024 waitpid", "wait(2) NOTES"],
    needs: &[Need::ServingProcesses, Need::Lasting, Need::Echo],
    scenarios: clients_leave_meanwhile,
    check: no_child_is_left,
};

/// Clients stay connected while the server is told to stop, and leave later.
pub(super) fn beside_clients(profile: &Profile) -> BoxedStrategy<Scenario> {
    let profile = profile.clone();
    // Where all places are taken the server may wait for one, and not for the signal.
    let all = profile.client_limit.map(|limit| limit.min(64));
    (1..=side_by_side(&profile, 2))
        .prop_map(move |clients| {
            let clients = all.unwrap_or(clients);
            let waiting = all.map(|all| act(all, Act::Dial(To::Target)));
            // A second wait is for those that give their clients some seconds.
            let gone = Step::Await(Condition::Gone(FIRST));
            let later = [gone.clone(), each(clients, Act::Close), gone];
            let there = connected(clients).into_iter().chain(waiting);
            Scenario::served(there.chain(ending(&profile, FIRST, Sig::Stopping)).chain(later))
        })
        .boxed()
}

/// More clients than a small table holds stay connected, and the process of one of them was once stopped and continued: it
/// is none of those that have ended.
fn beside_a_crowd(profile: &Profile) -> BoxedStrategy<Scenario> {
    let crowd = profile.crowd.max(1);
    let at_once = profile.backlog.saturating_add(1).clamp(1, 24);
    let mut steps = come(0).to_vec();
    // Some of them may be more than it takes at once: nobody waits for them.
    for first in (1..crowd).step_by(at_once as usize) {
        let group = first..crowd.min(first + at_once);
        steps.push(Step::Together(group.map(|n| act(n, Act::Dial(To::Target))).collect()));
        steps.push(Step::Await(Condition::Still));
    }
    if profile.forks {
        let one = Who::Serving(Client(0));
        steps.extend([Step::Signal(one, Sig::Stop), Step::Await(Condition::Stopped(one))]);
        // Whoever is told of it waits for children now, or when the child of one who leaves has ended.
        if crowd > 1 {
            steps.extend([act(1, Act::Close), Step::Await(Condition::ServerOfGone(Client(1)))]);
        }
        steps.push(Step::Signal(one, Sig::Cont));
    }
    steps.extend(ending(profile, FIRST, Sig::Stopping));
    let gone = Step::Await(Condition::Gone(FIRST));
    steps.extend([gone.clone(), each(crowd, Act::Close), gone]);
    fixed(steps)
}

/// A client that does not read stays connected while the server is told to stop, and leaves later.
fn beside_a_stuck_client(profile: &Profile) -> BoxedStrategy<Scenario> {
    let setting = Setting { buffers: Some(16_384), ..Setting::default() };
    let gone = Step::Await(Condition::Gone(FIRST));
    let mut steps = vec![act(0, Act::Connect(To::Target)), act(0, Act::Send(Payload::of(400_000)))];
    steps.extend(ending(profile, FIRST, Sig::Stopping));
    steps.extend([gone.clone(), act(0, Act::Close), gone]);
    Just(Scenario::launched(setting, steps)).boxed()
}

fn clients_leave_meanwhile(profile: &Profile) -> BoxedStrategy<Scenario> {
    let profile = profile.clone();
    let most = side_by_side(&profile, profile.effort.pick(2, 3, 16));
    (1..=most)
        .prop_map(move |clients| {
            let mut steps = detached(&profile, FIRST);
            steps.extend(connected(clients));
            steps.extend([
                Step::Look,
                Step::Signal(Who::Launched(FIRST), Sig::Stopping),
                each(clients, Act::Close),
            ]);
            steps.push(Step::Await(Condition::NoZombie));
            let told = |step: &Step| matches!(step, Step::Signal(..));
            steps.extend(
                ending(&profile, FIRST, Sig::Stopping).into_iter().skip_while(|step| !told(step)).skip(1),
            );
            Scenario::served(steps)
        })
        .boxed()
}

fn ends_beside_a_client(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let looks = waits_beside_clients(trace, Sig::Stopping)?;
        let connected = clients_at(trace, Sig::Stopping);
        witness(!connected.is_empty(), "no client was connected when the stop signal came")?;
        let survivors = looks.last().and_then(|look| survivors(trace, Sig::Stopping, look).first().copied());
        let reads = |client: Client| trace.acts(client).all(|acted| !is_unread(acted));
        let how =
            if reads(connected[0]) { "is connected and idle" } else { "is connected and does not read" };
        if let Some(process) = survivors {
            return Err(Verdict::missing(
                format!("the server ends {} although {} {how}", within(trace, &looks), connected[0]),
                format!("{} still runs (state {})", name(process), process.state),
            ));
        }
        Ok(format!("it ended beside {}: {} {how}", count(connected.len(), "client"), connected[0]))
    })
}

/// "within 5s of the stop signal", for so many waits.
fn within(trace: &Trace, looks: &[&Look]) -> String {
    let waits = u32::try_from(looks.len()).unwrap_or(1);
    format!("within {} of the stop signal", span(trace.circumstances.limits.stop_within * waits))
}

fn leaves_nobody(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let looks = waits_beside_clients(trace, Sig::Stopping)?;
        let look = looks[looks.len() - 1];
        let ended = survivors(trace, Sig::Stopping, look).is_empty();
        applies(ended, "the server had not ended: see stop.idle-client-does-not-hold")?;
        let left: Vec<_> = look.of(FIRST).filter(|process| !process.is_zombie()).map(name).collect();
        if left.is_empty() {
            return Ok("nothing was left".into());
        }
        Err(Verdict::missing(
            format!("no process of the server {}, once its first process has ended", within(trace, &looks)),
            format!("left: {}", left.join("; ")),
        ))
    })
}

fn no_child_is_left(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let look = waits(trace, Sig::Stopping)?[0];
        let before = trace.plain_looks().next().map_or(0, |look| look.of(FIRST).count());
        witness(before > 1, "the server had no children when the stop signal came")?;
        if let Some((false, look)) = trace.awaited(Condition::NoZombie) {
            let zombies: Vec<_> = look.zombies().map(name).collect();
            return Err(Verdict::missing(
                "no zombie while the server stops",
                format!("{}: {}", count(zombies.len(), "zombie"), zombies.join("; ")),
            ));
        }
        let ended = survivors(trace, Sig::Stopping, look).is_empty();
        applies(ended, "the server had not ended: see stop.sigterm")?;
        let left: Vec<_> = look.of(FIRST).map(name).collect();
        if left.is_empty() {
            return Ok(format!("all {before} processes gone, no zombie"));
        }
        Err(Verdict::missing(
            "every child has ended once its client has left",
            format!("left: {}", left.join("; ")),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::To;
    use crate::trace::build::{Build, SERVER, process, serving};

    #[test]
    fn a_server_that_waits_for_its_client_is_held() {
        let trace = Build::served()
            .done(0, Act::Connect(To::Target))
            .signalled(Who::Launched(FIRST), Sig::Stopping, &[SERVER])
            .awaited(Condition::Gone(FIRST), false, serving())
            .trace();
        assert!(matches!((IDLE_CLIENT_DOES_NOT_HOLD.check)(&Scenario::default(), &trace), Verdict::Fail(_)));
        assert!(matches!((NO_ORPHAN.check)(&Scenario::default(), &trace), Verdict::NotApplicable(_)));
    }

    #[test]
    fn a_child_that_stays_is_an_orphan() {
        let left = Look { processes: vec![process(7, 1, &[])], ..Look::default() };
        let trace = Build::served()
            .signalled(Who::Launched(FIRST), Sig::Stopping, &[SERVER])
            .awaited(Condition::Gone(FIRST), false, left)
            .trace();
        assert!(matches!((NO_ORPHAN.check)(&Scenario::default(), &trace), Verdict::Fail(_)));
    }
}
