//! Abrupt ends: resets and closes at the worst moment end one connection, never the service.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::{come, fixed, visit};
use crate::scenario::{
    Act, Condition, Cut, Facet, Instance, Payload, Scenario, Setting, Sig, Step, To, Who, act,
};
use crate::trace::aftermath::{first_step, left_working};
use crate::trace::query::{count, judge, witness};
use crate::trace::{Acted, Trace};
use crate::verdict::Verdict;

/// A reset while nothing is under way.
pub(super) static SURVIVES_IDLE_RESET: Clause = Clause {
    id: ClauseId("close.survives-idle-reset"),
    level: Level::Must,
    requirement: "The server goes on when an idle client resets its connection.",
    why: "read fails with ECONNRESET, which is the end of that client and of nothing else. A server that \
          ends on any error of read, or throws where nobody catches, ends for all.",
    citations: &["UNP 5.13", "RFC 9293 3.5.3", "POSIX.1-2024 recv"],
    needs: &[Need::Lasting],
    scenarios: idle_reset,
    check: survives_ends,
};

/// A reset while the server is sending.
pub(super) static SURVIVES_RESET_WHILE_SENDING: Clause = Clause {
    id: ClauseId("close.survives-reset-while-sending"),
    level: Level::Must,
    requirement: "The server goes on when a client resets its connection while it is being sent to.",
    why: "A write to a connection that was reset fails with EPIPE and raises SIGPIPE, whose default is \
          death. The cure is to ignore SIGPIPE or to send with MSG_NOSIGNAL, and to close on EPIPE.",
    citations: &["UNP 5.13", "POSIX.1-2024 send", "RFC 9293 3.5.3"],
    needs: &[Need::Lasting],
    scenarios: leave_while_it_sends,
    check: survives_ends_unread,
};

/// A close while the server is sending.
pub(super) static SURVIVES_CLOSE_WHILE_SENDING: Clause = Clause {
    id: ClauseId("close.survives-close-while-sending"),
    level: Level::Must,
    requirement: "The server goes on when a client closes its connection before it has read everything.",
    why: "A client that closes early answers what still comes with a reset: the first write succeeds, the \
          second raises SIGPIPE. Every cancelled download does this.",
    citations: &["UNP 5.12", "UNP 5.13", "RFC 1122 4.2.2.13"],
    needs: &[Need::Lasting],
    scenarios: close_while_it_sends,
    check: survives_ends_unread,
};

/// Ends of all kinds, at any moment.
pub(super) static SURVIVES_ABRUPT_ENDS: Clause = Clause {
    id: ClauseId("close.survives-abrupt-ends"),
    level: Level::Must,
    requirement: "The server goes on, and keeps no connection, after clients have left in every abrupt way.",
    why: "Clients are killed, unplugged and cancelled at every moment of a conversation. Each of these ends \
          is ordinary; the server meets all of them in its first week.",
    citations: &["UNP 5.14", "RFC 9293 3.5.3", "POSIX.1-2024 close"],
    needs: &[Need::Lasting],
    scenarios: abrupt_ends,
    check: survives_ends,
};

fn idle_reset(profile: &Profile) -> BoxedStrategy<Scenario> {
    let clients = profile.effort.pick(2, 3, 20);
    let mut steps = vec![visit(99)];
    for client in 0..clients {
        steps.extend(come(client));
        steps.extend([Step::Quiet, act(client, Act::Reset)]);
    }
    steps.extend([visit(100), visit(101), Step::Await(Condition::Back(Facet::Connections))]);
    fixed(steps)
}

