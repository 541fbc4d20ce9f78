//! What a run will try: the clauses that were asked for and apply, each with its scenarios.

use std::ops::RangeInclusive;
use std::time::Duration;

use glob::Pattern;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::clause::{Clause, ClauseId, Host, Level, Unmet};
use crate::expectation::Expectation;
use crate::limits::Limits;
use crate::outcome::{Cause, NOT_SELECTED};
use crate::profile::{Effort, Profile};
use crate::scenario::Scenario;
use crate::scenario::generate::fitted;
use crate::spec;
use crate::trace::Isolation;

/// What was decided about a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Globs of clause ids to try; empty for all.
    pub only: Vec<String>,
    /// Globs of clause ids to leave out.
    pub skip: Vec<String>,
    /// The weakest level to try.
    pub level: Level,
    /// How much to try.
    pub effort: Effort,
    /// Clients at once, at most.
    pub clients: u32,
    /// Clients at once where the question is how many there can be: the end of a table shows beyond it alone.
    pub crowd: u32,
    /// Decides every generated scenario.
    pub seed: u64,
    /// Enactments at once; as many as keep the CPUs busy if it is not said.
    pub jobs: Option<usize>,
    /// Wall-clock time after which no further scenario is begun.
    pub time: Option<Duration>,
    /// How long to look for a smaller scenario for each failed clause.
    pub shrink_within: Duration,
    /// Factor of every deadline.
    pub timeout_scale: f64,
    /// The rung of the isolation ladder; the best one if it is not said.
    pub isolation: Option<Isolation>,
    /// How long the server may take until it listens, if that is not the usual time.
    pub ready_within: Option<Duration>,
    /// How long the server may take to stop, if that is not the usual time.
    pub stop_within: Option<Duration>,
    /// What is known beforehand: it fails no run.
    pub expect: Vec<Expectation>,
    /// Scenarios that once broke a clause: they are tried for it too.
    pub saved: Vec<(String, Scenario)>,
    /// Options that must be said again to repeat a run ("--clients 40").
    pub repeat: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            only: Vec::new(),
            skip: Vec::new(),
            level: Level::May,
            effort: Effort::Default,
            clients: 20,
            crowd: 72,
            seed: 1,
            jobs: None,
            time: None,
            shrink_within: Duration::from_secs(5),
            timeout_scale: 1.0,
            isolation: None,
            ready_within: None,
            stop_within: None,
            expect: Vec::new(),
            saved: Vec::new(),
            repeat: Vec::new(),
        }
    }
}

/// A SYN that met a full queue comes again after a second: who waits less takes the kernel's pause for the server's fault.
const SYN_AGAIN: Duration = Duration::from_millis(1250);

impl Options {
    /// The bounds of the run.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let clients_max = self.clients.max(self.crowd);
        // A process or two for each client, and the threads of a runtime.
        let processes_max = 512 + 4 * clients_max;
        let usual = Limits::default().scaled(self.timeout_scale);
        Limits {
            clients_max,
            processes_max,
            connect_within: usual.connect_within.max(SYN_AGAIN),
            ready_within: self.ready_within.unwrap_or(usual.ready_within),
            stop_within: self.stop_within.unwrap_or(usual.stop_within),
            ..usual
        }
    }

    /// Enactments at once: two for each CPU, and up to eight where they mostly wait.
    #[must_use]
    pub fn at_once(&self) -> RangeInclusive<usize> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.map_or(2 * cores..=8 * cores, |jobs| {
            let jobs = jobs.max(1);
            jobs..=jobs
        })
    }

    /// Whether a clause was asked for.
    #[must_use]
    pub fn selects(&self, clause: &Clause) -> bool {
        let matches = |globs: &[String]| globs.iter().any(|glob| glob_matches(glob, clause.id));
        clause.level >= self.level && (self.only.is_empty() || matches(&self.only)) && !matches(&self.skip)
    }
}

