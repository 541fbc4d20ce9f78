//! What was decided from what was typed after `fuzz` and `replay`.

use std::path::Path;
use std::time::Duration;

use super::decide::{check_globs, reference};
use super::fuzz::{FuzzArgs, ReplayArgs, ServerArgs};
use super::{UsageError, program};
use crate::case::Case;
use crate::clause::Clause;
use crate::command::TargetCommand;
use crate::plan::Options;
use crate::run::fuzz::Campaign;
use crate::scenario::Ranges;

/// How long a campaign lasts if nothing is said.
const TIME_DEFAULT: Duration = Duration::from_secs(60);

/// Decides what `fuzz` does. `sockspec` is this program, which is also the reference server.
///
/// # Errors
/// If a glob matches no clause of the catalogue, or the command cannot be run.
pub fn campaign(
    args: &FuzzArgs,
    catalogue: &[&Clause],
    sockspec: &Path,
) -> Result<(TargetCommand, Campaign), UsageError> {
    check_globs("--only", &args.only, catalogue)?;
    check_globs("--skip", &args.skip, catalogue)?;
    let defaults = Options::default();
    let time = args.time.or(args.cases.is_none().then_some(TIME_DEFAULT));
    let options = Options {
        only: args.only.clone(),
        skip: args.skip.clone(),
        effort: args.effort.into(),
        clients: *args.clients.end(),
        crowd: *args.clients.end(),
        seed: args.seed,
        // Cases come without end, and most of them wait now and then.
        jobs: args.server.jobs.or_else(|| Some(defaults.at_once().start() * 3 / 2)),
        time,
        shrink_within: args.shrink_within,
        timeout_scale: args.server.timeout_scale,
        isolation: args.server.isolation.rung(),
        ..defaults
    };
    let ranges = Ranges {
        clients: args.clients.clone(),
        payload: args.payload.clone(),
        backlog: args.backlog.clone(),
        own_network: true,
    };
    let campaign = Campaign {
        options,
        ranges,
        cases: args.cases,
        shard: args.shard,
        keep_going: args.keep_going,
        saved: Vec::new(),
    };
    Ok((target(&args.server, &args.command, sockspec)?, campaign))
}

fn target(server: &ServerArgs, command: &[String], sockspec: &Path) -> Result<TargetCommand, UsageError> {
    let env = server.env.iter().cloned().collect();
    if let Some(program) = command.first() {
        program::look_for(program, server.cwd.as_deref(), &env).map_err(UsageError::Command)?;
    }
    let argv = if command.is_empty() { reference(sockspec) } else { command.to_vec() };
    Ok(TargetCommand {
        env,
        cwd: server.cwd.clone(),
        addr: server.addr,
        stop: server.stop_signal,
        user: server.user.clone(),
        ..TargetCommand::from_words(argv)
    })
}

/// Decides what `replay` launches: the server for which the case was kept, or the one that was typed.
///
/// # Errors
/// If the command cannot be run.
pub fn replayed(args: &ReplayArgs, case: &Case) -> Result<TargetCommand, UsageError> {
    let mut target = TargetCommand { fixed_port: None, ..case.target.clone() };
    if !args.command.is_empty() {
        target.argv.clone_from(&args.command);
    }
    if let Some(program) = target.argv.first() {
        program::look_for(program, target.cwd.as_deref(), &target.env).map_err(UsageError::Command)?;
    }
    Ok(target)
}
