//! Ports that cannot be had: held by another program, by another instance, or no ports at all.

use proptest::strategy::{BoxedStrategy, Just, Strategy};

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::{Condition, Endpoint, Instance, Scenario, Setting, Step};
use crate::spec::start::{FIRST, SECOND, left_alone, visit};
use crate::trace::aftermath::{first_step, in_context};
use crate::trace::query::{judge, name, witness};
use crate::trace::{Exit, Trace, What};
use crate::verdict::Verdict;

/// A server that cannot have its port ends, and says so by its status.
pub static PORT_IN_USE_EXITS: Clause = Clause {
    id: ClauseId("start.port-in-use-exits"),
    level: Level::Must,
    requirement: "The server ends with a status other than 0, and leaves nothing running, when its port is held by \
                  another program.",
    why: "A server that cannot serve must not look as if it could: clients reach the other program, and the supervisor \
          believes that all is well. The classic bug is not to check what bind returns; a wrapped port or an endless \
          retry is no better.",
    citations: &["POSIX.1-2024 bind EADDRINUSE", "bind(2)"],
    needs: &[],
    scenarios: port_held,
    check: gives_up,
};

/// It tells the operator why.
pub static PORT_IN_USE_MESSAGE: Clause = Clause {
    id: ClauseId("start.port-in-use-message"),
    level: Level::Should,
    requirement: "The server says why when it cannot have its port.",
    why: "\"Address already in use\" is found in a minute; a silent status 1 costs an evening. The cure is perror after \
          every call that can fail.",
    citations: &["POSIX.1-2024 perror", "bind(2)"],
    needs: &[],
    scenarios: port_held,
    check: says_why,
};

/// Two instances cannot have one port.
pub static SECOND_INSTANCE_REFUSED: Clause = Clause {
    id: ClauseId("start.second-instance-refused"),
    level: Level::Must,
    requirement: "The server does not share its port with a second instance, and goes on serving when one is started.",
    why: "A server is started twice by mistake sooner or later. If the second start succeeds, as with SO_REUSEPORT where \
          SO_REUSEADDR was meant, two versions answer by turns, and what ends one of them loses its queue. If it hurts the \
          first one, by a file or a socket that both use, the service is gone or its clients are cut off.",
    citations: &["POSIX.1-2024 bind EADDRINUSE", "socket(7) SO_REUSEPORT", "UNP 7.5"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: second_instance,
    check: stays_alone,
};

/// Whether SO_REUSEPORT is in use.
pub static REUSEPORT_REPORTED: Clause = Clause {
    id: ClauseId("start.reuseport-reported"),
    level: Level::May,
    requirement: "The server may share its port by SO_REUSEPORT.",
    why: "Several listening sockets on one port spread clients over processes; each has a queue of its own, and what is \
          in it is lost when its process ends.",
    citations: &["socket(7) SO_REUSEPORT"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: second_instance,
    check: says_whether_it_shares,
};

/// What is no port is not taken for one.
pub static BAD_PORT_REFUSED: Clause = Clause {
    id: ClauseId("start.bad-port-refused"),
    level: Level::Should,
    requirement: "The server ends with a status other than 0 when its port is below 0, above 65535 or no number.",
    why: "atoi turns \"abc\" into 0 and a cast turns 65536 into 0, which is any free port, and 72543 into 7007: the server starts, and no \
          client finds it. The cure is strtol with a look at what it left over, and a check of the range.",
    citations: &["POSIX.1-2024 strtol", "POSIX.1-2024 htons", "UNP 2.9"],
    needs: &[Need::PortGiven],
    scenarios: |_| {
        let mut steps = Vec::new();
        for (n, port) in (0..).zip(["65536", "-1", "abc", "72543"]) {
            let setting = Setting { port: Some(port.into()), ..Setting::default() };
            steps
                .extend([Step::Launch(Instance(n), setting), Step::Await(Condition::Listening(Instance(n)))]);
        }
        Just(Scenario { steps }).boxed()
    },
    check: refuses_bad_ports,
};

fn port_held(_: &Profile) -> BoxedStrategy<Scenario> {
    Just(Scenario {
        steps: vec![
            Step::Occupy(Endpoint::Tcp4),
            Step::Occupy(Endpoint::Tcp6),
            Step::Launch(FIRST, Setting::default()),
            // It is over as soon as the server is gone; some try again for some seconds first.
            Step::Await(Condition::Listening(FIRST)),
            Step::Look,
        ],
    })
    .boxed()
}

/// A second instance is started beside the first one, which has clients before and after.
pub(super) fn second_instance(profile: &Profile) -> BoxedStrategy<Scenario> {
    let announced = profile.announces.then_some(Step::Await(Condition::Announced(FIRST)));
    let serves = profile.echoes && profile.model != crate::profile::Model::OneShot;
    let visits = |clients: std::ops::Range<u32>| clients.filter(move |_| serves).map(visit);
    let second = [Step::Launch(SECOND, Setting::default()), Step::Await(Condition::Listening(SECOND))];
    let steps =
        announced.into_iter().chain(visits(0..1)).chain(second).chain(visits(1..3)).chain([Step::Look]);
    Just(Scenario::served(steps)).boxed()
}

/// Whether the launched process is the server itself, so that its exit status is the server's.
fn speaks_for_itself(trace: &Trace) -> bool {
    trace.circumstances.profile.as_ref().is_none_or(|profile| profile.launched_accepts && !profile.daemonizes)
}

fn port_given(trace: &Trace) -> bool {
    trace.circumstances.profile.as_ref().is_none_or(|profile| profile.port_given)
}

fn gives_up(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let held = |what: &What| matches!(what, What::Occupied { done: true, .. });
        witness(trace.first(held).is_some(), "the port could not be taken from the server")?;
        let launched = |what: &What| matches!(what, What::Launched { instance: FIRST, .. });
        witness(trace.first(launched).is_some(), "the server was not launched")?;
        let (_, look) = trace
            .awaited(Condition::Listening(FIRST))
            .ok_or_else(|| Verdict::Inconclusive("nobody waited for the server".into()))?;
        let expected = "it ends with a status other than 0, since another program listens on its port";
        let rows: Vec<_> = look.listening(FIRST).map(|socket| socket.local).collect();
        if let Some(row) = rows.first() {
            if row.port() == trace.circumstances.asked_port {
                return Ok(format!("it got the port at another address, {row}"));
            }
            if !port_given(trace) {
                return Ok(format!("its port is not fixed: it took {}", row.port()));
            }
            return Err(Verdict::missing(expected, format!("it listens on {row} instead")));
        }
        let Some((_, exit)) = trace.exit(FIRST) else {
            return Err(Verdict::missing(expected, trace.silence(FIRST)));
        };
        if exit == Exit::Code(0) && speaks_for_itself(trace) {
            return Err(Verdict::seen(expected, format!("it {exit}")));
        }
        let left: Vec<_> = look.of(FIRST).map(name).collect();
        if left.is_empty() {
            return Ok(format!("it {exit}"));
        }
        Err(Verdict::missing("nothing of the server runs on", format!("left: {}", left.join("; "))))
    })
}

