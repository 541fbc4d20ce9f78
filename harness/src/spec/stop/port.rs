//! The port belongs to nobody when the server has ended, however it ended.

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::{Model, Profile};
use crate::scenario::generate::fixed;
use crate::scenario::{Act, Condition, Payload, Scenario, Sig, Step, Who, act};
use crate::spec::stop::remains::beside_clients;
use crate::spec::stop::{FIRST, connected, survivors, waits};
use crate::trace::query::{applies, judge, millis, name, span, witness};
use crate::trace::{Acted, Fate, Look, Socket, Trace, What};
use crate::verdict::Verdict;

/// Nothing listens any more when the server has been stopped.
pub static PORT_FREED: Clause = Clause {
    id: ClauseId("stop.port-freed"),
    level: Level::Must,
    requirement: "The server leaves nothing that listens on its port when it has been told to stop and has ended.",
    why: "A listening socket lives as long as any process holds it. If a child or a worker still does, clients connect \
          to a server that is gone, and its successor cannot bind. The classic bug is a child that never closed its \
          copy; the cure is to close it right after fork.",
    citations: &["POSIX.1-2024 close", "POSIX.1-2024 fork", "UNP 4.8"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: beside_clients,
    check: nothing_listens,
};

/// The same after the accepting process alone was killed.
pub static PORT_FREED_AFTER_KILL: Clause = Clause {
    id: ClauseId("stop.port-freed-after-kill"),
    level: Level::Must,
    requirement: "The server leaves no listening socket that nobody accepts from when its accepting process is killed.",
    why: "SIGKILL gives no time to clean up, so only what a child holds decides. A child with a copy of the listening \
          socket keeps the port open for as long as its client stays: new clients connect, and wait for ever. The cure \
          is to close the listening socket in the child, and to open it close-on-exec.",
    citations: &["POSIX.1-2024 fork", "listen(2)", "UNP 4.8"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: acceptor_killed,
    check: nobody_waits_in_vain,
};

fn acceptor_killed(profile: &Profile) -> BoxedStrategy<Scenario> {
    let mut steps = connected(1);
    steps.extend([Step::Look, Step::Signal(Who::Acceptor(FIRST), Sig::Kill)]);
    if profile.model != Model::Prefork && profile.launched_accepts {
        // Workers made beforehand may go on, and whoever wraps the server may start it again.
        steps.push(Step::Await(Condition::PortFree));
    }
    steps.extend([act(1, Act::Visit(Payload::greeting())), Step::Look, act(0, Act::Close)]);
    fixed(steps)
}

fn nothing_listens(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let looks = waits(trace, Sig::Stopping)?;
        let ended = |look: &&&Look| survivors(trace, Sig::Stopping, look).is_empty();
        let ended: Vec<_> = looks.iter().filter(ended).collect();
        applies(!ended.is_empty(), "the server had not ended: see stop.sigterm")?;
        for look in ended {
            if let Some(socket) = look.listeners(trace.port()).next() {
                return Err(Verdict::missing(
                    format!(
                        "nothing listens on port {} within {} of the stop signal, once the server has ended",
                        trace.port(),
                        span(trace.circumstances.limits.stop_within)
                    ),
                    format!("still in LISTEN, held by {}: clients connect to nobody", holders(look, socket)),
                ));
            }
        }
        Ok(format!("nothing listens on port {}", trace.port()))
    })
}

fn nobody_waits_in_vain(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let before = trace.ready(FIRST)?;
        let kill =
            |what: &What| matches!(what, What::Signalled { who: Who::Acceptor(FIRST), sig: Sig::Kill, .. });
        let Some(What::Signalled { pids: killed, .. }) = trace.first(kill).map(|event| &event.what) else {
            return Err(Verdict::Inconclusive("the accepting process was not killed".into()));
        };
        witness(!killed.is_empty(), "there was no accepting process to kill")?;
        let after = || trace.events.iter().skip_while(move |event| !kill(&event.what));
        let visits: Vec<&Acted> = after()
            .filter_map(|event| match &event.what {
                What::Acted(acted) if matches!(acted.act, Act::Visit(_)) => Some(acted),
                _ => None,
            })
            .collect();
        let look = after()
            .filter_map(|event| match &event.what {
                What::Looked { look, .. } => Some(look),
                _ => None,
            })
            .last();
        let (Some(look), [.., visit]) = (look, &*visits) else {
            return Err(Verdict::Inconclusive("nobody tried to visit the server after the kill".into()));
        };
        let Some(socket) = look.listeners(trace.port()).next() else {
            return Ok(format!("pid {} was killed, and nothing listens any more", killed[0]));
        };
        if visit.fate == Fate::Done {
            return Ok(format!("other processes go on serving: {}", holders(look, socket)));
        }
        let same = before.listeners(trace.port()).any(|old| old.inode == socket.inode);
        if !same {
            return Ok("the server was started again, with a new listening socket".into());
        }
        if visit.fate != Fate::Missed {
            return Ok(format!("{} was turned away, and so does not wait in vain", visit.client));
        }
        Err(Verdict::missing(
            format!("no socket in LISTEN, or a process that accepts, once pid {} was killed", killed[0]),
            format!(
                "still in LISTEN, held by {}; {} waited {} in vain",
                holders(look, socket),
                visit.client,
                millis(visit.longest_us)
            ),
        ))
    })
}

fn holders(look: &Look, socket: &Socket) -> String {
    let names: Vec<_> =
        look.processes.iter().filter(|process| process.holds(socket.inode)).map(name).collect();
    names.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::To;
    use crate::trace::build::{Build, LISTENER, PORT, SERVER, listening, process};

    fn orphan_listens() -> Look {
        Look {
            processes: vec![process(7, 1, &[LISTENER])],
            sockets: vec![listening(PORT, LISTENER)],
            ..Look::default()
        }
    }

    #[test]
    fn an_orphan_that_holds_the_listener_keeps_the_port() {
        let with = |look: Look| {
            let gone = look.processes.is_empty();
            Build::served()
                .done(0, Act::Connect(To::Target))
                .signalled(Who::Launched(FIRST), Sig::Stopping, &[SERVER])
                .awaited(Condition::Gone(FIRST), gone, look)
                .trace()
        };
        let judged = |look| (PORT_FREED.check)(&Scenario::default(), &with(look));
        assert!(matches!(judged(orphan_listens()), Verdict::Fail(_)));
        assert!(matches!(judged(Look::default()), Verdict::Pass(_)));
        let still = crate::trace::build::serving();
        assert!(matches!(judged(still), Verdict::NotApplicable(_)));
    }

    #[test]
    fn a_killed_acceptor_may_leave_workers_but_no_deaf_listener() {
        let with = |look: Look, fate: Fate| {
            let trace = Build::served()
                .done(0, Act::Connect(To::Target))
                .signalled(Who::Acceptor(FIRST), Sig::Kill, &[SERVER])
                .acted(1, Act::Visit(Payload::greeting()), |acted| acted.fate = fate)
                .looked(look)
                .trace();
            (PORT_FREED_AFTER_KILL.check)(&Scenario::default(), &trace)
        };
        assert!(matches!(with(orphan_listens(), Fate::Missed), Verdict::Fail(_)));
        assert!(matches!(with(orphan_listens(), Fate::Done), Verdict::Pass(_)));
        assert!(matches!(with(orphan_listens(), Fate::Ended), Verdict::Pass(_)));
        assert!(matches!(with(Look::default(), Fate::Refused("ECONNREFUSED".into())), Verdict::Pass(_)));
    }
}
