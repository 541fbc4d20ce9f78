//! Signals that are not deaths: none of them ends the service.

use proptest::prelude::{Just, Strategy, any};
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::{fixed, visit};
use crate::scenario::{Act, Class, Client, Condition, Instance, Payload, Scenario, Sig, Step, To, Who, act};
use crate::spec::close::leave_while_it_sends;
use crate::trace::aftermath::{first_step, in_context, left_working};
use crate::trace::query::{count, judge, witness};
use crate::trace::{Exit, Trace};
use crate::verdict::Verdict;

/// SIGCHLD without a death.
pub(super) static SPURIOUS_SIGCHLD: Clause = Clause {
    id: ClauseId("reap.spurious-sigchld"),
    level: Level::Must,
    requirement: "The server is not harmed by SIGCHLD when no child has ended.",
    why: "SIGCHLD may come when a child was stopped, when another wait was faster, or from anybody with the \
          right to send it. A handler that takes it for one dead child waits for one that lives, and the \
          server stands still.",
    citations: &["POSIX.1-2024 waitpid", "POSIX.1-2024 sigaction", "signal(7)"],
    needs: &[Need::Lasting],
    scenarios: spurious,
    check: spurious_sigchld,
};

/// SIGPIPE does not end the server.
pub(super) static SURVIVES_SIGPIPE: Clause = Clause {
    id: ClauseId("reap.survives-sigpipe"),
    level: Level::Must,
    requirement: "The server is not ended by SIGPIPE when a client leaves while it is being sent to.",
    why: "Writing to a connection that was reset raises SIGPIPE, whose default is death. In a child that is \
          harmless; in a process that serves many, one rude client ends the service for all. The cure is to \
          ignore SIGPIPE, or MSG_NOSIGNAL.",
    citations: &["UNP 5.13", "POSIX.1-2024 send", "signal(7)"],
    needs: &[Need::Lasting],
    scenarios: leave_while_it_sends,
    check: survives_sigpipe,
};

/// Signals that mean nothing.
pub(super) static BENIGN_SIGNALS: Clause = Clause {
    id: ClauseId("reap.benign-signals"),
    level: Level::Should,
    requirement: "The server loses no byte and no client to SIGWINCH, SIGURG and SIGCONT.",
    why: "These are ignored by default, and arrive from terminals and debuggers. A server that catches every \
          signal with one handler, or that takes each EINTR for an error, ends with the size of a window.",
    citations: &["signal(7)", "POSIX.1-2024 read", "UNP 5.9"],
    needs: &[Need::Lasting],
    scenarios: benign,
    check: benign_signals,
};

/// All processes are stopped, and go on.
pub(super) static STOP_AND_CONTINUE: Clause = Clause {
    id: ClauseId("reap.stop-and-continue"),
    level: Level::Must,
    requirement: "The server loses no byte and no client when all its processes are stopped and go on.",
    why: "A laptop's lid, a container's freeze, an operator's Ctrl-Z. On Linux some calls return EINTR after \
          SIGCONT even without a handler; a loop that takes that for the end of a connection drops a client \
          that did nothing.",
    citations: &[
        "signal(7) \"Interruption of system calls and library functions by stop signals\"",
        "UNP 5.9",
    ],
    needs: &[Need::Lasting],
    scenarios: stop_and_go,
    check: stop_and_continue,
};

/// What SIGHUP does, for the record.
pub(super) static HANGUP_RECORDED: Clause = Clause {
    id: ClauseId("reap.hangup-recorded"),
    level: Level::May,
    requirement: "The server may end, read its settings again, or do nothing on SIGHUP.",
    why: "By default SIGHUP ends a process; daemons take it as an order to read their settings. Operators \
          should know which it is before they send it.",
    citations: &["signal(7)", "POSIX.1-2024 <signal.h>"],
    needs: &[Need::Lasting],
    scenarios: hangup,
    check: hangup_recorded,
};

fn greet(client: u32) -> Step {
    act(client, Act::Exchange(Payload::greeting()))
}

fn spurious(profile: &Profile) -> BoxedStrategy<Scenario> {
    let most = profile.effort.pick(3, 6, 50);
    let concurrent = profile.concurrent;
    (3_usize..=most)
        .prop_map(move |signals| {
            let chld = Step::Signal(Who::Acceptor(Instance(0)), Sig::Chld);
            // First there is no child to wait for, then one that lives.
            let mut steps = vec![visit(9), Step::Quiet, chld.clone(), Step::Quiet, visit(8)];
            if concurrent {
                steps.extend([act(0, Act::Connect(To::Target)), greet(0)]);
            }
            // In a row they are one; each by itself interrupts what the server waits in, again and again.
            steps.extend(std::iter::repeat_n(chld.clone(), signals));
            steps.extend([Step::Quiet, chld.clone(), Step::Quiet, chld, Step::Quiet, visit(1)]);
            if concurrent {
                steps.extend([greet(0), act(0, Act::Close)]);
            }
            steps.extend([visit(2), Step::Look]);
            Scenario::served(steps)
        })
        .boxed()
}

