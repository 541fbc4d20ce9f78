//! Cuts: TCP is a stream, so it does not matter how the bytes were handed in, and nobody waits for more of them.

use proptest::prelude::Strategy;
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::fixed;
use crate::scenario::{Act, Class, Cut, Instance, Payload, Scenario, To, act};
use crate::spec::echo::bytes::all_back;
use crate::trace::query::{count, judge, millis, witness};
use crate::trace::{Fate, Trace};
use crate::verdict::Verdict;

/// A line need not be complete.
pub(super) static WITHOUT_NEWLINE: Clause = Clause {
    id: ClauseId("echo.without-newline"),
    level: Level::Must,
    requirement: "The server sends back what it has received without waiting for a line end or the end of \
                  the stream.",
    why: "A server that reads by lines (fgets, readline) keeps a client waiting that waits for its own \
          bytes: neither moves again. The cure is read, which returns what there is.",
    citations: &["RFC 862", "POSIX.1-2024 read", "UNP 3.9"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: no_newline,
    check: all_back,
};

/// Bytes one at a time.
pub(super) static BYTE_BY_BYTE: Clause = Clause {
    id: ClauseId("echo.byte-by-byte"),
    level: Level::Must,
    requirement: "The server echoes bytes that come one at a time, each before the next.",
    why: "Interactive clients send single bytes. Buffering that waits for a block, and counts that go wrong \
          at one, show here.",
    citations: &["RFC 862", "RFC 9293 3.8"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: one_at_a_time,
    check: all_back,
};

/// The same bytes in other pieces.
pub(super) static CUTS_DO_NOT_MATTER: Clause = Clause {
    id: ClauseId("echo.cuts-do-not-matter"),
    level: Level::Must,
    requirement: "The server echoes the same bytes, however the client cuts them into sends.",
    why: "One send need not be one read. A server that takes a read for a message loses its rest, or sends \
          the stale end of a longer one. The cure is to trust nothing but the count that read returns.",
    citations: &["RFC 9293 3.8", "POSIX.1-2024 recv", "UNP 3.9"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: other_cuts,
    check: all_back,
};

/// Small answers come at once.
pub(super) static PROMPT: Clause = Clause {
    id: ClauseId("echo.prompt"),
    level: Level::Should,
    requirement: "The server answers small messages at once.",
    why: "Two small writes for one answer meet Nagle's algorithm and the delayed acknowledgement: 40 ms for \
          each exchange, on any network. The cure is one write for one answer, or TCP_NODELAY.",
    citations: &["RFC 1122 4.2.3.4", "RFC 9293 3.7.4", "tcp(7)"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: small_messages,
    check: prompt,
};

fn no_newline(profile: &Profile) -> BoxedStrategy<Scenario> {
    let most = profile.effort.pick(50, 250, 2000_u64);
    (1..=most)
        .prop_map(|pairs| {
            let text = Payload::of(2 * pairs).class(Class::Text);
            Scenario::served([
                act(0, Act::Connect(To::Target)),
                act(0, Act::Exchange(text)),
                act(0, Act::Exchange(text)),
                act(0, Act::Close),
            ])
        })
        .boxed()
}

fn one_at_a_time(profile: &Profile) -> BoxedStrategy<Scenario> {
    let len = profile.effort.pick(8, 24, 1000);
    fixed([
        act(0, Act::Connect(To::Target)),
        act(0, Act::PingPong(Payload::of(len).class(Class::Text).cut(Cut::Every(1)))),
        act(0, Act::Close),
    ])
}

fn other_cuts(profile: &Profile) -> BoxedStrategy<Scenario> {
    let most = profile.effort.pick(2000, 4000, 40_000_u64);
    (500..=most, 2..=9_u32)
        .prop_map(|(len, pieces)| {
            let payload = Payload { seed: u64::from(pieces), ..Payload::of(len) };
            let talk = |client, payload: Payload| {
                [
                    act(client, Act::Connect(To::Target)),
                    act(client, Act::Exchange(payload)),
                    act(client, Act::HalfClose),
                    act(client, Act::ReadToEnd),
                    act(client, Act::Close),
                ]
            };
            let cuts = [Cut::Whole, Cut::Every(7), Cut::Pieces(pieces)];
            let mut steps: Vec<_> =
                (0..).zip(cuts).flat_map(|(client, cut)| talk(client, payload.cut(cut))).collect();
            // Each piece is read by itself: long ones and short ones in turn, and one that is odd.
            steps.extend([
                act(3, Act::Connect(To::Target)),
                act(3, Act::Exchange(payload)),
                act(3, Act::PingPong(payload.cut(Cut::Pieces(pieces)))),
                act(3, Act::Exchange(Payload::of(101))),
                act(3, Act::HalfClose),
                act(3, Act::ReadToEnd),
                act(3, Act::Close),
            ]);
            Scenario::served(steps)
        })
        .boxed()
}

/// Bytes of a small message, and how many there are.
const MESSAGE: u32 = 48;
const MESSAGES: u32 = 12;

fn small_messages(profile: &Profile) -> BoxedStrategy<Scenario> {
    let messages = profile.effort.pick(MESSAGES, MESSAGES, 100);
    let payload = Payload::of(u64::from(MESSAGE * messages)).class(Class::Line).cut(Cut::Every(MESSAGE));
    fixed([act(0, Act::Connect(To::Target)), act(0, Act::PingPong(payload)), act(0, Act::Close)])
}

fn prompt(_: &Scenario, trace: &Trace) -> Verdict {
    /// Longer than any delay by itself; the delayed acknowledgement takes 40 ms.
    const LATE_US: u64 = 38_000;
    judge(|| {
        trace.ready(Instance(0))?;
        let talk =
            trace.all_acts().find(|acted| matches!(acted.act, Act::PingPong(_)) && acted.fate == Fate::Done);
        let talk = talk.ok_or_else(|| Verdict::Inconclusive("no client had its messages answered".into()))?;
        let Act::PingPong(Payload { len, cut: Cut::Every(each), .. }) = talk.act else {
            return Err(Verdict::Inconclusive("the messages were not of one size".into()));
        };
        let messages = len.div_ceil(u64::from(each.max(1)));
        witness(messages >= 6, "too few messages to tell")?;
        // One hiccup is no habit: half of the messages must have been late.
        if talk.longest_us >= LATE_US && talk.took_us >= messages * LATE_US / 2 {
            return Err(Verdict::missing(
                format!("{messages} answers, most of them within {}", millis(LATE_US)),
                format!("{} for all, {} for the slowest", millis(talk.took_us), millis(talk.longest_us)),
            ));
        }
        let each = talk.took_us / messages;
        Ok(format!("{}, {each} us each", count(usize::try_from(messages).unwrap_or(usize::MAX), "answer")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::Build;

    #[test]
    fn one_hiccup_is_no_habit() {
        let talk = Act::PingPong(Payload::of(480).cut(Cut::Every(48)));
        let took = |longest_us, took_us| {
            let trace = Build::served().acted(0, talk, |acted| {
                acted.longest_us = longest_us;
                acted.took_us = took_us;
            });
            prompt(&Scenario::default(), &trace.trace())
        };
        assert!(matches!(took(60_000, 61_000), Verdict::Pass(_)));
        assert!(matches!(took(41_000, 410_000), Verdict::Fail(_)));
    }
}
