//! Rest beside a client that does not read: who cannot send sleeps until there is room.

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::scenario::{Act, Client, Instance, Scenario, Step};
use crate::spec::echo::pressure::{is_unread, stalled};
use crate::spec::start::rests_in;
use crate::trace::query::{judge, witness};
use crate::trace::{Acted, Fate, Trace, What, Window};
use crate::verdict::Verdict;

/// A client that does not read costs nothing.
pub(super) static BACKPRESSURE_DOES_NOT_SPIN: Clause = Clause {
    id: ClauseId("echo.backpressure-does-not-spin"),
    level: Level::Should,
    requirement: "The server does not keep a CPU busy while a client does not read, nor when it has read again.",
    why: "One client that stops reading then costs a core for as long as it stays, and a few of them cost all. The classic \
          bugs are to try a non-blocking write again at once when it says EAGAIN, and to go on asking poll for input that \
          there is no room for, or for POLLOUT when all is sent. The cure is to wait for POLLOUT alone until something was \
          taken, and then no more.",
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
        for (when, windows) in beside_stuck_clients(trace) {
            seen = Ok(rests_in(&windows, trace.is_one_task(), &when)?);
        }
        seen
    })
}

/// Each watch beside a client that had left much unread, and whose connection had not ended; and whether it has read it.
fn beside_stuck_clients(trace: &Trace) -> Vec<(String, Vec<Window>)> {
    let mut stuck: Vec<Client> = Vec::new();
    let mut relieved: Vec<Client> = Vec::new();
    let mut watches: Vec<(usize, String, Vec<Window>)> = Vec::new();
    for event in &trace.events {
        match &event.what {
            What::Acted(acted) => {
                let client = acted.client;
                // A half-close changes nothing: the rest is still owed.
                let stays = acted.act == Act::HalfClose && stuck.contains(&client);
                let was_stuck = stuck.contains(&client) || relieved.contains(&client);
                stuck.retain(|other| *other != client);
                relieved.retain(|other| *other != client);
                let is_open = acted.ending.is_none() && acted.fate != Fate::Ended;
                if is_open && (stays || is_stuck(acted)) {
                    stuck.push(client);
                } else if is_open && was_stuck && matches!(acted.act, Act::Read | Act::Exchange(_)) {
                    relieved.push(client);
                }
            }
            What::Watched(window) => {
                let when = match (stuck.first(), relieved.first()) {
                    (Some(client), _) => format!("while {client} does not read"),
                    (None, Some(client)) => format!("when {client} has read all that it had left unread"),
                    (None, None) => continue,
                };
                match watches.last_mut() {
                    Some((step, _, windows)) if *step == event.step => windows.push(*window),
                    _ => watches.push((event.step, when, vec![*window])),
                }
            }
            _ => {}
        }
    }
    watches.into_iter().map(|(_, when, windows)| (when, windows)).collect()
}

fn is_stuck(acted: &Acted) -> bool {
    matches!(acted.act, Act::Stall { .. } | Act::Send(_)) && is_unread(acted)
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn a_spin_that_outlasts_the_stuck_client_is_seen() {
        let verdict = watched(&[Act::Stall { max: 1 << 20 }, Act::Read], [99_000; 3]);
        assert!(
            matches!(&verdict, Verdict::Fail(seen) if seen.observed.contains("has read") || seen.expected.contains("has read")),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_client_that_has_left_is_not_stuck() {
        for last in [Act::ReadToEnd, Act::Close] {
            let verdict = watched(&[Act::Stall { max: 1 << 20 }, last], [99_000; 3]);
            assert!(matches!(verdict, Verdict::Inconclusive(_)), "{last:?}");
        }
    }
}
