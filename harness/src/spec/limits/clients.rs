//! Many clients, more clients than there are places for, and clients with hardly any room for bytes.

use std::ops::Range;

use proptest::prelude::Strategy;
use proptest::sample::select;
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::fixed;
use crate::scenario::{Act, Class, Client, Condition, Payload, Scenario, Setting, Step, To, act};
use crate::spec::limits::{FIRST, LATER, each, serves_after, started, visit};
use crate::trace::query::{bytes, count, judge, millis, witness};
use crate::trace::{Acted, Ending, Fate, Trace, What};
use crate::verdict::Verdict;

/// A flood of clients that only come and go does no lasting harm.
pub static SURVIVES_FLOOD: Clause = Clause {
    id: ClauseId("limits.survives-flood"),
    level: Level::Must,
    requirement: "The server serves new clients as before after a flood of clients that connected and left at once.",
    why: "Port scanners, health checks and impatient clients connect and leave without a word, hundreds of times. A \
          server that keeps something for each of them, or holds it against those who come later, is soon closed to all.",
    citations: &["accept(2)", "POSIX.1-2024 accept", "UNP 5.11"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: flood,
    check: serves_after_the_flood,
};

/// Clients beyond the limit wait, or are turned away; nobody is forgotten.
pub static LIMIT_WITHOUT_LOSS: Clause = Clause {
    id: ClauseId("limits.limit-without-loss"),
    level: Level::Must,
    requirement: "The server lets clients beyond its limit wait until there is a place, or closes their connections; it \
                  never accepts a client and forgets it, nor cuts off one that it serves.",
    why: "Any limit is fine if its clients can tell where they stand. One that was accepted and forgotten sees an open \
          connection and waits for ever; one that was cut off to make room loses its work. The cure is not to call \
          accept while there is no place, so that the queue does the waiting.",
    citations: &["listen(2)", "POSIX.1-2024 accept", "UNP 30.3"],
    needs: &[Need::Lasting, Need::Echo, Need::MadeForMany],
    scenarios: more_than_there_is_room_for,
    check: nobody_is_lost,
};

/// Silent clients do not use up all places.
pub static IDLE_CLIENTS_HOLD_NOBODY: Clause = Clause {
    id: ClauseId("limits.idle-clients-hold-nobody"),
    level: Level::Should,
    requirement: "The server serves a new client while others are connected and say nothing.",
    why: "Most connections are idle most of the time, and some clients never say a word on purpose. If each holds one of \
          a few workers, a handful of them closes the service to everybody.",
    citations: &["UNP 30.3", "accept(2)"],
    needs: &[Need::Lasting, Need::Echo, Need::MadeForMany],
    scenarios: |profile| {
        let silent = profile.clients.saturating_sub(1).max(1);
        fixed([each(0..silent, Act::Connect(To::Target)), visit(LATER), each(0..silent, Act::Close)])
    },
    check: a_late_client_is_served,
};

/// How many clients are served at once.
pub static CLIENTS_RECORDED: Clause = Clause {
    id: ClauseId("limits.clients-recorded"),
    level: Level::May,
    requirement: "The server may limit how many clients it serves at once.",
    why: "A limit protects the host and the clients that are already served; its value belongs into the manual.",
    citations: &["listen(2)", "UNP 30.3"],
    needs: &[Need::Lasting, Need::Echo, Need::Concurrent],
    scenarios: |profile| {
        let all = 0..profile.clients.max(1);
        fixed([
            each(all.clone(), Act::Connect(To::Target)),
            each(all.clone(), Act::Exchange(Payload::greeting())),
            each(all, Act::Close),
        ])
    },
    check: says_how_many,
};

/// Small buffers cut everything into small pieces; nothing is lost.
pub static TINY_BUFFERS: Clause = Clause {
    id: ClauseId("limits.tiny-buffers"),
    level: Level::Must,
    requirement: "The server sends back every byte, in order, to a client whose socket buffers are as small as they can be.",
    why: "With room for two packets each write takes only part of what it is given, and a non-blocking one soon takes \
          nothing. A server that does not look at what write returns loses the rest; the cure is to go on from there \
          when the socket is writable again.",
    citations: &["socket(7) SO_RCVBUF", "POSIX.1-2024 write", "UNP 3.9"],
    needs: &[Need::Echo],
    scenarios: small_buffers,
    check: all_bytes_come_back,
};

fn flood(profile: &Profile) -> BoxedStrategy<Scenario> {
    let total = profile.effort.pick(70, 72, 400_u32);
    let at_once = profile.clients.min(profile.backlog.saturating_add(1)).clamp(1, 20);
    let rounds = total.div_ceil(at_once);
    // So many rounds end with a crowd that says something before it leaves.
    let talking = profile.effort.pick(1, rounds, rounds);
    select(vec![Act::Reset, Act::Close])
        .prop_map(move |last| {
            let mut steps = Vec::new();
            for round in 1..=rounds {
                steps.extend([each(0..at_once, Act::Connect(To::Target)), each(0..at_once, Act::Close)]);
                if round + talking > rounds {
                    // A queue that is full makes them wait for a second, and harms nobody.
                    steps.push(Step::Await(Condition::QueueEmpty));
                    steps.push(each(0..at_once, Act::Connect(To::Target)));
                    steps.push(each(0..at_once, Act::Send(Payload::greeting())));
                    steps.push(each(0..at_once, last));
                }
            }
            // A super-server may close its door for ten seconds after fifty clients in one; it is waited for twice.
            steps
                .extend([Step::Await(Condition::Listening(FIRST)), Step::Await(Condition::Listening(FIRST))]);
            steps.extend([Step::Await(Condition::QueueEmpty), visit(LATER), visit(LATER + 1), Step::Look]);
            Scenario::served(steps)
        })
        .boxed()
}

/// Some clients are served and stay; more come; the first ones leave, and the others' turn comes.
fn more_than_there_is_room_for(profile: &Profile) -> BoxedStrategy<Scenario> {
    let clients = profile.crowd.max(2);
    let (held, more) = match profile.client_limit {
        Some(limit) => (limit.max(1), 2),
        None if !profile.concurrent => (1, (clients - 1).min(3)),
        None => (clients - clients / 3 - clients % 2, clients / 3 + clients % 2),
    };
    let (held, more) = (held.max(1), more.clamp(1, profile.backlog.saturating_add(1)));
    let (first, rest) = (0..held, held..held + more);
    let hello = Act::Exchange(Payload::greeting());
    let mut steps = at_most(profile.backlog.saturating_add(1), first.clone(), Act::Connect(To::Target));
    steps.extend([
        each(first.clone(), hello),
        each(rest.clone(), Act::Dial(To::Target)),
        each(rest.clone(), Act::Join),
        each(rest.clone(), Act::Send(Payload::greeting())),
        // Either they are served now, or they are not: then nobody may be cut off to make room for them later.
        Step::Await(Condition::Still),
        each(first.clone(), hello),
        each(first.clone(), Act::HalfClose),
        each(first.clone(), Act::ReadToEnd),
        each(first.clone(), Act::Close),
        each(rest.clone(), Act::HalfClose),
        each(rest.clone(), Act::ReadToEnd),
        Step::Look,
        each(rest, Act::Close),
    ]);
    fixed(steps)
}

/// The act of all these clients, at most so many of them at once.
fn at_most(room: u32, clients: Range<u32>, what: Act) -> Vec<Step> {
    let room = room.clamp(1, 64);
    clients
        .clone()
        .step_by(room as usize)
        .map(|start| each(start..clients.end.min(start + room), what))
        .collect()
}

/// A client that does not read until nothing more is taken: then every buffer is full, and small.
fn small_buffers(profile: &Profile) -> BoxedStrategy<Scenario> {
    // All buffers together take 10,240 bytes, those on the way back to the client about half: 8,000 fill the latter.
    let most = profile.effort.pick(8_000, 8_000, 60_000_u64);
    let setting = Setting { buffers: Some(4096), ..Setting::default() };
    (8_000..=most)
        .prop_map(move |len| {
            let payload = Payload::of(len).class(Class::Line);
            let acts = [
                Act::ReceiveBuffer(1),
                Act::SendBuffer(1),
                Act::Connect(To::Target),
                Act::Send(payload),
                Act::Read,
                Act::HalfClose,
                Act::ReadToEnd,
                Act::Close,
            ];
            Scenario::launched(setting.clone(), acts.map(|what| act(0, what)))
        })
        .boxed()
}

fn serves_after_the_flood(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        started(scenario, trace, None)?;
        let came = trace
            .all_acts()
            .filter(|acted| matches!(acted.act, Act::Connect(_)) && acted.fate == Fate::Done)
            .count();
        witness(came >= 16, format!("{} are no flood", count(came, "client")))?;
        let expected = format!("the server lives and listens after {} came and left", count(came, "client"));
        let flooded =
            |what: &What| matches!(what, What::Acted(acted) if matches!(acted.act, Act::Connect(_)));
        let served = serves_after(trace, flooded, &expected)?;
        Ok(format!("{came} came and left; {served} of {served} served afterwards"))
    })
}

