//! Rest beside a client that does not read: who cannot send sleeps until there is room.

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::scenario::{Act, Client, Instance, Scenario, Step};
use crate::spec::echo::pressure::{is_unread, stalled};
use crate::spec::start::rests_in;
use crate::trace::query::{judge, witness};
use crate::trace::{Acted, Trace, What, Window};
use crate::verdict::Verdict;

/// A client that does not read costs nothing.
pub(super) static BACKPRESSURE_DOES_NOT_SPIN: Clause = Clause {
    id: ClauseId("echo.backpressure-does-not-spin"),
    level: Level::Should,
    requirement: "The server does not keep a CPU busy while a client does not read.",
    why: "One client that stops reading then costs a core for as long as it stays, and a few of them cost all. The classic \
          bugs are to try a non-blocking write again at once when it says EAGAIN, and to go on asking poll for input that \
          there is no room for. The cure is to wait for POLLOUT alone until something was taken.",
    citations: &["POSIX.1-2024 send EAGAIN", "POSIX.1-2024 poll", "UNP 16.2"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: stalled,
    check: backpressure_does_not_spin,
};

fn backpressure_does_not_spin(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let disturbs = |step: &Step| matches!(step, Step::Signal(..) | Step::Limit(..));
        witness(!scenario.flat().any(|(_, step)| disturbs(step)), "the server was signalled or limited")?;
        let mut seen =
            Err(Verdict::Inconclusive("the use of the CPU was not measured beside a stuck client".into()));
        for (client, windows) in beside_stuck_clients(trace) {
            seen = Ok(rests_in(&windows, trace.is_one_task(), &format!("while {client} does not read"))?);
        }
        seen
    })
}

/// Each watch beside a client that has left much unread, whose connection had not ended.
fn beside_stuck_clients(trace: &Trace) -> Vec<(Client, Vec<Window>)> {
    let mut stuck: Vec<Client> = Vec::new();
    let mut watches: Vec<(usize, Client, Vec<Window>)> = Vec::new();
    for event in &trace.events {
        match &event.what {
            What::Acted(acted) => {
                // A half-close changes nothing: the rest is still owed.
                let stays = acted.act == Act::HalfClose && stuck.contains(&acted.client);
                stuck.retain(|client| *client != acted.client);
                if acted.ending.is_none() && (stays || is_stuck(acted)) {
                    stuck.push(acted.client);
                }
            }
            What::Watched(window) => match (watches.last_mut(), stuck.first()) {
                (Some((step, _, windows)), _) if *step == event.step => windows.push(*window),
                (_, Some(client)) => watches.push((event.step, *client, vec![*window])),
                (_, None) => {}
            },
            _ => {}
        }
    }
    watches.into_iter().map(|(_, client, windows)| (client, windows)).collect()
}

fn is_stuck(acted: &Acted) -> bool {
    matches!(acted.act, Act::Stall { .. } | Act::Send(_)) && is_unread(acted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Fate;
    use crate::trace::build::Build;

    fn watched(ways: &[Act], cpu: [u64; 3]) -> Verdict {
        let act = |build: Build, act: &Act| {
            build.acted(0, *act, |acted| {
                acted.sent = 64 << 10;
                if matches!(acted.act, Act::Stall { .. }) {
                    acted.fate = Fate::Stalled;
                }
            })
        };
        let mut trace = cpu.into_iter().fold(ways.iter().fold(Build::served(), act), Build::window).trace();
        for event in trace.events.iter_mut().filter(|event| matches!(event.what, What::Watched(_))) {
            event.step = 9;
        }
        backpressure_does_not_spin(&Scenario::default(), &trace)
    }

    #[test]
    fn a_spin_beside_a_stuck_client_is_seen() {
        let stall = Act::Stall { max: 1 << 20 };
        assert!(matches!(watched(&[stall], [99_000; 3]), Verdict::Fail(_)));
        assert!(matches!(watched(&[stall, Act::HalfClose], [99_000; 3]), Verdict::Fail(_)));
        assert!(matches!(watched(&[stall], [99_000, 99_000, 900]), Verdict::Pass(_)));
    }

    #[test]
    fn a_client_that_reads_or_has_left_is_not_stuck() {
        for last in [Act::Read, Act::ReadToEnd, Act::Close] {
            let verdict = watched(&[Act::Stall { max: 1 << 20 }, last], [99_000; 3]);
            assert!(matches!(verdict, Verdict::Inconclusive(_)), "{last:?}");
        }
    }
}
