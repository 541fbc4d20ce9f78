//! Ends: a client that ends its half gets the rest and an orderly end; one that just leaves harms nobody.
//!
//! # References
//! RFC 9293 3.5 and 3.6, RFC 1122 4.2.2.13, POSIX.1-2024 shutdown and close, UNP 4.8, 5.12 to 5.14 and 6.6.

use crate::clause::Clause;

mod abrupt;
mod half;
mod idle;
mod orderly;

pub(in crate::spec) use abrupt::{leave_while_it_sends, reset_before_the_answer, stuck_resets};

/// The family, in the order in which it is told.
pub const CLAUSES: &[&Clause] = &[
    &half::HALF_CLOSE_IS_HONOURED,
    &orderly::EOF_REACHES_CLIENT,
    &orderly::EOF_DESPITE_SIBLINGS,
    &orderly::NO_CLOSE_WAIT,
    &orderly::NO_RESET_ON_CLEAN,
    &orderly::CLIENT_CLOSES_FIRST,
    &abrupt::SURVIVES_IDLE_RESET,
    &abrupt::SURVIVES_RESET_WHILE_SENDING,
    &abrupt::SURVIVES_CLOSE_WHILE_SENDING,
    &abrupt::SURVIVES_ABRUPT_ENDS,
    &idle::PAUSE_IS_NO_END,
    &idle::IDLE_CONNECTION_KEPT,
];
