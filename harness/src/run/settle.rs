//! One clause that failed or stayed in doubt: again, with patience where something was missing, and smaller.

use std::time::{Duration, Instant};

use crate::clause::Clause;
use crate::command::TargetCommand;
use crate::error::Error;
use crate::limits::Limits;
use crate::outcome::{Counterexample, Failure, Finding};
use crate::profile::Profile;
use crate::run::pace::Patience;
use crate::run::shrink::{Walk, paced};
use crate::scenario::Scenario;
use crate::trace::{Trace, What};
use crate::verdict::{Evidence, Kind, Verdict};
use crate::world::World;

/// Enactments that shrinking may cost for a clause, and for a scenario that may be about anything.
const TRIES_MAX: u32 = 80;
const TRIES_MAX_ANY: u32 = 1500;
/// While shrinking, a deadline is this part of the usual one: what is found so is confirmed with patience.
const HASTE: f64 = 0.125;
/// How often a smaller scenario must fail, and in how many enactments: where the failure is sure, where it is sure and
/// cheap to see, and where it comes only now and then.
const SURELY: (u32, u32) = (1, 1);
const ALWAYS: (u32, u32) = (2, 2);
const SOMETIMES: (u32, u32) = (1, 4);
/// The same where it is to be found out whether another pace makes a failure sure.
const EVER: (u32, u32) = (4, 4);
/// Further enactments that tell how often something happens that must never happen.
const REPEATS: u32 = 2;
/// Further enactments that tell a slow server from one that fails now and then.
const TRIALS: u32 = 4;

/// What settles a clause.
pub(super) struct Settler<'a> {
    pub(super) clause: &'static Clause,
    pub(super) target: &'a TargetCommand,
    pub(super) profile: &'a Profile,
    pub(super) patience: &'a Patience,
    /// Scenarios that nobody has enacted, since this clause had failed before.
    pub(super) untried: &'a [Scenario],
    pub(super) shrink_within: Duration,
    /// Whether a smaller scenario must make sense step by step, as a generated one does.
    pub(super) legal: bool,
}

/// What a clause comes to in the end.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) finding: Finding,
    pub(super) counterexample: Option<Counterexample>,
}

/// What came of a failing scenario that was enacted again.
#[derive(Debug, Default)]
struct Again {
    failures: u32,
    last: Option<Failure>,
    /// Whether it passed, with something that came later than it is usually waited for.
    came_late: bool,
}

