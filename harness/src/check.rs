//! A check as a value, for tests: `TargetCommand::new(..).check().only("reap.*").run()?.assert_conforms()`.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anstream::StripStream;
use thiserror::Error;

use crate::case::{self, CaseError};
use crate::clause::{Clause, Level};
use crate::command::TargetCommand;
use crate::error::Error;
use crate::globs::{did_you_mean, nearest, problem};
use crate::in_process;
use crate::outcome::{Conformance, Report};
use crate::plan::{Options, glob_matches};
use crate::profile::Effort;
use crate::program;
use crate::report::command_line::repeat;
use crate::report::{Style, text};
use crate::trace::Isolation;
use crate::{run, spec};

/// What is to be checked, of which server, and how: the options of `sockspec check`, with the same defaults.
#[derive(Clone, Debug)]
#[must_use = "nothing is checked before `run`"]
pub struct Check {
    pub(crate) target: TargetCommand,
    pub(crate) options: Options,
}

/// Why nothing was checked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckError {
    /// Not a glob.
    #[error("{glob:?}: {problem}")]
    Glob {
        /// What was given to [`Check::only`] or [`Check::skip`].
        glob: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A glob without a clause.
    #[error("{glob:?} matches no clause{}", did_you_mean(nearest))]
    NoMatch {
        /// What was given to [`Check::only`] or [`Check::skip`].
        glob: String,
        /// What may have been meant.
        nearest: Vec<String>,
    },
    /// The globs and the level together leave nothing.
    #[error(
        "no clause is left by `only`, `skip` and `level` together; `sockspec list` prints all with their levels"
    )]
    NothingSelected,
    /// A number that cannot be meant.
    #[error("{0}")]
    OutOfRange(&'static str),
    /// The server cannot be started.
    #[error("the server: {0}")]
    Command(String),
    /// A case that was kept for this server cannot be read.
    #[error("a kept case cannot be read; mend or remove it")]
    Case(#[from] CaseError),
    /// The harness cannot work here.
    #[error("sockspec cannot work here; `sockspec doctor` says what this host allows")]
    Harness(#[from] Error),
    /// This process is itself the server of a check.
    #[error(
        "this process is the server under test; it must reach `TargetCommand::in_process` before it checks anything \
         (make all targets of a test before its first check)"
    )]
    InServer,
}

impl From<TargetCommand> for Check {
    fn from(target: TargetCommand) -> Self {
        Self { target, options: Options::default() }
    }
}

impl TargetCommand {
    /// A check of this server, by every clause.
    pub fn check(self) -> Check {
        self.into()
    }
}

impl Check {
    /// Tries only clauses whose id matches the glob, such as `reap.*`; a family's name stands for all of it. May be
    /// said again: one match is enough.
    pub fn only(mut self, glob: impl Into<String>) -> Self {
        self.options.only.push(glob.into());
        self
    }

    /// Leaves out clauses whose id matches the glob. May be said again; wins over [`Self::only`].
    pub fn skip(mut self, glob: impl Into<String>) -> Self {
        self.options.skip.push(glob.into());
        self
    }

    /// The weakest level that is tried.
    pub fn level(mut self, level: Level) -> Self {
        self.options.level = level;
        self
    }

    /// How much is tried for each clause.
    pub fn effort(mut self, effort: Effort) -> Self {
        self.options.effort = effort;
        self
    }

    /// The most clients at once, 1 to 4096. If it is not said: 20, and 72 where the question is how many there can be.
    pub fn clients(mut self, clients: u32) -> Self {
        (self.options.clients, self.options.crowd) = (clients, clients);
        self
    }

    /// Decides every generated scenario: the same seed tries the same again.
    pub fn seed(mut self, seed: u64) -> Self {
        self.options.seed = seed;
        self
    }

