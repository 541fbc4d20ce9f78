//! Use of the CPU, as a watch saw it.

use serde::{Deserialize, Serialize};

use crate::trace::{Trace, What};

/// The target's use of the CPU over a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Length in microseconds of wall-clock time.
    pub wall_us: u64,
    /// CPU time of all processes of the target, microseconds.
    pub cpu_us: u64,
    /// Time they waited for a CPU, microseconds.
    pub delay_us: u64,
    /// Voluntary and involuntary context switches: how often they ran.
    pub switches: u64,
}

impl Window {
    /// Whether half of a CPU was used, or would have been on a machine with less to do; nothing if the machine was too
    /// busy to tell. One task that waits all the time that it does not run spins, however little it gets; `one` says
    /// that there is no other. Where there are several, somebody waits at all times, and together they get a little
    /// more: many that wake now and then would wait as long on a busy machine, but not use as much.
    #[must_use]
    pub fn is_busy(&self, one: bool) -> Option<bool> {
        let wanted = self.cpu_us.saturating_add(self.delay_us);
        if 2 * self.cpu_us >= self.wall_us {
            Some(true)
        } else if 2 * wanted < self.wall_us {
            Some(false)
        } else if 10 * wanted >= 9 * self.wall_us && (one || 10 * wanted <= 11 * self.wall_us) {
            (50 * self.cpu_us >= self.wall_us).then_some(true)
        } else if 10 * wanted >= 9 * self.wall_us {
            (20 * self.cpu_us >= self.wall_us).then_some(true)
        } else {
            (8 * self.cpu_us >= self.wall_us).then_some(true)
        }
    }
}

impl Trace {
    /// Whether the target was a single task while its use of the CPU was watched.
    #[must_use]
    pub fn is_one_task(&self) -> bool {
        let watched = self.events.iter().position(|event| matches!(event.what, What::Watched(_)));
        let mut looks = self.events.iter().skip(watched.unwrap_or(0)).filter_map(|event| match &event.what {
            What::Looked { look, .. } => Some(look),
            _ => None,
        });
        looks
            .next()
            .is_some_and(|look| look.processes.iter().map(|process| process.threads).sum::<u32>() == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spin_shows_on_a_busy_machine_and_a_delay_alone_is_none() {
        let window = |cpu_us, delay_us| Window { wall_us: 100_000, cpu_us, delay_us, switches: 9 };
        assert_eq!(window(30_000, 70_000).is_busy(false), Some(true));
        assert_eq!(window(4_000, 95_000).is_busy(true), Some(true));
        assert_eq!(window(4_000, 95_000).is_busy(false), Some(true));
        assert_eq!(window(4_000, 295_000).is_busy(false), None);
        assert_eq!(window(6_000, 295_000).is_busy(false), Some(true));
        assert_eq!(window(6_000, 60_000).is_busy(false), None);
        assert_eq!(window(1_000, 95_000).is_busy(true), None);
        assert_eq!(window(1_000, 20_000).is_busy(true), Some(false));
    }
}
