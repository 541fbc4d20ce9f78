//! Sizes: what comes back is what was sent, and ends where it ended.

use proptest::collection::vec;
use proptest::prelude::Strategy;
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::{edge, fixed, payload};
use crate::scenario::{Act, Client, Instance, Payload, Scenario, Step, To, act};
use crate::trace::query::{bytes, count, judge, witness};
use crate::trace::service::own_bytes;
use crate::trace::{Acted, Fate, Trace};
use crate::verdict::Verdict;

/// What comes back is what was sent.
pub(super) static EXACT: Clause = Clause {
    id: ClauseId("echo.exact"),
    level: Level::Must,
    requirement: "The server sends back exactly the bytes that it received: no more, no fewer, no others.",
    why: "This is the whole service. A greeting, a newline at the end or a NUL too many is data that the \
          client never sent, and a client that counts on its own bytes takes them for an answer.",
    citations: &["RFC 862"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: conversations,
    check: all_back,
};

/// Around the sizes of buffers, pages and segments.
pub(super) static SIZES: Clause = Clause {
    id: ClauseId("echo.sizes"),
    level: Level::Must,
    requirement: "The server echoes payloads of every size.",
    why: "Bugs sit where a buffer is exactly full or one byte over: a read that fills it is taken for \"more \
          to come\", a count overflows at 65,536. The sizes tried here lie around powers of two and \
          segments.",
    citations: &["RFC 862", "POSIX.1-2024 read"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: sizes,
    check: all_back,
};

/// Megabytes through one connection.
pub(super) static LARGE: Clause = Clause {
    id: ClauseId("echo.large"),
    level: Level::Must,
    requirement: "The server echoes megabytes through one connection while the client reads.",
    why: "A limit that nobody wrote down, a counter of 16 bits, a write that was short once in a thousand: \
          only long transfers show them, and the client loses the end of its data.",
    citations: &["RFC 862", "RFC 9293 3.8"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: large,
    check: all_back,
};

fn conversations(profile: &Profile) -> BoxedStrategy<Scenario> {
    let most = profile.effort.pick(2000, 6000, 100_000);
    // Odd and longer than a word or two: some copy in words.
    (payload(1..=most), payload(33..=most / 2))
        .prop_map(|(first, second)| {
            let odd = Payload { len: 2 * second.len + 1, ..second };
            Scenario::served([
                act(0, Act::Visit(first)),
                act(1, Act::Connect(To::Target)),
                act(1, Act::Exchange(odd)),
                act(1, Act::Exchange(first)),
                act(1, Act::HalfClose),
                act(1, Act::ReadToEnd),
                act(1, Act::Close),
            ])
        })
        .boxed()
}

fn sizes(profile: &Profile) -> BoxedStrategy<Scenario> {
    const CERTAIN: [u64; 22] = [
        1, 2, 255, 256, 257, 511, 512, 1023, 1024, 1025, 1460, 2048, 4095, 4096, 4097, 8192, 8193, 16_384,
        32_768, 65_535, 65_536, 65_537,
    ];
    let most = profile.effort.pick(100_000, 300_000, 16 << 20);
    vec(edge(most), 2..=profile.effort.pick(2, 6, 24))
        .prop_map(|drawn| {
            let talk = |client: u32, sizes: &[u64]| {
                let mut steps = vec![act(client, Act::Connect(To::Target))];
                steps.extend(sizes.iter().map(|&size| act(client, Act::Exchange(Payload::of(size)))));
                steps.extend([
                    act(client, Act::HalfClose),
                    act(client, Act::ReadToEnd),
                    act(client, Act::Close),
                ]);
                steps
            };
            Scenario::served(talk(0, &CERTAIN).into_iter().chain(talk(1, &drawn)).collect::<Vec<Step>>())
        })
        .boxed()
}

fn large(profile: &Profile) -> BoxedStrategy<Scenario> {
    let len = profile.effort.pick(3 << 20, 4 << 20, 64 << 20);
    fixed([
        act(0, Act::Connect(To::Target)),
        act(0, Act::Exchange(Payload::of(len))),
        act(0, Act::HalfClose),
        act(0, Act::ReadToEnd),
        act(0, Act::Close),
    ])
}

/// Ends the check unless the client got back all that it sent, in order; how its connections ended is judged by others.
///
/// # Errors
/// As [`Trace::served`].
pub(super) fn came_back(trace: &Trace, client: Client) -> Result<(), Verdict> {
    let mut at = 0;
    let mut short = false;
    let mut open: Option<&Acted> = None;
    let owes = |acted: &Acted| acted.received < acted.sent || acted.local.is_none();
    for acted in trace.acts(client) {
        if matches!(acted.act, Act::Connect(_) | Act::Dial(_) | Act::Visit(_)) {
            short |= open.is_some_and(owes);
            at = 0;
        }
        at = own_bytes(acted, at)?;
        open = Some(acted);
    }
    let refused = |acted: &Acted| matches!(acted.fate, Fate::Refused(_) | Fate::Unconnected);
    short |= open.is_none_or(owes) || trace.acts(client).any(refused);
    // An act that could send nothing any more leaves nothing owed: the end came too early all the same.
    short |= trace.acts(client).any(|acted| acted.fate == Fate::Ended);
    // What comes only after more was sent was kept back from a client that waited for it.
    let waits = |acted: &Acted| matches!(acted.act, Act::Exchange(_) | Act::PingPong(_));
    short |= trace.acts(client).any(|acted| waits(acted) && acted.fate == Fate::Missed);
    // What a killed process had not yet sent is nobody's debt.
    if short && !trace.is_bereaved(client) { trace.served(client).map(drop) } else { Ok(()) }
}

/// Ends well if every client got back all that it sent.
pub(super) fn all_back(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let clients = scenario.clients();
        clients.iter().try_for_each(|client| came_back(trace, *client))?;
        let echoed: u64 =
            trace.all_acts().filter(|acted| acted.fate == Fate::Done).map(super::text::own).sum();
        witness(echoed > 0, "no client sent anything")?;
        Ok(format!("{} of {} came back", bytes(echoed), count(clients.len(), "client")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::Build;
    use crate::trace::{Ending, Span};

    const VISIT: Act = Act::Visit(Payload {
        len: 9,
        seed: 0,
        class: crate::scenario::Class::Any,
        cut: crate::scenario::Cut::Whole,
    });

    fn judged(change: impl FnOnce(&mut crate::trace::Acted)) -> Verdict {
        all_back(&Scenario::served([act(0, VISIT)]), &Build::served().acted(0, VISIT, change).trace())
    }

    #[test]
    fn the_same_bytes_pass() {
        assert!(matches!(judged(|_| {}), Verdict::Pass(_)));
    }

    #[test]
    fn a_byte_too_many_or_too_few_fails() {
        let alien = Span::Alien { len: 1, first: b"\n".to_vec() };
        assert!(matches!(judged(|acted| acted.spans.push(alien)), Verdict::Fail(_)));
        let short = judged(|acted| {
            acted.received = 8;
            acted.spans = vec![Span::Own { offset: 0, len: 8 }];
            acted.ending = Some(Ending::Eof);
        });
        assert!(matches!(short, Verdict::Fail(_)));
    }
}
