//! Children that die, crash or stop: only their own client feels it.

use proptest::prelude::{Just, Strategy};
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::{come, fixed};
use crate::scenario::{Act, Client, Condition, Instance, Payload, Scenario, Sig, Step, Who, act};
use crate::spec::reap::no_zombie;
use crate::trace::Trace;
use crate::trace::aftermath::{first_step, in_context};
use crate::trace::query::{count, judge, witness};
use crate::trace::service::own_bytes;
use crate::verdict::Verdict;

/// A killed child takes nobody along.
pub(super) static SIBLING_SURVIVES: Clause = Clause {
    id: ClauseId("fork.sibling-survives"),
    level: Level::Must,
    requirement: "The server goes on serving all other clients when one child is killed.",
    why: "A child that crashes is the very thing that a process for each connection is made to contain. \
          Classic bugs: the parent takes the death of any child for its own end, or signals the whole \
          process group.",
    citations: &["UNP 5.12", "POSIX.1-2024 waitpid", "signal(7)"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: kill_one,
    check: siblings_survive,
};

/// The same while bytes are under way.
pub(super) static SIBLING_SURVIVES_MID_TRANSFER: Clause = Clause {
    id: ClauseId("fork.sibling-survives-mid-transfer"),
    level: Level::Must,
    requirement: "The server loses no byte of any other client when a child is killed in the middle of a \
                  transfer.",
    why: "What the killed child had sent must be a true prefix, and its siblings' transfers must be whole. \
          Shared buffers or pipes between children are how one death corrupts another client's data.",
    citations: &["UNP 5.12", "RFC 862", "RFC 9293 3.8"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: kill_mid_transfer,
    check: siblings_survive,
};

/// Crashes are deaths like all others.
pub(super) static CRASHED_CHILD_REAPED: Clause = Clause {
    id: ClauseId("fork.crashed-child-reaped"),
    level: Level::Must,
    requirement: "The server waits for a child that was ended by SIGSEGV or SIGABRT, and goes on.",
    why: "A crash differs from an exit only in the status word. A loop that looks at WIFEXITED alone leaves \
          a zombie for each crash, or takes the crash for its own.",
    citations: &["POSIX.1-2024 waitpid", "wait(2)", "signal(7)"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: crash_two,
    check: crashed_child_reaped,
};

/// A stopped child is no dead child.
pub(super) static STOPPED_CHILD_ISOLATED: Clause = Clause {
    id: ClauseId("fork.stopped-child-isolated"),
    level: Level::Must,
    requirement: "The server serves all other clients while one child is stopped, and that child's client \
                  when it goes on.",
    why: "SIGCHLD also tells of children that stop. A parent that then waits without WNOHANG, or that takes \
          WIFSTOPPED for death, hangs or miscounts. The cure is SA_NOCLDSTOP, and WNOHANG in every wait.",
    citations: &["POSIX.1-2024 waitpid", "POSIX.1-2024 sigaction", "signal(7)"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: stop_one,
    check: stopped_child_isolated,
};

/// SIGTERM for one child is for that child.
pub(super) static SIGTERM_TO_CHILD_ISOLATED: Clause = Clause {
    id: ClauseId("fork.sigterm-to-child-isolated"),
    level: Level::Should,
    requirement: "The server goes on serving all other clients when one child gets SIGTERM.",
    why: "A child inherits its parent's handlers. One that, on SIGTERM, signals the whole group or removes \
          what belongs to the parent turns the end of one client into the end of all. The cure is to restore \
          the defaults after fork.",
    citations: &["POSIX.1-2024 fork", "signal(7)"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: terminate_one,
    check: siblings_survive,
};

/// The accepting process stays the same.
pub(super) static ACCEPTOR_KEEPS_PID: Clause = Clause {
    id: ClauseId("fork.acceptor-keeps-pid"),
    level: Level::Should,
    requirement: "The server's accepting process stays the same when a child dies.",
    why: "Supervisors and pid files name one process. A parent that starts itself again for each fault loses \
          its queue and its children, and whoever watches it.",
    citations: &["UNP 5.12", "POSIX.1-2024 fork"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: kill_one,
    check: acceptor_keeps_pid,
};

fn greet(client: u32) -> Step {
    act(client, Act::Exchange(Payload::greeting()))
}

/// Some clients side by side, one of whose children gets the signal; the others go on, and another one comes.
fn signal_one(profile: &Profile, sig: Sig) -> BoxedStrategy<Scenario> {
    let most = profile.effort.pick(2, 4, 12).min(profile.clients).max(2);
    (2..=most)
        .prop_flat_map(|clients| (Just(clients), 0..clients))
        .prop_map(move |(clients, victim)| {
            let others = || (0..clients).filter(move |&client| client != victim);
            let mut steps: Vec<Step> = (0..clients).flat_map(come).collect();
            steps.extend([Step::Look, Step::Signal(Who::Serving(Client(victim)), sig), Step::Quiet]);
            steps.extend([act(victim, Act::Close), act(clients, Act::Visit(Payload::greeting()))]);
            steps.extend(others().map(greet));
            steps.extend(others().map(|client| act(client, Act::Close)));
            steps.push(Step::Await(Condition::NoZombie));
            Scenario::served(steps)
        })
        .boxed()
}

fn kill_one(profile: &Profile) -> BoxedStrategy<Scenario> {
    signal_one(profile, Sig::Kill)
}

fn terminate_one(profile: &Profile) -> BoxedStrategy<Scenario> {
    signal_one(profile, Sig::Term)
}

fn kill_mid_transfer(profile: &Profile) -> BoxedStrategy<Scenario> {
    let len = profile.effort.pick(128 << 10, 512 << 10, 16 << 20);
    let mut steps: Vec<Step> = (0..3.min(profile.clients).max(2)).flat_map(come).collect();
    let third = profile.clients > 2;
    // Fits into the buffers: what the child sends back waits there, unread.
    steps.push(act(0, Act::Send(Payload::of(60_000))));
    steps.push(act(1, Act::Send(Payload::of(60_000))));
    let kill = Step::Signal(Who::Serving(Client(0)), Sig::Kill);
    let transfer = act(if third { 2 } else { 1 }, Act::Exchange(Payload::of(len)));
    steps.push(Step::Together(vec![transfer, kill]));
    steps.extend([act(1, Act::Read), act(0, Act::ReadToEnd), act(0, Act::Close), Step::Quiet]);
    steps.push(act(3, Act::Visit(Payload::greeting())));
    steps.push(greet(1));
    if third {
        steps.push(greet(2));
    }
    fixed(steps)
}

fn crash_two(_: &Profile) -> BoxedStrategy<Scenario> {
    let mut steps: Vec<Step> = [0, 1].into_iter().flat_map(come).collect();
    steps.extend([
        Step::Look,
        Step::Signal(Who::Serving(Client(0)), Sig::Segv),
        Step::Signal(Who::Serving(Client(1)), Sig::Abrt),
        Step::Quiet,
        act(0, Act::Close),
        act(1, Act::Close),
        Step::Await(Condition::NoZombie),
        act(2, Act::Visit(Payload::greeting())),
        Step::Look,
    ]);
    fixed(steps)
}

fn stop_one(_: &Profile) -> BoxedStrategy<Scenario> {
    let stopped = Who::Serving(Client(0));
    let mut steps: Vec<Step> = [0, 1].into_iter().flat_map(come).collect();
    steps.extend([
        Step::Look,
        Step::Signal(stopped, Sig::Stop),
        Step::Await(Condition::Stopped(stopped)),
        greet(1),
        act(1, Act::Close),
        act(2, Act::Visit(Payload::greeting())),
        act(3, Act::Visit(Payload::greeting())),
        Step::Signal(stopped, Sig::Cont),
        greet(0),
        act(0, Act::Close),
        Step::Look,
    ]);
    fixed(steps)
}

/// The step that hurts a child, the signal, the clients whose children it hit, and what the pids were.
pub(super) fn victims(
    scenario: &Scenario,
    trace: &Trace,
    hurts: &[Sig],
) -> Result<(usize, Vec<Client>, Vec<i32>), Verdict> {
    let is_hurt = |step: &Step| match step {
        Step::Signal(Who::Serving(_) | Who::Children(_) | Who::Child(..), sig) => hurts.contains(sig),
        _ => false,
    };
    let first = first_step(scenario, is_hurt)
        .ok_or_else(|| Verdict::Inconclusive("the scenario signals no child".into()))?;
    let mut pids = Vec::new();
    let mut clients = Vec::new();
    for (index, step) in scenario.flat().filter(|(_, step)| is_hurt(step)) {
        if let Step::Signal(Who::Serving(client), _) = step {
            clients.push(*client);
        }
        pids.extend(trace.signalled_in(index));
    }
    witness(!pids.is_empty(), "there was no child to signal")?;
    trace.only_servers_were_hurt()?;
    Ok((first, clients, pids))
}

fn siblings_survive(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let (step, victims, pids) = victims(scenario, trace, &[Sig::Kill, Sig::Term, Sig::Segv, Sig::Abrt])?;
        let context = format!("after a child (pid {}) was ended", pids[0]);
        let before = trace.before(step);
        let is_sibling = |client: &Client| !victims.contains(client) && before.acts(*client).next().is_some();
        let siblings: Vec<_> = scenario.clients().into_iter().filter(is_sibling).collect();
        trace.served_before(step, &siblings)?;
        for victim in &victims {
            trace.acts(*victim).try_fold(0, |at, acted| own_bytes(acted, at))?;
        }
        let seen = trace.goes_on(scenario, step, &context)?;
        trace.all_served(&siblings).map_err(|verdict| in_context(verdict, &context))?;
        Ok(format!("pid {} was ended; {} went on, {seen}", pids[0], count(siblings.len(), "sibling")))
    })
}

fn crashed_child_reaped(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let (step, _, pids) = victims(scenario, trace, &[Sig::Segv, Sig::Abrt])?;
        let before = trace.look_before(step);
        let last = trace.last_look();
        let dead = pids.iter().filter(|&&pid| {
            let process = before.and_then(|look| look.process(pid));
            process.is_some_and(|process| last.is_some_and(|look| !look.lives(pid, process.started)))
        });
        let dead = dead.count();
        witness(dead > 0, "no child ended by the signal")?;
        no_zombie(trace, "of the crash")?;
        trace.goes_on(
            scenario,
            step,
            &format!("after {} crashed", if dead == 1 { "a child" } else { "children" }),
        )
    })
}

fn stopped_child_isolated(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let (step, victims, pids) = victims(scenario, trace, &[Sig::Stop])?;
        let clients: Vec<_> = scenario.clients();
        trace.served_before(step, &clients)?;
        let seen = trace.goes_on(scenario, step, &format!("while a child (pid {}) was stopped", pids[0]))?;
        let others: Vec<_> = clients.iter().copied().filter(|client| !victims.contains(client)).collect();
        let context = format!("while a child (pid {}) was stopped", pids[0]);
        trace.all_served(&others).map_err(|verdict| in_context(verdict, &context))?;
        trace
            .all_served(&victims)
            .map_err(|verdict| in_context(verdict, "after its stopped process went on"))?;
        Ok(format!("{seen}, and the stopped one's client afterwards"))
    })
}

fn acceptor_keeps_pid(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let first = trace.ready(Instance(0))?;
        let (step, _, pids) = victims(scenario, trace, &[Sig::Kill])?;
        trace.goes_on(scenario, step, "after a child was killed")?;
        let before = first.acceptor(Instance(0)).map(|process| process.pid);
        let after = trace.last_look().and_then(|look| look.acceptor(Instance(0))).map(|process| process.pid);
        match (before, after) {
            (Some(before), Some(after)) if before != after => Err(Verdict::seen(
                format!("pid {before} still accepts after its child {} was killed", pids[0]),
                format!("pid {after} accepts"),
            )),
            (Some(pid), Some(_)) => Ok(format!("pid {pid} accepted before and after")),
            _ => Err(Verdict::Inconclusive("it was not seen who accepts".into())),
        }
    })
}
