//! What a run would leave out, learned without running it.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::Run;
use super::baseline::Baseline;
use super::pool::Pool;
use super::workers::workers;
use crate::clause::ClauseId;
use crate::command::TargetCommand;
use crate::error::Error;
use crate::plan::Options;

/// The clauses that were asked for and do not apply, to this server or on this host, each with the reason. It costs the
/// baseline, which is a launch or two.
///
/// A server that does not serve is of no kind: nothing is left out then, and a run will say what is wrong.
///
/// # Errors
/// If the harness cannot work here at all.
pub fn inapplicable(command: &TargetCommand, options: &Options) -> Result<Vec<(ClauseId, String)>, Error> {
    let (workers, host) = workers(options.isolation)?;
    let stop = AtomicBool::new(false);
    Pool::with(&workers, &stop, 1..=1, |pool| {
        let run = Run { pool, host, options, began: Instant::now() };
        let Some((Baseline::Serves(profile), _, target)) = run.baseline(command)? else {
            return Ok(Vec::new());
        };
        let plan = run.plan(&target, &profile).into_iter();
        Ok(plan
            .filter(|entry| options.selects(entry.clause))
            .filter_map(|entry| Some((entry.clause.id, entry.cases.err()?.1)))
            .collect())
    })
}
