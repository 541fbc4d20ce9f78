//! Says what a run has found, and what the catalogue and the host are like. It runs nothing: it writes data to a
//! `Write`.
//!
//! Text is written with colours; whoever opens the destination strips them where they are not wanted. Whatever comes
//! from the server under test is cleaned of control bytes first.

pub mod command_line;
#[cfg(feature = "cli")]
pub mod destination;
#[cfg(feature = "cli")]
pub mod diff;
#[cfg(feature = "cli")]
pub mod doctor;
#[cfg(feature = "cli")]
pub mod explain;
#[cfg(feature = "cli")]
pub mod fuzz;
#[cfg(feature = "cli")]
pub mod github;
#[cfg(feature = "cli")]
pub mod json;
#[cfg(feature = "cli")]
pub mod junit;
#[cfg(feature = "cli")]
pub mod keep;
#[cfg(feature = "cli")]
pub mod list;
#[cfg(feature = "cli")]
pub mod markdown;
#[cfg(feature = "cli")]
pub mod matrix;
#[cfg(feature = "cli")]
pub mod ndjson;
#[cfg(feature = "cli")]
pub mod progress;
#[cfg(feature = "cli")]
pub mod sarif;
pub mod text;

mod finding;
mod page;
#[cfg(feature = "cli")]
mod ruling;
#[cfg(feature = "libtest")]
pub(crate) mod single;
mod tally;

#[cfg(feature = "cli")]
pub use ruling::Checked;

#[cfg(all(test, feature = "cli"))]
mod golden;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod schemas;

/// How much of a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Failures and the verdict.
    Quiet,
    /// A line for each family, failures, what could not be judged, the verdict.
    #[default]
    Normal,
    /// Every clause with what was seen.
    Verbose,
}

/// How a text is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// How much of it.
    pub detail: Detail,
    /// Columns; text is wrapped there.
    pub width: usize,
    /// Whether a failed SHOULD fails the run.
    pub strict: bool,
}

/// Columns where the width of the terminal is not known.
pub const WIDTH_DEFAULT: usize = 100;

impl Default for Style {
    fn default() -> Self {
        Self { detail: Detail::Normal, width: WIDTH_DEFAULT, strict: false }
    }
}