impl Settler<'_> {
    /// Settles a failure: shrinks it, enacts the smallest scenario again, and decides.
    ///
    /// What must never happen counts once seen. What is missing counts if it is missing again with four times the
    /// deadline; else see [`Settler::late`].
    pub(super) fn failure(&self, world: &mut dyn World, failure: Failure) -> Result<Settled, Error> {
        let (began, kind) = (Instant::now(), failure.evidence.kind);
        let mut smaller = self.shrink(world, failure.clone())?;
        // The smallest one may fail less often than those before it: then one of them stands.
        let last = smaller.len() - 1;
        let mut trials = 0;
        let steps_back = [0, 1, 3, 7, last / 2].into_iter().filter(|&back| back < last);
        let mut tried: Vec<usize> = steps_back.map(|back| last - back).chain([0]).collect();
        tried.sort_unstable_by_key(|&at| std::cmp::Reverse(at));
        tried.dedup();
        for at in tried {
            if trials > 0 && began.elapsed() >= self.patience.second_look {
                break;
            }
            let candidate = smaller.swap_remove(at);
            let again = self.repeat(world, &candidate, kind)?;
            if let Some(confirmed) = again.last {
                if kind == Kind::Missing {
                    self.patience.missed();
                }
                return Ok(failed(confirmed, (again.failures + 1, repeats(kind) + 1)));
            }
            trials += repeats(kind);
            if again.came_late {
                // What was missing in small is late: the whole scenario tells whether it is so there.
                break;
            }
        }
        match kind {
            Kind::Seen => Ok(failed(failure, (1, 1 + trials))),
            Kind::Missing | Kind::Measured => self.late(world, &failure, began),
        }
    }

    /// The bounds of a second look at a failure of this kind.
    fn limits(&self, kind: Kind) -> Limits {
        match kind {
            Kind::Seen | Kind::Measured => self.patience.usual().clone(),
            Kind::Missing => self.patience.limits(),
        }
    }

    /// Settles what was missing, but came when there was more time: a server that is late is slow, and passes. One that
    /// now and then never does what it should is found by more enactments, each with as much time.
    fn late(&self, world: &mut dyn World, failure: &Failure, began: Instant) -> Result<Settled, Error> {
        let limits = self.limits(failure.evidence.kind);
        let mut passed = false;
        let mut again = 1;
        for trial in 1..=TRIALS {
            if trial > 1 && began.elapsed() >= self.patience.second_look {
                break;
            }
            again += 1;
            let (verdict, trace) = self.enact(world, &failure.scenario, &limits)?;
            passed |= matches!(verdict, Verdict::Pass(_));
            let came_late = passed && is_late(&trace, self.patience.usual());
            if let Some(confirmed) = confirmed(&failure.scenario, verdict, trace) {
                return Ok(failed(confirmed, (2, 2 + trial)));
            }
            if came_late {
                break;
            }
        }
        for scenario in self.untried {
            let (verdict, trace) = self.enact(world, scenario, &limits)?;
            passed |= matches!(verdict, Verdict::Pass(_));
            if let Some(confirmed) = confirmed(scenario, verdict, trace) {
                return Ok(failed(confirmed, (1, 1)));
            }
        }
        let missing = &failure.evidence.observed;
        let verdict = if passed {
            if failure.evidence.kind == Kind::Missing {
                self.patience.was_late();
            }
            Verdict::Pass(format!("once ({missing}), but not in {again} enactments after that"))
        } else {
            Verdict::Inconclusive(format!("{missing}; {again} more enactments could not be judged"))
        };
        Ok(Settled { finding: verdict.into(), counterexample: None })
    }

    /// Settles a doubt: one more enactment, with patience.
    pub(super) fn doubt(&self, world: &mut dyn World, scenario: &Scenario) -> Result<Settled, Error> {
        let (verdict, trace) = self.enact(world, scenario, &self.patience.limits())?;
        match verdict {
            Verdict::Fail(evidence) => {
                self.failure(world, Failure { scenario: scenario.clone(), trace, evidence })
            }
            verdict => Ok(Settled { finding: verdict.into(), counterexample: None }),
        }
    }

    /// Enacts a failing scenario again.
    fn repeat(&self, world: &mut dyn World, failure: &Failure, kind: Kind) -> Result<Again, Error> {
        let limits = self.limits(kind);
        let mut again = Again::default();
        for _ in 0..repeats(kind) {
            let (verdict, trace) = self.enact(world, &failure.scenario, &limits)?;
            again.came_late |= matches!(verdict, Verdict::Pass(_)) && is_late(&trace, self.patience.usual());
            if let Some(confirmed) = confirmed(&failure.scenario, verdict, trace) {
                again.failures += 1;
                again.last = Some(confirmed);
            }
        }
        Ok(again)
    }

    /// Looks for smaller scenarios that fail in the same way, until none does, or tries or time are used up. Returns the
    /// failures on the way there, the first one first.
    fn shrink(&self, world: &mut dyn World, failure: Failure) -> Result<Vec<Failure>, Error> {
        let began = Instant::now();
        let hasty = self.patience.usual().scaled(HASTE);
        let is_over = || began.elapsed() >= self.shrink_within;
        let mut smaller = vec![failure];
        // What came after the first thing missed has only more to wait for.
        for (tried, scenario) in up_to_what_was_missed(&smaller[0]).into_iter().enumerate() {
            if tried > 0 && is_over() {
                break;
            }
            if let Some(failure) = self.fails(world, &scenario, &hasty, &smaller[0].evidence, SURELY)? {
                smaller.push(failure);
                break;
            }
        }
        if is_over() {
            return Ok(smaller);
        }
        // What fails only now and then gets several chances; what fails always must do so to the end.
        let first = &smaller[smaller.len() - 1];
        let mut surely = self.fails(world, &first.scenario, &hasty, &first.evidence, ALWAYS)?.is_some();
        let kind = first.evidence.kind;
        if !surely && self.legal {
            let (paced, like) = (paced(&first.scenario), first.evidence.clone());
            for scenario in paced {
                if let Some(failure) = self.fails(world, &scenario, &hasty, &like, EVER)? {
                    smaller.push(failure);
                    surely = true;
                    break;
                }
            }
        }
        let chances = match (surely, kind) {
            (true, Kind::Seen) => ALWAYS,
            (true, Kind::Missing | Kind::Measured) => SURELY,
            (false, _) => SOMETIMES,
        };
        let start = &smaller[smaller.len() - 1].scenario;
        let mut walk = if self.legal { Walk::from_lives(start) } else { Walk::from(start) };
        let tries_max = if self.legal { TRIES_MAX_ANY } else { TRIES_MAX };
        for _ in 0..tries_max {
            let Some(scenario) = walk.next().filter(|_| !is_over()) else { break };
            let like = &smaller[smaller.len() - 1].evidence;
            if let Some(failure) = self.fails(world, &scenario, &hasty, like, chances)? {
                smaller.push(failure);
                walk.accept();
            }
        }
        Ok(smaller)
    }

    /// Enacts a scenario so many times at most, until it has failed so many times in the same way.
    fn fails(
        &self,
        world: &mut dyn World,
        scenario: &Scenario,
        limits: &Limits,
        like: &Evidence,
        (wanted, chances): (u32, u32),
    ) -> Result<Option<Failure>, Error> {
        let mut failures = 0;
        for chance in 0..chances {
            let (verdict, trace) = self.enact(world, scenario, limits)?;
            if let Verdict::Fail(evidence) = verdict
                && same_kind(&evidence, like)
            {
                failures += 1;
                if failures == wanted {
                    return Ok(Some(Failure { scenario: scenario.clone(), trace, evidence }));
                }
            }
            if failures + chances - chance - 1 < wanted {
                break;
            }
        }
        Ok(None)
    }

    fn enact(
        &self,
        world: &mut dyn World,
        scenario: &Scenario,
        limits: &Limits,
    ) -> Result<(Verdict, Trace), Error> {
        let mut trace = world.enact(self.target, scenario, limits)?;
        trace.circumstances.profile = Some(self.profile.clone());
        let verdict = (self.clause.check)(scenario, &trace);
        Ok((verdict, trace))
    }
}

