//! Descriptors that were there before: those of the launcher, of the parent, and what they do to the numbers.

use proptest::prelude::Just;
use proptest::strategy::{BoxedStrategy, Strategy};

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::{
    Act, Client, Condition, Instance, Payload, Resource, Scenario, Setting, Step, To, act,
};
use crate::spec::fork::{made_for, side_by_side, still_look};
use crate::trace::aftermath::left_working;
use crate::trace::query::{applies, count, judge, name, witness};
use crate::trace::service::own_bytes;
use crate::trace::{Acted, Exit, Fate, Fd, FdKind, Look, Process, Span, Trace};
use crate::verdict::Verdict;

/// The first number that does not fit into an `fd_set`.
const FD_SETSIZE: u32 = 1024;
const INHERITED: u32 = 1100;

/// A child holds what it needs.
pub(super) static CHILD_HOLDS_ONLY_ITS_OWN: Clause = Clause {
    id: ClauseId("fd.child-holds-only-its-own"),
    level: Level::Should,
    requirement: "The server's child holds no socket or signal descriptor of its parent's besides its connection, \
                  and not both ends of a pipe of its parent's.",
    why: "What a child inherits it keeps alive: a pipe that never ends, a self-pipe into which its own \
          handlers write. The cure is to close in the child all that belongs to the parent.",
    citations: &["POSIX.1-2024 fork", "UNP 4.8"],
    needs: &[Need::ForkPerConnection, Need::Lasting],
    scenarios: side_by_side,
    check: child_holds_only_its_own,
};

/// Connections do not go to programs that the server runs.
pub(super) static CLOSE_ON_EXEC: Clause = Clause {
    id: ClauseId("fd.close-on-exec"),
    level: Level::Should,
    requirement: "The server's connections are close-on-exec where one process serves many, and a program \
                  that it runs gets one connection only.",
    why: "A helper program that inherits a connection keeps it open for as long as it runs, and can read and \
          write it. The cure is accept4 with SOCK_CLOEXEC, which leaves no gap between accept and fcntl.",
    citations: &["POSIX.1-2024 accept4", "POSIX.1-2024 open (O_CLOEXEC)", "POSIX.1-2024 exec"],
    needs: &[Need::Concurrent, Need::Lasting],
    scenarios: side_by_side,
    check: close_on_exec,
};

/// Numbers of 1024 and more are numbers like all others.
pub(super) static BEYOND_1024: Clause = Clause {
    id: ClauseId("fd.beyond-1024"),
    level: Level::Must,
    requirement: "The server serves clients whose descriptors are numbered 1024 or more, or refuses them; it \
                  does not crash, and leaves none that it has accepted without an answer.",
    why: "FD_SET with a number of FD_SETSIZE or more writes past the end of the set. The bug sleeps until \
          the thousandth client, and then corrupts memory for all. The cure is poll or epoll, or a check of \
          each number.",
    citations: &["POSIX.1-2024 select", "select(2) NOTES", "UNP 6.3"],
    needs: &[Need::Lasting],
    scenarios: many_inherited,
    check: beyond_1024,
};

/// What becomes of descriptors that the launcher left open.
pub(super) static INHERITED_DESCRIPTORS: Clause = Clause {
    id: ClauseId("fd.inherited-descriptors"),
    level: Level::May,
    requirement: "The server may close the descriptors that it inherits at its start.",
    why: "Daemons do so to let go of the terminal and of the launcher's files; others keep what they are \
          given, as socket activation needs it.",
    citations: &["POSIX.1-2024 exec", "close_range(2)"],
    needs: &[Need::Lasting],
    scenarios: many_inherited,
    check: inherited_descriptors,
};

/// So many descriptors are open at the launch that all later ones have numbers beyond a set of select.
fn many_inherited(_: &Profile) -> BoxedStrategy<Scenario> {
    let setting =
        Setting { inherited: INHERITED, rlimits: vec![(Resource::Descriptors, 4096)], ..Setting::default() };
    let steps = [
        // Who cannot wait for its own listener, so numbered, ends before anybody comes.
        Step::Await(Condition::Still),
        act(0, Act::Connect(To::Target)),
        act(0, Act::Exchange(Payload::greeting())),
        Step::Look,
        act(0, Act::Close),
        act(1, Act::Visit(Payload::greeting())),
        act(2, Act::Visit(Payload::greeting())),
        Step::Look,
    ];
    Just(Scenario::launched(setting, steps)).boxed()
}

