//! The one door to the kernel: a scenario goes in, a trace comes out.

use crate::command::TargetCommand;
use crate::error::Error;
use crate::limits::Limits;
use crate::scenario::Scenario;
use crate::trace::Trace;

pub mod live;

/// Something in which scenarios can be enacted: the live one, or a scripted one in tests.
pub trait World {
    /// Launches the target, does what the scenario says, and returns what was seen. Nothing is left afterwards.
    ///
    /// # Errors
    /// Only the harness's own failures; whatever the target does is in the trace.
    fn enact(&mut self, target: &TargetCommand, scenario: &Scenario, limits: &Limits)
    -> Result<Trace, Error>;

    /// Whether another scenario can be enacted here: `false` once the world itself has failed.
    fn is_usable(&self) -> bool {
        true
    }
}
