//! From a command to a report: baseline, plan, enactments, judgement, shrinking. It prints nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::case::Case;
use crate::clause::{Clause, ClauseId, Host};
use crate::command::TargetCommand;
use crate::error::Error;
use crate::limits::Limits;
use crate::outcome::{Cause, Counterexample, Finding, NOT_SELECTED, Outcome, Report, Status};
use crate::plan::{Entry, Options, plan};
use crate::profile::{Model, Profile};
use crate::trace::{Isolation, Trace};
use crate::verdict::Verdict;
use crate::world::World;

mod applicable;
mod baseline;
mod cases;
mod conclude;
mod expect;
pub mod fuzz;
mod load;
mod outcomes;
mod pace;
mod pool;
mod root;
mod second_look;
mod settle;
pub mod shrink;
#[cfg(test)]
mod tests;
mod workers;

pub use applicable::inapplicable;

use baseline::Baseline;
use cases::{Tally, Work};
use conclude::Conclusions;
use expect::Expecting;
pub use outcomes::unjudged;
use outcomes::{notes, outcomes};
use pace::Pace;
use pool::{Pool, Source};
use second_look::Looked;
use workers::workers;

/// What a run tells while it goes on.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// The baseline is known: so many scenarios will be enacted.
    Planned {
        /// Scenarios.
        scenarios: usize,
    },
    /// A scenario was enacted and judged.
    Enacted {
        /// Scenarios so far.
        done: usize,
        /// Of so many.
        of: usize,
    },
    /// So many clauses are looked at again: confirmed, and their scenarios shrunk.
    Confirming {
        /// Clauses.
        clauses: usize,
    },
    /// All is known of a clause that was looked at again.
    Settled(ClauseId, Status),
    /// Nothing more will be tried for this clause.
    Concluded(&'a Outcome),
}

/// Verifies a server.
///
/// `stop` ends the run early: the report then says what is known so far.
///
/// # Errors
/// If the harness cannot work here at all. What goes wrong with single clauses is in the report.
pub fn check(
    command: &TargetCommand,
    options: &Options,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Progress<'_>),
) -> Result<Report, Error> {
    let (workers, host) = workers(options.isolation)?;
    check_in(&workers, host, command, options, stop, tell)
}

/// Fuzzes a server.
///
/// # Errors
/// If the harness cannot work here at all.
pub fn campaign(
    command: &TargetCommand,
    campaign: &fuzz::Campaign,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(fuzz::Event<'_>),
) -> Result<fuzz::Campaigned, Error> {
    let (workers, host) = workers(campaign.options.isolation)?;
    let mut campaign = campaign.clone();
    campaign.ranges.own_network &= host.isolation != Isolation::Loopback;
    fuzz::campaign(&workers, host, command, &campaign, stop, tell)
}

/// Enacts a kept case again.
///
/// # Errors
/// If the harness cannot work here at all, or is interrupted.
pub fn replay(
    command: &TargetCommand,
    case: &Case,
    options: &Options,
    stop: &AtomicBool,
) -> Result<fuzz::replay::Replayed, Error> {
    let (workers, host) = workers(options.isolation)?;
    fuzz::replay::replay(&workers, host, command, case, options, stop)
}

/// Enacts a kept case until it fails, and holds it there: server and clients stay as they were when the failure was seen
/// while `look` does what it does; then all is ended.
///
/// # Errors
/// If the harness cannot work here at all, or is interrupted.
pub fn hold(
    command: &TargetCommand,
    case: &Case,
    options: &Options,
    stop: &AtomicBool,
    look: &mut dyn FnMut(&fuzz::hold::HeldCase),
) -> Result<fuzz::replay::Replayed, Error> {
    let (workers, host) = workers(options.isolation)?;
    fuzz::hold::hold(&workers, host, command, case, options, stop, look)
}

/// Verifies a server in any worlds.
fn check_in(
    source: &dyn Source,
    host: Host,
    command: &TargetCommand,
    options: &Options,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Progress<'_>),
) -> Result<Report, Error> {
    let began = Instant::now();
    let mut report = Pool::with(source, stop, options.at_once(), |pool| {
        Run { pool, host, options, began }.phases(command, tell)
    })?;
    report.duration = began.elapsed();
    report.interrupted = stop.load(Ordering::Relaxed);
    expect::settle(&mut report, &options.expect);
    Ok(report)
}

/// A run under way.
struct Run<'a> {
    pool: &'a Pool<'a>,
    host: Host,
    options: &'a Options,
    began: Instant,
}