fn says_why(_: &Scenario, trace: &Trace) -> Verdict {
    /// What messages of this kind say: the words of strerror, the name of the error or of the call, its number.
    const REASONS: [&str; 7] = ["in use", "eaddrinuse", "bind", "already", "errno 98", "error 98", "(98)"];
    judge(|| {
        let held = |what: &What| matches!(what, What::Occupied { done: true, .. });
        witness(trace.first(held).is_some(), "the port could not be taken from the server")?;
        witness(trace.exit(FIRST).is_some(), "the server did not end: see start.port-in-use-exits")?;
        let daemonizes = trace.circumstances.profile.as_ref().is_some_and(|profile| profile.daemonizes);
        witness(!daemonizes, "a daemon writes to its own log")?;
        let output = trace.output.first();
        let said = output.map(|output| output.stderr.text() + &output.stdout.text()).unwrap_or_default();
        let lower = said.to_lowercase();
        if REASONS.iter().any(|reason| lower.contains(reason)) {
            return Ok(format!("it said {:?}", said.lines().last().unwrap_or_default()));
        }
        let said =
            if said.trim().is_empty() { "not a word".to_owned() } else { format!("{:?}", said.trim()) };
        Err(Verdict::missing("a message that names the port or the error (EADDRINUSE)", said))
    })
}

