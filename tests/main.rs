//! The product's own tests.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod cargo_test;
mod command_line;
mod emit;
mod fuzz;
mod remains;
mod tidy;
