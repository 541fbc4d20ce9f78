//! Every `unsafe` of the harness, one kernel feature a file.
//!
//! Policy: one operation a block. Each `SAFETY:` names the obligation from the man page or the Rust docs, and the
//! line that discharges it. What runs between fork and exec is async-signal-safe, or runs in a process that was
//! single-threaded when it forked; which of the two is said. Raw descriptors become `OwnedFd` in the same expression.
#![allow(unsafe_code, reason = "the one place for it; see the policy above")]

pub mod before_main;
pub mod clone;
pub mod inherit;
pub mod limits;
pub mod loopback;
pub mod worker;

pub(crate) use before_main::before_main;
