//! Signals as the launcher left them: SIGCHLD ignored or blocked, SIGPIPE ignored or not.

use proptest::strategy::{BoxedStrategy, Just, Strategy};

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::come;
use crate::scenario::{
    Act, Client, Condition, Disposition, Instance, Payload, Scenario, Setting, Sig, Step, To, Who, act,
};
use crate::spec::close::reset_before_the_answer;
use crate::spec::start::setting::{comes_up, serves_in, setting_of};
use crate::spec::start::{FIRST, SECOND, left_alone, rests_in, visit, visitors, watch};
use crate::trace::query::{count, judge, name, span, witness};
use crate::trace::{Acted, Trace, What, Window};
use crate::verdict::Verdict;

/// An ignored SIGCHLD is inherited.
pub static SIGCHLD_IGNORED: Clause = Clause {
    id: ClauseId("start.sigchld-ignored"),
    level: Level::Must,
    requirement: "The server serves as usual when it is started with SIGCHLD ignored.",
    why: "exec keeps ignored signals ignored. Children then vanish without leaving a status, wait says ECHILD, and a \
          server that takes this for a disaster dies after its first client. The cure is to set the disposition of every \
          signal that matters.",
    citations: &["POSIX.1-2024 exec", "POSIX.1-2024 waitpid", "wait(2) NOTES"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: without_sigchld,
    check: |scenario, trace| serves_in(scenario, trace, |setting| setting.sigchld == Disposition::Ignored),
};

/// So is a blocked one.
pub static SIGCHLD_BLOCKED: Clause = Clause {
    id: ClauseId("start.sigchld-blocked"),
    level: Level::Should,
    requirement: "The server waits for its children when it is started with SIGCHLD blocked.",
    why: "exec keeps the signal mask. A handler for a blocked signal never runs, and each client leaves a zombie. The cure \
          is to unblock what one wants to hear of.",
    citations: &["POSIX.1-2024 exec", "sigprocmask(2)", "wait(2) NOTES"],
    needs: &[Need::ServingProcesses, Need::Lasting, Need::Echo],
    scenarios: |_| {
        let setting = Setting { sigchld: Disposition::Blocked, ..Setting::default() };
        let steps = [visit(0), visit(1), visit(2), Step::Await(Condition::NoZombie)];
        Just(Scenario::launched(setting, steps)).boxed()
    },
    check: reaps_in_setting,
};

/// SIGPIPE may be ignored or not.
pub static SIGPIPE_EITHER_WAY: Clause = Clause {
    id: ClauseId("start.sigpipe-either-way"),
    level: Level::Must,
    requirement: "The server survives clients that leave while it writes, and does not go on with them, whether it was \
                  started with SIGPIPE ignored or not.",
    why: "Shells and supervisors differ in what they leave of SIGPIPE. With the default, one client that leaves too early \
          ends the whole process; with SIG_IGN, write returns EPIPE, which nobody may have looked at: a loop that tries \
          again runs for ever. The cure is to ignore the signal oneself and to check what write returns.",
    citations: &["POSIX.1-2024 exec", "POSIX.1-2024 write EPIPE", "UNP 5.13"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: with_sigpipe,
    check: survives_sigpipe,
};

/// One client stays while others come and leave, if it can.
fn without_sigchld(profile: &Profile) -> BoxedStrategy<Scenario> {
    let setting = Setting { sigchld: Disposition::Ignored, ..Setting::default() };
    let stays = profile.concurrent && profile.clients > 1;
    let first = [act(0, Act::Connect(To::Target)), act(0, Act::Exchange(Payload::greeting()))];
    let last = [act(0, Act::HalfClose), act(0, Act::ReadToEnd), act(0, Act::Close)];
    let steps = first.into_iter().filter(|_| stays).chain([visit(1), visit(2)]);
    let steps =
        steps.chain(last.into_iter().filter(|_| stays)).chain(visitors(profile.effort.pick(4, 45, 200)));
    let steps = steps.chain([Step::Look]);
    Just(Scenario::launched(setting, steps)).boxed()
}

/// With SIGPIPE at its default, and ignored: then the server is looked at when the client has left, for nothing ends a
/// process that writes on.
fn with_sigpipe(profile: &Profile) -> BoxedStrategy<Scenario> {
    let between = [Step::Signal(Who::Tree(FIRST), Sig::Kill), Step::Await(Condition::Gone(FIRST))];
    let steps = client_leaves_writer(FIRST, Disposition::Default).into_iter().chain(between);
    let mut steps: Vec<Step> = steps.chain(client_leaves_writer(SECOND, Disposition::Ignored)).collect();
    steps.extend(profile.forks.then_some(Step::Await(Condition::ServerOfGone(leaver(SECOND)))));
    steps.extend([Step::Await(Condition::Still), watch(profile)]);
    Just(Scenario { steps }).boxed()
}

/// A client leaves without its answer, and others come.
fn client_leaves_writer(instance: Instance, sigpipe: Disposition) -> Vec<Step> {
    let setting = Setting { sigpipe, ..Setting::default() };
    let Client(client) = leaver(instance);
    let mut steps =
        vec![Step::Launch(instance, setting), Step::Await(Condition::Listening(instance)), visit(client - 1)];
    steps.extend(come(client));
    steps.extend(reset_before_the_answer(client, instance, 20_000));
    steps.extend([visit(client + 1), visit(client + 2), Step::Look]);
    steps
}

/// The client of this instance that leaves.
fn leaver(instance: Instance) -> Client {
    Client(10 * instance.0 + 1)
}

fn reaps_in_setting(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        left_alone(scenario)?;
        let blocked =
            |step: &Step| matches!(step, Step::Launch(FIRST, s) if s.sigchld == Disposition::Blocked);
        witness(scenario.steps.iter().any(blocked), "SIGCHLD was not blocked")?;
        comes_up(scenario, trace, FIRST)?;
        let came = scenario.clients().len();
        witness(came > 0, "no client came")?;
        let (met, look) = trace
            .awaited(Condition::NoZombie)
            .ok_or_else(|| Verdict::Inconclusive("nobody waited for the zombies to go".into()))?;
        if met {
            return Ok(format!("{} left, no zombie", count(came, "client")));
        }
        let zombies: Vec<_> = look.zombies().map(name).collect();
        Err(Verdict::missing(
            format!("no zombie after clients have left, when launched{}", setting_of(scenario, FIRST)),
            format!("{}: {}", count(zombies.len(), "zombie"), zombies.join("; ")),
        ))
    })
}