fn child_holds_only_its_own(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let (_, look) = still_look(trace)?;
        let made = made_for(scenario, trace, look);
        witness(!made.is_empty(), "no process was seen that was made for a client")?;
        let parent = look
            .acceptor(Instance(0))
            .ok_or_else(|| Verdict::Inconclusive("nobody accepted any more at that moment".into()))?;
        for (client, child) in &made {
            let own =
                trace.local(*client).and_then(|local| look.peer_of(local)).map_or(0, |socket| socket.inode);
            if let Some(fd) = child.fds.iter().find(|fd| is_parents(fd, own, child, parent)) {
                return Err(Verdict::seen(
                    format!("the process that serves {client} holds stdio and its connection"),
                    format!(
                        "{} holds its parent's descriptor {} too: {}",
                        name(child),
                        fd.number,
                        kind(&fd.kind)
                    ),
                ));
            }
        }
        Ok(format!("{} looked at", count(made.len(), "child").replace("childs", "children")))
    })
}

/// Whether a child's descriptor is a copy of one that its parent works with.
fn is_parents(fd: &Fd, own: u64, child: &Process, parent: &Process) -> bool {
    let is_stdio = |other: &&Fd| other.number <= 2 && other.kind == fd.kind;
    let of_stdio = child.fds.iter().chain(&parent.fds).any(|other| is_stdio(&other));
    let shared = match &fd.kind {
        FdKind::Socket(inode) => *inode != own && parent.fds.iter().any(|other| other.kind == fd.kind),
        // A child that has one end alone, to log or to learn of its parent's end, was given it on purpose.
        FdKind::Pipe(_) => {
            let ends = child.fds.iter().filter(|other| other.kind == fd.kind).count();
            ends > 1 && parent.fds.iter().any(|other| other.kind == fd.kind)
        }
        // These have no identity: the same kind under the same number is taken for the same.
        FdKind::Anon(_) => parent.fds.iter().any(|other| other.kind == fd.kind && other.number == fd.number),
        FdKind::File(_) => false,
    };
    shared && !of_stdio && fd.number > 2
}

fn kind(kind: &FdKind) -> String {
    match kind {
        FdKind::Socket(inode) => format!("socket {inode}"),
        FdKind::Pipe(inode) => format!("pipe {inode}"),
        FdKind::File(path) => path.clone(),
        FdKind::Anon(what) => what.clone(),
    }
}

fn close_on_exec(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let mut looked_at = 0;
        for look in trace.plain_looks() {
            looked_at += closed_on_exec(scenario, trace, look)?;
        }
        witness(looked_at > 0, "no connection was seen")?;
        Ok(format!("{} looked at", count(looked_at, "connection")))
    })
}

/// Ends the check unless this look shows what is asked for. Returns how many copies of connections it showed.
fn closed_on_exec(scenario: &Scenario, trace: &Trace, look: &Look) -> Result<usize, Verdict> {
    let Some(acceptor) = look.acceptor(Instance(0)) else { return Ok(0) };
    // Their parent holds a connection only until it has handed it over.
    let serves_in_children = trace.circumstances.profile.as_ref().is_some_and(|profile| profile.forks);
    let mut looked_at = 0;
    for client in scenario.clients() {
        // Before the first answer, the server may not have come further than accept.
        let Some(socket) = trace.local(client).and_then(|local| look.peer_of(local)) else { continue };
        if !trace.was_answered(client, look) {
            continue;
        }
        for process in look.processes.iter().filter(|process| process.holds(socket.inode)) {
            looked_at += 1;
            let is_other_program = !process.exe.is_empty() && process.exe != acceptor.exe;
            if is_other_program {
                runs_with_one_connection(trace, look, process)?;
            } else if process.pid == acceptor.pid && !serves_in_children {
                is_cloexec(client, process, socket.inode)?;
            }
        }
    }
    Ok(looked_at)
}

