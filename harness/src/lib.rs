//! sockspec: a socket-API conformance test harness.
//!
//! Pure ends, impure middle: a [`scenario`] is data, a [`trace`] is data, and the check of a [`clause`] is a pure
//! function from both to a [`verdict`]. There is one door to the kernel, the trait `World`.
//!
//! The modules stand in order: each uses only those above it (`tests/tidy.rs`).

pub mod limits;
pub mod profile;
pub mod scenario;
pub mod verdict;
pub mod trace;
pub mod clause;
pub mod spec;
pub mod globs;
pub mod command;
pub mod program;
pub mod outcome;
pub mod plan;
pub mod case;
#[cfg(feature = "cli")]
pub mod emit;
pub mod error;
pub mod sys;
pub mod client;
pub mod sandbox;
pub mod target;
pub mod observe;
pub mod in_process;
pub mod world;
pub mod run;
#[cfg(feature = "cli")]
pub mod doctor;
pub mod report;
pub mod check;
pub mod libtest;
#[cfg(feature = "cli")]
pub mod args;
#[cfg(feature = "cli")]
pub mod exit_code;

pub use check::{Check, CheckError};
pub use command::TargetCommand;
pub use libtest::{cargo_test, cargo_test_strictly};
pub use outcome::Report;
