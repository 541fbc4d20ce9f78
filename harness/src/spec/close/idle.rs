//! Clients that say nothing for a while.

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::scenario::generate::{come, fixed};
use crate::scenario::{Act, Instance, Payload, Scenario, act};
use crate::trace::query::{judge, millis};
use crate::trace::{Acted, Fate, Trace};
use crate::verdict::Verdict;

/// Who thinks for three seconds is still there.
pub(super) static PAUSE_IS_NO_END: Clause = Clause {
    id: ClauseId("close.pause-is-no-end"),
    level: Level::Should,
    requirement: "The server keeps the connection of a client that pauses for three seconds.",
    why: "It is the client who ends a conversation. A timeout for reading that is shorter than a retransmission, a night \
          train's tunnel or a thought cuts off people who did nothing wrong; the cure is minutes in place of seconds, and \
          to count from the last byte.",
    citations: &["RFC 862", "RFC 1122 4.2.3.6", "RFC 6298 2"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: |profile| paused(profile.effort.pick(QUICK_MS, PAUSE_MS, PAUSE_MS)),
    check: pause_is_no_end,
};

/// Idle connections, for the record.
pub(super) static IDLE_CONNECTION_KEPT: Clause = Clause {
    id: ClauseId("close.idle-connection-kept"),
    level: Level::May,
    requirement: "The server may end a connection that has been idle for long.",
    why: "An idle timeout frees what silent clients hold; it also drops those who only think. Clients should \
          know which.",
    citations: &["RFC 862", "RFC 1122 4.2.3.6"],
    needs: &[Need::Lasting],
    scenarios: |profile| paused(profile.effort.pick(QUICK_MS, PAUSE_MS, 20_000)),
    check: idle_connection_kept,
};

const QUICK_MS: u32 = 1600;
const PAUSE_MS: u32 = 3200;

fn paused(ms: u32) -> BoxedStrategy<Scenario> {
    let greet = || act(0, Act::Exchange(Payload::greeting()));
    fixed(come(0).into_iter().chain([act(0, Act::Linger(ms)), greet(), act(0, Act::Close)]))
}

/// The pause of a client.
fn pause(trace: &Trace) -> Result<&Acted, Verdict> {
    trace.ready(Instance(0))?;
    let pause = trace.all_acts().find(|acted| matches!(acted.act, Act::Linger(_)));
    pause.ok_or_else(|| Verdict::Inconclusive("no client was idle".into()))
}

fn pause_is_no_end(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let pause = pause(trace)?;
        let expected = format!("the connection of {} lasts while it says nothing", pause.client);
        if pause.fate == Fate::Ended {
            return Err(Verdict::seen(expected, format!("it ended after {}", millis(pause.took_us))));
        }
        trace.all_served(&scenario.clients())?;
        Ok(format!("a client was served again after {}", millis(pause.took_us)))
    })
}

fn idle_connection_kept(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let idle = pause(trace)?;
        let kept = if idle.fate == Fate::Done { "kept" } else { "ended" };
        Ok(format!("an idle connection was {kept} for {}", millis(idle.took_us)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::To;
    use crate::trace::build::Build;

    fn judged(change: impl FnOnce(&mut Acted)) -> Verdict {
        let built = Build::served().done(0, Act::Connect(To::Target)).acted(0, Act::Linger(PAUSE_MS), change);
        let greeted = built.done(0, Act::Exchange(Payload::greeting()));
        pause_is_no_end(&Scenario::served([act(0, Act::Linger(PAUSE_MS))]), &greeted.trace())
    }

    #[test]
    fn an_end_in_the_pause_is_told_and_a_pause_that_was_kept_is_none() {
        assert!(matches!(judged(|acted| acted.fate = Fate::Ended), Verdict::Fail(_)));
        assert!(matches!(judged(|_| {}), Verdict::Pass(_)), "{:?}", judged(|_| {}));
    }
}