/// Whether a clause id matches a glob; a family's name alone stands for all its clauses.
#[must_use]
pub fn glob_matches(glob: &str, id: ClauseId) -> bool {
    glob == id.family() || Pattern::new(glob).is_ok_and(|glob| glob.matches(id.0))
}

/// One clause of a plan.
#[derive(Debug)]
pub struct Entry {
    /// The clause.
    pub clause: &'static Clause,
    /// Its scenarios, or why there are none.
    pub cases: Result<Vec<Scenario>, (Cause, String)>,
}

/// Decides for every clause of the catalogue whether it is tried, and with which scenarios.
#[must_use]
pub fn plan(options: &Options, profile: &Profile, host: Host) -> Vec<Entry> {
    spec::catalogue()
        .map(|clause| {
            let cases = match unmet(clause, options, profile, host) {
                Some(reason) => Err(reason),
                None => Ok(cases(clause, options, profile)),
            };
            Entry { clause, cases }
        })
        .collect()
}

fn unmet(clause: &Clause, options: &Options, profile: &Profile, host: Host) -> Option<(Cause, String)> {
    if !options.selects(clause) {
        return Some((Cause::NotSelected, NOT_SELECTED.to_owned()));
    }
    clause.needs.iter().find_map(|need| need.unmet(profile, host)).map(|unmet| match unmet {
        Unmet::Server(reason) => (Cause::NotApplicable, reason),
        Unmet::Host(reason) => (Cause::Host, reason),
    })
}

/// The scenarios of a clause: those that the seed decides, each once.
fn cases(clause: &Clause, options: &Options, profile: &Profile) -> Vec<Scenario> {
    let strategy = (clause.scenarios)(profile);
    let saved = options.saved.iter().filter(|(id, _)| id == clause.id.0);
    let mut cases: Vec<Scenario> = saved.map(|(_, scenario)| scenario.clone()).collect();
    for index in 0..options.effort.cases() {
        let mut runner =
            TestRunner::new_with_rng(Config::default(), rng(options.seed, clause.id.0, u64::from(index)));
        // A strategy gives up only when its own filters reject everything; there are no filters in the catalogue.
        let Ok(tree) = strategy.new_tree(&mut runner) else { continue };
        let scenario = fitted(tree.current(), profile);
        if !cases.contains(&scenario) {
            cases.push(scenario);
        }
    }
    cases
}

/// Decides case `index` of what has this name: the same for the same seed, on every machine and whatever else is tried.
pub(crate) fn rng(seed: u64, name: &str, index: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&index.to_le_bytes());
    // FNV-1a of the name: stable, unlike the hashes of std.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    bytes[16..24].copy_from_slice(&hash.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::profile;

    fn planned(seed: u64, only: &str) -> Vec<(ClauseId, Vec<Scenario>)> {
        let options = Options { seed, only: vec![only.to_owned()], ..Options::default() };
        let host = Host { isolation: Isolation::Full, process_limit: true };
        let entries = plan(&options, &profile(), host).into_iter();
        entries.filter_map(|entry| Some((entry.clause.id, entry.cases.ok()?))).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_scenarios_whatever_else_is_selected() {
        let all = planned(7, "*");
        assert!(all.len() > 100);
        assert_eq!(all, planned(7, "*"));
        for (id, cases) in planned(7, "echo.*") {
            assert!(all.contains(&(id, cases)), "{id}");
        }
        assert_ne!(all, planned(8, "*"));
    }

    #[test]
    fn no_time_scale_makes_a_dropped_syn_a_fault() {
        let limits = |timeout_scale| Options { timeout_scale, ..Options::default() }.limits();
        for scale in [0.01, 0.1, 1.0, 8.0] {
            assert!(limits(scale).connect_within > Duration::from_secs(1), "{scale}");
        }
        assert_eq!(limits(4.0).connect_within, Limits::default().connect_within * 4);
        assert_eq!(limits(0.1).reply_within, Limits::default().reply_within / 10);
    }
}