    /// Servers launched side by side, 1 to 1024; as many as keep the CPUs busy if it is not said.
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.options.jobs = Some(jobs);
        self
    }

    /// Ends the run after so long; what was not reached by then is skipped.
    pub fn time(mut self, time: Duration) -> Self {
        self.options.time = Some(time);
        self
    }

    /// Multiplies every deadline, for servers that are slow by nature. A busy machine needs none of it.
    pub fn timeout_scale(mut self, factor: f64) -> Self {
        self.options.timeout_scale = factor;
        self
    }

    /// The rung of the isolation ladder, instead of the best one that the host allows.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.options.isolation = Some(isolation);
        self
    }

    /// Checks the server.
    ///
    /// # Errors
    /// If the check makes no sense (a glob without a clause, no such program), or the harness cannot work here. What is
    /// wrong with the server is in the report.
    pub fn run(self) -> Result<Report, CheckError> {
        let check = self.decided()?;
        Ok(run::check(&check.target, &check.options, &AtomicBool::new(false), &mut |_| {})?)
    }

    /// The clauses that were asked for, in the order of the catalogue.
    pub(crate) fn selected(&self) -> Result<Vec<&'static Clause>, CheckError> {
        for glob in self.options.only.iter().chain(&self.options.skip) {
            if let Some(problem) = problem(glob) {
                return Err(CheckError::Glob { glob: glob.clone(), problem });
            }
            if !spec::catalogue().any(|clause| glob_matches(glob, clause.id)) {
                let catalogue: Vec<&Clause> = spec::catalogue().collect();
                return Err(CheckError::NoMatch { glob: glob.clone(), nearest: nearest(glob, &catalogue) });
            }
        }
        let selected: Vec<_> = spec::catalogue().filter(|clause| self.options.selects(clause)).collect();
        if selected.is_empty() { Err(CheckError::NothingSelected) } else { Ok(selected) }
    }

    /// The same with nothing left to look up.
    pub(crate) fn decided(mut self) -> Result<Self, CheckError> {
        if in_process::is_server() {
            return Err(CheckError::InServer);
        }
        self.selected()?;
        self.in_range()?;
        let TargetCommand { argv, cwd, env, .. } = &self.target;
        let program = argv.first().map_or("", String::as_str);
        program::look_for(program, cwd.as_deref(), env).map_err(CheckError::Command)?;
        let saved = case::kept(Path::new(case::DIR), argv)?;
        self.options.saved = saved.into_iter().map(|case| (case.clause, case.scenario)).collect();
        self.options.repeat = repeat(&self.target, &self.options);
        Ok(self)
    }

    fn in_range(&self) -> Result<(), CheckError> {
        let Options { clients, jobs, time, timeout_scale, .. } = &self.options;
        if !(1..=4096).contains(clients) {
            return Err(CheckError::OutOfRange("clients: expected 1 to 4096"));
        }
        if jobs.is_some_and(|jobs| !(1..=1024).contains(&jobs)) {
            return Err(CheckError::OutOfRange("jobs: expected 1 to 1024"));
        }
        if time.is_some_and(|time| time.is_zero()) {
            return Err(CheckError::OutOfRange("time: nothing can be tried in no time"));
        }
        if !(*timeout_scale > 0.0 && *timeout_scale <= 1000.0) {
            return Err(CheckError::OutOfRange("timeout_scale: expected a number above 0, at most 1000"));
        }
        Ok(())
    }
}

impl Report {
    /// Panics unless the server conforms, with the text that `sockspec check` prints.
    ///
    /// # Panics
    /// If a MUST failed, if one could not be decided, or if nothing was judged at all.
    #[track_caller]
    pub fn assert_conforms(&self) {
        self.assert(&Style::default());
    }

    /// As [`Self::assert_conforms`], and a failed SHOULD counts too (`--strict`).
    ///
    /// # Panics
    /// As [`Self::assert_conforms`], and if a SHOULD failed.
    #[track_caller]
    pub fn assert_conforms_strictly(&self) {
        self.assert(&Style { strict: true, ..Style::default() });
    }

    #[track_caller]
    fn assert(&self, style: &Style) {
        assert!(
            self.conformance(style.strict) == Conformance::Conforms,
            "the server is not known to conform\n\n{}",
            plain(|out| text::print(self, style, out))
        );
    }

    /// What `sockspec check` prints of one clause, without colours.
    #[cfg(feature = "libtest")]
    pub(crate) fn in_words(&self, id: crate::clause::ClauseId, style: &Style) -> String {
        plain(|out| crate::report::single::print(self, id, style, out))
    }
}

/// What is printed, without colours.
fn plain(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
    let mut out = StripStream::new(Vec::new());
    match print(&mut out) {
        Ok(()) => String::from_utf8_lossy(&out.into_inner()).into_owned(),
        // Memory takes everything; were it not so, the reader would see why the text is missing.
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::report::sample;

    #[rstest]
    #[case(TargetCommand::new("sh").check().only("reap.every-chld"), "did you mean reap.every-child")]
    #[case(TargetCommand::new("sh").check().skip("reap.["), "reap.[")]
    #[case(TargetCommand::new("sh").check().only("reap.*").skip("reap"), "no clause is left")]
    #[case(TargetCommand::new("no-such-program").check(), "no-such-program: not found")]
    #[case(TargetCommand::from_words([""; 0]).check(), "the server: ")]
    #[case(TargetCommand::new("sh").check().clients(0), "clients")]
    #[case(TargetCommand::new("sh").check().jobs(0), "jobs")]
    #[case(TargetCommand::new("sh").check().time(Duration::ZERO), "time")]
    #[case(TargetCommand::new("sh").check().timeout_scale(f64::NAN), "timeout_scale")]
    fn what_makes_no_sense_is_refused_and_named(#[case] check: Check, #[case] named: &str) {
        let error = check.run().unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }

    #[test]
    fn a_report_that_conforms_passes() {
        sample::report(vec![sample::passed()]).assert_conforms();
        sample::report(vec![sample::passed(), sample::warned()]).assert_conforms();
    }

    #[test]
    #[should_panic(expected = "smallest")]
    fn a_failure_is_told_in_full() {
        sample::report(vec![sample::passed(), sample::failed()]).assert_conforms();
    }

    #[test]
    #[should_panic(expected = "no clause was judged")]
    fn nothing_judged_is_no_pass() {
        sample::report(Vec::new()).assert_conforms();
    }

    #[test]
    #[should_panic(expected = "does not conform: 1 SHOULD")]
    fn a_should_fails_strictly() {
        sample::report(vec![sample::passed(), sample::warned()]).assert_conforms_strictly();
    }
}
