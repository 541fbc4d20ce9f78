//! Many deaths, one signal: SIGCHLD does not count.

use proptest::prelude::{Just, Strategy, any};
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::{Model, Profile};
use crate::scenario::generate::{come, fixed};
use crate::scenario::{
    Act, Client, Condition, Facet, Instance, Payload, Scenario, Setting, Sig, Step, To, Who, act,
};
use crate::spec::fork::processes;
use crate::spec::reap::no_zombie;
use crate::trace::aftermath::{all_left, first_step, left_working};
use crate::trace::query::{count, judge, name, witness};
use crate::trace::{Look, Trace};
use crate::verdict::Verdict;

/// Children that end in the same moment are all waited for.
pub(super) static SIMULTANEOUS: Clause = Clause {
    id: ClauseId("reap.simultaneous"),
    level: Level::Must,
    requirement: "The server waits for all of several children that end in the same moment.",
    why: "Signals do not queue: twenty deaths while the parent is busy are one SIGCHLD. A handler that calls \
          wait once leaves nineteen zombies. The cure is the loop: while (waitpid(-1, NULL, WNOHANG) > 0).",
    citations: &["UNP 5.10", "signal(7)", "POSIX.1-2024 waitpid"],
    needs: &[Need::ServingProcesses, Need::Concurrent, Need::Clients(2), Need::Lasting],
    scenarios: at_once,
    check: all_reaped,
};

/// A killed child is waited for, and so are those that come after it.
pub(super) static KILLED_CHILD: Clause = Clause {
    id: ClauseId("reap.killed-child"),
    level: Level::Must,
    requirement: "The server waits for a child that was killed, and for those that ended with it.",
    why: "waitpid tells of a death by signal in the same way as of an exit. A loop that ends at the first \
          child that did not exit in good order leaves that one, or all after it, as zombies.",
    citations: &["POSIX.1-2024 waitpid", "wait(2)", "UNP 5.10"],
    needs: &[Need::ServingProcesses, Need::Concurrent, Need::Lasting],
    scenarios: one_killed,
    check: all_reaped,
};

