//! Orderly ends: half-close, the rest, end of file, and nothing left behind.

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::{come, fixed};
use crate::scenario::{Act, Condition, Facet, Instance, Payload, Scenario, Step, To, act};
use crate::trace::aftermath::{all_left, in_context, left_working};
use crate::trace::query::{bytes, count, judge, millis, span, witness};
use crate::trace::{Acted, Ending, Fate, Look, Socket, State, Trace};
use crate::verdict::Verdict;

/// The client gets an end of file.
pub(super) static EOF_REACHES_CLIENT: Clause = Clause {
    id: ClauseId("close.eof-reaches-client"),
    level: Level::Must,
    requirement: "The server ends its half of the connection, in good order, when the client has ended its \
                  own.",
    why: "The client reads until end of file; if none comes it waits for ever. The classic bug: the child \
          has closed and exited, but the parent still holds a copy of the connection, so no FIN is sent.",
    citations: &["UNP 4.8", "RFC 9293 3.6", "POSIX.1-2024 close"],
    needs: &[Need::Lasting],
    scenarios: clean_conversations,
    check: eof_reaches_client,
};

/// Also while others are connected.
pub(super) static EOF_DESPITE_SIBLINGS: Clause = Clause {
    id: ClauseId("close.eof-despite-siblings"),
    level: Level::Must,
    requirement: "The server ends a connection when its client has, although other clients stay connected.",
    why: "A sibling that inherited a copy of the connection keeps it open as long as it lives: the first \
          client to leave waits for the last. The cure is that the parent closes each connection before it \
          forks again.",
    citations: &["UNP 4.8", "POSIX.1-2024 fork", "POSIX.1-2024 close"],
    needs: &[Need::Concurrent, Need::Lasting],
    scenarios: leave_in_turn,
    check: eof_despite_siblings,
};

/// No socket waits for the server to close it.
pub(super) static NO_CLOSE_WAIT: Clause = Clause {
    id: ClauseId("close.no-close-wait"),
    level: Level::Must,
    requirement: "The server leaves no connection in CLOSE_WAIT after its client has left.",
    why: "CLOSE_WAIT means: the other side has closed, and this program has not. Each one is a descriptor \
          lost until the server runs out of them. The cure is close on every path that ends a connection.",
    citations: &["RFC 9293 3.3.2", "POSIX.1-2024 close"],
    needs: &[Need::Lasting],
    scenarios: clean_conversations,
    check: no_close_wait,
};

/// A clean conversation has a clean end.
pub(super) static NO_RESET_ON_CLEAN: Clause = Clause {
    id: ClauseId("close.no-reset-on-clean"),
    level: Level::Must,
    requirement: "The server sends no reset in a conversation in which the client has read everything and \
                  ended first.",
    why: "A reset may overtake data that is on its way, and the client sees an error instead of an end. It \
          comes from closing with input unread, or from SO_LINGER with a timeout of zero.",
    citations: &["RFC 2525 2.17", "RFC 9293 3.6.1", "RFC 1122 4.2.2.13"],
    needs: &[Need::Lasting],
    scenarios: clean_conversations,
    check: no_reset_on_clean,
};

/// TIME_WAIT stays with the client.
pub(super) static CLIENT_CLOSES_FIRST: Clause = Clause {
    id: ClauseId("close.client-closes-first"),
    level: Level::Should,
    requirement: "The server does not end a connection before its client does.",
    why: "Whoever closes first keeps the connection in TIME_WAIT for a minute. An echo server has no reason \
          to, and thousands of such rows on its own port keep it from a restart without SO_REUSEADDR.",
    citations: &["RFC 862", "RFC 9293 3.6", "UNP 2.7"],
    needs: &[Need::Lasting],
    scenarios: clean_conversations,
    check: client_closes_first,
};

fn end(client: u32) -> [Step; 3] {
    [act(client, Act::HalfClose), act(client, Act::ReadToEnd), act(client, Act::Close)]
}

