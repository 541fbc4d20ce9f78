//! A campaign: whole scenarios, one after another, each judged by every clause that can be; what fails is made small.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::case::{Case, Found, SCHEMA};
use crate::clause::{Clause, ClauseId, Host};
use crate::command::TargetCommand;
use crate::error::Error;
use crate::outcome::{Counterexample, Failure};
use crate::plan::Options;
use crate::profile::Profile;
use crate::run::baseline::{self, Baseline};
use crate::run::pace::Patience;
use crate::run::pool::{Pool, Source};
use crate::run::settle::Settler;
use crate::scenario::{Ranges, Scenario};
use crate::trace::{Isolation, Trace};
use crate::world::World;

pub mod conditions;
mod drawn;
pub mod hold;
pub mod oracles;
pub mod replay;
#[cfg(test)]
mod tests;

use conditions::CONDITIONS;
pub use drawn::scenario;
use oracles::{Said, ask};

/// What a campaign does.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Seed, jobs, time, effort, clauses: as for a check.
    pub options: Options,
    /// What is drawn from.
    pub ranges: Ranges,
    /// Cases, at most, of all shards together.
    pub cases: Option<u64>,
    /// Which part of all cases this is.
    pub shard: Shard,
    /// Whether to go on after the first failure.
    pub keep_going: bool,
    /// Scenarios to enact first.
    pub saved: Vec<Case>,
}

/// A part of a campaign: of every `of` cases the one with this number, 1 for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shard {
    /// 1 to `of`.
    pub part: u64,
    /// Parts in all.
    pub of: u64,
}

impl Default for Shard {
    fn default() -> Self {
        Self { part: 1, of: 1 }
    }
}

