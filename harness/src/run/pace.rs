//! How long a server is waited for, by what it has shown so far.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::limits::Limits;
use crate::trace::{Trace, What};

/// Enactments in which something was left behind, before those that follow wait less for it.
const ENOUGH: u32 = 2;
/// Clauses that a server has failed by what it owes, before it is waited for no longer than usual.
const HOPELESS: u32 = 10;
/// How much less.
const HURRY: f64 = 0.25;
/// How long a second look at one clause may last, about.
const SECOND_LOOK: Duration = Duration::from_secs(30);

/// The bounds for a server that took so long to listen at its first start: it gets ten times as long for another, within
/// the usual. Where none comes, as with a port that is none, that is waited for again and again.
pub(super) fn as_it_starts(usual: Limits, ready: Duration) -> Limits {
    let least = usual.ready_within.mul_f64(HURRY);
    Limits { ready_within: ready.saturating_mul(10).clamp(least, usual.ready_within), ..usual }
}

/// The bounds of the first round. Whatever is missed there is looked at again with patience: a server that is known to
/// leave zombies, say, need not be waited for in each scenario.
#[derive(Debug)]
pub(super) struct Pace {
    usual: Limits,
    hurried: Limits,
    left_behind: AtomicU32,
}

impl Pace {
    pub(super) fn new(usual: Limits) -> Self {
        let hurried = Limits { settle_within: usual.settle_within.mul_f64(HURRY), ..usual.clone() };
        Self { usual, hurried, left_behind: AtomicU32::new(0) }
    }

    pub(super) fn limits(&self) -> &Limits {
        if self.left_behind.load(Ordering::Relaxed) < ENOUGH { &self.usual } else { &self.hurried }
    }

    pub(super) fn learn(&self, trace: &Trace) {
        let lingers =
            |what: &What| matches!(what, What::Awaited { condition, met: false, .. } if condition.lingers());
        if trace.events.iter().any(|event| lingers(&event.what)) {
            self.left_behind.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The bounds of a second look. They are patient with a server that may be slow: not with one that has missed what it owes
/// again and again, however long it was waited for, and was never merely late.
#[derive(Debug)]
pub(super) struct Patience {
    usual: Limits,
    missing: AtomicU32,
    late: AtomicBool,
    /// After so long, a smaller scenario is no longer asked to confirm the failure, and lateness is no longer told from
    /// absence by further trials than one.
    pub(super) second_look: Duration,
}

impl Patience {
    pub(super) fn new(usual: Limits) -> Self {
        Self { usual, missing: AtomicU32::new(0), late: AtomicBool::new(false), second_look: SECOND_LOOK }
    }

    pub(super) fn usual(&self) -> &Limits {
        &self.usual
    }

    pub(super) fn limits(&self) -> Limits {
        let patient = self.usual.patient();
        if self.missing.load(Ordering::Relaxed) < HOPELESS || self.late.load(Ordering::Relaxed) {
            patient
        } else {
            Limits { misses_max: patient.misses_max, ..self.usual.clone() }
        }
    }

    /// What most scenarios wait for never comes.
    pub(super) fn give_up(&self) {
        self.missing.store(HOPELESS, Ordering::Relaxed);
    }

    /// What was missing is missing again.
    pub(super) fn missed(&self) {
        self.missing.fetch_add(1, Ordering::Relaxed);
    }

    /// It came.
    pub(super) fn was_late(&self) {
        self.late.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Condition, Facet};
    use crate::trace::build::{Build, serving};

    /// How long the first round waits after such waits, each in an enactment of its own.
    fn waits_after(waits: &[(Condition, bool)]) -> Limits {
        let pace = Pace::new(Limits::default());
        for &(condition, met) in waits {
            pace.learn(&Build::served().awaited(condition, met, serving()).trace());
        }
        pace.limits().clone()
    }

    #[test]
    fn a_start_may_take_ten_times_as_long_as_the_first() {
        let within = |ready| as_it_starts(Limits::default(), Duration::from_millis(ready)).ready_within;
        assert_eq!([0, 300, 5000].map(within), [2500, 3000, 10_000].map(Duration::from_millis));
    }

    #[test]
    fn the_third_time_is_waited_less_for_what_a_server_leaves_behind() {
        let (usual, back) = (Limits::default(), Condition::Back(Facet::Connections));
        assert_eq!(waits_after(&[(Condition::NoZombie, false)]), usual);
        let hurried = waits_after(&[(Condition::NoZombie, false), (back, false)]);
        assert_eq!(hurried, Limits { settle_within: usual.settle_within / 4, ..usual });
    }

    #[test]
    fn what_went_and_what_never_came_change_nothing() {
        let usual = Limits::default();
        assert_eq!(waits_after(&[(Condition::NoZombie, true); 3]), usual);
        assert_eq!(waits_after(&[(Condition::QueueAtLeast(1), false); 3]), usual);
        assert_eq!(waits_after(&[(Condition::Still, false); 3]), usual);
    }

    #[test]
    fn several_waits_of_one_enactment_count_once() {
        let pace = Pace::new(Limits::default());
        let left = Build::served().awaited(Condition::NoZombie, false, serving());
        pace.learn(&left.awaited(Condition::Back(Facet::Processes), false, serving()).trace());
        assert_eq!(*pace.limits(), Limits::default());
    }

    #[test]
    fn who_owes_everything_is_no_longer_waited_for_four_times_as_long() {
        let (usual, patience) = (Limits::default(), Patience::new(Limits::default()));
        for _ in 0..HOPELESS {
            assert_eq!(patience.limits(), usual.patient());
            patience.missed();
        }
        assert_eq!(patience.limits().reply_within, usual.reply_within);
        patience.was_late();
        assert_eq!(patience.limits(), usual.patient());
    }
}
