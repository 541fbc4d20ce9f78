//! What a signal to stop brings about: the end of the server, of its children, and news for its clients.

use std::fmt::Write as _;

use proptest::prelude::Strategy;
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::{Model, Profile};
use crate::scenario::generate::fixed;
use crate::scenario::{Act, Condition, Payload, Scenario, Sig, Step, To, Who, act};
use crate::spec::stop::{FIRST, clients_at, connected, detached, each, ending, survivors, telling, waits};
use crate::trace::query::{count, judge, millis, name, span, witness};
use crate::trace::{Exit, Fate, Trace, What};
use crate::verdict::Verdict;

/// The stop signal ends a server that has no client.
pub static SIGTERM: Clause = Clause {
    id: ClauseId("stop.sigterm"),
    level: Level::Must,
    requirement: "The server ends when it gets the stop signal and has no client.",
    why: "Whatever starts servers also stops them with SIGTERM, at each deployment and at each shutdown; one that does \
          not end is killed after a minute or so, in the middle of whatever it does. The classic bug is a handler that \
          sets a flag which nobody looks at, because accept is restarted; the cure is to let the signal interrupt the wait.",
    citations: &["signal(7)", "POSIX.1-2024 sigaction"],
    needs: &[],
    scenarios: |profile| stopped_by(profile, Sig::Stopping),
    check: |_, trace| ends_at(trace, Sig::Stopping),
};

/// SIGINT does the same.
pub static SIGINT: Clause = Clause {
    id: ClauseId("stop.sigint"),
    level: Level::Should,
    requirement: "The server ends when it gets SIGINT and has no client.",
    why: "SIGINT is what a terminal sends for Ctrl-C. A server that ignores it sends its developer to another window \
          for the kill command, many times a day.",
    citations: &["signal(7)", "termios(3)"],
    needs: &[],
    scenarios: |profile| stopped_by(profile, Sig::Int),
    check: |_, trace| ends_at(trace, Sig::Int),
};

/// The exit status says that all is well.
pub static STATUS: Clause = Clause {
    id: ClauseId("stop.status"),
    level: Level::Should,
    requirement: "The server ends with status 0, or by the signal itself, when it is told to stop.",
    why: "A supervisor reads the exit status: a stop on request that looks like a crash is logged as one, wakes \
          somebody up, or makes the server start again.",
    citations: &["POSIX.1-2024 exit", "wait(2)"],
    needs: &[Need::LaunchedAccepts],
    scenarios: |profile| stopped_by(profile, Sig::Stopping),
    check: ends_well,
};

