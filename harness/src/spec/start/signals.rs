//! Signals as the launcher left them: SIGCHLD ignored or blocked, SIGPIPE ignored or not.

use proptest::strategy::{BoxedStrategy, Just, Strategy};

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::{
    Act, Client, Condition, Disposition, Instance, Payload, Scenario, Setting, Sig, Step, To, Who, act,
};
use crate::spec::start::setting::{comes_up, serves_in, setting_of};
use crate::spec::start::{FIRST, SECOND, left_alone, visit};
use crate::trace::query::{count, judge, name, witness};
use crate::trace::{Acted, Trace, What};
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
    requirement: "The server survives clients that leave while it writes, whether it was started with SIGPIPE ignored or not.",
    why: "Shells and supervisors differ in what they leave of SIGPIPE. With the default, one client that leaves too early \
          ends the whole process; with SIG_IGN, write returns EPIPE, which nobody may have looked at. The cure is to \
          ignore the signal oneself and to check what write returns.",
    citations: &["POSIX.1-2024 exec", "POSIX.1-2024 write EPIPE", "UNP 5.13"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: |_| {
        let (usual, ignored) = (Disposition::Default, Disposition::Ignored);
        let between = [Step::Signal(Who::Tree(FIRST), Sig::Kill), Step::Await(Condition::Gone(FIRST))];
        let steps = client_leaves_writer(FIRST, usual).into_iter().chain(between);
        Just(Scenario { steps: steps.chain(client_leaves_writer(SECOND, ignored)).collect() }).boxed()
    },
    check: survives_sigpipe,
};

/// One client stays while others come and leave, if it can.
fn without_sigchld(profile: &Profile) -> BoxedStrategy<Scenario> {
    let setting = Setting { sigchld: Disposition::Ignored, ..Setting::default() };
    let stays = profile.concurrent && profile.clients > 1;
    let first = [act(0, Act::Connect(To::Target)), act(0, Act::Exchange(Payload::greeting()))];
    let last = [act(0, Act::HalfClose), act(0, Act::ReadToEnd), act(0, Act::Close)];
    let steps = first.into_iter().filter(|_| stays).chain([visit(1), visit(2)]);
    let steps = steps.chain(last.into_iter().filter(|_| stays)).chain([visit(3), visit(4), Step::Look]);
    Just(Scenario::launched(setting, steps)).boxed()
}

/// A client that does not read stalls the server, closes its sending half and resets: the next write meets EPIPE.
fn client_leaves_writer(instance: Instance, sigpipe: Disposition) -> Vec<Step> {
    let setting = Setting { sigpipe, buffers: Some(16 << 10), ..Setting::default() };
    let client = 10 * instance.0;
    vec![
        Step::Launch(instance, setting),
        Step::Await(Condition::Listening(instance)),
        visit(client),
        act(client + 1, Act::Connect(To::Target)),
        act(client + 1, Act::Stall { max: 16 << 20 }),
        act(client + 1, Act::HalfClose),
        act(client + 1, Act::Reset),
        visit(client + 2),
        visit(client + 3),
        Step::Look,
    ]
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
            let stalls = |acted: &Acted| matches!(acted.act, Act::Stall { .. }) && acted.sent > 0;
            let left = |client: &&Client| trace.acts(**client).any(stalls);
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
            let visitors: Vec<_> = clients.iter().filter(|client| !left(client)).copied().collect();
            trace.all_served(&visitors)?;
            survived += 1;
        }
        witness(survived > 0, "the server was not launched and awaited")?;
        Ok(format!("it survived in {survived} of 2 settings that were tried"))
    })
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
    use crate::trace::build::{Build, serving};
    use crate::trace::{Exit, Look};
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
        let steps = client_leaves_writer(FIRST, Disposition::Default);
        let stalled = || Build::served().visited(0).acted(1, Act::Stall { max: 9 }, |acted| acted.sent = 9);
        let dead = stalled().exited(0, Exit::Signal(13)).looked(Look::default()).trace();
        let scenario = Scenario { steps };
        assert!(matches!((SIGPIPE_EITHER_WAY.check)(&scenario, &dead), Verdict::Fail(_)));
        let alive = stalled().visited(2).visited(3).looked(serving()).trace();
        assert!(matches!((SIGPIPE_EITHER_WAY.check)(&scenario, &alive), Verdict::Pass(_)));
    }
}
