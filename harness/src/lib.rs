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
pub mod command;
pub mod expectation;
pub mod outcome;
pub mod plan;
pub mod config;
pub mod case;
pub mod emit;
pub mod error;
pub mod sys;
pub mod client;
pub mod sandbox;
pub mod target;
pub mod observe;
pub mod world;
pub mod run;
pub mod doctor;
pub mod report;
pub mod args;
pub mod exit_code;