fn survives_sigpipe(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let mut survived = 0;
        for instance in [FIRST, SECOND] {
            let setting = setting_of(scenario, instance);
            if trace.awaited(Condition::Listening(instance)).is_none() {
                continue;
            }
            trace.ready(instance)?;
            let own = |client: &Client| client.0 / 10 == instance.0;
            let clients: Vec<_> = scenario.clients().into_iter().filter(own).collect();
            let unread = |acted: &Acted| acted.act == Act::Reset && acted.received < acted.sent;
            let left = |client: &&Client| trace.acts(**client).any(unread);
            witness(
                clients.iter().any(|client| left(&client)),
                "no client left while the server was writing",
            )?;
            if let Some(exit) = ended_by_itself(trace, instance) {
                return Err(Verdict::seen(
                    format!("the server lives when launched{setting}"),
                    format!("it {exit}"),
                ));
            }
            let stopped = Condition::Stopped(Who::Tree(instance));
            let held = trace.awaited(stopped).is_some_and(|(met, _)| met);
            witness(held, "the server was not held until the client had left")?;
            let visitors: Vec<_> = clients.iter().filter(|client| !left(client)).copied().collect();
            trace.all_served(&visitors)?;
            for client in clients.iter().filter(left) {
                let_go(trace, *client, &setting)?;
            }
            survived += 1;
        }
        let windows: Vec<Window> = trace.windows().collect();
        if !windows.is_empty() {
            rests_in(&windows, trace.is_one_task(), "when a client has left while the server was writing")?;
        }
        witness(survived > 0, "the server was not launched and awaited")?;
        Ok(format!("it survived in {survived} of 2 settings that were tried"))
    })
}

