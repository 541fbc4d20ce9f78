//! A kept case, once more: does it still fail?

use std::sync::atomic::AtomicBool;

use crate::case::Case;
use crate::clause::{Clause, Host};
use crate::command::TargetCommand;
use crate::error::Error;
use crate::plan::Options;
use crate::profile::Profile;
use crate::run::baseline::Baseline;
use crate::run::fuzz::learn;
use crate::run::pool::{Pool, Source};
use crate::scenario::Scenario;
use crate::spec;
use crate::trace::Trace;
use crate::verdict::{Evidence, Kind, Verdict};
use crate::world::World;

/// Enactments after which a case that did not fail counts as fixed: at least three, more for one that fails rarely.
const TIMES: u32 = 3;
const TIMES_MAX: u32 = 20;

/// What became of a case.
#[derive(Debug)]
pub enum Replayed {
    /// It still fails.
    Failed {
        /// What was expected and seen.
        evidence: Evidence,
        /// The enactment in which it did, 1 for the first.
        after: u32,
    },
    /// It does not fail any more.
    Fixed {
        /// What the check says now.
        seen: String,
        /// Enactments.
        times: u32,
    },
    /// It could not be decided; why.
    Unknown(String),
}

/// What a check says of a trace that was saved.
///
/// # Errors
/// If this version has no such clause.
pub fn judge(clause: &str, scenario: &Scenario, trace: &Trace) -> Result<Verdict, String> {
    Ok((find(clause)?.check)(scenario, trace))
}

fn find(id: &str) -> Result<&'static Clause, String> {
    spec::catalogue()
        .find(|clause| clause.id.0 == id)
        .ok_or_else(|| format!("{id}: this version has no such clause"))
}

pub(in crate::run) fn replay(
    source: &dyn Source,
    host: Host,
    command: &TargetCommand,
    case: &Case,
    options: &Options,
    stop: &AtomicBool,
) -> Result<Replayed, Error> {
    Pool::with(source, stop, 1..=1, |pool| {
        let Ready { clause, profile, target } = match ready(pool, host, command, case, options)? {
            Ok(ready) => ready,
            Err(problem) => return Ok(Replayed::Unknown(problem)),
        };
        let (scenario, limits, times) = (case.scenario.clone(), options.limits(), times(case.rate));
        let missing = case.evidence.kind == Kind::Missing;
        let job = move |world: &mut dyn World| {
            let limits = if missing { limits.patient() } else { limits };
            let mut last = Verdict::Inconclusive("nothing was enacted".to_owned());
            for time in 1..=times {
                let mut trace = world.enact(&target, &scenario, &limits)?;
                trace.circumstances.profile = Some((*profile).clone());
                last = (clause.check)(&scenario, &trace);
                if let Verdict::Fail(evidence) = last {
                    return Ok(Replayed::Failed { evidence, after: time });
                }
            }
            Ok(match last {
                Verdict::Pass(seen) => Replayed::Fixed { seen, times },
                Verdict::Inconclusive(doubt) | Verdict::NotApplicable(doubt) => Replayed::Unknown(doubt),
                Verdict::Fail(evidence) => Replayed::Failed { evidence, after: times },
            })
        };
        let mut replayed = Err(Error::Interrupted);
        pool.each([job], |_, result| {
            replayed = result;
            true
        });
        replayed
    })
}

/// What a replay needs to know beforehand.
pub(super) struct Ready {
    pub(super) clause: &'static Clause,
    pub(super) profile: Box<Profile>,
    pub(super) target: TargetCommand,
}

/// Learns what kind of server it is; or why nothing can be said of this case.
pub(super) fn ready(
    pool: &Pool<'_>,
    host: Host,
    command: &TargetCommand,
    case: &Case,
    options: &Options,
) -> Result<Result<Ready, String>, Error> {
    let clause = match find(&case.clause) {
        Ok(clause) => clause,
        Err(problem) => return Ok(Err(problem)),
    };
    let (profile, target) = match learn(pool, command, options)? {
        Some((Baseline::Serves(profile), target)) => (profile, target),
        Some((Baseline::Fails { clause, failure }, _)) => {
            let observed = &failure.evidence.observed;
            return Ok(Err(format!("the server does not serve: {clause}: {observed}")));
        }
        Some((Baseline::Unclear(doubt), _)) => return Ok(Err(doubt)),
        None => return Err(Error::Interrupted),
    };
    if let Some(unmet) = clause.needs.iter().find_map(|need| need.unmet(&profile, host)) {
        let (crate::clause::Unmet::Server(reason) | crate::clause::Unmet::Host(reason)) = unmet;
        return Ok(Err(format!("{} does not apply: {reason}", clause.id)));
    }
    Ok(Ok(Ready { clause, profile, target }))
}

/// So many that a failure with this rate would be missed less than once in twenty times.
pub(super) fn times((failed, of): (u32, u32)) -> u32 {
    (3 * of.max(1)).div_ceil(failed.max(1)).clamp(TIMES, TIMES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_rarely_is_tried_more_often() {
        assert_eq!([times((3, 3)), times((1, 3)), times((1, 100)), times((0, 0))], [3, 9, 20, 3]);
    }
}
