//! A kept case, enacted up to the point where it fails, and held there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::case::Case;
use crate::clause::{Clause, Host};
use crate::command::TargetCommand;
use crate::error::Error;
use crate::limits::Limits;
use crate::plan::Options;
use crate::profile::Profile;
use crate::run::fuzz::replay::{Ready, Replayed, ready, times};
use crate::run::pool::Pool;
use crate::run::workers::Workers;
use crate::sandbox::Inmate;
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::verdict::{Evidence, Kind, Verdict};
use crate::world::World as _;
use crate::world::live::Live;

/// How often it is looked whether to stop.
const STOP_EVERY: Duration = Duration::from_millis(50);

/// A case that fails, held.
#[derive(Debug)]
pub struct HeldCase {
    /// What was expected and seen.
    pub evidence: Evidence,
    /// The steps that were taken; the last one is the one after which the failure showed.
    pub scenario: Scenario,
    /// What was seen.
    pub trace: Trace,
    /// The processes in the sandbox.
    pub inmates: Vec<Inmate>,
}

pub(in crate::run) fn hold(
    workers: &Workers,
    host: Host,
    command: &TargetCommand,
    case: &Case,
    options: &Options,
    stop: &AtomicBool,
    look: &mut dyn FnMut(&HeldCase),
) -> Result<Replayed, Error> {
    let readied = Pool::with(workers, stop, 1..=1, |pool| ready(pool, host, command, case, options))?;
    let Ready { clause, profile, target } = match readied {
        Ok(ready) => ready,
        Err(problem) => return Ok(Replayed::Unknown(problem)),
    };
    let limits =
        if case.evidence.kind == Kind::Missing { options.limits().patient() } else { options.limits() };
    let live = Live::start(host.isolation)?;
    let hangup = live.hangup();
    let mut holder = Holder { live, clause, profile: *profile, target, limits, times: times(case.rate) };
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
                thread::park_timeout(STOP_EVERY);
            }
            if stop.load(Ordering::Relaxed) {
                hangup.hang_up();
            }
        });
        let held = holder.until_it_fails(&case.scenario, look);
        over.store(true, Ordering::Relaxed);
        held
    })
}

struct Holder {
    live: Live,
    clause: &'static Clause,
    profile: Profile,
    target: TargetCommand,
    limits: Limits,
    times: u32,
}

impl Holder {
    fn until_it_fails(
        &mut self,
        scenario: &Scenario,
        look: &mut dyn FnMut(&HeldCase),
    ) -> Result<Replayed, Error> {
        let mut last = Verdict::Inconclusive("nothing was enacted".to_owned());
        for after in 1..=self.times {
            let mut trace = self.live.enact(&self.target, scenario, &self.limits)?;
            trace.circumstances.profile = Some(self.profile.clone());
            last = (self.clause.check)(scenario, &trace);
            if let Verdict::Fail(evidence) = last {
                let steps = self.steps_until_it_shows(scenario, &trace);
                let first = Scenario { steps: scenario.steps[..steps].to_vec() };
                return if self.hold(&first, look)? {
                    Ok(Replayed::Failed { evidence, after })
                } else {
                    let often = format!(
                        "it failed ({}), but in none of {} attempts to hold it",
                        evidence.observed, self.times
                    );
                    Ok(Replayed::Unknown(often))
                };
            }
        }
        Ok(match last {
            Verdict::Pass(seen) => Replayed::Fixed { seen, times: self.times },
            Verdict::Inconclusive(doubt) | Verdict::NotApplicable(doubt) => Replayed::Unknown(doubt),
            Verdict::Fail(evidence) => Replayed::Failed { evidence, after: self.times },
        })
    }

    /// So many first steps after which the check fails, and goes on failing whatever comes.
    fn steps_until_it_shows(&self, scenario: &Scenario, trace: &Trace) -> usize {
        let fails = |steps: usize| {
            let first = Scenario { steps: scenario.steps[..steps].to_vec() };
            matches!((self.clause.check)(&first, &trace.before(steps)), Verdict::Fail(_))
        };
        let all = scenario.steps.len();
        (1..all).rev().take_while(|&steps| fails(steps)).last().unwrap_or(all)
    }

    /// Enacts these steps until they fail, and holds that. Returns whether they did.
    fn hold(&mut self, scenario: &Scenario, look: &mut dyn FnMut(&HeldCase)) -> Result<bool, Error> {
        for _ in 0..self.times {
            let mut trace = self.live.hold(&self.target, scenario, &self.limits)?;
            trace.circumstances.profile = Some(self.profile.clone());
            if let Verdict::Fail(evidence) = (self.clause.check)(scenario, &trace) {
                let inmates = self.live.inmates()?;
                look(&HeldCase { evidence, scenario: scenario.clone(), trace, inmates });
                match self.live.release() {
                    // Interrupted while people looked: the sandbox has gone with its worker.
                    Ok(()) | Err(Error::Interrupted) => return Ok(true),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(false)
    }
}