fn runs_with_one_connection(trace: &Trace, look: &Look, process: &Process) -> Result<(), Verdict> {
    let connections = look.connections_of(process, trace.port()).len();
    let listens = look.listening(Instance(0)).any(|socket| process.holds(socket.inode));
    if connections > 1 || listens {
        let socket = if listens { " and the listening socket" } else { "" };
        return Err(Verdict::seen(
            "a program that the server runs gets one connection",
            format!(
                "{} runs {} with {}{socket}",
                name(process),
                process.exe,
                count(connections, "connection")
            ),
        ));
    }
    Ok(())
}

fn is_cloexec(client: Client, process: &Process, inode: u64) -> Result<(), Verdict> {
    let open = process.fds.iter().find(|fd| fd.kind == FdKind::Socket(inode) && fd.cloexec == Some(false));
    open.map_or(Ok(()), |fd| {
        Err(Verdict::seen(
            format!("the connection of {client} is close-on-exec"),
            format!("descriptor {} of {} is not", fd.number, name(process)),
        ))
    })
}

fn beyond_1024(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        left_working(scenario)?;
        let inherited = scenario.flat().any(
            |(_, step)| matches!(step, Step::Launch(Instance(0), setting) if setting.inherited >= FD_SETSIZE),
        );
        witness(inherited, format!("fewer than {FD_SETSIZE} descriptors were inherited"))?;
        let expected =
            format!("the server works, or refuses to, with {FD_SETSIZE} open descriptors and more");
        let exit = trace.exit(Instance(0)).map(|(_, exit)| exit);
        match exit {
            Some(exit @ Exit::Signal(_)) => {
                return Err(Verdict::seen(expected, format!("the server {exit}")));
            }
            Some(exit @ Exit::Code(_)) if !trace.all_acts().any(|acted| acted.fate == Fate::Done) => {
                return Ok(format!("it refuses to start with so many descriptors: {exit}"));
            }
            _ => {}
        }
        trace.ready(Instance(0))?;
        trace.lives(Instance(0), &expected)?;
        let mut served = 0;
        let clients = scenario.clients();
        witness(!clients.is_empty(), "no client came")?;
        // A runtime that refuses to wait for such a number harms nobody: its listening socket has one here, where it would
        // else be a client's, and the server may well allow no more clients than it can wait for.
        applies(
            clients.iter().any(|client| is_accepted(trace, *client)),
            format!("it accepts nobody when its listening socket is numbered {FD_SETSIZE} or more"),
        )?;
        for &client in &clients {
            if !is_refused(trace, client)? {
                trace.served(client)?;
                served += 1;
            }
        }
        let highest = trace.looks().flat_map(|(_, look)| look.of(Instance(0)).flat_map(highest_socket)).max();
        let served = format!("{served} of {} served", count(clients.len(), "client"));
        match highest {
            Some(highest) if highest >= FD_SETSIZE => Ok(format!("{served}, highest descriptor {highest}")),
            _ => Ok(format!("{served}; the server closes what it inherits, so its numbers stay low")),
        }
    })
}

fn highest_socket(process: &Process) -> Option<u32> {
    process.fds.iter().filter(|fd| matches!(fd.kind, FdKind::Socket(_))).map(|fd| fd.number).max()
}

/// Whether a process was seen to hold the client's connection, or had a part in its end.
fn is_accepted(trace: &Trace, client: Client) -> bool {
    let is_held = |local| trace.looks().any(|(_, look)| !look.holders(local).is_empty());
    let has_dealt = |acted: &Acted| acted.received > 0 || acted.ending.is_some() || acted.local.is_none();
    trace.local(client).is_some_and(is_held) || trace.acts(client).any(has_dealt)
}

/// Whether the server ended the connection before it had sent back a byte.
fn is_refused(trace: &Trace, client: Client) -> Result<bool, Verdict> {
    let mut refused = false;
    for acted in trace.acts(client) {
        own_bytes(acted, acted.received.saturating_sub(new_bytes(acted)))?;
        refused |= acted.fate == Fate::Ended && acted.received == 0;
    }
    Ok(refused)
}

fn new_bytes(acted: &Acted) -> u64 {
    acted
        .spans
        .iter()
        .map(|span| match span {
            Span::Own { len, .. } | Span::Other { len, .. } | Span::Alien { len, .. } => *len,
        })
        .sum()
}

