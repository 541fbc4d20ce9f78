//! A server that has ended can be started again at once, whatever its clients have left behind.

use proptest::prelude::Strategy;
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::fixed;
use crate::scenario::{Act, Client, Condition, Instance, Payload, Scenario, Setting, Sig, Step, Who, act};
use crate::spec::stop::{FIRST, connected, each, ending, side_by_side};
use crate::trace::query::{applies, count, judge, millis, witness};
use crate::trace::{Acted, Ending, Fate, Look, Socket, State, Trace, What};
use crate::verdict::Verdict;

const SECOND: Instance = Instance(1);
/// The client that visits the second instance.
const VISITOR: u32 = 50;

/// Connections in TIME_WAIT do not keep the next instance from binding.
pub static RESTART_AT_ONCE: Clause = Clause {
    id: ClauseId("stop.restart-at-once"),
    level: Level::Must,
    requirement: "The server can be started again at once, although connections of the instance before are in TIME_WAIT.",
    why: "Whoever closes a connection first keeps it in TIME_WAIT for a minute, and a server that is stopped closes all \
          of them first. Without SO_REUSEADDR, bind then fails with EADDRINUSE until the minute is over. The cure is one \
          line, before bind.",
    citations: &["RFC 9293 3.6.1", "socket(7) SO_REUSEADDR", "UNP 7.5"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: after_time_wait,
    check: restarts_beside_time_wait,
};

/// Nor do connections that are still open.
pub static RESTART_BESIDE_OPEN_CONNECTIONS: Clause = Clause {
    id: ClauseId("stop.restart-beside-open-connections"),
    level: Level::Must,
    requirement: "The server can be started again while a connection of the instance before is not yet closed.",
    why: "A child may serve a long conversation after its parent has died, or a client may be slow to close. Linux lets \
          the next instance bind beside such connections if both instances set SO_REUSEADDR before bind; else the \
          service stays down for as long as one old client likes.",
    citations: &["socket(7) SO_REUSEADDR", "POSIX.1-2024 bind", "UNP 7.5"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: beside_open_connections,
    check: restarts_beside_open_connections,
};

/// Start, serve, stop, again and again.
pub static RESTART_LOOP: Clause = Clause {
    id: ClauseId("stop.restart-loop"),
    level: Level::Must,
    requirement: "The server can be started, used and stopped again and again.",
    why: "What an instance leaves behind (a stale lock or pid file, a semaphore, a process that holds the port) meets \
          the next one. It shows at the second start, which a test of one start never sees.",
    citations: &["POSIX.1-2024 bind", "UNP 7.5"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: again_and_again,
    check: each_start_succeeds,
};

/// A client of the instance before is told that its connection is gone.
pub static OLD_CLIENT_GETS_RESET: Clause = Clause {
    id: ClauseId("stop.old-client-gets-reset"),
    // Whoever is killed loses its sockets: the kernel sees to it, and no server can break it.
    level: Level::May,
    requirement: "The server does not answer on connections of an instance that was killed: their clients get an end of \
                  file or a reset.",
    why: "A client that was idle during a crash and speaks to the new instance must learn that its conversation is lost, \
          instead of waiting for an answer that cannot come.",
    citations: &["RFC 9293 3.5.1", "UNP 5.15"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: |_| {
        let old = [Step::Signal(Who::Tree(FIRST), Sig::Kill), Step::Await(Condition::Gone(FIRST))];
        let speaks = [act(0, Act::Send(Payload::greeting())), act(0, Act::ReadToEnd), act(0, Act::Close)];
        fixed(connected(1).into_iter().chain(old).chain(relaunch()).chain(speaks))
    },
    check: old_client_is_told,
};

fn relaunch() -> [Step; 3] {
    [
        Step::Launch(SECOND, Setting::default()),
        Step::Await(Condition::Listening(SECOND)),
        act(VISITOR, Act::Visit(Payload::greeting())),
    ]
}

/// The server's processes die and so close first; then the clients close: the server's ends are in TIME_WAIT.
fn after_time_wait(profile: &Profile) -> BoxedStrategy<Scenario> {
    (1..=side_by_side(profile, profile.effort.pick(1, 3, 16)))
        .prop_map(|clients| {
            let end = [
                Step::Signal(Who::Tree(FIRST), Sig::Kill),
                Step::Await(Condition::Gone(FIRST)),
                each(clients, Act::ReadToEnd),
                each(clients, Act::Close),
                Step::Look,
            ];
            Scenario::served(connected(clients).into_iter().chain(end).chain(relaunch()))
        })
        .boxed()
}

/// Where children serve, they live on and their connections are ESTABLISHED; else FIN_WAIT2, since clients stay.
fn beside_open_connections(profile: &Profile) -> BoxedStrategy<Scenario> {
    // Whoever wraps the server might start it again, and workers made beforehand would go on listening.
    let children_live_on = profile.forks && profile.launched_accepts;
    (1..=side_by_side(profile, profile.effort.pick(1, 2, 16)))
        .prop_map(move |clients| {
            let end = if children_live_on {
                [Step::Signal(Who::Acceptor(FIRST), Sig::Kill), Step::Await(Condition::PortFree)]
            } else {
                [Step::Signal(Who::Tree(FIRST), Sig::Kill), Step::Await(Condition::Gone(FIRST))]
            };
            let steps = connected(clients).into_iter().chain(end).chain([Step::Look]).chain(relaunch());
            Scenario::served(steps.chain([each(clients, Act::Close)]))
        })
        .boxed()
}

fn again_and_again(profile: &Profile) -> BoxedStrategy<Scenario> {
    let times = profile.effort.pick(2, 3, 20);
    let mut steps = Vec::new();
    for n in 0..times {
        let instance = Instance(n);
        steps.push(Step::Launch(instance, Setting::default()));
        steps.push(Step::Await(Condition::Listening(instance)));
        steps.push(act(n, Act::Visit(Payload::greeting())));
        steps.extend(ending(profile, instance, Sig::Stopping));
    }
    proptest::strategy::Just(Scenario { steps }).boxed()
}

fn restarts_beside_time_wait(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let (port, look) = before_restart(scenario, trace)?;
        let waiting = connections(look, port, &[State::TimeWait]).count();
        let reset = scenario.clients().iter().any(|&client| {
            client.0 != VISITOR && trace.acts(client).any(|acted| acted.ending == Some(Ending::Reset))
        });
        witness(waiting > 0 || reset, "no connection was in TIME_WAIT when the server was started again")?;
        let beside = format!("beside {} in TIME_WAIT", count(waiting, "connection"));
        comes_back(trace, port, &beside)
    })
}

fn restarts_beside_open_connections(scenario: &Scenario, trace: &Trace) -> Verdict {
    const OPEN: [State; 5] =
        [State::Established, State::FinWait1, State::FinWait2, State::CloseWait, State::LastAck];
    judge(|| {
        let (port, look) = before_restart(scenario, trace)?;
        let open: Vec<_> = connections(look, port, &OPEN).collect();
        let reset =
            trace.all_acts().any(|acted| acted.client.0 != VISITOR && acted.ending == Some(Ending::Reset));
        witness(!open.is_empty() || reset, "no old connection was open when the server was started again")?;
        let states: Vec<_> = open.iter().map(|socket| format!("{:?}", socket.state)).collect();
        let beside = format!("beside {} ({})", count(open.len(), "old connection"), states.join(", "));
        comes_back(trace, port, &beside)
    })
}

fn each_start_succeeds(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(FIRST)?;
        let launches = scenario.steps.iter().filter_map(|step| match step {
            Step::Launch(instance, _) => Some(*instance),
            _ => None,
        });
        let mut starts = 0_usize;
        for instance in launches {
            let expected = format!("start {} succeeds as the first one did", starts + 1);
            match trace.awaited(Condition::Listening(instance)) {
                Some((true, _)) => {}
                Some((false, _)) => return Err(Verdict::missing(expected, trace.silence(instance))),
                None => return Err(Verdict::Inconclusive(format!("{instance} was not awaited"))),
            }
            trace.served(Client(instance.0))?;
            starts += 1;
            let gone = trace.awaited(Condition::Gone(instance)).is_some_and(|(met, _)| met);
            applies(gone, format!("{instance} did not end: see stop.sigterm and stop.no-orphan"))?;
        }
        witness(starts > 1, "the server was not started a second time")?;
        Ok(format!("{starts} starts, each served a client"))
    })
}