/// Ends the check if the process that was made for this client was waited for, and still holds its connection.
fn let_go(trace: &Trace, client: Client, setting: &str) -> Result<(), Verdict> {
    let Some((false, look)) = trace.awaited(Condition::ServerOfGone(client)) else { return Ok(()) };
    // The kernel tells no more of a connection that was reset than that somebody holds a socket with this inode.
    let at = trace.local(client).and_then(|local| trace.looks().find_map(|(_, look)| look.peer_of(local)));
    let inode = at.map_or(0, |socket| socket.inode);
    match look.processes.iter().find(|process| process.holds(inode)) {
        Some(process) => Err(Verdict::missing(
            format!(
                "nobody holds the connection of {client} {} after it was reset, when launched{setting}",
                span(trace.circumstances.limits.settle_within)
            ),
            format!("{} holds it (state {})", name(process), process.state),
        )),
        None => Ok(()),
    }
}

/// How the launched process of an instance ended before the harness killed it.
fn ended_by_itself(trace: &Trace, wanted: Instance) -> Option<String> {
    let daemonizes = trace.circumstances.profile.as_ref().is_some_and(|profile| profile.daemonizes);
    for event in &trace.events {
        match &event.what {
            What::Signalled { who: Who::Tree(instance), sig: Sig::Kill, .. } if *instance == wanted => {
                return None;
            }
            What::Exited { instance, exit } if *instance == wanted && !daemonizes => {
                return Some(exit.to_string());
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::{Build, SERVER, connection, process, serving};
    use crate::trace::{Exit, Look, State};
    use crate::verdict::Kind;

    fn launched(setting: Setting) -> Scenario {
        Scenario::launched(setting, [visit(0)])
    }

    #[test]
    fn a_server_that_does_not_come_up_in_a_setting_fails_it() {
        let scenario = launched(Setting { sigchld: Disposition::Ignored, ..Setting::default() });
        let trace = Build::empty()
            .event(What::Launched { instance: FIRST, pid: 2 })
            .exited(0, Exit::Code(1))
            .awaited(Condition::Listening(FIRST), false, Look::default())
            .trace();
        assert!(
            matches!((SIGCHLD_IGNORED.check)(&scenario, &trace), Verdict::Fail(e) if e.kind == Kind::Missing)
        );
        let fine = Build::served().visited(0).looked(serving()).trace();
        assert!(matches!((SIGCHLD_IGNORED.check)(&scenario, &fine), Verdict::Pass(_)));
    }

    #[test]
    fn a_server_that_dies_of_sigpipe_is_seen() {
        let dead = left_writer(serving()).exited(0, Exit::Signal(13)).looked(Look::default());
        assert!(matches!(judged(dead), Verdict::Fail(_)));
        assert!(matches!(
            judged(left_writer(serving()).visited(2).visited(3).looked(serving())),
            Verdict::Pass(_)
        ));
        assert!(matches!(judged(Build::served().visited(0).looked(serving())), Verdict::Inconclusive(_)));
    }

    #[test]
    fn a_process_that_writes_on_is_seen() {
        let goes_on = |holder: &[u64]| {
            let (mut before, mut after) = (serving(), serving());
            before.sockets.push(connection(State::Established, 1, 101));
            before.processes.push(process(7, SERVER, &[101]));
            after.processes.push(process(7, SERVER, holder));
            let gone = Condition::ServerOfGone(leaver(FIRST));
            judged(left_writer(before).visited(2).visited(3).awaited(gone, false, after))
        };
        assert!(matches!(goes_on(&[101]), Verdict::Fail(e) if e.kind == Kind::Missing));
        assert!(matches!(goes_on(&[]), Verdict::Pass(_)), "a child that is used again");
        let spins = (0..3)
            .fold(left_writer(serving()).visited(2).visited(3), |build, _| build.window(99_000))
            .looked(serving());
        assert!(matches!(judged(spins), Verdict::Fail(e) if e.kind == Kind::Measured));
    }

    fn left_writer(before: Look) -> Build {
        let stopped = Condition::Stopped(Who::Tree(FIRST));
        Build::served().visited(0).awaited(stopped, true, before).acted(1, Act::Reset, |acted| acted.sent = 9)
    }

    fn judged(build: Build) -> Verdict {
        let scenario = Scenario { steps: client_leaves_writer(FIRST, Disposition::Default) };
        (SIGPIPE_EITHER_WAY.check)(&scenario, &build.trace())
    }
}
