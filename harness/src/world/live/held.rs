//! A sandbox that stays as it is after the last step, for people to look into.

use std::convert::Infallible;
use std::time::Duration;

use super::Live;
use super::enactor::Enactor;
use crate::command::TargetCommand;
use crate::error::Error;
use crate::limits::Limits;
use crate::sandbox::{Inmate, Sandbox, inmates};
use crate::scenario::Scenario;
use crate::trace::Trace;

/// How often what is held is looked after.
const LOOK_AFTER_EVERY: Duration = Duration::from_millis(200);

impl Live {
    /// Enacts the scenario as [`crate::world::World::enact`] does, but leaves server and clients as they are after the last
    /// step, until [`Self::release`], the next enactment, or the end of this world.
    ///
    /// # Errors
    /// As [`crate::world::World::enact`].
    pub fn hold(
        &mut self,
        target: &TargetCommand,
        scenario: &Scenario,
        limits: &Limits,
    ) -> Result<Trace, Error> {
        self.enacted(target, scenario, limits, true)
    }

    /// What is in the sandbox that is held.
    ///
    /// # Errors
    /// [`Error::System`] if /proc cannot be read.
    pub fn inmates(&self) -> Result<Vec<Inmate>, Error> {
        inmates(self.worker.pid())
    }

    /// Ends what is held; it is gone when this returns.
    ///
    /// # Errors
    /// If the worker has ended.
    pub fn release(&mut self) -> Result<(), Error> {
        self.request(None).map(drop)
    }
}

impl<'a> Enactor<'a> {
    /// Enacts the scenario, tells what was seen, and then keeps everything as it is, until this process is killed.
    pub(super) fn hold(
        sandbox: &'a Sandbox,
        target: &'a TargetCommand,
        scenario: &Scenario,
        limits: &'a Limits,
        tell: impl FnOnce(&Trace) -> Result<(), Error>,
    ) -> Result<Infallible, Error> {
        let mut enactor = Self::at_work(sandbox, target, limits)?;
        enactor.take_all(scenario)?;
        tell(&enactor.trace())?;
        loop {
            // The server may go on writing, and its processes ending.
            enactor.pump()?;
            enactor.nap(LOOK_AFTER_EVERY)?;
        }
    }
}
