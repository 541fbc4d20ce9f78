//! How `sockspec check` ends: the contract with scripts and CI.

use crate::outcome::{Conformance, Report};
use crate::trace::Isolation;

/// What the exit status of a command says. A script can tell "your server is wrong" from "our tool could not see".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// The server conforms; for commands that check nothing: all is well.
    Conforms = 0,
    /// A MUST failed, or with `--strict` a SHOULD. It wins over [`ExitCode::Unknown`].
    DoesNotConform = 1,
    /// What was asked for cannot be done: bad option, no such clause, output not writable, command not found.
    Usage = 2,
    /// Nothing ran, a MUST was broken or inconclusive, or there was less isolation than is required.
    Unknown = 3,
    /// The run was interrupted; what was found until then is reported.
    Interrupted = 130,
}

impl ExitCode {
    /// How a run ends. `require` is the least isolation with which its verdict counts.
    #[must_use]
    pub fn of(report: &Report, strict: bool, require: Option<Isolation>) -> Self {
        let conformance = report.conformance(strict);
        let too_little = require.is_some_and(|least| report.isolation < least);
        if report.interrupted {
            Self::Interrupted
        } else if too_little && conformance == Conformance::Conforms {
            Self::Unknown
        } else {
            conformance.into()
        }
    }
}

impl ExitCode {
    /// How a run over several servers ends: what is certain wins over what is unknown, an interruption over all.
    #[must_use]
    pub fn of_all(codes: impl IntoIterator<Item = Self>) -> Self {
        let codes: Vec<Self> = codes.into_iter().collect();
        let by_weight = [Self::Interrupted, Self::Usage, Self::DoesNotConform, Self::Unknown];
        by_weight.into_iter().find(|code| codes.contains(code)).unwrap_or(Self::Conforms)
    }
}

impl From<Conformance> for ExitCode {
    fn from(conformance: Conformance) -> Self {
        match conformance {
            Conformance::Conforms => Self::Conforms,
            Conformance::DoesNotConform => Self::DoesNotConform,
            Conformance::Unknown => Self::Unknown,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::outcome::{Cause, Outcome};
    use crate::report::sample;

    #[rstest]
    #[case::all_pass(vec![sample::passed()], false, ExitCode::Conforms)]
    #[case::a_must_fails(vec![sample::failed()], false, ExitCode::DoesNotConform)]
    #[case::a_failure_wins_over_unknown(vec![sample::inconclusive(), sample::failed()], false, ExitCode::DoesNotConform)]
    #[case::a_should_warns(vec![sample::passed(), sample::warned()], false, ExitCode::Conforms)]
    #[case::a_should_fails_if_strict(vec![sample::passed(), sample::warned()], true, ExitCode::DoesNotConform)]
    #[case::a_must_is_inconclusive(vec![sample::passed(), sample::inconclusive()], false, ExitCode::Unknown)]
    #[case::a_may_is_broken(vec![sample::passed(), sample::broken()], false, ExitCode::Conforms)]
    #[case::nothing_ran(vec![], false, ExitCode::Unknown)]
    #[case::all_skipped(vec![sample::skipped(Cause::Host, "")], false, ExitCode::Unknown)]
    fn the_code_follows_from_what_was_found(
        #[case] outcomes: Vec<Outcome>,
        #[case] strict: bool,
        #[case] expected: ExitCode,
    ) {
        assert_eq!(ExitCode::of(&sample::report(outcomes), strict, None), expected);
    }

    #[test]
    fn less_isolation_than_required_is_unknown_but_a_failure_is_one() {
        let mut report = sample::report(vec![sample::passed()]);
        report.isolation = Isolation::Loopback;
        assert_eq!(ExitCode::of(&report, false, Some(Isolation::Full)), ExitCode::Unknown);
        report.outcomes.push(sample::failed());
        assert_eq!(ExitCode::of(&report, false, Some(Isolation::Full)), ExitCode::DoesNotConform);
        report.interrupted = true;
        assert_eq!(ExitCode::of(&report, false, None), ExitCode::Interrupted);
    }
}
