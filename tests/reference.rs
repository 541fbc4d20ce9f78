//! The reference server, as other people would test theirs: one libtest test for each clause.
//!
//! `SOCKSPEC_TEST_SERVE` has more arguments for `sockspec serve`, so that `tests/cargo_test.rs` sees what a failure is like.

use std::process::ExitCode;

use sockspec::TargetCommand;

fn main() -> ExitCode {
    let more = std::env::var("SOCKSPEC_TEST_SERVE").unwrap_or_default();
    let server = TargetCommand::new(env!("CARGO_BIN_EXE_sockspec"))
        .args(["serve", "--addr", "{addr}", "--port", "{port}", "--backlog", "{backlog}"])
        .args(more.split_whitespace());
    sockspec::cargo_test(server)
}
