//! The product's own tests.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod command_line;
mod config;
mod emit;
mod fuzz;
mod remains;
mod reports;
mod tidy;
