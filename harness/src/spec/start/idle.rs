//! A server that has nothing to do does nothing.

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::{Effort, Profile};
use crate::scenario::generate::fixed;
use crate::scenario::{Act, Payload, Scenario, Step, To, act};
use crate::spec::start::address::idle_start;
use crate::spec::start::{FIRST, each, left_alone, visit, watch};
use crate::trace::query::{count, judge, witness};
use crate::trace::{Acted, Fate, Trace, What, Window};
use crate::verdict::Verdict;

/// Windows in a row after which use of the CPU counts as lasting.
const LASTING: usize = 3;

/// No busy loop.
pub static IDLE_DOES_NOT_SPIN: Clause = Clause {
    id: ClauseId("start.idle-does-not-spin"),
    level: Level::Must,
    requirement: "The server does not keep a CPU busy while it has no client.",
    why: "A server that spins takes a core from everybody else on its host, day and night. The classic bug is accept on a \
          non-blocking socket in a loop, or a poll whose timeout is 0; the cure is to block until there is something to do.",
    citations: &["accept(2)", "POSIX.1-2024 poll", "UNP 6.2"],
    needs: &[],
    scenarios: idle_start,
    check: rests_without_clients,
};

/// No ticking either.
pub static IDLE_DOES_NOT_POLL: Clause = Clause {
    id: ClauseId("start.idle-does-not-poll"),
    level: Level::Should,
    requirement: "The server uses less than 1 % of a CPU, and wakes less than 500 times a second, while it has no client.",
    why: "A short sleep in the loop hides a busy loop and does not cure it: the host never rests, and each client waits \
          for the end of a sleep. The cure is to wait for events instead of asking for them.",
    citations: &["POSIX.1-2024 poll", "epoll(7)"],
    needs: &[],
    scenarios: idle_start,
    check: sleeps,
};

/// Rest after work.
pub static IDLE_AFTER_LOAD: Clause = Clause {
    id: ClauseId("start.idle-after-load"),
    level: Level::Must,
    requirement: "The server does not keep a CPU busy when its clients have left.",
    why: "An event that nobody takes off the list (a closed descriptor in the set, a timer that stays due, a hang-up that \
          is not handled) makes poll return at once for ever. It begins with one unlucky client and never ends.",
    citations: &["POSIX.1-2024 poll", "epoll(7)"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: after_load,
    check: rests_after_load,
};

/// Clients that say nothing cost nothing.
pub static SILENT_CLIENTS_COST_NOTHING: Clause = Clause {
    id: ClauseId("start.silent-clients-cost-nothing"),
    level: Level::Must,
    requirement: "The server does not keep a CPU busy while its clients are connected and say nothing.",
    why: "Most connections are idle most of the time. The classic bug is to wait for a socket to be writable, which it \
          nearly always is; the cure is to ask for that only while there is something to write.",
    citations: &["POSIX.1-2024 poll", "epoll(7)", "UNP 16.2"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: beside_silent_clients,
    check: rests_beside_clients,
};

fn after_load(profile: &Profile) -> BoxedStrategy<Scenario> {
    let total = profile.effort.pick(16, 16, 200_u32);
    let at_once = profile.clients.min(profile.backlog.saturating_add(1)).clamp(1, 8);
    let mut steps = Vec::new();
    for _ in 0..total.div_ceil(at_once) {
        steps.push(each(0..at_once, Act::Visit(Payload::greeting())));
    }
    for leave in [Act::Close, Act::Reset] {
        steps.extend([
            act(0, Act::Connect(To::Target)),
            act(0, Act::Exchange(Payload::greeting())),
            act(0, leave),
        ]);
    }
    // Some begin to spin by the clock: at the end of a timer, or of a timeout that counts down.
    let pause = (profile.effort != Effort::Quick).then_some(Step::Pause(profile.effort.pick(0, 2200, 6200)));
    fixed(steps.into_iter().chain([Step::Quiet]).chain(pause).chain([watch(profile)]))
}

fn beside_silent_clients(profile: &Profile) -> BoxedStrategy<Scenario> {
    let silent = if profile.concurrent { profile.clients.clamp(1, profile.effort.pick(2, 4, 16)) } else { 1 };
    fixed([
        each(0..silent, Act::Connect(To::Target)),
        act(0, Act::Exchange(Payload::greeting())),
        Step::Quiet,
        watch(profile),
        each(0..silent, Act::Close),
        visit(silent),
    ])
}

fn rests_without_clients(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        witness(acts_before_watch(trace).next().is_none(), "a client had come before")?;
        rests(scenario, trace, "while it has no client")
    })
}

/// Ends the check if a CPU was kept busy throughout the last windows.
fn rests(scenario: &Scenario, trace: &Trace, when: &str) -> Result<String, Verdict> {
    left_alone(scenario)?;
    trace.ready(FIRST)?;
    let windows: Vec<Window> = trace.windows().collect();
    rests_in(&windows, trace.is_one_task(), when)
}