impl Run<'_> {
    /// Baseline, enactments, and a second look at what failed.
    fn phases(&self, command: &TargetCommand, tell: &mut dyn FnMut(Progress<'_>)) -> Result<Report, Error> {
        let Some((baseline, trace, target)) = self.baseline(command)? else {
            let skipped = |_: &Clause| Finding::Skipped(Cause::NotSelected, "interrupted".to_owned());
            return Ok(self.report(command, None, outcomes(skipped)));
        };
        let profile = match baseline {
            Baseline::Serves(profile) => Arc::new(*profile),
            other => return Ok(self.not_serving(&target, other, &trace)),
        };
        let target = Arc::new(target);
        let plan = self.plan(&target, &profile);
        let mut tallies: Vec<Tally> = plan.iter().map(|_| Tally::default()).collect();
        let works = cases::works(&plan);
        let mut report = self.report(&target, Some(&trace), Vec::new());
        let expecting = Expecting::of(&self.options.expect, &report.kernel, report.isolation, Some(&profile));
        let mut concluded = Conclusions::new(&plan, &works, expecting);
        tell(Progress::Planned { scenarios: works.len() });
        concluded.untried(tell);
        let enactments = self.enact((&plan, &works), &target, &profile, (&mut tallies, &mut concluded), tell);
        let looked = Looked { plan: &plan, target: &target, profile: &profile, tallies: &tallies };
        self.settle(&looked, &mut concluded, tell);
        report.outcomes = concluded.finish(&tallies, tell);
        report.notes = notes(&profile);
        report.profile = Some((*profile).clone());
        report.enactments = enactments;
        Ok(report)
    }

    /// Learns the profile; nothing if the run is stopped meanwhile.
    fn baseline(&self, command: &TargetCommand) -> Result<Option<(Baseline, Trace, TargetCommand)>, Error> {
        let (mut target, options) = (command.clone(), self.options.clone());
        let mut learned = None;
        let job = move |world: &mut dyn World| {
            let (baseline, trace) = baseline::learn(world, &mut target, &options, &options.limits())?;
            Ok((baseline, trace, target))
        };
        self.pool.each([job], |_, result| {
            learned = Some(result);
            true
        });
        match learned {
            Some(Err(Error::Interrupted)) | None => Ok(None),
            Some(result) => result.map(Some),
        }
    }

    /// The plan, without scenarios that need more clients at once than this server takes.
    fn plan(&self, target: &TargetCommand, profile: &Profile) -> Vec<Entry> {
        let mut plan = plan(self.options, profile, self.host);
        for entry in &mut plan {
            if let (Ok(_), Some(reason)) = (&entry.cases, target.exempt(entry.clause)) {
                entry.cases = Err((Cause::NotApplicable, reason.to_owned()));
            }
            let clause = entry.clause;
            let Ok(cases) = &mut entry.cases else { continue };
            let had_some = !cases.is_empty();
            cases.retain(|scenario| cases::fits(clause, profile, scenario));
            if had_some && cases.is_empty() {
                let reason = match profile.model {
                    Model::OneShot => "the server serves one client and exits".to_owned(),
                    _ => format!(
                        "more clients at once are needed than the {} that the server takes",
                        profile.clients
                    ),
                };
                entry.cases = Err((Cause::NotApplicable, reason));
            }
        }
        plan
    }

    /// The bounds, once it is known how soon the server listens.
    fn limits(&self, profile: &Profile) -> Limits {
        pace::as_it_starts(self.options.limits(), Duration::from_micros(profile.ready_us))
    }

    /// Enacts every scenario, and judges. Returns how many were enacted.
    fn enact(
        &self,
        (plan, works): (&[Entry], &[Work]),
        target: &Arc<TargetCommand>,
        profile: &Arc<Profile>,
        (tallies, concluded): (&mut [Tally], &mut Conclusions<'_>),
        tell: &mut dyn FnMut(Progress<'_>),
    ) -> u64 {
        let pace = Arc::new(Pace::new(self.limits(profile)));
        // A clause that has failed needs no further proof before it is looked at again.
        let failed: Arc<Vec<AtomicBool>> = Arc::new(plan.iter().map(|_| AtomicBool::new(false)).collect());
        let jobs = works.iter().map(|work| {
            let (target, pace, scenario) = (Arc::clone(target), Arc::clone(&pace), work.scenario.clone());
            let (profile, failed, entries) = (Arc::clone(profile), Arc::clone(&failed), work.entries.clone());
            move |world: &mut dyn World| {
                if entries.iter().all(|&index| failed[index].load(Ordering::Relaxed)) {
                    return Ok(None);
                }
                let began = Instant::now();
                let mut trace = world.enact(&target, &scenario, pace.limits())?;
                pace.learn(&trace);
                trace.circumstances.profile = Some((*profile).clone());
                Ok(Some((trace, began.elapsed())))
            }
        });
        let (mut done, mut enacted) = (0, 0);
        self.pool.each(jobs, |index, result| {
            done += 1;
            enacted += u64::from(matches!(result, Ok(Some(_))));
            cases::judge(&works[index], plan, result, tallies);
            for &entry in &works[index].entries {
                failed[entry].store(tallies[entry].failure.is_some(), Ordering::Relaxed);
            }
            tell(Progress::Enacted { done, of: works.len() });
            concluded.enacted(&works[index], tallies, tell);
            self.options.time.is_none_or(|time| self.began.elapsed() < time)
        });
        enacted
    }

    /// The report on a server that serves not even one visit: one failure, and the rest skipped.
    fn not_serving(&self, target: &TargetCommand, baseline: Baseline, trace: &Trace) -> Report {
        let (failed, mut failure, doubt) = match baseline {
            Baseline::Fails { clause, failure } => (Some(clause), Some(*failure), String::new()),
            Baseline::Unclear(doubt) => (None, None, doubt),
            Baseline::Serves(_) => (None, None, "the server serves".to_owned()),
        };
        let mut all = outcomes(|clause| {
            if !self.options.selects(clause) && Some(clause.id) != failed {
                return Finding::Skipped(Cause::NotSelected, NOT_SELECTED.to_owned());
            }
            match failed {
                Some(id) if id == clause.id => Finding::Judged(Verdict::Inconclusive(String::new())),
                Some(id) => Finding::Skipped(Cause::DependsOn, format!("{id} failed")),
                None => Finding::Judged(Verdict::Inconclusive(doubt.clone())),
            }
        });
        for outcome in all.iter_mut().filter(|outcome| Some(outcome.clause.id) == failed) {
            if let Some(failure) = failure.take() {
                outcome.cases = 1;
                outcome.finding = Finding::Judged(Verdict::Fail(failure.evidence.clone()));
                outcome.counterexample = Some(Counterexample { failure, rate: (2, 2) });
            }
        }
        self.report(target, Some(trace), all)
    }

    fn report(&self, target: &TargetCommand, trace: Option<&Trace>, outcomes: Vec<Outcome>) -> Report {
        let unjudged = unjudged(target, self.options, |_| Finding::Broken(String::new()));
        Report {
            isolation: self.host.isolation,
            outcomes,
            interrupted: false,
            stderr: trace
                .and_then(|trace| trace.output.first())
                .map(|output| output.stderr.last_lines(5))
                .unwrap_or_default(),
            ..unjudged
        }
    }
}