fn old_client_is_told(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        before_restart(scenario, trace)?;
        let listens = trace.awaited(Condition::Listening(SECOND)).is_some_and(|(met, _)| met);
        applies(listens, "the server did not come back: see stop.restart-beside-open-connections")?;
        let old: Vec<&Acted> = after_restart(trace).filter(|acted| acted.client.0 != VISITOR).collect();
        let Some(read) = old.iter().find(|acted| matches!(acted.act, Act::ReadToEnd)) else {
            return Err(Verdict::Inconclusive("no old client spoke to the new instance".into()));
        };
        let expected = format!(
            "{}, connected to an instance that was killed, reads end of file or a reset",
            read.client
        );
        let news: u64 = old
            .iter()
            .filter(|acted| acted.client == read.client)
            .map(|acted| acted.spans.len() as u64)
            .sum();
        if news > 0 {
            return Err(Verdict::seen(
                expected,
                format!("an answer from the new instance ({} bytes so far)", read.received),
            ));
        }
        if read.fate == Fate::Missed && read.ending.is_none() {
            return Err(Verdict::missing(expected, format!("silence for {}", millis(read.longest_us))));
        }
        Ok(match read.ending {
            Some(Ending::Reset) => "a reset".into(),
            _ => "end of file".into(),
        })
    })
}