/// Whether something came that would have been missed with these bounds: then that is what was missed before. A wait for
/// a condition is told in wall-clock time, which goes on while somebody waits for a CPU.
fn is_late(trace: &Trace, usual: &Limits) -> bool {
    let within = |limit: Duration| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
    trace.events.iter().any(|event| match &event.what {
        What::Acted(acted) => acted.longest_us > within(usual.reply_within),
        What::Awaited { met: true, took_us, .. } => *took_us > within(usual.settle_within * 2),
        _ => false,
    })
}

/// The failure, if it is one that counts.
fn confirmed(scenario: &Scenario, verdict: Verdict, trace: Trace) -> Option<Failure> {
    match verdict {
        Verdict::Fail(evidence) if !(evidence.kind == Kind::Missing && starved(&trace)) => {
            Some(Failure { scenario: scenario.clone(), trace, evidence })
        }
        _ => None,
    }
}

fn repeats(kind: Kind) -> u32 {
    match kind {
        Kind::Seen => REPEATS,
        Kind::Missing | Kind::Measured => 1,
    }
}

fn same_kind(a: &Evidence, b: &Evidence) -> bool {
    a.kind == b.kind
}

/// What a failure comes to that nobody could look at again, because the run ended.
pub(super) fn unconfirmed(failure: Failure) -> Settled {
    match failure.evidence.kind {
        Kind::Seen => failed(failure, (1, 1)),
        Kind::Missing | Kind::Measured => Settled {
            finding: Finding::Judged(Verdict::Inconclusive(format!(
                "{}; the run ended before it was confirmed",
                failure.evidence.observed
            ))),
            counterexample: None,
        },
    }
}

/// The scenario cut off after each step in which a deadline passed, the earliest first.
fn up_to_what_was_missed(failure: &Failure) -> Vec<Scenario> {
    let mut ends: Vec<usize> = failure
        .trace
        .events
        .iter()
        .filter(|event| event.what.is_missed())
        .map(|event| event.step + 1)
        .collect();
    ends.dedup();
    let steps = &failure.scenario.steps;
    ends.retain(|&end| end < steps.len());
    ends.into_iter().map(|end| Scenario { steps: steps[..end].to_vec() }).collect()
}

/// Whether the machine was so busy that a deadline says nothing.
fn starved(trace: &Trace) -> bool {
    trace.events.iter().any(|event| matches!(event.what, What::Starved { .. }))
}

fn failed(failure: Failure, rate: (u32, u32)) -> Settled {
    Settled {
        finding: Finding::Judged(Verdict::Fail(failure.evidence.clone())),
        counterexample: Some(Counterexample { failure, rate }),
    }
}
