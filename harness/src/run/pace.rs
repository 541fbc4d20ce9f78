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