/// Where the first instance listened, and what was there before the second one was launched.
fn before_restart<'a>(scenario: &Scenario, trace: &'a Trace) -> Result<(u16, &'a Look), Verdict> {
    let unusual = |step: &&Step| matches!(step, Step::Launch(_, setting) if !setting.is_usual());
    witness(
        !scenario.steps.iter().any(|step| unusual(&step)),
        "the server was launched in an unusual setting",
    )?;
    let first: Vec<u16> = trace.ready(FIRST)?.listening(FIRST).map(|socket| socket.local.port()).collect();
    let port = first
        .iter()
        .copied()
        .find(|&port| port == trace.circumstances.asked_port)
        .or(first.first().copied())
        .ok_or_else(|| Verdict::Inconclusive("the server held no socket in LISTEN".into()))?;
    let restart = |what: &What| matches!(what, What::Launched { instance: SECOND, .. });
    let launched = trace.events.iter().position(|event| restart(&event.what));
    let look = trace.events[..launched.unwrap_or(0)]
        .iter()
        .rev()
        .find_map(|event| match &event.what {
            What::Looked { look, .. } | What::Awaited { look, .. } => Some(look),
            _ => None,
        })
        .ok_or_else(|| Verdict::Inconclusive("the server was not started a second time".into()))?;
    let old = look.listeners(port).next().is_some();
    applies(!old, "the instance before still listened when the server was started again")?;
    Ok((port, look))
}

/// Ends the check unless the second instance listens on the port and serves.
fn comes_back(trace: &Trace, port: u16, beside: &str) -> Result<String, Verdict> {
    let expected = format!("the server, started again {beside}, listens on port {port}");
    let (met, look) = trace
        .awaited(Condition::Listening(SECOND))
        .ok_or_else(|| Verdict::Inconclusive("nobody waited for the second start".into()))?;
    if !met {
        return Err(Verdict::missing(expected, trace.silence(SECOND)));
    }
    let ports: Vec<u16> = look.listening(SECOND).map(|socket| socket.local.port()).collect();
    if !ports.contains(&port) {
        let given = trace.circumstances.profile.as_ref().is_none_or(|profile| profile.port_given);
        if given {
            return Err(Verdict::missing(expected, format!("it listens on {ports:?} instead")));
        }
        return Ok(format!("its port is not fixed: it came back on {ports:?}"));
    }
    for acted in after_restart(trace).filter(|acted| matches!(acted.act, Act::Visit(_))) {
        trace.served(acted.client)?;
    }
    Ok(format!("it came back {beside}"))
}

