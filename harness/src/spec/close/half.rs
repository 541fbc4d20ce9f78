//! Half-close: what is owed is sent, and then the end.

use proptest::prelude::Strategy;
use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::{Act, Class, Instance, Payload, Scenario, Setting, Step, To, act};
use crate::spec::close::orderly::ends;
use crate::trace::aftermath::left_working;
use crate::trace::query::{bytes, judge, witness};
use crate::trace::{Ending, Trace};
use crate::verdict::Verdict;

/// What is owed comes after a half-close.
pub(super) static HALF_CLOSE_IS_HONOURED: Clause = Clause {
    id: ClauseId("close.half-close-is-honoured"),
    level: Level::Must,
    requirement: "The server sends all that it still owes after the client has ended its half of the \
                  connection.",
    why: "shutdown(SHUT_WR) says \"no more from me\", not \"no more for me\". A server that closes at once \
          loses whatever was on its way, and a batch client loses the end of its result.",
    citations: &["RFC 9293 3.6", "POSIX.1-2024 shutdown", "UNP 6.6"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: owed_at_the_end,
    check: half_close_is_honoured,
};

/// Bytes of each client, about. The last is for servers that make their buffers larger than they are here.
const LENGTHS: [u64; 7] = [27_000, 45_000, 63_000, 81_000, 99_000, 117_000, 240_000];

/// Clients that read nothing, send more or less than the buffers hold, and end their half: somewhere between nothing and
/// all, the server has read everything and not yet written everything when it sees the end.
fn owed_at_the_end(profile: &Profile) -> BoxedStrategy<Scenario> {
    let clients = LENGTHS.len().min(profile.clients as usize).max(1);
    (0..=8_u64)
        .prop_map(move |offset| {
            let each = |what: fn(u64) -> Act| {
                let act_of = |(client, len)| act(client, what(len + offset * 1_000));
                Step::Together((0..).zip(LENGTHS).take(clients).map(act_of).collect())
            };
            let setting = Setting { buffers: Some(16_384), ..Setting::default() };
            Scenario::launched(
                setting,
                [
                    each(|_| Act::Connect(To::Target)),
                    each(|len| Act::Send(Payload::of(len).class(Class::Line))),
                    each(|_| Act::HalfClose),
                    Step::Watch(100, 1),
                    each(|_| Act::ReadToEnd),
                    each(|_| Act::Close),
                ],
            )
        })
        .boxed()
}

pub(super) fn half_close_is_honoured(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let mut owed = 0;
        for acted in ends(trace) {
            let before = trace.acts(acted.client).take_while(|other| other.act != Act::HalfClose).last();
            owed += before.map_or(0, |before| before.sent - before.received.min(before.sent));
            let expected =
                format!("{} gets all {} that it sent before its half-close", acted.client, bytes(acted.sent));
            if acted.received < acted.sent {
                let got = format!("{} came back", bytes(acted.received));
                return Err(match acted.ending {
                    Some(Ending::Eof) => Verdict::seen(expected, format!("{got}, then end of file")),
                    Some(Ending::Reset) => Verdict::seen(expected, format!("{got}, then a reset")),
                    None => Verdict::missing(
                        expected,
                        format!("{got}, then nothing for {}", trace.in_vain(acted)),
                    ),
                });
            }
        }
        witness(owed > 0, "no client was owed anything when it ended its half")?;
        Ok(format!("{} owed at half-closes, all came", bytes(owed)))
    })
}