fn benign(profile: &Profile) -> BoxedStrategy<Scenario> {
    let len = profile.effort.pick(64 << 10, 256 << 10, 8 << 20);
    (Just([Sig::Winch, Sig::Urg, Sig::Cont]).prop_shuffle(), any::<u16>())
        .prop_map(move |(order, seed)| {
            let tree = Who::Tree(Instance(0));
            let payload = Payload { seed: u64::from(seed), ..Payload::of(len).class(Class::Line) };
            let mut steps = vec![act(0, Act::Connect(To::Target)), greet(0)];
            for sig in order {
                let transfer = Step::Do(Client(0), Act::Exchange(payload));
                steps.push(Step::Together(vec![transfer, Step::Signal(tree, sig)]));
                steps.push(Step::Signal(tree, sig));
            }
            steps.extend([Step::Quiet, greet(0), act(0, Act::Close), visit(1), Step::Look]);
            Scenario::served(steps)
        })
        .boxed()
}

fn stop_and_go(profile: &Profile) -> BoxedStrategy<Scenario> {
    let tree = Who::Tree(Instance(0));
    let line = Payload::greeting();
    let mut steps = vec![
        act(0, Act::Connect(To::Target)),
        greet(0),
        Step::Quiet,
        Step::Signal(tree, Sig::Stop),
        Step::Await(Condition::Stopped(tree)),
        act(0, Act::Send(Payload { len: 16 * 300, ..line })),
    ];
    let second = profile.concurrent && profile.clients > 1;
    if second {
        steps.extend([act(1, Act::Connect(To::Target)), act(1, Act::Send(line))]);
    }
    steps.extend([Step::Signal(tree, Sig::Cont), act(0, Act::Read), greet(0)]);
    if second {
        steps.extend([act(1, Act::Read), act(1, Act::Close)]);
    }
    steps.extend([act(0, Act::HalfClose), act(0, Act::ReadToEnd), act(0, Act::Close), visit(2), Step::Look]);
    fixed(steps)
}

fn hangup(_: &Profile) -> BoxedStrategy<Scenario> {
    fixed([visit(0), Step::Signal(Who::Launched(Instance(0)), Sig::Hup), Step::Quiet])
}

fn spurious_sigchld(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| disturbed_by(scenario, trace, &[Sig::Chld]))
}

fn benign_signals(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| disturbed_by(scenario, trace, &[Sig::Winch, Sig::Urg, Sig::Cont]))
}

fn stop_and_continue(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| disturbed_by(scenario, trace, &[Sig::Stop]))
}

/// Ends the check unless all clients were served, although the server got such signals.
fn disturbed_by(scenario: &Scenario, trace: &Trace, sigs: &[Sig]) -> Result<String, Verdict> {
    trace.ready(Instance(0))?;
    left_working(scenario)?;
    let is_it = |step: &Step| match step {
        Step::Signal(Who::Acceptor(_) | Who::Tree(_), sig) => sigs.contains(sig),
        _ => false,
    };
    let first = first_step(scenario, is_it)
        .ok_or_else(|| Verdict::Inconclusive("the scenario sends no such signal".into()))?;
    let got: usize = sigs.iter().map(|sig| trace.signalled(*sig).len()).sum();
    witness(got > 0, "nobody got the signal")?;
    let names: Vec<_> = sigs.iter().map(ToString::to_string).collect();
    let context = format!("after {}", names.join(", "));
    let clients = scenario.clients();
    trace.served_before(first, &clients)?;
    let seen = trace.goes_on(scenario, first, &context)?;
    trace.all_served(&clients).map_err(|verdict| in_context(verdict, &context))?;
    Ok(format!("{seen}, all {} whole", count(clients.len(), "client")))
}

fn survives_sigpipe(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let left = trace
            .all_acts()
            .filter(|acted| matches!(acted.act, Act::Reset | Act::Close) && acted.received < acted.sent);
        let left = left.count();
        witness(left > 0, "no client left with bytes unread")?;
        const SIGPIPE: i32 = 13;
        if trace.exit(Instance(0)).is_some_and(|(_, exit)| exit == Exit::Signal(SIGPIPE)) {
            return Err(Verdict::seen(
                format!("the server lives on after {} left while it was sent to", count(left, "client")),
                "the server was killed by SIGPIPE",
            ));
        }
        let alive = trace.last_look().is_some_and(|look| look.acceptor(Instance(0)).is_some());
        witness(alive, "the server ended, but not by SIGPIPE")?;
        Ok(format!("{} left with bytes unread; the server lives", count(left, "client")))
    })
}

fn hangup_recorded(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        witness(!trace.signalled(Sig::Hup).is_empty(), "nobody got SIGHUP")?;
        let listens = trace.last_look().is_some_and(|look| look.acceptor(Instance(0)).is_some());
        Ok(match trace.exit(Instance(0)) {
            Some((_, exit)) => format!("the server {exit}"),
            None if listens => "the server goes on".into(),
            None => "the server lives, and no longer listens".into(),
        })
    })
}