/// Clients that read nothing until the server can send no more, and then leave: by a reset, by a half-close and a reset,
/// by a close; and two that reset after a half-close which the server has seen.
///
/// After a half-close the server's socket is in CLOSE_WAIT, and then a reset wakes a blocked write with EPIPE at once.
pub(in crate::spec) fn leave_while_it_sends(profile: &Profile) -> BoxedStrategy<Scenario> {
    let setting = Setting { buffers: Some(16_384), ..Setting::default() };
    let clients = if profile.concurrent { profile.clients.min(3) } else { 1 };
    let rounds = if clients == 3 { 1 } else { 3_u32.div_ceil(clients) };
    let mut steps = vec![visit(99)];
    for round in 0..rounds {
        let there = round * clients..((round + 1) * clients).min(3);
        steps.extend(there.clone().map(|client| act(client, Act::Connect(To::Target))));
        let sending = there.clone().map(|client| act(client, Act::Send(Payload::of(400_000))));
        steps.push(Step::Together(sending.collect()));
        for client in there {
            match client {
                0 => steps.push(act(client, Act::Reset)),
                1 => steps.extend([act(client, Act::HalfClose), act(client, Act::Reset)]),
                _ => steps.push(act(client, Act::Close)),
            }
        }
    }
    steps.push(Step::Quiet);
    steps.extend(come(3));
    // Little enough that the end of the stream has come, too.
    steps.extend(reset_before_the_answer(3, Instance(0), 4_000));
    // A server with a buffer of its own can take this much: it has seen the end, and still owes some of it.
    steps.extend([act(4, Act::Connect(To::Target)), act(4, Act::Send(Payload::of(49_600)))]);
    // Quiet it will not be: what is owed stays in the queues.
    steps.extend([act(4, Act::HalfClose), Step::Pause(60), act(4, Act::Reset)]);
    steps.push(Step::Quiet);
    steps.extend(stuck_resets(profile, 36));
    // Who comes later exchanges twice: a server may be broken by what it counts when a client has been served.
    steps.extend(come(100));
    steps.extend([
        act(100, Act::Exchange(Payload::greeting())),
        act(100, Act::HalfClose),
        act(100, Act::ReadToEnd),
    ]);
    steps.extend([visit(101), visit(102), Step::Await(Condition::Back(Facet::Connections))]);
    Just(Scenario::launched(setting, steps)).boxed()
}

/// So many clients who are owed what they do not read, and reset: more than there are threads in a small pool.
pub(in crate::spec) fn stuck_resets(profile: &Profile, many: u32) -> Vec<Step> {
    let at_once = if profile.concurrent {
        profile.clients.min(profile.backlog.saturating_add(1)).clamp(1, 12)
    } else {
        1
    };
    let many = if profile.concurrent { many } else { many / 6 };
    let each = |what: Act| Step::Together((10..10 + at_once).map(|client| act(client, what)).collect());
    let group = [each(Act::Connect(To::Target)), each(Act::Send(Payload::of(100_000))), each(Act::Reset)];
    std::iter::repeat_n(group, many.div_ceil(at_once) as usize).flatten().collect()
}

/// A client that is there sends to a stopped server, half-closes and resets. The kernel keeps what was sent for the server
/// to read, and the first write meets EPIPE and SIGPIPE, since its socket was in CLOSE_WAIT: a blocked write, or one
/// without a half-close, meets ECONNRESET alone, which raises no signal.
pub(in crate::spec) fn reset_before_the_answer(client: u32, instance: Instance, len: u64) -> [Step; 6] {
    let tree = Who::Tree(instance);
    [
        Step::Signal(tree, Sig::Stop),
        Step::Await(Condition::Stopped(tree)),
        act(client, Act::Send(Payload::of(len))),
        act(client, Act::HalfClose),
        act(client, Act::Reset),
        Step::Signal(tree, Sig::Cont),
    ]
}

/// The server is stopped until the client has gone, so that it finds much input, and nobody who would take the answers.
fn close_while_it_sends(profile: &Profile) -> BoxedStrategy<Scenario> {
    let tree = Who::Tree(Instance(0));
    let most = profile.effort.pick(3, 3, 12);
    let payload = Payload::of(60_000).cut(Cut::Every(1000));
    let mut steps = vec![visit(99)];
    for client in 0..most {
        steps.extend(come(client));
        steps.extend([Step::Signal(tree, Sig::Stop), Step::Await(Condition::Stopped(tree))]);
        steps.extend([
            act(client, Act::Send(payload)),
            act(client, Act::Close),
            Step::Signal(tree, Sig::Cont),
        ]);
        steps.push(Step::Quiet);
    }
    steps.extend([visit(100), visit(101), Step::Await(Condition::Back(Facet::Connections))]);
    fixed(steps)
}

/// A moment and a way to leave, for each of many clients, one after another.
fn abrupt_ends(profile: &Profile) -> BoxedStrategy<Scenario> {
    let many = profile.effort.pick(12, 20, 200_usize);
    vec((0..5_u8, 0..3_u8, any::<u8>()), many)
        .prop_map(|lives| {
            let mut steps = vec![visit(99)];
            for (client, (moment, way, len)) in (0..).zip(lives) {
                // Every second one resets: some count.
                let way = if client % 2 == 0 { 0 } else { way };
                steps.extend(abrupt_life(client, moment, way, 1 + 60 * u64::from(len)));
            }
            steps.extend([visit(1000), visit(1001), Step::Await(Condition::Back(Facet::Connections))]);
            Scenario::served(steps)
        })
        .boxed()
}