/// Whether clients are served to their end.
pub static DRAINS: Clause = Clause {
    id: ClauseId("stop.drains"),
    level: Level::May,
    requirement: "The server may serve a connected client to its end after it has been told to stop.",
    why: "To drain or to cut off is a choice; whoever plans a deployment should know which of them was made.",
    citations: &["signal(7)"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: |profile| {
        // Only when nothing runs any more has the signal done all that it does by itself.
        fixed(connected(1).into_iter().chain(telling(profile, FIRST, Sig::Stopping)).chain([
            Step::Await(Condition::Still),
            act(0, Act::Exchange(Payload::greeting())),
            act(0, Act::Close),
        ]))
    },
    check: says_whether_it_drains,
};

/// Clients in the accept queue are not left in silence.
pub static QUEUED_CLIENTS_TOLD: Clause = Clause {
    id: ClauseId("stop.queued-clients-told"),
    level: Level::Should,
    requirement: "The server serves the clients that wait in its queue when it is told to stop, or lets them know by a \
                  reset or an end of file.",
    why: "A client in the accept queue believes that it is connected. When the last copy of the listening socket is \
          closed the kernel resets it, and it can go elsewhere; while a forgotten child holds a copy it waits for nothing.",
    citations: &["POSIX.1-2024 close", "listen(2)"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: stopped_with_a_queue,
    check: the_queue_is_told,
};

fn stopped_by(profile: &Profile, sig: Sig) -> BoxedStrategy<Scenario> {
    let ready = profile.model != Model::OneShot && profile.echoes;
    let visit = ready.then(|| act(0, Act::Visit(Payload::greeting())));
    fixed(visit.into_iter().chain(ending(profile, FIRST, sig)))
}

/// The client that is served while others wait.
const STAYS: u32 = 99;

fn stopped_with_a_queue(profile: &Profile) -> BoxedStrategy<Scenario> {
    let most = profile.clients.min(profile.backlog.saturating_add(1)).clamp(1, profile.effort.pick(2, 3, 16));
    let mut before = detached(profile, FIRST).to_vec();
    if profile.concurrent && profile.clients > most {
        // Somebody is being served, by a child that may have forgotten to close the listening socket.
        before.extend([act(STAYS, Act::Connect(To::Target)), act(STAYS, Act::Exchange(Payload::greeting()))]);
    }
    (1..=most)
        .prop_map(move |clients| {
            Scenario::served(before.iter().cloned().chain([
                Step::Signal(Who::Tree(FIRST), Sig::Stop),
                Step::Await(Condition::Stopped(Who::Tree(FIRST))),
                each(clients, Act::Connect(To::Target)),
                each(clients, Act::Send(Payload::greeting())),
                each(clients, Act::HalfClose),
                Step::Signal(Who::Launched(FIRST), Sig::Stopping),
                Step::Signal(Who::Tree(FIRST), Sig::Cont),
                each(clients, Act::ReadToEnd),
            ]))
        })
        .boxed()
}

fn ends_at(trace: &Trace, sig: Sig) -> Verdict {
    judge(|| {
        let looks = waits(trace, sig)?;
        let connected = clients_at(trace, sig);
        witness(
            connected.is_empty(),
            format!("{} connected when {sig} came", count(connected.len(), "client")),
        )?;
        let left = survivors(trace, sig, looks[0]);
        if let Some(process) = left.first() {
            let within = span(trace.circumstances.limits.stop_within);
            return Err(Verdict::missing(
                format!("pid {} ends within {within} of {sig}", process.pid),
                format!("{} still runs (state {})", name(process), process.state),
            ));
        }
        let mut seen = format!("{sig} ended the server");
        if let Some((_, exit)) = trace.exit(FIRST) {
            let _ = write!(seen, ": it {exit}");
        }
        Ok(seen)
    })
}

fn ends_well(_: &Scenario, trace: &Trace) -> Verdict {
    /// SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGUSR1, SIGUSR2, SIGTERM: what a user may have declared to be the stop signal.
    const STOPPING: [i32; 7] = [1, 2, 3, 9, 10, 12, 15];
    judge(|| {
        waits(trace, Sig::Stopping)?;
        let (_, exit) = trace
            .exit(FIRST)
            .ok_or_else(|| Verdict::NotApplicable("the server did not end: see stop.sigterm".into()))?;
        let well = match exit {
            // A shell, a JVM and node say "ended by signal n" as 128 + n.
            Exit::Code(code) => code == 0 || STOPPING.contains(&(code - 128)),
            Exit::Signal(number) => STOPPING.contains(&number),
        };
        if well {
            return Ok(format!("it {exit}"));
        }
        Err(Verdict::seen("status 0, or the end by the stop signal itself", trace.silence(FIRST)))
    })
}

fn says_whether_it_drains(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(FIRST)?;
        let connected = clients_at(trace, Sig::Stopping);
        witness(!trace.signalled(Sig::Stopping).is_empty(), "nobody told the server to stop")?;
        let told = |what: &What| matches!(what, What::Signalled { sig: Sig::Stopping, .. });
        let last = trace.events.iter().rposition(|event| told(&event.what)).unwrap_or(0);
        let mut after = trace.events[last..].iter();
        let taken = after.find_map(|event| match &event.what {
            What::Awaited { condition: Condition::Still, look, .. } => Some(look),
            _ => None,
        });
        let look = taken.ok_or_else(|| {
            Verdict::Inconclusive("a client spoke while the server may not have heard the signal yet".into())
        })?;
        let exchange = after
            .filter_map(|event| match &event.what {
                What::Acted(acted) if matches!(acted.act, Act::Exchange(_)) => Some(acted),
                _ => None,
            })
            .find(|acted| connected.contains(&acted.client))
            .ok_or_else(|| Verdict::Inconclusive("no client spoke after the stop signal".into()))?;
        let listens = look.listening(FIRST).next().is_some();
        Ok(match exchange.fate {
            Fate::Done if listens => {
                "a connected client is still served, and the server still listens".into()
            }
            Fate::Done => "it drains: a connected client is still served".into(),
            Fate::Ended => "it does not drain: a connected client is cut off".into(),
            _ => format!("a connected client heard nothing for {}", millis(exchange.longest_us)),
        })
    })
}

