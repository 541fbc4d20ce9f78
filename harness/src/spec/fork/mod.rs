//! Forking: parent and child each do their own half, and a child that dies takes nobody along.
//!
//! # References
//! POSIX.1-2024 fork, fork(2), UNP 4.7, 4.8, 5.12 and 30.6.

use crate::clause::Clause;

mod death;
mod exhaustion;
mod log;
mod mass_kill;
mod shape;
mod status;

pub(in crate::spec) use shape::{made_for, processes, side_by_side, still_look};

/// The family, in the order in which it is told.
pub const CLAUSES: &[&Clause] = &[
    &shape::PER_CONNECTION,
    &shape::CHILD_EXITS,
    &status::CHILD_STATUS,
    &shape::CHILD_CLOSES_LISTENER,
    &shape::PARENT_CLOSES_CONNECTION,
    &shape::CHILD_HOLDS_ONE_CONNECTION,
    &death::SIBLING_SURVIVES,
    &death::SIBLING_SURVIVES_MID_TRANSFER,
    &mass_kill::SERVES_AFTER_MASS_KILL,
    &death::CRASHED_CHILD_REAPED,
    &death::STOPPED_CHILD_ISOLATED,
    &death::SIGTERM_TO_CHILD_ISOLATED,
    &mass_kill::REPLACES_KILLED_WORKER,
    &death::ACCEPTOR_KEEPS_PID,
    &exhaustion::SURVIVES_PROCESS_LIMIT,
    &exhaustion::NO_LEAK_AT_PROCESS_LIMIT,
    &exhaustion::SURVIVES_CHURN,
    &log::LOG_NOT_DUPLICATED,
];