fn inherited_descriptors(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let given = scenario.flat().find_map(|(_, step)| match step {
            Step::Launch(Instance(0), setting) if setting.inherited > 0 => Some(setting.inherited),
            _ => None,
        });
        let given = given.ok_or_else(|| Verdict::Inconclusive("nothing was inherited".into()))?;
        if let Some((_, exit)) = trace.exit(Instance(0)) {
            return Ok(format!("with {given} descriptors inherited it {exit}: see fd.beyond-1024"));
        }
        let look = trace.ready(Instance(0))?;
        let held = look.acceptor(Instance(0)).map_or(0, |process| process.fds.len());
        let kept = if held > given as usize { "keeps" } else { "closes" };
        Ok(format!("it {kept} the {given} descriptors that it inherits ({held} open)"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Model;
    use crate::trace::State;
    use crate::trace::build::{Build, LISTENER, SERVER, connection, process, serving};

    const CONNECTION: u64 = 200;

    /// The accepting process holds the connection of client 0, and lacks close-on-exec.
    fn open() -> Look {
        let mut look = serving();
        let mut server = process(SERVER, 1, &[LISTENER, CONNECTION]);
        server.fds[1].cloexec = Some(false);
        look.processes = vec![server];
        look.sockets.push(connection(State::Established, 0, CONNECTION));
        look
    }

    fn judged(model: Model, build: impl FnOnce(Build) -> Build) -> Verdict {
        let steps =
            [act(0, Act::Connect(To::Target)), act(0, Act::Exchange(Payload::greeting())), Step::Look];
        let build_it = Build::served().profile(|profile| *profile = Profile::typical(model));
        let connected = build_it.done(0, Act::Connect(To::Target));
        close_on_exec(&Scenario::served(steps), &build(connected).trace())
    }

    fn exchanged(build: Build) -> Build {
        build.done(0, Act::Exchange(Payload::greeting()))
    }

    #[test]
    fn a_served_connection_that_every_program_would_inherit_is_seen() {
        let verdict = judged(Model::Threads, |build| exchanged(build).looked(open()));
        assert!(matches!(verdict, Verdict::Fail(_)));
    }

    #[test]
    fn a_server_that_was_stopped_between_accept_and_fcntl_is_not_blamed() {
        let verdict = judged(Model::Threads, |build| build.looked(open()));
        assert!(matches!(verdict, Verdict::Inconclusive(_)));
    }

    #[test]
    fn neither_is_a_parent_that_has_not_yet_let_go() {
        let verdict = judged(Model::ForkPerConnection, |build| exchanged(build).looked(open()));
        assert!(matches!(verdict, Verdict::Pass(_)));
    }

    #[test]
    fn who_ends_before_anybody_came_refuses_and_who_ends_at_the_first_client_crashes() {
        let setting = Setting { inherited: INHERITED, ..Setting::default() };
        let connect = Act::Connect(To::Target);
        let scenario = Scenario::launched(setting, [act(0, connect)]);
        let came_to = |fate: Fate| {
            let build = Build::served().acted(0, connect, |acted| acted.fate = fate);
            beyond_1024(&scenario, &build.exited(0, Exit::Code(1)).trace())
        };
        assert!(matches!(came_to(Fate::Refused("ECONNREFUSED".into())), Verdict::Pass(_)));
        assert!(matches!(came_to(Fate::Done), Verdict::Fail(_)));
    }

    #[test]
    fn who_cannot_wait_for_such_a_number_at_all_is_not_blamed_who_accepts_and_is_silent_is() {
        let setting = Setting { inherited: INHERITED, ..Setting::default() };
        let exchange = Act::Exchange(Payload::greeting());
        let steps = [act(0, Act::Connect(To::Target)), act(0, exchange), Step::Look];
        let scenario = Scenario::launched(setting, steps);
        let unanswered = |look: Look| {
            let build = Build::served().done(0, Act::Connect(To::Target)).acted(0, exchange, |acted| {
                (acted.fate, acted.received) = (Fate::Missed, 0);
                acted.spans.clear();
            });
            beyond_1024(&scenario, &build.looked(look).trace())
        };
        assert!(matches!(unanswered(serving()), Verdict::NotApplicable(_)));
        assert!(matches!(unanswered(open()), Verdict::Fail(_)));
    }
}