/// Children that end as soon as they are born.
pub(super) static INSTANT_DEATH: Clause = Clause {
    id: ClauseId("reap.instant-death"),
    level: Level::Should,
    requirement: "The server waits for children that end before fork has returned in the parent.",
    why: "A child may be dead before its parent has written down its pid. A handler that looks the pid up in \
          a table finds nothing, and the row that is written afterwards stays for ever. The cure is to block \
          SIGCHLD around fork, or to reap in the main loop.",
    citations: &["POSIX.1-2024 fork", "POSIX.1-2024 sigprocmask", "signal(7)"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: born_to_die,
    check: instant_death,
};

/// Children that the server did not make.
pub(super) static FOREIGN_CHILD: Clause = Clause {
    id: ClauseId("reap.foreign-child"),
    level: Level::Must,
    requirement: "The server goes on, and waits for its own children, when a child ends that it did not \
                  make.",
    why: "exec keeps the children of the program that was there before: a start script's background job \
          becomes the server's child. A loop that finds a pid which it does not know must not take that for \
          an error.",
    citations: &["POSIX.1-2024 exec", "POSIX.1-2024 waitpid"],
    needs: &[Need::ServingProcesses, Need::Lasting],
    scenarios: with_foreign_children,
    check: foreign_child,
};

const FIRST: Instance = Instance(0);

/// The parent is stopped, so that it gets one signal for all that happens meanwhile.
fn while_stopped(clients: u32, deaths: Vec<Step>, visits: bool) -> Scenario {
    let parent = Who::Acceptor(FIRST);
    let mut steps: Vec<Step> = (0..clients).flat_map(come).collect();
    steps.extend([Step::Look, Step::Signal(parent, Sig::Stop), Step::Await(Condition::Stopped(parent))]);
    steps.extend(deaths);
    steps.extend([Step::Quiet, Step::Signal(parent, Sig::Cont), Step::Await(Condition::NoZombie)]);
    steps.push(Step::Together((0..clients).map(|client| act(client, Act::Close)).collect()));
    if visits {
        steps.push(act(clients, Act::Visit(Payload::greeting())));
    }
    Scenario::served(steps)
}

/// Clients at once; workers that were made beforehand may be few, and are needed afterwards.
fn most(profile: &Profile) -> u32 {
    profile.effort.pick(3, 4, 16).min(profile.clients).max(1)
}

fn at_once(profile: &Profile) -> BoxedStrategy<Scenario> {
    let most = most(profile);
    // Workers do not end with their clients.
    let prefork = profile.model == Model::Prefork;
    (most.min(3)..=most, any::<bool>())
        .prop_map(move |(clients, closes)| {
            let closing = Step::Together((0..clients).map(|client| act(client, Act::Close)).collect());
            let killing = (0..clients).map(|client| Step::Signal(Who::Serving(Client(client)), Sig::Kill));
            let deaths = if closes && !prefork { vec![closing] } else { killing.collect() };
            while_stopped(clients, deaths, !prefork)
        })
        .boxed()
}

fn one_killed(profile: &Profile) -> BoxedStrategy<Scenario> {
    let most = most(profile);
    let prefork = profile.model == Model::Prefork;
    // The eldest is killed: waitpid finds the eldest first.
    (most.min(2)..=most.min(5))
        .prop_map(move |clients| {
            let mut deaths = vec![Step::Signal(Who::Serving(Client(0)), Sig::Kill)];
            deaths.extend((1..clients).map(|client| act(client, Act::Close)));
            while_stopped(clients, deaths, !prefork)
        })
        .boxed()
}

fn born_to_die(profile: &Profile) -> BoxedStrategy<Scenario> {
    let clients = profile.effort.pick(6, 12, 20).min(profile.clients).max(1);
    let mut steps =
        vec![act(clients, Act::Visit(Payload::greeting())), Step::Await(Condition::NoZombie), Step::Mark];
    for client in 0..clients {
        steps.extend([act(client, Act::Connect(To::Target)), act(client, Act::Reset)]);
    }
    steps.extend([
        Step::Await(Condition::QueueEmpty),
        act(clients + 1, Act::Visit(Payload::greeting())),
        Step::Await(Condition::NoZombie),
        Step::Await(Condition::Back(Facet::Processes)),
    ]);
    fixed(steps)
}

fn with_foreign_children(profile: &Profile) -> BoxedStrategy<Scenario> {
    let foreign_children = profile.effort.pick(2, 3, 8);
    let mut steps = vec![Step::Quiet, Step::Mark];
    steps.extend((0..3).map(|client| act(client, Act::Visit(Payload::greeting()))));
    steps.push(Step::Await(Condition::Back(Facet::Processes)));
    let setting = Setting { foreign_children, ..Setting::default() };
    Just(Scenario::launched(setting, steps)).boxed()
}

/// Processes that served a client at the first look and were dead, zombies or gone, at a later one, and their clients.
fn deaths(scenario: &Scenario, trace: &Trace, before: &Look, after: &Look) -> usize {
    let servers = scenario.clients().into_iter().filter_map(|client| trace.local(client));
    let mut dead: Vec<_> = servers
        .flat_map(|local| before.servers(local))
        .filter(|process| !after.lives(process.pid, process.started))
        .map(|process| process.pid)
        .collect();
    dead.sort_unstable();
    dead.dedup();
    dead.len()
}

fn all_reaped(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(FIRST)?;
        left_working(scenario)?;
        trace.only_servers_were_hurt()?;
        let stop = first_step(scenario, |step| matches!(step, Step::Signal(Who::Acceptor(_), Sig::Stop)));
        let go_on = first_step(scenario, |step| matches!(step, Step::Signal(Who::Acceptor(_), Sig::Cont)));
        let (Some(stop), Some(go_on)) = (stop, go_on) else {
            return Err(Verdict::Inconclusive("the parent was not stopped".into()));
        };
        let (before, after) = (trace.look_before(stop), trace.look_before(go_on));
        let (Some(before), Some(after)) = (before, after) else {
            return Err(Verdict::Inconclusive("nobody looked before and after the deaths".into()));
        };
        let dead = deaths(scenario, trace, before, after);
        witness(dead > 0, "no process that served a client ended while the parent was stopped")?;
        no_zombie(trace, &format!("of the moment when the parent went on, with {dead} dead children"))?;
        let expected = format!("the server goes on after {} have ended at once", processes(dead));
        trace.lives(FIRST, &expected)?;
        let later = crate::trace::aftermath::newcomers(scenario, go_on);
        trace.all_served(&later)?;
        Ok(format!("{} ended while the parent was stopped, no zombie", processes(dead)))
    })
}

