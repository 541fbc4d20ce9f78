//! The product's own tests.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod cargo_test;
mod cases;
mod command_line;
mod config;
mod dependencies;
mod emit;
mod emit_acts;
mod fuzz;
mod hold;
mod remains;
mod reports;
mod strategy;
mod tidy;