fn nobody_is_lost(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        started(scenario, trace, None)?;
        let (mut served, mut told) = (0, 0);
        let mut beyond = 0;
        for client in scenario.clients() {
            let exchanges = || trace.acts(client).filter(|acted| matches!(acted.act, Act::Exchange(_)));
            let was_served = exchanges().any(|acted| acted.fate == Fate::Done);
            if let Some(cut_off) =
                exchanges().skip_while(|acted| acted.fate != Fate::Done).find(|acted| ended(acted))
            {
                return Err(Verdict::seen(
                    format!("{client}, which was being served, goes on being served when more clients come"),
                    format!(
                        "{} of {} came back, then {}",
                        cut_off.received,
                        bytes(cut_off.sent),
                        ending(cut_off)
                    ),
                ));
            }
            let Some(last) = trace.acts(client).find(|acted| matches!(acted.act, Act::ReadToEnd)) else {
                continue;
            };
            beyond += usize::from(trace.acts(client).any(|acted| matches!(acted.act, Act::Dial(_))));
            if last.sent > 0 && last.received >= last.sent {
                served += 1;
            } else if last.ending.is_some() || last.fate == Fate::Unconnected {
                told += 1;
            } else if last.fate == Fate::Missed && joined(trace, client) && !was_served && last.sent > 0 {
                return Err(Verdict::missing(
                    format!("{client}, connected, is served or turned away once others have left"),
                    format!("silence for {}: {}", millis(last.longest_us), whereabouts(trace, client)),
                ));
            }
        }
        witness(beyond > 0, "no more clients came than were served")?;
        witness(served > 0, "no client was served")?;
        Ok(format!("{served} served, {told} turned away, none forgotten"))
    })
}