fn instant_death(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(FIRST)?;
        let resets = trace.all_acts().filter(|acted| acted.act == Act::Reset).count();
        witness(resets > 0, "no client reset")?;
        let first = first_step(scenario, |step| matches!(step, Step::Do(_, Act::Reset))).unwrap_or(0);
        all_left(scenario)?;
        let seen = trace.goes_on(scenario, first, &format!("after {} at once", count(resets, "reset")))?;
        no_zombie(trace, "of the last close")?;
        Ok(format!("{seen}, no zombie"))
    })
}

fn foreign_child(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        left_working(scenario)?;
        all_left(scenario)?;
        let foreign = scenario.flat().find_map(|(_, step)| match step {
            Step::Launch(FIRST, setting) if setting.foreign_children > 0 => Some(setting.foreign_children),
            _ => None,
        });
        let foreign = foreign.ok_or_else(|| Verdict::Inconclusive("there was no foreign child".into()))?;
        let launched = trace.ready(FIRST)?;
        let context = format!("after {} of {foreign} that it did not make have ended", "children");
        trace.goes_on(scenario, 0, &context)?;
        let (met, look) = trace
            .awaited(Condition::Back(Facet::Processes))
            .ok_or_else(|| Verdict::Inconclusive("nobody waited for the children to end".into()))?;
        // The foreign ones are not the server's to wait for: they may stay zombies.
        let own: Vec<_> =
            look.zombies().filter(|zombie| launched.process(zombie.pid).is_none()).map(name).collect();
        if !met && !own.is_empty() {
            return Err(Verdict::missing(
                "no zombie among the server's own children",
                format!("{}: {}", count(own.len(), "zombie"), own.join("; ")),
            ));
        }
        Ok(format!("{foreign} foreign children ended, {} served", count(scenario.clients().len(), "client")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::State;
    use crate::trace::build::{Build, LISTENER, SERVER, connection, process, serving, zombie};

    /// Two children die while the parent is stopped; so many of them are still zombies in the end.
    fn killed(left: usize) -> Trace {
        let mut before = serving();
        before.processes =
            vec![process(SERVER, 1, &[LISTENER]), process(10, SERVER, &[200]), process(11, SERVER, &[201])];
        before
            .sockets
            .extend([connection(State::Established, 0, 200), connection(State::Established, 1, 201)]);
        let mut after = serving();
        after.processes.extend([zombie(10, SERVER), zombie(11, SERVER)]);
        let mut last = serving();
        last.processes.extend([zombie(10, SERVER), zombie(11, SERVER)].into_iter().take(left));
        let parent = Who::Acceptor(FIRST);
        // As in the scenario below: launch, await, two clients, look, stop, deaths, look, go on, await.
        Build::served()
            .done(0, Act::Connect(To::Target))
            .done(1, Act::Connect(To::Target))
            .looked(before)
            .signalled(parent, Sig::Stop, &[SERVER])
            .signalled(Who::Children(FIRST), Sig::Kill, &[10, 11])
            .looked(after)
            .signalled(parent, Sig::Cont, &[SERVER])
            .awaited(Condition::NoZombie, left == 0, last)
            .trace()
    }

    fn scenario() -> Scenario {
        let parent = Who::Acceptor(FIRST);
        Scenario::served([
            act(0, Act::Connect(To::Target)),
            act(1, Act::Connect(To::Target)),
            Step::Look,
            Step::Signal(parent, Sig::Stop),
            Step::Signal(Who::Children(FIRST), Sig::Kill),
            Step::Quiet,
            Step::Signal(parent, Sig::Cont),
            Step::Await(Condition::NoZombie),
        ])
    }

    #[test]
    fn one_wait_for_one_signal_leaves_a_zombie() {
        assert!(matches!(all_reaped(&scenario(), &killed(1)), Verdict::Fail(_)));
        assert!(matches!(all_reaped(&scenario(), &killed(0)), Verdict::Pass(_)));
    }

    #[test]
    fn a_parent_that_stays_stopped_is_not_blamed() {
        let mut scenario = scenario();
        scenario.steps.remove(8);
        assert!(matches!(all_reaped(&scenario, &killed(2)), Verdict::Inconclusive(_)));
    }
}