fn after_restart(trace: &Trace) -> impl Iterator<Item = &Acted> {
    let restart = |what: &What| matches!(what, What::Launched { instance: SECOND, .. });
    trace.events.iter().skip_while(move |event| !restart(&event.what)).filter_map(|event| match &event.what {
        What::Acted(acted) => Some(acted),
        _ => None,
    })
}

/// The server's ends of connections in one of these states.
fn connections<'a>(look: &'a Look, port: u16, states: &'a [State]) -> impl Iterator<Item = &'a Socket> {
    look.sockets.iter().filter(move |socket| socket.local.port() == port && states.contains(&socket.state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::{Build, PORT, connection, listening, process};
    use crate::trace::{Exit, Process};
    use crate::verdict::Kind;

    fn restarted(left: State, back: bool) -> Trace {
        let left = Look { sockets: vec![connection(left, 0, 0)], ..Look::default() };
        let second = Process { instance: SECOND, ..process(9, 1, &[200]) };
        let listens =
            Look { processes: vec![second], sockets: vec![listening(PORT, 200)], ..Look::default() };
        let build = Build::served()
            .signalled(Who::Tree(FIRST), Sig::Kill, &[2])
            .awaited(Condition::Gone(FIRST), true, Look::default())
            .looked(left)
            .event(What::Launched { instance: SECOND, pid: 9 });
        if back {
            build.awaited(Condition::Listening(SECOND), true, listens).visited(VISITOR).trace()
        } else {
            build
                .exited(1, Exit::Code(1))
                .awaited(Condition::Listening(SECOND), false, Look::default())
                .acted(VISITOR, Act::Visit(Payload::greeting()), |acted| {
                    acted.fate = Fate::Refused("ECONNREFUSED".into());
                })
                .trace()
        }
    }

    fn judged(clause: &Clause, trace: &Trace) -> Verdict {
        (clause.check)(&Scenario::default(), trace)
    }

    #[test]
    fn a_restart_beside_time_wait_succeeds_or_not() {
        assert!(matches!(judged(&RESTART_AT_ONCE, &restarted(State::TimeWait, true)), Verdict::Pass(_)));
        let failed = judged(&RESTART_AT_ONCE, &restarted(State::TimeWait, false));
        assert!(matches!(failed, Verdict::Fail(e) if e.kind == Kind::Missing), "no Fail");
        assert!(matches!(
            judged(&RESTART_AT_ONCE, &restarted(State::FinWait2, false)),
            Verdict::Inconclusive(_)
        ));
    }

    #[test]
    fn open_connections_are_the_witness_of_the_other_clause() {
        let clause = &RESTART_BESIDE_OPEN_CONNECTIONS;
        assert!(matches!(judged(clause, &restarted(State::FinWait2, true)), Verdict::Pass(_)));
        assert!(matches!(judged(clause, &restarted(State::Established, false)), Verdict::Fail(_)));
        assert!(matches!(judged(clause, &restarted(State::TimeWait, false)), Verdict::Inconclusive(_)));
    }

    #[test]
    fn a_server_on_any_free_port_is_not_blamed_for_the_next_one() {
        let mut trace = restarted(State::TimeWait, true);
        for event in &mut trace.events {
            if let What::Awaited { condition: Condition::Listening(SECOND), look, .. } = &mut event.what {
                look.sockets = vec![listening(PORT + 1, 200)];
            }
        }
        assert!(matches!(judged(&RESTART_AT_ONCE, &trace), Verdict::Fail(_)));
        trace.circumstances.profile.as_mut().unwrap().port_given = false;
        assert!(matches!(judged(&RESTART_AT_ONCE, &trace), Verdict::Pass(_)));
    }
}
