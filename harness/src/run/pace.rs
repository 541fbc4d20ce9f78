//! How long the first round waits for what a server leaves behind.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::limits::Limits;
use crate::trace::{Trace, What};

/// Enactments in which something was left behind, before those that follow wait less for it.
const ENOUGH: u32 = 2;
/// Enactments in which a deadline passed, before more are enacted at once.
const IDLE: u32 = 8;
/// How much less.
const HURRY: f64 = 0.25;

/// The bounds of the first round. Whatever is missed there is looked at again with patience: a server that is known to
/// leave zombies, say, need not be waited for in each scenario.
#[derive(Debug)]
pub(super) struct Pace {
    usual: Limits,
    hurried: Limits,
    left_behind: AtomicU32,
    missed: AtomicU32,
}

impl Pace {
    pub(super) fn new(usual: Limits) -> Self {
        let hurried = Limits { settle_within: usual.settle_within.mul_f64(HURRY), ..usual.clone() };
        Self { usual, hurried, left_behind: AtomicU32::new(0), missed: AtomicU32::new(0) }
    }

    pub(super) fn limits(&self) -> &Limits {
        if self.left_behind.load(Ordering::Relaxed) < ENOUGH { &self.usual } else { &self.hurried }
    }

    /// Whether so much was waited for in vain that the CPUs idle: then more can be enacted at once.
    pub(super) fn is_idle(&self) -> bool {
        self.missed.load(Ordering::Relaxed) >= IDLE
    }

    pub(super) fn learn(&self, trace: &Trace) {
        let lingers =
            |what: &What| matches!(what, What::Awaited { condition, met: false, .. } if condition.lingers());
        if trace.events.iter().any(|event| lingers(&event.what)) {
            self.left_behind.fetch_add(1, Ordering::Relaxed);
        }
        if trace.events.iter().any(|event| event.what.is_missed()) {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
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
}
