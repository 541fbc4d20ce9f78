//! sockspec: a socket-API conformance test harness.
//!
//! Pure ends, impure middle: a [`scenario`] is data, a [`trace`] is data, and the check of a [`clause`] is a pure
//! function from both to a [`verdict`]. There is one door to the kernel, the trait `World`.
//!
//! # In tests
//!
//! A check is a value. It finds out what kind of server it has been given, tries every clause that applies, and
//! [`Report::assert_conforms`] panics with the text that `sockspec check` prints:
//!
//! ```no_run
//! use sockspec::TargetCommand;
//!
//! # fn main() -> Result<(), sockspec::CheckError> {
//! let server = TargetCommand::new("./my-server").arg("{port}"); // env!("CARGO_BIN_EXE_my-server") in tests/
//! server.check().only("reap.*").seed(7).run()?.assert_conforms();
//! # Ok(())
//! # }
//! ```
//!
//! A library needs no program: [`TargetCommand::in_process`] starts the test itself again, in a sandbox, where the
//! function is called instead.
//!
//! ```
//! use std::io;
//! use std::net::TcpListener;
//! use std::thread;
//!
//! use sockspec::TargetCommand;
//! use sockspec::profile::Effort;
//!
//! fn serve(listener: TcpListener) -> io::Result<()> {
//!     loop {
//!         let (client, _) = listener.accept()?;
//!         thread::spawn(move || io::copy(&mut &client, &mut &client));
//!     }
//! }
//!
//! # fn main() -> Result<(), sockspec::CheckError> {
//! let report = TargetCommand::in_process(serve).check().only("close").effort(Effort::Quick).run()?;
//! report.assert_conforms();
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `libtest`, `cargo_test` is the `main` of a test without libtest that has one test for each clause.
//! As a dependency of tests, take `default-features = false`: the command line is then left out.
//!
//! # Inside
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
pub mod expectation;
pub mod outcome;
pub mod plan;
#[cfg(feature = "cli")]
pub mod config;
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
#[cfg(feature = "libtest")]
pub mod libtest;
#[cfg(feature = "cli")]
pub mod args;
#[cfg(feature = "cli")]
pub mod exit_code;

pub use check::{Check, CheckError};
pub use command::TargetCommand;
#[cfg(feature = "libtest")]
pub use libtest::{cargo_test, cargo_test_strictly};
pub use outcome::Report;