/// Clients that end their half, read to the end and close; one that says nothing; and nobody comes any more.
fn clean_conversations(profile: &Profile) -> BoxedStrategy<Scenario> {
    let clients = profile.effort.pick(3, 4, 20);
    let mut steps = vec![Step::Mark];
    for client in 0..clients {
        steps.extend(come(client));
        steps.push(act(client, Act::Send(Payload::of(1 + 4000 * u64::from(client)))));
        steps.extend(end(client));
    }
    steps.push(act(clients, Act::Connect(To::Target)));
    steps.extend(end(clients));
    // This one closes at once, after it has read everything.
    steps.extend(come(clients + 1));
    steps.push(act(clients + 1, Act::Close));
    steps.push(Step::Await(Condition::Back(Facet::Connections)));
    fixed(steps)
}

/// Several clients at once; the first to come is the first to go, and all others stay.
fn leave_in_turn(profile: &Profile) -> BoxedStrategy<Scenario> {
    let clients = profile.effort.pick(3, 4, 12).min(profile.clients).max(2);
    let mut steps: Vec<Step> = (0..clients).flat_map(come).collect();
    for client in 0..clients - 1 {
        steps.extend(end(client));
        steps.push(act(clients - 1, Act::Exchange(Payload::greeting())));
    }
    steps.extend(end(clients - 1));
    fixed(steps)
}

/// Readings to the end by clients that had ended their own half, and whose process nobody had killed.
pub(super) fn ends(trace: &Trace) -> impl Iterator<Item = &Acted> {
    trace.all_acts().filter(|acted| {
        let earlier = trace.acts(acted.client).any(|other| other.act == Act::HalfClose);
        acted.act == Act::ReadToEnd
            && earlier
            && acted.fate != Fate::Unconnected
            && !trace.is_bereaved(acted.client)
    })
}

fn eof_reaches_client(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| orderly_ends(scenario, trace))
}

/// Ends the check unless every client that has ended its half read an orderly end. Returns how many did.
fn orderly_ends(scenario: &Scenario, trace: &Trace) -> Result<String, Verdict> {
    trace.ready(Instance(0))?;
    left_working(scenario)?;
    let mut orderly = 0;
    for acted in ends(trace) {
        let expected = format!("{} reads end of file after its half-close", acted.client);
        match (acted.fate.clone(), acted.ending) {
            (_, Some(Ending::Eof)) => orderly += 1,
            (_, Some(Ending::Reset)) => return Err(Verdict::seen(expected, "it reads a reset (ECONNRESET)")),
            (Fate::Missed, None) => {
                return Err(Verdict::missing(expected, format!("no end for {}", millis(acted.longest_us))));
            }
            (fate, None) => return Err(Verdict::Inconclusive(format!("the reading was {fate:?}"))),
        }
    }
    witness(orderly > 0, "no client ended its half and read on")?;
    Ok(format!("{} read end of file", count(orderly, "client")))
}

fn eof_despite_siblings(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let open = trace.all_acts().take_while(|acted| acted.act != Act::HalfClose);
        let mut clients: Vec<_> = open
            .filter(|acted| acted.fate == Fate::Done && acted.received > 0)
            .map(|acted| acted.client)
            .collect();
        clients.dedup();
        witness(clients.len() > 1, "there were no two clients at once")?;
        orderly_ends(scenario, trace)
            .map_err(|verdict| in_context(verdict, &format!("with {} more connected", clients.len() - 1)))
    })
}

/// The target's ends of connections in this state.
fn in_state(trace: &Trace, look: &Look, state: State) -> Vec<Socket> {
    let port = trace.port();
    look.sockets
        .iter()
        .filter(|socket| socket.state == state && socket.local.port() == port)
        .cloned()
        .collect()
}

fn no_close_wait(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        all_left(scenario)?;
        let clients = scenario.clients();
        witness(!clients.is_empty(), "no client came")?;
        let (_, look) = trace
            .awaited(Condition::Back(Facet::Connections))
            .ok_or_else(|| Verdict::Inconclusive("nobody waited for the connections to go".into()))?;
        let waiting = in_state(trace, look, State::CloseWait);
        if let Some(first) = waiting.first() {
            let within = span(trace.circumstances.limits.settle_within);
            let holders: Vec<_> = look
                .processes
                .iter()
                .filter(|p| p.holds(first.inode))
                .map(|p| format!("pid {}", p.pid))
                .collect();
            return Err(Verdict::missing(
                format!("no connection in CLOSE_WAIT within {within} of the last close"),
                format!(
                    "{}, the first held by {}",
                    count(waiting.len(), "connection"),
                    holders.join(" and ")
                ),
            ));
        }
        Ok(format!("{} left, none of their connections in CLOSE_WAIT", count(clients.len(), "client")))
    })
}