/// Inodes of both instances' sockets in LISTEN: of the first one at its first address, of the second one on that port,
/// once the second one has come up or given up.
fn sockets_of_both(trace: &Trace) -> Result<(u16, Vec<u64>, Vec<u64>), Verdict> {
    let at = trace
        .ready(FIRST)?
        .listening(FIRST)
        .next()
        .map(|socket| socket.local)
        .ok_or_else(|| Verdict::Inconclusive("no socket in LISTEN was seen".into()))?;
    let launched = |what: &What| matches!(what, What::Launched { instance: SECOND, .. });
    witness(trace.first(launched).is_some(), "no second instance was started")?;
    let (_, look) = trace
        .awaited(Condition::Listening(SECOND))
        .ok_or_else(|| Verdict::Inconclusive("nobody waited for the second instance".into()))?;
    let first =
        look.listening(FIRST).filter(|socket| socket.local == at).map(|socket| socket.inode).collect();
    let second = look.listening(SECOND).filter(|socket| socket.local.port() == at.port());
    Ok((at.port(), first, second.map(|socket| socket.inode).collect()))
}

fn stays_alone(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        left_alone(scenario)?;
        let (port, first, second) = sockets_of_both(trace)?;
        let clients = scenario.clients();
        let start = first_step(scenario, |step| matches!(step, Step::Launch(SECOND, _))).unwrap_or(0);
        trace.served_before(start, &clients)?;
        let expected = "the first instance lives, and keeps its port, when a second one is started";
        if first.is_empty() && !second.is_empty() {
            trace.lives(FIRST, expected)?;
            return Err(Verdict::seen(
                expected,
                format!("only the second one listens on port {port}; the first one runs"),
            ));
        }
        // Several sockets of one instance on one port: SO_REUSEPORT is its design, and no accident.
        if !second.is_empty() && first.len() < 2 {
            return Err(Verdict::seen(
                format!("the second instance cannot listen on port {port}, where the first one does"),
                format!(
                    "both listen there (sockets {first:?} and {second:?}): each gets some of the clients"
                ),
            ));
        }
        trace.lives(FIRST, expected)?;
        if second.is_empty() {
            trace
                .all_served(&clients)
                .map_err(|verdict| in_context(verdict, "when a second instance has been started"))?;
        }
        Ok(match (second.is_empty(), trace.exit(SECOND)) {
            (false, _) => "it shares its port by design".into(),
            (true, Some((_, exit))) => format!("the second instance {exit}, the first one serves"),
            (true, None) => "the second instance does not listen there, the first one serves".into(),
        })
    })
}

fn says_whether_it_shares(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let (port, first, second) = sockets_of_both(trace)?;
        Ok(match (first.len(), second.len()) {
            (_, 1..) => format!("SO_REUSEPORT is set: two instances listen on port {port}"),
            (2.., 0) => format!("one instance has {} sockets on port {port}", first.len()),
            _ => "SO_REUSEPORT is not in use".into(),
        })
    })
}