/// Whether the connection ended before the act was done.
fn ended(acted: &Acted) -> bool {
    acted.fate == Fate::Ended || (acted.ending.is_some() && acted.received < acted.sent)
}

fn ending(acted: &Acted) -> &'static str {
    match acted.ending {
        Some(Ending::Reset) => "a reset",
        _ => "end of file",
    }
}

/// Whether the client's connection was established.
fn joined(trace: &Trace, client: Client) -> bool {
    trace.acts(client).any(|acted| {
        matches!(acted.act, Act::Connect(_) | Act::Dial(_) | Act::Join | Act::Send(_))
            && acted.fate == Fate::Done
    })
}

fn whereabouts(trace: &Trace, client: Client) -> &'static str {
    let holders = trace.local(client).zip(trace.last_look()).map(|(local, look)| look.holders(local).len());
    match holders {
        Some(0) => "nobody has accepted it",
        Some(_) => "it was accepted, and forgotten",
        None => "nobody looked who holds it",
    }
}

fn a_late_client_is_served(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        started(scenario, trace, None)?;
        let clients = scenario.clients();
        let visits = |client: &Client| trace.acts(*client).any(|acted| matches!(acted.act, Act::Visit(_)));
        let silent = clients
            .iter()
            .filter(|client| !visits(client))
            .filter(|client| {
                trace.acts(**client).any(|acted| acted.fate == Fate::Done && acted.local.is_some())
            })
            .count();
        witness(silent > 0, "no silent client was connected")?;
        let late: Vec<_> = clients.iter().copied().filter(visits).collect();
        witness(!late.is_empty(), "no client came later")?;
        trace.all_served(&late)?;
        Ok(format!("served beside {}", count(silent, "silent client")))
    })
}