/// Ends the check if a CPU was kept busy throughout the last of these windows; `one` says that the server is one task.
pub(in crate::spec) fn rests_in(windows: &[Window], one: bool, when: &str) -> Result<String, Verdict> {
    witness(windows.len() >= LASTING, "the use of the CPU was not measured for long enough")?;
    let busy: Vec<Option<bool>> = windows.iter().map(|window| window.is_busy(one)).collect();
    let lasts = |wanted: fn(&Option<bool>) -> bool| busy.windows(LASTING).any(|run| run.iter().all(wanted));
    if lasts(|busy| *busy == Some(true)) {
        return Err(Verdict::measured(
            format!("less than half of a CPU is used {when}"),
            format!("{} in a row: {}", count(windows.len(), "window"), in_words(windows)),
        ));
    }
    witness(!lasts(|busy| *busy != Some(false)), "the machine was too busy: the server waited for a CPU")?;
    Ok(format!("CPU used {when}: {}", in_words(windows)))
}

fn in_words(windows: &[Window]) -> String {
    let shares: Vec<_> = windows.iter().map(|w| format!("{} %", percent(w))).collect();
    shares.join(", ")
}

fn percent(window: &Window) -> u64 {
    (100 * window.cpu_us).checked_div(window.wall_us).unwrap_or(0)
}

fn sleeps(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        left_alone(scenario)?;
        witness(acts_before_watch(trace).next().is_none(), "a client had come before")?;
        trace.ready(FIRST)?;
        let windows: Vec<Window> = trace.windows().collect();
        witness(windows.len() >= LASTING, "the use of the CPU was not measured for long enough")?;
        let uses = |w: &Window| w.cpu_us > w.wall_us / 100;
        let wakes = |w: &Window| w.switches.saturating_mul(1_000_000) >= w.wall_us.saturating_mul(500);
        if windows.iter().all(uses) || windows.iter().all(wakes) {
            let (cpu, wall, switches) = windows.iter().fold((0, 0, 0), |(cpu, wall, switches), w| {
                (cpu + w.cpu_us, wall + w.wall_us, switches + w.switches)
            });
            return Err(Verdict::missing(
                "less than 1 % of a CPU, and less than 500 wake-ups a second, while it has no client",
                format!("{cpu} us of CPU and {switches} wake-ups in {} ms", wall / 1000),
            ));
        }
        Ok(format!("CPU used: {}", in_words(&windows)))
    })
}

fn rests_after_load(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let served = acts_before_watch(trace).filter(|acted| matches!(acted.act, Act::Visit(_))).count();
        witness(served > 0, "there was no load")?;
        rests(scenario, trace, &format!("after {}", count(served, "visit")))
    })
}

fn rests_beside_clients(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let connected: Vec<_> = acts_before_watch(trace)
            .filter(|acted| matches!(acted.act, Act::Connect(_)) && acted.fate == Fate::Done)
            .collect();
        let left = acts_before_watch(trace).any(|acted| matches!(acted.act, Act::Close | Act::Reset));
        witness(!connected.is_empty() && !left, "no silent client was connected")?;
        rests(scenario, trace, &format!("beside {}", count(connected.len(), "silent client")))
    })
}

fn acts_before_watch(trace: &Trace) -> impl Iterator<Item = &Acted> {
    trace.events.iter().take_while(|event| !matches!(event.what, What::Watched(_))).filter_map(|event| {
        match &event.what {
            What::Acted(acted) => Some(acted),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::Build;

    fn used(cpu: [u64; 3]) -> Build {
        cpu.into_iter().fold(Build::served(), Build::window)
    }

    fn judged(clause: &Clause, trace: &Trace) -> Verdict {
        (clause.check)(&Scenario::default(), trace)
    }

    #[test]
    fn only_lasting_use_is_a_spin() {
        assert!(matches!(
            judged(&IDLE_DOES_NOT_SPIN, &used([99_000, 98_000, 99_000]).trace()),
            Verdict::Fail(_)
        ));
        assert!(matches!(
            judged(&IDLE_DOES_NOT_SPIN, &used([99_000, 98_000, 1_000]).trace()),
            Verdict::Pass(_)
        ));
        assert!(matches!(judged(&IDLE_DOES_NOT_SPIN, &Build::served().trace()), Verdict::Inconclusive(_)));
    }

    #[test]
    fn a_tick_is_no_spin_but_a_poll() {
        let ticks = used([2_000, 3_000, 2_000]).trace();
        assert!(matches!(judged(&IDLE_DOES_NOT_SPIN, &ticks), Verdict::Pass(_)));
        assert!(matches!(judged(&IDLE_DOES_NOT_POLL, &ticks), Verdict::Fail(_)));
        assert!(matches!(judged(&IDLE_DOES_NOT_POLL, &used([2_000, 100, 0]).trace()), Verdict::Pass(_)));
    }

    #[test]
    fn silent_clients_must_have_been_there() {
        let with = |build: Build| [0, 0, 0].into_iter().fold(build, Build::window).trace();
        let there = with(Build::served().done(0, Act::Connect(To::Target)));
        assert!(matches!(judged(&SILENT_CLIENTS_COST_NOTHING, &there), Verdict::Pass(_)));
        assert!(matches!(
            judged(&SILENT_CLIENTS_COST_NOTHING, &with(Build::served())),
            Verdict::Inconclusive(_)
        ));
    }
}
