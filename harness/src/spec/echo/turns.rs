//! Turns of a conversation: its beginning, its pauses and its end, and that it stays apart from all others.

use proptest::prelude::{Strategy, any};
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::{fixed, payload};
use crate::scenario::{
    Act, Class, Condition, Cut, Instance, Payload, Scenario, Setting, Sig, Step, To, Who, act,
};
use crate::spec::echo::bytes::all_back;
use crate::spec::echo::text::own;
use crate::trace::aftermath::left_working;
use crate::trace::query::{bytes, count, judge, witness};
use crate::trace::{Acted, Ending, Fate, Span, Trace};
use crate::verdict::Verdict;

/// Nobody's bytes reach anybody else.
pub(super) static ISOLATION: Clause = Clause {
    id: ClauseId("echo.isolation"),
    level: Level::Must,
    requirement: "The server sends each client's bytes to that client only.",
    why: "A buffer that is shared by threads, or not emptied between clients, hands one client's data to \
          another. That is not only wrong but a leak of secrets. The cure is a buffer for each connection.",
    citations: &["RFC 862", "POSIX.1-2024 recv", "CWE-488"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: at_the_same_time,
    check: all_back,
};

/// The connection stays open until the client ends it.
pub(super) static CONTINUES: Clause = Clause {
    id: ClauseId("echo.continues"),
    level: Level::Must,
    requirement: "The server goes on with a connection, also after a pause, until the client ends it.",
    why: "RFC 862: \"This continues until the calling user terminates the connection.\" A server that closes \
          after one answer, or after a short silence, drops the second message of each client.",
    citations: &["RFC 862"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: with_pauses,
    check: all_back,
};

/// Nothing in, nothing out, and an end.
pub(super) static EMPTY: Clause = Clause {
    id: ClauseId("echo.empty"),
    level: Level::Must,
    requirement: "The server answers a client that ends its stream without a byte with the end of the \
                  stream, and no byte.",
    why: "The first read returns 0. A server that takes that for an error may crash, send a complaint as if \
          it were data, or forget to close; probes of load balancers do this every second.",
    citations: &["RFC 862", "POSIX.1-2024 recv"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: without_a_byte,
    check: empty,
};

/// Data and end of stream in one go.
pub(super) static PIPELINED_CLOSE: Clause = Clause {
    id: ClauseId("echo.pipelined-close"),
    level: Level::Must,
    requirement: "The server echoes all data that came together with the end of the stream, and then ends \
                  its own.",
    why: "printf x | nc sends data and FIN at once. An event loop that looks at the hangup before the input \
          closes too early; the client gets nothing. The cure is to read until 0, whatever else poll says.",
    citations: &["UNP 6.6", "RFC 9293 3.6", "poll(2)"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: data_and_end,
    check: data_and_its_end,
};

/// An urgent byte does no harm.
pub(super) static URGENT: Clause = Clause {
    id: ClauseId("echo.urgent"),
    level: Level::Should,
    requirement: "The server goes on with the normal stream when urgent data comes.",
    why: "An urgent byte leaves the normal stream, or stays in it, as the server chooses. poll tells of it \
          by POLLPRI; a loop that takes every other event for an error closes the connection.",
    citations: &["RFC 6093 3", "RFC 9293 3.8.5", "tcp(7)"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: with_urgent_data,
    check: urgent,
};

/// Whether dead peers would be found, for the record.
pub(super) static KEEPALIVE: Clause = Clause {
    id: ClauseId("echo.keepalive"),
    level: Level::May,
    requirement: "The server may use keepalive to find out about clients that vanished without a word.",
    why: "A client whose machine lost its power sends no FIN. Without keepalive or a timeout of its own the \
          server keeps that connection for ever.",
    citations: &["RFC 1122 4.2.3.6", "tcp(7)", "UNP 7.5"],
    needs: &[Need::Lasting],
    scenarios: with_pauses,
    check: keepalive,
};

fn at_the_same_time(profile: &Profile) -> BoxedStrategy<Scenario> {
    let clients = profile.effort.pick(3, 6, 20).min(profile.clients).max(2);
    let len = profile.effort.pick(40_000, 120_000, 2_000_000);
    let concurrent = profile.concurrent;
    let short = profile.backlog < clients;
    (any::<u16>(), 20..=56_u32)
        .prop_map(move |(seed, each)| {
            let seed = u64::from(seed);
            let mut steps = Vec::new();
            if concurrent {
                for client in 0..clients {
                    steps.push(act(client, Act::Connect(To::Target)));
                    if short {
                        steps.push(Step::Await(Condition::QueueEmpty));
                    }
                }
                for round in 0..2 {
                    let payload =
                        Payload { seed: seed + round, cut: Cut::Every(each), ..Payload::of(len / 2) };
                    let talk = |client| act(client, Act::Exchange(payload));
                    steps.push(Step::Together((0..clients).map(talk).collect()));
                }
                steps.extend((0..clients).map(|client| act(client, Act::Close)));
            }
            // What the first one leaves in a buffer, the others must not get.
            let sizes = [320, 1, 6_u64];
            let visit = |(n, len)| act(clients + n, Act::Visit(Payload { seed, ..lines(16 * len) }));
            steps.extend((0..).zip(sizes).map(visit));
            Scenario::served(steps)
        })
        .boxed()
}

/// Text of whole lines: for clauses that are not about what the bytes are.
fn lines(len: u64) -> Payload {
    Payload::of(len - len % 16).class(Class::Line)
}

fn with_pauses(profile: &Profile) -> BoxedStrategy<Scenario> {
    let pause = profile.effort.pick(70, 80, 1000);
    (1..=60_u64)
        .prop_map(move |n| {
            let payload = lines(16 * n);
            Scenario::served([
                act(0, Act::Connect(To::Target)),
                act(0, Act::Exchange(payload)),
                act(0, Act::Linger(pause)),
                act(0, Act::Exchange(payload)),
                act(0, Act::Exchange(Payload::greeting())),
                Step::Look,
                act(0, Act::Close),
            ])
        })
        .boxed()
}

fn without_a_byte(_: &Profile) -> BoxedStrategy<Scenario> {
    fixed([
        act(0, Act::Connect(To::Target)),
        act(0, Act::HalfClose),
        act(0, Act::ReadToEnd),
        act(0, Act::Close),
        act(1, Act::Visit(Payload::greeting())),
    ])
}

/// The server is stopped meanwhile, so that data and end are both there when it looks.
fn data_and_end(profile: &Profile) -> BoxedStrategy<Scenario> {
    let most = profile.effort.pick(2000, 9000, 60_000);
    let tree = Who::Tree(Instance(0));
    payload(1..=most)
        .prop_map(move |payload| {
            let end =
                |client| [act(client, Act::HalfClose), act(client, Act::ReadToEnd), act(client, Act::Close)];
            let mut steps =
                vec![act(0, Act::Connect(To::Target)), act(0, Act::Exchange(Payload::greeting()))];
            // It waits for more when it is stopped: some take the interruption for the end.
            steps.push(Step::Await(Condition::Still));
            steps.extend([Step::Signal(tree, Sig::Stop), Step::Await(Condition::Stopped(tree))]);
            // One client is served already, the other one not yet accepted: both have said all when the server looks.
            steps.extend([act(0, Act::Send(payload)), act(0, Act::HalfClose)]);
            steps.extend([
                act(1, Act::Connect(To::Target)),
                act(1, Act::Send(payload)),
                act(1, Act::HalfClose),
            ]);
            // More than is read in one turn.
            steps.extend([act(3, Act::Connect(To::Target)), act(3, Act::Send(Payload::of(150_000)))]);
            steps.push(act(3, Act::HalfClose));
            steps.push(Step::Signal(tree, Sig::Cont));
            steps.extend(
                [0, 1, 3]
                    .into_iter()
                    .flat_map(|client| [act(client, Act::ReadToEnd), act(client, Act::Close)]),
            );
            steps.extend([act(2, Act::Connect(To::Target)), act(2, Act::Send(payload))]);
            steps.extend(end(2));
            Scenario::launched(Setting { buffers: Some(400_000), ..Setting::default() }, steps)
        })
        .boxed()
}

const URGENT_BYTE: u8 = b'!';

fn with_urgent_data(_: &Profile) -> BoxedStrategy<Scenario> {
    let text = Payload::of(300).class(Class::Text);
    fixed([
        act(0, Act::Connect(To::Target)),
        act(0, Act::Exchange(text)),
        act(0, Act::Urgent(URGENT_BYTE)),
        act(0, Act::Linger(30)),
        act(0, Act::Exchange(text)),
        act(0, Act::HalfClose),
        act(0, Act::ReadToEnd),
        act(0, Act::Close),
        act(1, Act::Visit(Payload::greeting())),
        Step::Look,
    ])
}

/// As [`all_back`], and the end has to come too.
fn data_and_its_end(scenario: &Scenario, trace: &Trace) -> Verdict {
    if let Err(verdict) = trace.ready(Instance(0)).and_then(|_| trace.all_served(&scenario.clients())) {
        return verdict;
    }
    all_back(scenario, trace)
}

fn empty(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let is_empty = |acted: &&Acted| acted.act == Act::ReadToEnd && acted.sent == 0;
        let ends: Vec<_> = trace.all_acts().filter(is_empty).collect();
        witness(!ends.is_empty(), "every client sent something")?;
        for acted in &ends {
            let expected =
                format!("{}, who sends nothing, reads the end of the stream and no byte", acted.client);
            if acted.received > 0 {
                return Err(Verdict::seen(expected, format!("{} came", bytes(acted.received))));
            }
            match (acted.fate.clone(), acted.ending) {
                (_, Some(Ending::Eof)) => {}
                (_, Some(Ending::Reset)) => return Err(Verdict::seen(expected, "a reset came")),
                (Fate::Missed, None) => return Err(Verdict::missing(expected, "no end came")),
                (fate, None) => return Err(Verdict::Inconclusive(format!("the reading was {fate:?}"))),
            }
        }
        Ok(format!("{} got an end and no byte", count(ends.len(), "empty client")))
    })
}

fn urgent(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let sent =
            trace.all_acts().find(|acted| matches!(acted.act, Act::Urgent(_)) && acted.fate == Fate::Done);
        let sent = sent.ok_or_else(|| Verdict::Inconclusive("no urgent byte was sent".into()))?;
        let Act::Urgent(byte) = sent.act else {
            return Err(Verdict::Inconclusive("no urgent byte was sent".into()));
        };
        let client = sent.client;
        trace.lives(Instance(0), "the server goes on after an urgent byte")?;
        let before_its_end = trace.acts(client).take_while(|acted| acted.act != Act::HalfClose);
        let cut_off =
            before_its_end.filter(|acted| acted.act != Act::Close).find(|acted| acted.ending.is_some());
        if let Some(acted) = cut_off {
            return Err(Verdict::seen(
                format!("the connection of {client} stays after an urgent byte"),
                format!("it ended after {} of {}", acted.received, bytes(acted.sent)),
            ));
        }
        let last = trace.acts(client).rfind(|acted| !matches!(acted.act, Act::Close));
        let owed = trace.last_act(client).map_or(0, |acted| acted.sent);
        let back: u64 = trace.acts(client).map(own).sum();
        let expected = format!("{client} gets back all {} around the urgent byte", bytes(owed));
        let strange = trace.acts(client).flat_map(|acted| &acted.spans).find(|span| !is_own_or(span, byte));
        if let Some(span) = strange {
            return Err(Verdict::seen(expected, format!("{span:?}")));
        }
        let missed = last.is_some_and(|acted| acted.fate == Fate::Missed);
        if back < owed {
            let observed = format!("{back} came back");
            return Err(if missed {
                Verdict::missing(expected, observed)
            } else {
                Verdict::seen(expected, observed)
            });
        }
        let in_line =
            trace.acts(client).flat_map(|acted| &acted.spans).any(|span| matches!(span, Span::Alien { .. }));
        Ok(format!(
            "all {} came back, the urgent byte {}",
            bytes(owed),
            if in_line { "among them" } else { "not" }
        ))
    })
}

/// Whether a run of bytes is the client's own, or the urgent byte by itself.
fn is_own_or(span: &Span, byte: u8) -> bool {
    match span {
        Span::Own { .. } => true,
        Span::Alien { len, first } => *len == 1 && *first == [byte],
        Span::Other { .. } => false,
    }
}

fn keepalive(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let peer = scenario.clients().into_iter().find_map(|client| {
            let local = trace.local(client)?;
            trace.looks().find_map(|(_, look)| look.peer_of(local))
        });
        let peer = peer.ok_or_else(|| Verdict::Inconclusive("no connection was seen".into()))?;
        Ok(if peer.keepalive { "keepalive is on".into() } else { "keepalive is off".into() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::Build;

    fn ended(received: u64, fate: Fate, ending: Option<Ending>) -> Verdict {
        let trace = Build::served().done(0, Act::HalfClose).acted(0, Act::ReadToEnd, |acted| {
            acted.received = received;
            acted.fate = fate;
            acted.ending = ending;
        });
        empty(&Scenario::served([]), &trace.trace())
    }

    #[test]
    fn an_empty_client_is_owed_an_end_and_nothing_else() {
        assert!(matches!(ended(0, Fate::Done, Some(Ending::Eof)), Verdict::Pass(_)));
        assert!(matches!(ended(12, Fate::Done, Some(Ending::Eof)), Verdict::Fail(_)));
        assert!(matches!(ended(0, Fate::Done, Some(Ending::Reset)), Verdict::Fail(_)));
        assert!(matches!(ended(0, Fate::Missed, None), Verdict::Fail(_)));
    }
}
