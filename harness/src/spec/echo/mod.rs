//! Echo: what a client sends comes back to that client, every byte, once and in order.
//!
//! # References
//! RFC 862, RFC 9293 3.8, POSIX.1-2024 read, write, send and recv, UNP 3.9 and 6.6.

use crate::clause::Clause;

mod bytes;
mod cuts;
mod pressure;
mod rest;
mod text;
mod turns;

pub(in crate::spec) use pressure::{is_unread, stalled};

/// The family, in the order in which it is told.
pub const CLAUSES: &[&Clause] = &[
    &bytes::EXACT,
    &text::BINARY,
    &cuts::WITHOUT_NEWLINE,
    &cuts::BYTE_BY_BYTE,
    &bytes::SIZES,
    &cuts::CUTS_DO_NOT_MATTER,
    &bytes::LARGE,
    &pressure::BACKPRESSURE_BLOCKS,
    &pressure::BACKPRESSURE_RESUMES,
    &pressure::SLOW_READER,
    &pressure::ZERO_WINDOW,
    &pressure::SHORT_WRITES_CONTINUED,
    &rest::BACKPRESSURE_DOES_NOT_SPIN,
    &cuts::PROMPT,
    &turns::ISOLATION,
    &turns::CONTINUES,
    &turns::EMPTY,
    &turns::PIPELINED_CLOSE,
    &turns::URGENT,
    &turns::KEEPALIVE,
    &text::HOSTILE_TEXT,
    &text::LOG_CLEAN,
    &text::NO_CRASH,
];