fn refuses_bad_ports(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let mut refused = Vec::new();
        for (_, step) in scenario.flat() {
            let Step::Launch(instance, Setting { port: Some(port), .. }) = step else { continue };
            if port.parse::<u16>().is_ok() {
                continue;
            }
            let Some((_, look)) = trace.awaited(Condition::Listening(*instance)) else { continue };
            let expected = format!("it ends with a status other than 0 when its port is {port:?}");
            if let Some(socket) = look.listening(*instance).next() {
                return Err(Verdict::seen(expected, format!("it listens on {}", socket.local)));
            }
            match trace.exit(*instance) {
                Some((_, Exit::Code(0))) if speaks_for_itself(trace) => {
                    return Err(Verdict::seen(expected, "it exited with status 0"));
                }
                Some(_) => refused.push(port.as_str()),
                None => return Err(Verdict::missing(expected, "it runs, and listens nowhere")),
            }
        }
        witness(!refused.is_empty(), "no bad port was tried")?;
        Ok(format!("refused: {}", refused.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Act, Payload};
    use crate::trace::build::{Build, PORT, SERVER, listening, process, serving};
    use crate::trace::{Ending, Fate, Look, Process};
    use crate::verdict::Kind;

    fn judged(clause: &Clause, trace: &Trace) -> Verdict {
        (clause.check)(&Scenario::default(), trace)
    }

    fn held(exit: Option<Exit>, look: Look) -> Build {
        let build = Build::empty()
            .event(What::Occupied { endpoint: Endpoint::Tcp4, done: true })
            .event(What::Launched { instance: FIRST, pid: SERVER });
        let build = if let Some(exit) = exit { build.exited(0, exit) } else { build };
        build.awaited(Condition::Listening(FIRST), false, look)
    }

    #[test]
    fn a_server_without_its_port_ends() {
        let clause = &PORT_IN_USE_EXITS;
        let gone = Look::default;
        assert!(matches!(judged(clause, &held(Some(Exit::Code(1)), gone()).trace()), Verdict::Pass(_)));
        let zero = || held(Some(Exit::Code(0)), gone());
        assert!(matches!(judged(clause, &zero().trace()), Verdict::Fail(e) if e.kind == Kind::Seen));
        let daemon = zero().profile(|profile| profile.daemonizes = true);
        assert!(matches!(judged(clause, &daemon.trace()), Verdict::Pass(_)));
        let orphan = Look { processes: vec![process(7, 1, &[])], ..Look::default() };
        assert!(matches!(judged(clause, &held(Some(Exit::Code(1)), orphan).trace()), Verdict::Fail(_)));
        let still = Look { processes: vec![process(SERVER, 1, &[])], ..Look::default() };
        assert!(
            matches!(judged(clause, &held(None, still).trace()), Verdict::Fail(e) if e.kind == Kind::Missing)
        );
    }

    #[test]
    fn another_port_is_fine_only_where_none_was_given() {
        let sockets = vec![listening(PORT + 1, 100)];
        let elsewhere = || Look {
            processes: vec![process(SERVER, 1, &[100])],
            sockets: sockets.clone(),
            ..Look::default()
        };
        assert!(matches!(judged(&PORT_IN_USE_EXITS, &held(None, elsewhere()).trace()), Verdict::Fail(_)));
        let free = held(None, elsewhere()).profile(|profile| profile.port_given = false);
        assert!(matches!(judged(&PORT_IN_USE_EXITS, &free.trace()), Verdict::Pass(_)));
    }

    #[test]
    fn a_reason_is_a_reason_in_any_words() {
        for (said, fine) in
            [("bind: Address already in use\n", true), ("Error: EADDRINUSE\n", true), ("", false)]
        {
            let trace = held(Some(Exit::Code(1)), Look::default()).stderr(said).trace();
            assert_eq!(matches!(judged(&PORT_IN_USE_MESSAGE, &trace), Verdict::Pass(_)), fine, "{said}");
        }
    }

    #[test]
    fn a_second_instance_on_the_port_is_an_accident_unless_each_has_several_sockets() {
        let both = |first: &[u64]| {
            let mut look = serving();
            look.processes =
                vec![process(SERVER, 1, first), Process { instance: SECOND, ..process(9, 1, &[200]) }];
            look.sockets = first.iter().chain(&[200]).map(|&inode| listening(PORT, inode)).collect();
            Build::served()
                .event(What::Launched { instance: SECOND, pid: 9 })
                .awaited(Condition::Listening(SECOND), true, look)
                .trace()
        };
        assert!(matches!(judged(&SECOND_INSTANCE_REFUSED, &both(&[100])), Verdict::Fail(_)));
        assert!(matches!(judged(&SECOND_INSTANCE_REFUSED, &both(&[100, 101])), Verdict::Pass(_)));
        assert!(matches!(judged(&REUSEPORT_REPORTED, &both(&[100])), Verdict::Pass(_)));
    }

    #[test]
    fn what_became_of_the_first_instance_is_told() {
        let observed = |first: Option<Exit>, visit: fn(Build) -> Build| {
            let mut look = serving();
            if first.is_some() {
                look.processes = vec![Process { instance: SECOND, ..process(9, 1, &[200]) }];
                look.sockets = vec![listening(PORT, 200)];
            }
            let build = Build::served().visited(0).event(What::Launched { instance: SECOND, pid: 9 });
            let build = if let Some(exit) = first { build.exited(0, exit) } else { build };
            let build = build.awaited(Condition::Listening(SECOND), first.is_some(), look);
            let scenario = Scenario { steps: [0, 1].map(super::visit).to_vec() };
            match (SECOND_INSTANCE_REFUSED.check)(&scenario, &visit(build).looked(serving()).trace()) {
                Verdict::Fail(evidence) => evidence.observed,
                other => format!("{other:?}"),
            }
        };
        let fine: fn(Build) -> Build = |build| build.visited(1);
        assert!(observed(None, fine).starts_with("Pass"));
        assert!(observed(Some(Exit::Signal(15)), fine).contains("was killed by SIGTERM"));
        let reset: fn(Build) -> Build = |build| {
            build.acted(1, Act::Visit(Payload::greeting()), |acted| {
                (acted.fate, acted.ending, acted.received) = (Fate::Ended, Some(Ending::Reset), 0);
                acted.spans.clear();
            })
        };
        assert!(observed(None, reset).contains("a reset"));
    }
}
