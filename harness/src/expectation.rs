//! What the user knows of a server beforehand: clauses that it breaks, for a reason, until a date.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::profile::{Model, Profile};
use crate::trace::Isolation;

/// A clause, or several, that will not pass, and why that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Glob of clause ids.
    pub clause: String,
    /// What is expected instead of a pass.
    pub status: Unmet,
    /// Why it is so.
    pub reason: String,
    /// Where the mending is tracked.
    pub issue: Option<String>,
    /// The last day on which it is accepted, as `2026-12-31`.
    pub until: Option<String>,
    /// Where it holds; elsewhere nothing is expected.
    pub when: When,
    /// Where it stands, for messages: `sockspec.toml:12`.
    pub place: String,
}

/// What may be expected of a clause besides a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmet {
    /// The server breaks it.
    #[default]
    Fail,
    /// It cannot be decided here.
    Inconclusive,
}

/// Circumstances. What is not said may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// Bounds of the kernel's release, all of which must hold.
    pub kernel: Vec<KernelBound>,
    /// The rung of the isolation ladder.
    pub isolation: Option<Isolation>,
    /// How the server serves several clients.
    pub profile: Option<Model>,
}

/// `>=6.14`: a comparison with the numbers at the start of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelBound {
    comparison: Comparison,
    release: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Equal,
    AtLeast,
    More,
}

/// That a clause was expected not to pass, as reports tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Why.
    pub reason: String,
    /// Where the mending is tracked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issue: Option<String>,
    /// The last day on which it is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if let Some(issue) = &self.issue {
            write!(f, " ({issue})")?;
        }
        match &self.until {
            Some(until) => write!(f, ", accepted until {until}"),
            None => Ok(()),
        }
    }
}

impl Expectation {
    /// Whether it is no longer accepted on this day.
    #[must_use]
    pub fn is_expired(&self, today: &str) -> bool {
        self.until.as_deref().is_some_and(|until| until < today)
    }

    /// As reports tell it.
    #[must_use]
    pub fn told(&self) -> Expected {
        Expected { reason: self.reason.clone(), issue: self.issue.clone(), until: self.until.clone() }
    }
}

impl When {
    /// Whether these are the circumstances. Of a server that never served, no profile is known.
    #[must_use]
    pub fn holds(&self, kernel: &str, isolation: Isolation, profile: Option<&Profile>) -> bool {
        self.kernel.iter().all(|bound| bound.holds(kernel))
            && self.isolation.is_none_or(|rung| rung == isolation)
            && self.profile.is_none_or(|model| profile.is_some_and(|profile| profile.model == model))
    }
}

impl KernelBound {
    /// Reads `>=6.14`, `<6`, `=6.18` (any 6.18) or `6.18`, which means the same.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let signs = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Less),
            (">", Comparison::More),
            ("=", Comparison::Equal),
            ("", Comparison::Equal),
        ];
        let found = signs.iter().find_map(|(sign, it)| Some((*it, text.strip_prefix(sign)?)));
        let (comparison, numbers) = found.unwrap_or((Comparison::Equal, text));
        let release: Result<Vec<u32>, _> = numbers.trim().split('.').map(str::parse).collect();
        match release {
            Ok(release) => Ok(Self { comparison, release }),
            Err(_) => Err(format!("{text:?} compares no kernel; expected such as \">=6.14\" or \"<6.10\"")),
        }
    }

    fn holds(&self, kernel: &str) -> bool {
        let digits = kernel.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        let numbers = digits.split('.').filter_map(|number| number.parse().ok());
        // As many numbers as were said: 6.18.44 is a 6.18.
        let mut release: Vec<u32> = numbers.take(self.release.len()).collect();
        release.resize(self.release.len(), 0);
        match self.comparison {
            Comparison::Less => release < self.release,
            Comparison::AtMost => release <= self.release,
            Comparison::Equal => release == self.release,
            Comparison::AtLeast => release >= self.release,
            Comparison::More => release > self.release,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(">=6.14", "6.18.44", true)]
    #[case(">=6.14", "6.13.9-generic", false)]
    #[case("<6.14", "6.8.0-45-generic", true)]
    #[case("= 6.18", "6.18.44", true)]
    #[case("6.18", "6.1.44", false)]
    #[case(">5", "5.10.0", false)]
    #[case("<=6", "6.99", true)]
    fn kernels_are_compared_by_number(#[case] bound: &str, #[case] kernel: &str, #[case] holds: bool) {
        assert_eq!(KernelBound::parse(bound).unwrap().holds(kernel), holds);
    }

    #[test]
    fn what_compares_nothing_is_refused() {
        assert!(KernelBound::parse("new").unwrap_err().contains("such as"));
        assert!(KernelBound::parse("").is_err());
    }
}
