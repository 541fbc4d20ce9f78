//! The answer of a check.

use serde::{Deserialize, Serialize};

/// What a check says of one trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The clause was exercised and holds; what was seen, in words, for the report ("20 of 20 clients served").
    Pass(String),
    /// The server breaks the clause.
    Fail(Evidence),
    /// The clause was not exercised, or what was seen does not decide; why.
    Inconclusive(String),
    /// This server cannot be brought into the situation that the clause is about; why. It is skipped.
    NotApplicable(String),
}

/// The proof of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Whether something forbidden was seen, something owed was missing, or too much of something was used.
    pub kind: Kind,
    /// What the clause requires here.
    pub expected: String,
    /// What was seen instead.
    pub observed: String,
}

/// Kinds of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What must never happen did: once is a failure.
    Seen,
    /// What must happen did not by its deadline: it is looked at again, alone, with more patience, before it counts.
    Missing,
    /// Too much was used of something over a time that was measured: it counts if it is so again. More patience would
    /// tell nothing, and that somebody waited for a CPU is in the measure.
    Measured,
}

impl Verdict {
    /// A failure: what must never happen was seen.
    #[must_use]
    pub fn seen(expected: impl Into<String>, observed: impl Into<String>) -> Self {
        Self::Fail(Evidence { kind: Kind::Seen, expected: expected.into(), observed: observed.into() })
    }

    /// A failure: too much was used over a time.
    #[must_use]
    pub fn measured(expected: impl Into<String>, observed: impl Into<String>) -> Self {
        Self::Fail(Evidence { kind: Kind::Measured, expected: expected.into(), observed: observed.into() })
    }

    /// A failure: what must happen did not by its deadline.
    #[must_use]
    pub fn missing(expected: impl Into<String>, observed: impl Into<String>) -> Self {
        Self::Fail(Evidence { kind: Kind::Missing, expected: expected.into(), observed: observed.into() })
    }
}