fn the_queue_is_told(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(FIRST)?;
        let stopped = trace.awaited(Condition::Stopped(Who::Tree(FIRST))).is_some_and(|(met, _)| met);
        witness(stopped, "the server was not held while clients queued up")?;
        witness(!trace.signalled(Sig::Stopping).is_empty(), "nobody told the server to stop")?;
        let queued = clients_at(trace, Sig::Stopping);
        let waited: Vec<_> = scenario
            .clients()
            .into_iter()
            .filter(|client| queued.contains(client))
            .filter_map(|client| trace.acts(client).find(|acted| matches!(acted.act, Act::ReadToEnd)))
            .collect();
        witness(!waited.is_empty(), "no client waited in the queue")?;
        if let Some(acted) = waited.iter().find(|acted| acted.fate == Fate::Missed && acted.ending.is_none())
        {
            return Err(Verdict::missing(
                format!(
                    "{}, in the accept queue when the stop signal came, is served, reset or closed",
                    acted.client
                ),
                format!("silence for {}", millis(acted.longest_us)),
            ));
        }
        let served = waited.iter().filter(|acted| acted.received == acted.sent).count();
        Ok(format!("{} in the queue: {served} served, {} told", waited.len(), waited.len() - served))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Look;
    use crate::trace::build::{Build, SERVER, serving};
    use crate::verdict::Kind;

    fn stopped(look: Look, sig: Sig) -> Build {
        let gone = look.processes.is_empty();
        Build::served().visited(0).signalled(Who::Launched(FIRST), sig, &[SERVER]).awaited(
            Condition::Gone(FIRST),
            gone,
            look,
        )
    }

    #[test]
    fn a_server_that_still_runs_has_not_stopped() {
        let trace = stopped(serving(), Sig::Stopping).trace();
        assert!(
            matches!((SIGTERM.check)(&Scenario::default(), &trace), Verdict::Fail(e) if e.kind == Kind::Missing)
        );
    }

    #[test]
    fn a_server_that_is_gone_has_stopped() {
        let trace = stopped(Look::default(), Sig::Int).trace();
        assert!(matches!((SIGINT.check)(&Scenario::default(), &trace), Verdict::Pass(_)));
        assert!(matches!((SIGTERM.check)(&Scenario::default(), &trace), Verdict::Inconclusive(_)));
    }

    #[test]
    fn statuses_that_say_stopped_are_well() {
        let with = |exit| stopped(Look::default(), Sig::Stopping).exited(0, exit).trace();
        for exit in [Exit::Code(0), Exit::Code(143), Exit::Signal(15)] {
            assert!(
                matches!((STATUS.check)(&Scenario::default(), &with(exit)), Verdict::Pass(_)),
                "{exit:?}"
            );
        }
        for exit in [Exit::Code(1), Exit::Signal(11), Exit::Signal(6)] {
            assert!(
                matches!((STATUS.check)(&Scenario::default(), &with(exit)), Verdict::Fail(_)),
                "{exit:?}"
            );
        }
    }
}
