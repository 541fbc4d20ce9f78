//! The target's own time: it stands still while the target, or the harness, waits for a CPU.

use std::time::{Duration, Instant};

/// Shorter slices are not worth a reading.
const SLICE: Duration = Duration::from_millis(8);

/// Adds up own time, slice by slice.
#[derive(Debug)]
pub(super) struct Clock {
    began: Instant,
    slice_began: Instant,
    delay_ns: u64,
    own: Duration,
}

impl Clock {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self { began: now, slice_began: now, delay_ns: 0, own: Duration::ZERO }
    }

    /// Own time so far.
    pub(super) fn own(&self) -> Duration {
        self.own
    }

    /// Wall-clock time since the enactment began, microseconds.
    pub(super) fn wall_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Whether enough time has passed to make a reading worth its cost.
    pub(super) fn is_due(&self) -> bool {
        self.slice_began.elapsed() >= SLICE
    }

    /// Ends a slice. `delay_ns` is all the time that tasks of the target and of the harness have waited for a CPU, so
    /// far; of the slice only that counts as own time in which nobody waited. The sum over tasks may be more than
    /// the slice, and then the slice counts as nothing: time is given generously, and bounded elsewhere.
    pub(super) fn end_slice(&mut self, delay_ns: u64) {
        let now = Instant::now();
        let slice = now - self.slice_began;
        let waited = Duration::from_nanos(delay_ns.saturating_sub(self.delay_ns));
        self.own += slice.saturating_sub(waited);
        self.slice_began = now;
        self.delay_ns = delay_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_while_someone_waits_for_a_cpu() {
        let mut clock = Clock::start();
        let ago = |ms| Instant::now().checked_sub(Duration::from_millis(ms)).unwrap();
        clock.slice_began = ago(100);
        clock.end_slice(0);
        assert!(clock.own() >= Duration::from_millis(100));
        let before = clock.own();
        clock.slice_began = ago(100);
        clock.end_slice(10_000_000_000);
        assert_eq!(clock.own(), before);
    }
}