/// What a campaign tells while it goes on.
#[derive(Debug)]
pub enum Event<'a> {
    /// What kind of server it is, and by how many clauses each case is judged.
    Began {
        /// What the baseline told.
        profile: &'a Profile,
        /// Clauses.
        oracles: usize,
    },
    /// Another case was enacted.
    Enacted(&'a Tally),
    /// A case breaks a clause: it is looked at again, and made smaller.
    Failed(&'a Case),
    /// What became of it: the smallest case that was found, or nothing if it did not fail again.
    Settled(Option<&'a Case>),
}

/// What was exercised so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Cases enacted.
    pub cases: u64,
    /// Cases in which the harness itself failed.
    pub broken: u64,
    /// What went wrong then, last.
    pub error: Option<String>,
    /// Passes by clause, in the order of the oracles.
    pub passes: Vec<(ClauseId, u64)>,
    /// How often each condition was met.
    pub conditions: Vec<(&'static str, u64)>,
    /// Failures that did not come again.
    pub late: u64,
}

/// What a campaign has found.
#[derive(Debug)]
pub struct Campaigned {
    /// The server.
    pub target: TargetCommand,
    /// What kind of server it is; `None` if it does not serve even one visit.
    pub profile: Option<Profile>,
    /// Release of the kernel.
    pub kernel: String,
    /// The rung of the isolation ladder.
    pub isolation: Isolation,
    /// What was exercised.
    pub tally: Tally,
    /// One case for each clause that failed.
    pub found: Vec<(Case, Trace)>,
    /// Wall-clock time.
    pub duration: Duration,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// Why there was nothing to do: the server did not serve.
    pub not_serving: Option<String>,
}

/// What one case came to.
struct Enacted {
    index: u64,
    /// Whether it was generated as the lives of clients, and shrinks as such.
    lives: bool,
    said: Said,
    conditions: Vec<usize>,
    /// The trace, if a clause failed.
    failure: Option<(Scenario, Trace)>,
}

pub(super) fn campaign(
    source: &dyn Source,
    host: Host,
    command: &TargetCommand,
    campaign: &Campaign,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Campaigned, Error> {
    let began = Instant::now();
    Pool::with(source, stop, campaign.options.at_once(), |pool| {
        let learned = learn(pool, command, &campaign.options)?;
        let kernel = nix::sys::utsname::uname().map(|uname| uname.release().to_string_lossy().into_owned());
        let mut result = Campaigned {
            target: command.clone(),
            profile: None,
            kernel: kernel.unwrap_or_default(),
            isolation: host.isolation,
            tally: Tally::default(),
            found: Vec::new(),
            duration: Duration::ZERO,
            interrupted: stop.load(Ordering::Relaxed),
            not_serving: None,
        };
        match learned {
            Some((Baseline::Serves(profile), target)) => {
                result.target = target;
                result.profile = Some((*profile).clone());
                Under { pool, host, campaign, profile: Arc::new(*profile), began }.go_on(&mut result, tell);
            }
            Some((Baseline::Fails { clause, failure }, _)) => {
                let evidence = &failure.evidence;
                result.not_serving =
                    Some(format!("{clause}: expected {}, observed {}", evidence.expected, evidence.observed));
            }
            Some((Baseline::Unclear(doubt), _)) => result.not_serving = Some(doubt),
            None => {}
        }
        result.interrupted = stop.load(Ordering::Relaxed);
        result.duration = began.elapsed();
        Ok(result)
    })
}

fn learn(
    pool: &Pool<'_>,
    command: &TargetCommand,
    options: &Options,
) -> Result<Option<(Baseline, TargetCommand)>, Error> {
    let (mut target, options) = (command.clone(), options.clone());
    let mut learned = None;
    let job = move |world: &mut dyn World| {
        let (baseline, _) = baseline::learn(world, &mut target, &options, &options.limits())?;
        Ok((baseline, target))
    };
    pool.each([job], |_, result| {
        learned = Some(result);
        true
    });
    match learned {
        Some(Err(Error::Interrupted)) | None => Ok(None),
        Some(result) => result.map(Some),
    }
}

/// A campaign under way against a server that serves.
struct Under<'a> {
    pool: &'a Pool<'a>,
    host: Host,
    campaign: &'a Campaign,
    profile: Arc<Profile>,
    began: Instant,
}

impl Under<'_> {
    fn go_on(&self, result: &mut Campaigned, tell: &mut dyn FnMut(Event<'_>)) {
        let oracles = Arc::new(oracles::oracles(&self.campaign.options, &self.profile, self.host));
        result.tally.passes = oracles.iter().map(|clause| (clause.id, 0)).collect();
        result.tally.conditions = CONDITIONS.iter().map(|(name, _)| (*name, 0)).collect();
        tell(Event::Began { profile: &self.profile, oracles: oracles.len() });
        let mut next = 0;
        let mut saved: Vec<Scenario> =
            self.campaign.saved.iter().rev().map(|case| case.scenario.clone()).collect();
        loop {
            let mut failed = Vec::new();
            self.stream(&oracles, &mut next, &mut saved, result, &mut failed, tell);
            let ended = failed.is_empty();
            failed.sort_by_key(|(index, _)| *index);
            for (index, seen) in failed {
                if !result.found.is_empty() && !self.campaign.keep_going {
                    break;
                }
                self.settle(&oracles, index, seen, result, tell);
            }
            let enough = !result.found.is_empty() && !self.campaign.keep_going;
            if ended || enough || self.is_over(next) {
                return;
            }
        }
    }

    fn is_over(&self, next: u64) -> bool {
        let Shard { part, of } = self.campaign.shard;
        self.campaign.cases.is_some_and(|cases| next * of + part > cases)
            || self.campaign.options.time.is_some_and(|time| self.began.elapsed() >= time)
    }

    /// Enacts case after case until the end, or until one fails in a way that is not known yet.
    fn stream(
        &self,
        oracles: &Arc<Vec<&'static Clause>>,
        next: &mut u64,
        saved: &mut Vec<Scenario>,
        result: &mut Campaigned,
        failed: &mut Vec<(Option<u64>, Enacted)>,
        tell: &mut dyn FnMut(Event<'_>),
    ) {
        let Shard { part, of } = self.campaign.shard;
        let (target, limits) = (Arc::new(result.target.clone()), Arc::new(self.campaign.options.limits()));
        // Once one has failed no further one is begun; but those under way are waited for, so that every case up to the
        // last one has been enacted, and the first failure is the one with the lowest number.
        let enough = Cell::new(false);
        let jobs = std::iter::from_fn(|| {
            if enough.get() {
                return None;
            }
            let known = saved.pop();
            if known.is_none() && self.is_over(*next) {
                return None;
            }
            // Numbers beyond all generated cases, for those that are not generated.
            let index = if known.is_some() { u64::MAX } else { *next * of + part - 1 };
            *next += u64::from(known.is_none());
            let (target, limits, oracles) = (Arc::clone(&target), Arc::clone(&limits), Arc::clone(oracles));
            let (profile, ranges, seed) =
                (Arc::clone(&self.profile), self.campaign.ranges.clone(), self.campaign.options.seed);
            Some(move |world: &mut dyn World| {
                let drawn = known.map(|known| (known, None));
                let drawn = drawn.or_else(|| scenario(&ranges, &profile, &oracles, seed, index));
                let (scenario, only) = drawn.unwrap_or_default();
                let mut trace = world.enact(&target, &scenario, &limits)?;
                trace.circumstances.profile = Some((*profile).clone());
                let said = ask(&oracles, only, &scenario, &trace);
                let met =
                    |(at, (_, met)): (usize, &conditions::Condition)| met(&scenario, &trace).then_some(at);
                let conditions = CONDITIONS.iter().enumerate().filter_map(met).collect();
                let failure = (!said.failed.is_empty()).then_some((scenario, trace));
                Ok(Enacted { index, lives: only.is_none(), said, conditions, failure })
            })
        });
        let mut known: Vec<ClauseId> = result.found.iter().filter_map(|(case, _)| case.clause_id()).collect();
        self.pool.each(jobs, |_, enacted| {
            let tally = &mut result.tally;
            match enacted {
                Err(error) => {
                    tally.broken += 1;
                    tally.error = Some(error.in_full());
                }
                Ok(mut enacted) => {
                    tally.cases += 1;
                    enacted.said.passed.iter().for_each(|&at| tally.passes[at].1 += 1);
                    enacted.conditions.iter().for_each(|&at| tally.conditions[at].1 += 1);
                    // Whatever else fails where a known failure shows may be its consequence.
                    let known_too = |at: usize| known.contains(&oracles[at].id);
                    if self.campaign.keep_going && enacted.said.failed.iter().any(|(at, _)| known_too(*at)) {
                        enacted.said.failed.clear();
                    }
                    if !enacted.said.failed.is_empty() {
                        known.push(oracles[enacted.said.failed[0].0].id);
                        let index = (enacted.index != u64::MAX).then_some(enacted.index);
                        failed.push((index, enacted));
                    }
                }
            }
            tell(Event::Enacted(&result.tally));
            enough.set(!failed.is_empty() && !self.campaign.keep_going);
            true
        });
    }

    /// Looks again at what failed, makes it small, and keeps it.
    fn settle(
        &self,
        oracles: &[&'static Clause],
        index: Option<u64>,
        enacted: Enacted,
        result: &mut Campaigned,
        tell: &mut dyn FnMut(Event<'_>),
    ) {
        let (Some((at, evidence)), Some((scenario, trace))) =
            (enacted.said.failed.into_iter().next(), enacted.failure)
        else {
            return;
        };
        let (clause, lives) = (oracles[at], enacted.lives);
        let failure = Failure { scenario, trace, evidence };
        tell(Event::Failed(&self.case(clause.id, &failure, (1, 1), index, result)));
        let (target, profile) = (result.target.clone(), Arc::clone(&self.profile));
        let patience = Patience::new(self.campaign.options.limits());
        let shrink_within = self.campaign.options.shrink_within;
        let job = move |world: &mut dyn World| {
            let settler = Settler {
                clause,
                target: &target,
                profile: &profile,
                patience: &patience,
                untried: &[],
                shrink_within,
                legal: lives,
            };
            settler.failure(world, failure)
        };
        let mut settled = None;
        self.pool.each([job], |_, result| {
            settled = Some(result);
            true
        });
        match settled {
            Some(Ok(settled)) => match settled.counterexample {
                Some(Counterexample { failure, rate }) => {
                    let case = self.case(clause.id, &failure, rate, index, result);
                    tell(Event::Settled(Some(&case)));
                    result.found.push((case, failure.trace));
                }
                None => {
                    result.tally.late += 1;
                    tell(Event::Settled(None));
                }
            },
            Some(Err(error)) => {
                result.tally.broken += 1;
                result.tally.error = Some(error.in_full());
            }
            None => {}
        }
    }

    fn case(
        &self,
        clause: ClauseId,
        failure: &Failure,
        rate: (u32, u32),
        index: Option<u64>,
        result: &Campaigned,
    ) -> Case {
        Case {
            schema: SCHEMA.to_owned(),
            clause: clause.0.to_owned(),
            story: failure.scenario.in_words(),
            evidence: failure.evidence.clone(),
            rate,
            target: result.target.clone(),
            found: Found {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                kernel: result.kernel.clone(),
                isolation: result.isolation,
                seed: index.map(|index| (self.campaign.options.seed, index)),
            },
            scenario: failure.scenario.clone(),
        }
    }
}
