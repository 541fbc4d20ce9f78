//! How busy the CPUs are, and how much is done at once for that reason.

use std::fs;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Time between two answers: the kernel counts in hundredths of a second.
const EVERY: Duration = Duration::from_millis(100);
/// More is done at once where more than this part of the CPUs idles, less where no more than that does.
const IDLE: f64 = 0.35;
const BUSY: f64 = 0.05;

/// The CPUs of the host.
#[derive(Debug)]
pub(super) struct Load {
    at: Instant,
    /// Nothing where the kernel does not tell.
    counted: Option<Ticks>,
}

/// What the CPUs did since the host came up: the first line of proc_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Load {
    pub(super) fn begin() -> Self {
        Self { at: Instant::now(), counted: ticks() }
    }

    /// The part of the CPUs that idled since the last answer, where the time for another one has come.
    pub(super) fn idle(&mut self) -> Option<f64> {
        if self.at.elapsed() < EVERY {
            return None;
        }
        let now = ticks();
        let (before, after) = (std::mem::replace(&mut self.counted, now)?, now?);
        self.at = Instant::now();
        idle_part(before, after)
    }
}

fn ticks() -> Option<Ticks> {
    parse(&fs::read_to_string("/proc/stat").ok()?)
}

fn parse(stat: &str) -> Option<Ticks> {
    let words = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    // user nice system idle iowait irq softirq steal; guests count as user.
    let ticks: Vec<u64> = words.take(8).map_while(|word| word.parse().ok()).collect();
    let &[_, _, _, idle, waiting, ..] = &ticks[..] else { return None };
    Some(Ticks { idle: idle + waiting, all: ticks.iter().sum() })
}

fn idle_part(before: Ticks, after: Ticks) -> Option<f64> {
    let all = after.all.saturating_sub(before.all);
    let idle = after.idle.saturating_sub(before.idle);
    #[allow(clippy::cast_precision_loss, reason = "ticks of a tenth of a second")]
    (all > 0).then(|| idle as f64 / all as f64)
}

/// How much is to be done at once, within these bounds, where so much is now and that part of the CPUs idles.
pub(super) fn width(now: usize, bounds: &RangeInclusive<usize>, idle: f64) -> usize {
    let wanted = if idle >= IDLE {
        now + 1
    } else if idle <= BUSY {
        now.saturating_sub(1)
    } else {
        now
    };
    wanted.clamp(*bounds.start(), *bounds.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_idles_is_that_of_the_time_between() {
        let stat = |user, idle| format!("cpu  {user} 0 10 {idle} 5 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1\n");
        let (before, after) = (parse(&stat(100, 200)).unwrap(), parse(&stat(105, 215)).unwrap());
        assert_eq!(before, Ticks { idle: 205, all: 315 });
        assert_eq!(idle_part(before, after), Some(0.75));
        assert_eq!(idle_part(before, before), None, "no time has passed");
        assert_eq!(parse("intr 1 2"), None);
    }

    #[test]
    fn idle_cpus_get_more_to_do_and_busy_ones_less() {
        let bounds = 4..=6;
        assert_eq!([4, 5, 6].map(|now| width(now, &bounds, 0.9)), [5, 6, 6]);
        assert_eq!([4, 5, 6].map(|now| width(now, &bounds, 0.0)), [4, 4, 5]);
        assert_eq!(width(5, &bounds, 0.2), 5);
        assert_eq!(width(3, &(3..=3), 1.0), 3, "as was said");
    }

    #[test]
    fn this_host_tells() {
        assert!(ticks().is_some_and(|ticks| ticks.all >= ticks.idle));
    }
}
