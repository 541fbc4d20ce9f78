//! Accepting: one connection at a time, for ever, whatever became of it while it waited.
//!
//! # References
//! POSIX.1-2024 accept, accept(2), UNP 4.6, 5.9, 5.11 and 30.

use crate::clause::Clause;

mod arrivals;
mod delays;
mod exhaustion;
mod newcomers;

/// The family, in the order in which it is told.
pub const CLAUSES: &[&Clause] = &[
    &delays::CONCURRENT,
    &arrivals::SURVIVES_CHILD_DEATH,
    &exhaustion::SURVIVES_NOFILE_LIMIT,
    &exhaustion::NOFILE_LIMIT_DOES_NOT_SPIN,
    &arrivals::SURVIVES_RESET_BEFORE_ACCEPT,
    &arrivals::SURVIVES_VANISHED_PEER,
    &arrivals::LISTENER_STAYS,
    &arrivals::ONE_DESCRIPTOR_PER_CLIENT,
    &delays::IDLE_CLIENT_DELAYS_NOBODY,
    &delays::STUCK_CLIENT_DELAYS_NOBODY,
    &newcomers::NEWCOMER_DELAYS_NOBODY,
    &delays::PROMPT_BESIDE_IDLE_CLIENTS,
    &arrivals::DEFERRED,
];