fn says_how_many(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        started(scenario, trace, None)?;
        let exchanges: Vec<_> =
            trace.all_acts().filter(|acted| matches!(acted.act, Act::Exchange(_))).collect();
        witness(!exchanges.is_empty(), "no client spoke")?;
        let served = exchanges.iter().filter(|acted| acted.fate == Fate::Done).count();
        let limit = trace.circumstances.profile.as_ref().and_then(|profile| profile.client_limit);
        let limit =
            limit.map_or_else(|| "no limit was met".into(), |limit| format!("the limit seems to be {limit}"));
        Ok(format!("{served} of {} were served at once; {limit}", exchanges.len()))
    })
}

fn all_bytes_come_back(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        started(scenario, trace, None)?;
        let small =
            |client: &Client| trace.acts(*client).any(|acted| matches!(acted.act, Act::ReceiveBuffer(_)));
        let clients: Vec<_> = scenario.clients().into_iter().filter(small).collect();
        witness(!clients.is_empty(), "no client had a small buffer")?;
        let echoed = trace.all_served(&clients)?;
        witness(echoed > 0, "nothing was sent through the small buffers")?;
        Ok(format!("{} went through the smallest buffers", bytes(echoed)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::{Build, serving};

    fn scenario(clients: u32) -> Scenario {
        Scenario::served((0..clients).map(visit))
    }

    /// c0 was served throughout; c1 came when there was no more room.
    fn crowded(change: impl FnOnce(&mut Acted)) -> Verdict {
        let trace = Build::served()
            .done(0, Act::Exchange(Payload::greeting()))
            .done(1, Act::Dial(To::Target))
            .acted(0, Act::ReadToEnd, |acted| (acted.sent, acted.received) = (16, 16))
            .done(1, Act::Send(Payload::greeting()))
            .acted(1, Act::ReadToEnd, change)
            .looked(serving())
            .trace();
        (LIMIT_WITHOUT_LOSS.check)(&scenario(2), &trace)
    }

    #[test]
    fn a_client_beyond_the_limit_is_served_or_told_but_not_forgotten() {
        assert!(matches!(crowded(|acted| (acted.sent, acted.received) = (16, 16)), Verdict::Pass(_)));
        assert!(matches!(crowded(|acted| acted.sent = 16), Verdict::Pass(_)));
        let forgotten = crowded(|acted| (acted.sent, acted.fate, acted.ending) = (16, Fate::Missed, None));
        assert!(
            matches!(forgotten, Verdict::Fail(e) if e.kind == crate::verdict::Kind::Missing),
            "forgotten"
        );
    }

    #[test]
    fn a_client_that_is_cut_off_is_lost() {
        let trace = Build::served()
            .done(0, Act::Exchange(Payload::greeting()))
            .done(1, Act::Dial(To::Target))
            .acted(0, Act::Exchange(Payload::greeting()), |acted| {
                (acted.fate, acted.ending, acted.sent) = (Fate::Ended, Some(Ending::Eof), 32);
            })
            .trace();
        assert!(matches!((LIMIT_WITHOUT_LOSS.check)(&scenario(2), &trace), Verdict::Fail(_)));
    }

    #[test]
    fn a_server_that_dies_in_the_flood_fails() {
        let flood = || (0..20).fold(Build::served(), |build, n| build.done(n, Act::Connect(To::Target)));
        let dead = flood()
            .exited(0, crate::trace::Exit::Signal(11))
            .awaited(Condition::Listening(FIRST), false, crate::trace::Look::default())
            .trace();
        assert!(matches!((SURVIVES_FLOOD.check)(&scenario(0), &dead), Verdict::Fail(_)));
        let alive = flood().visited(LATER).looked(serving()).trace();
        assert!(matches!((SURVIVES_FLOOD.check)(&scenario(0), &alive), Verdict::Pass(_)));
        assert!(matches!(
            (SURVIVES_FLOOD.check)(&scenario(0), &Build::served().trace()),
            Verdict::Inconclusive(_)
        ));
    }
}
