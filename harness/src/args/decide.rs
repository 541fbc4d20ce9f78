//! What was decided from what was typed: everything a check needs, with nothing left to look up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::globs::{did_you_mean, nearest, problem};
use super::outputs::{Output, outputs};
use super::{CheckArgs, program};
use crate::clause::{Clause, Level};
use crate::command::TargetCommand;
use crate::plan::{Options, glob_matches};
use crate::report::Detail;
use crate::report::command_line::{REFERENCE_ARGS, repeat};
use crate::trace::Isolation;

/// Everything that `sockspec check` does.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// The server.
    pub command: TargetCommand,
    /// What is tried, and how.
    pub options: Options,
    /// The least isolation with which the verdict counts.
    pub require: Option<Isolation>,
    /// The reports that are wanted, never none: the first is that of `--format`.
    pub outputs: Vec<Output>,
    /// How much of a text.
    pub detail: Detail,
    /// Whether a failed SHOULD fails the run.
    pub strict: bool,
    /// Where the traces of failures are kept.
    pub keep: Option<PathBuf>,
}

/// Something on the command line cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UsageError {
    /// Not a glob.
    #[error("{}{glob}: {problem}", prefix(option))]
    Glob {
        /// The option that it was given to; empty for none.
        option: &'static str,
        /// What was typed.
        glob: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A glob without a clause.
    #[error("{}{glob}: matches no clause{}", prefix(option), did_you_mean(nearest))]
    NoMatch {
        /// The option that it was given to; empty for none.
        option: &'static str,
        /// What was typed.
        glob: String,
        /// What may have been meant.
        nearest: Vec<String>,
    },
    /// No such clause.
    #[error("{id}: no such clause{}", did_you_mean(nearest))]
    NoClause {
        /// What was typed.
        id: String,
        /// What may have been meant.
        nearest: Vec<String>,
    },
    /// A family where one clause is wanted.
    #[error("{0}: a family, not a clause; `sockspec list {0}` prints its clauses")]
    Family(String),
    /// The server cannot be started.
    #[error("{0}")]
    Command(String),
    /// The reports that are wanted get in each other's way.
    #[error("{0}")]
    Output(String),
}

impl CheckOptions {
    /// Decides what to do. `sockspec` is this program, which is also the reference server.
    ///
    /// # Errors
    /// If a glob matches no clause of the catalogue, or the command cannot be run.
    pub fn decide(args: CheckArgs, catalogue: &[&Clause], sockspec: &Path) -> Result<Self, UsageError> {
        check_globs("--only", &args.only, catalogue)?;
        check_globs("--skip", &args.skip, catalogue)?;
        let env: BTreeMap<String, String> = args.env.into_iter().collect();
        if let Some(program) = args.command.first() {
            program::look_for(program, args.cwd.as_deref(), &env).map_err(UsageError::Command)?;
        }
        let argv = if args.command.is_empty() { reference(sockspec) } else { args.command };
        let defaults = Options::default();
        let detail = match (args.quiet, args.verbose) {
            (true, _) => Detail::Quiet,
            (false, true) => Detail::Verbose,
            (false, false) => Detail::Normal,
        };
        let mut decided = Self {
            command: TargetCommand {
                env,
                cwd: args.cwd,
                addr: args.addr,
                backlog: args.backlog,
                stop: args.stop_signal,
                user: args.user,
                ..TargetCommand::from_words(argv)
            },
            options: Options {
                only: args.only,
                skip: args.skip,
                level: args.level.into(),
                effort: args.effort.into(),
                clients: args.clients.unwrap_or(defaults.clients),
                crowd: args.clients.unwrap_or(defaults.crowd),
                seed: args.seed,
                jobs: args.jobs,
                time: args.time,
                shrink_within: defaults.shrink_within,
                timeout_scale: args.timeout_scale,
                isolation: args.isolation.rung(),
                ready_within: args.ready_within,
                stop_within: args.stop_within,
                expect: Vec::new(),
                saved: Vec::new(),
                repeat: Vec::new(),
            },
            require: args.require.map(|super::Require::Full| Isolation::Full),
            outputs: outputs(Output { format: args.format, file: args.output }, args.report)
                .map_err(UsageError::Output)?,
            detail,
            strict: args.strict,
            keep: args.keep,
        };
        decided.options.repeat = repeat(&decided.command, &decided.options);
        Ok(decided)
    }
}

fn prefix(option: &str) -> String {
    if option.is_empty() { String::new() } else { format!("{option} ") }
}

/// The command of the built-in reference server.
pub(super) fn reference(sockspec: &Path) -> Vec<String> {
    let program = sockspec.to_string_lossy().into_owned();
    std::iter::once(program).chain(REFERENCE_ARGS.map(str::to_owned)).collect()
}

pub(super) fn check_globs(
    option: &'static str,
    globs: &[String],
    catalogue: &[&Clause],
) -> Result<(), UsageError> {
    for glob in globs {
        matching(option, glob, catalogue)?;
    }
    Ok(())
}

/// The clauses whose ids match the glob.
fn matching<'a>(
    option: &'static str,
    glob: &str,
    catalogue: &[&'a Clause],
) -> Result<Vec<&'a Clause>, UsageError> {
    if let Some(problem) = problem(glob) {
        return Err(UsageError::Glob { option, glob: glob.to_owned(), problem });
    }
    let matching: Vec<&Clause> =
        catalogue.iter().copied().filter(|clause| glob_matches(glob, clause.id)).collect();
    if matching.is_empty() {
        let nearest = nearest(glob, catalogue);
        return Err(UsageError::NoMatch { option, glob: glob.to_owned(), nearest });
    }
    Ok(matching)
}

/// The clauses that `list` prints, in the order of the catalogue: all where no glob is given.
///
/// # Errors
/// If a glob matches no clause.
pub fn listed<'a>(
    globs: &[String],
    level: Level,
    catalogue: &[&'a Clause],
) -> Result<Vec<&'a Clause>, UsageError> {
    let mut wanted = Vec::new();
    for glob in globs {
        wanted.extend(matching("", glob, catalogue)?.into_iter().map(|clause| clause.id));
    }
    let listed =
        |clause: &&&Clause| clause.level >= level && (globs.is_empty() || wanted.contains(&clause.id));
    Ok(catalogue.iter().filter(listed).copied().collect())
}

/// The clause with this id.
///
/// # Errors
/// If there is none; with those that may have been meant.
pub fn clause<'a>(id: &str, catalogue: &[&'a Clause]) -> Result<&'a Clause, UsageError> {
    if let Some(found) = catalogue.iter().find(|clause| clause.id.0 == id) {
        return Ok(found);
    }
    if catalogue.iter().any(|clause| clause.id.family() == id) {
        return Err(UsageError::Family(id.to_owned()));
    }
    Err(UsageError::NoClause { id: id.to_owned(), nearest: nearest(id, catalogue) })
}