fn no_reset_on_clean(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let mut clean = 0;
        for acted in ends(trace) {
            if acted.ending == Some(Ending::Reset) {
                return Err(Verdict::seen(
                    format!("{} gets an orderly end", acted.client),
                    format!("a reset after {} of {}", acted.received, bytes(acted.sent)),
                ));
            }
            clean += u64::from(acted.ending == Some(Ending::Eof));
        }
        witness(clean > 0, "no conversation came to a clean end")?;
        let (Some(mark), Some(last)) = (trace.mark(), trace.last_look()) else {
            return Ok(format!("{clean} ends, no reset"));
        };
        let aborted = |look: &Look| look.counters.abort_on_close + look.counters.abort_on_data;
        let aborts = aborted(last).saturating_sub(aborted(mark));
        let is_clean =
            |acted: &Acted| !matches!(acted.act, Act::Reset | Act::Visit(_)) && acted.received <= acted.sent;
        let undisturbed = trace.all_acts().all(is_clean) && trace.signals().next().is_none();
        if undisturbed && trace.circumstances.isolation > crate::trace::Isolation::Loopback && aborts >= clean
        {
            return Err(Verdict::seen(
                "no reset in clean conversations",
                format!(
                    "{aborts} connections were reset by the kernel after a close with input unread, in {clean} ends"
                ),
            ));
        }
        Ok(format!("{clean} clean ends, no reset"))
    })
}

fn client_closes_first(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let ended = ends(trace).count();
        witness(ended > 0, "no client ended its half and read on")?;
        let look =
            trace.last_look().ok_or_else(|| Verdict::Inconclusive("nobody looked at the end".into()))?;
        witness(trace.signals().next().is_none(), "processes were signalled")?;
        let own = in_state(trace, look, State::TimeWait).len();
        if own > 0 {
            return Err(Verdict::seen(
                "TIME_WAIT is on the clients' side only",
                format!("{} in TIME_WAIT on the server's port: it closed first", count(own, "connection")),
            ));
        }
        Ok(format!("{} ended by the client", count(ended, "connection")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::{Build, connection, serving};

    fn read(change: impl FnOnce(&mut Acted)) -> Trace {
        Build::served()
            .done(0, Act::Connect(To::Target))
            .done(0, Act::Send(Payload::of(100)))
            .done(0, Act::HalfClose)
            .acted(0, Act::ReadToEnd, |acted| {
                (acted.sent, acted.received) = (100, 100);
                change(acted);
            })
            .trace()
    }

    #[test]
    fn an_end_before_the_rest_is_no_honour() {
        let scenario = Scenario::served([]);
        assert!(matches!(
            crate::spec::close::half::half_close_is_honoured(&scenario, &read(|_| {})),
            Verdict::Pass(_)
        ));
        assert!(matches!(
            crate::spec::close::half::half_close_is_honoured(&scenario, &read(|acted| acted.received = 40)),
            Verdict::Fail(_)
        ));
    }

    #[test]
    fn neither_silence_nor_a_reset_is_an_end() {
        let scenario = Scenario::served([]);
        let judged = |fate, ending| {
            eof_reaches_client(&scenario, &read(|acted| (acted.fate, acted.ending) = (fate, ending)))
        };
        assert!(matches!(judged(Fate::Done, Some(Ending::Eof)), Verdict::Pass(_)));
        assert!(matches!(judged(Fate::Done, Some(Ending::Reset)), Verdict::Fail(_)));
        assert!(matches!(judged(Fate::Missed, None), Verdict::Fail(_)));
    }

    #[test]
    fn close_wait_counts_only_when_everybody_has_left() {
        let mut look = serving();
        look.sockets.push(connection(State::CloseWait, 0, 200));
        let trace = Build::served().awaited(Condition::Back(Facet::Connections), false, look).trace();
        let left = Scenario::served([act(0, Act::Close)]);
        let stays = Scenario::served([act(0, Act::Connect(To::Target))]);
        assert!(matches!(no_close_wait(&left, &trace), Verdict::Fail(_)));
        assert!(matches!(no_close_wait(&stays, &trace), Verdict::Inconclusive(_)));
    }
}
