//! Worlds that play what they are told, for the unit tests of `run`.

use crate::command::TargetCommand;
use crate::error::Error;
use crate::limits::Limits;
use crate::run::pool::Source;
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::world::World;

/// What is seen of a scenario under these limits.
pub(super) struct Scripted<F>(pub(super) F);

impl<F: FnMut(&Scenario, &Limits) -> Result<Trace, Error>> World for Scripted<F> {
    fn enact(&mut self, _: &TargetCommand, scenario: &Scenario, limits: &Limits) -> Result<Trace, Error> {
        (self.0)(scenario, limits)
    }
}

/// Opens such worlds.
pub(super) struct Stage<F>(pub(super) F);

impl<F> Source for Stage<F>
where
    F: FnMut(&Scenario, &Limits) -> Result<Trace, Error> + Clone + Sync + 'static,
{
    fn open(&self) -> Result<Box<dyn World>, Error> {
        Ok(Box::new(Scripted(self.0.clone())))
    }

    fn hang_up(&self) {}
}