fn abrupt_life(client: u32, moment: u8, way: u8, len: u64) -> Vec<Step> {
    let mut life = vec![act(client, Act::Connect(To::Target))];
    match moment {
        0 => {}
        1 => life.push(act(client, Act::Send(Payload::of(len)))),
        2 => life.push(act(client, Act::Exchange(Payload::of(len)))),
        3 => {
            let payload = Payload::of(len);
            life.extend([act(client, Act::Exchange(payload)), act(client, Act::Send(payload))]);
        }
        _ => life.extend([act(client, Act::Exchange(Payload::greeting())), act(client, Act::HalfClose)]),
    }
    life.push(act(client, if way == 0 { Act::Reset } else { Act::Close }));
    life
}

/// Index of the last step in which a client that is no visitor left.
fn last_end(scenario: &Scenario) -> Result<usize, Verdict> {
    let is_end = |step: &Step| matches!(step, Step::Do(_, Act::Reset | Act::Close));
    let last = scenario.flat().filter(|(_, step)| is_end(step)).last();
    last.map(|(index, _)| index).ok_or_else(|| Verdict::Inconclusive("no client left abruptly".into()))
}

fn survives_ends(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let abrupt = trace.all_acts().filter(|acted| matches!(acted.act, Act::Reset | Act::Close)).count();
        witness(abrupt > 0, "no client left abruptly")?;
        goes_on_after(scenario, trace, abrupt)
    })
}

fn survives_ends_unread(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let unread =
            |acted: &&Acted| matches!(acted.act, Act::Reset | Act::Close) && acted.received < acted.sent;
        let abrupt = trace.all_acts().filter(unread).count();
        witness(abrupt > 0, "no client left with bytes unread")?;
        goes_on_after(scenario, trace, abrupt)
    })
}

fn goes_on_after(scenario: &Scenario, trace: &Trace, abrupt: usize) -> Result<String, Verdict> {
    left_working(scenario)?;
    let last = last_end(scenario)?;
    let first =
        first_step(scenario, |step| matches!(step, Step::Do(_, Act::Reset | Act::Close))).unwrap_or(last);
    // Those who only visit, and came before, tell whether the server serves at all.
    trace.served_before(first, &scenario.clients())?;
    trace.goes_on(scenario, last, &format!("after {}", count(abrupt, "abrupt end")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::{Build, serving};
    use crate::trace::{Exit, Fate};

    fn scenario() -> Scenario {
        let mut steps = come(0).to_vec();
        steps.extend([act(0, Act::Reset), visit(1)]);
        Scenario::served(steps)
    }

    fn reset() -> Build {
        Build::served()
            .done(0, Act::Connect(To::Target))
            .done(0, Act::Exchange(Payload::greeting()))
            .done(0, Act::Reset)
    }

    #[test]
    fn a_server_that_serves_the_next_one_goes_on() {
        let trace = reset().visited(1).looked(serving()).trace();
        assert!(matches!(survives_ends(&scenario(), &trace), Verdict::Pass(_)));
    }

    #[test]
    fn a_server_that_ends_does_not() {
        let trace = reset().exited(0, Exit::Signal(13)).trace();
        assert!(matches!(survives_ends(&scenario(), &trace), Verdict::Fail(_)));
        let refused = reset()
            .acted(1, Act::Visit(Payload::greeting()), |acted| {
                acted.fate = Fate::Refused("ECONNREFUSED".into())
            })
            .looked(serving());
        assert!(matches!(survives_ends(&scenario(), &refused.trace()), Verdict::Fail(_)));
    }

    #[test]
    fn a_client_that_was_never_served_says_nothing() {
        let unserved = Build::served()
            .done(0, Act::Connect(To::Target))
            .acted(0, Act::Exchange(Payload::greeting()), |acted| {
                acted.fate = Fate::Missed;
                (acted.received, acted.spans) = (0, Vec::new());
            })
            .done(0, Act::Reset)
            .visited(1)
            .looked(serving());
        assert!(matches!(survives_ends(&scenario(), &unserved.trace()), Verdict::Inconclusive(_)));
    }
}
