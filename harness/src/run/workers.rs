//! Worlds of this host: worker processes.

use std::sync::{Mutex, PoisonError};

use crate::clause::Host;
use crate::error::Error;
use crate::run::pool::Source;
use crate::sandbox::{self, Hangup};
use crate::trace::Isolation;
use crate::world::World;
use crate::world::live::Live;

/// Where worlds come from on this host, and what it allows.
pub(super) fn workers(isolation: Option<Isolation>) -> Result<(Workers, Host), Error> {
    let allowed = sandbox::probe()?;
    let isolation = sandbox::best(&allowed, isolation)?;
    // On the host's own pids nobody bounds them for the target alone.
    let process_limit = allowed.process_limit && isolation != Isolation::Loopback;
    let host = Host { isolation, process_limit };
    Ok((Workers { host, hangups: Mutex::default() }, host))
}

/// Worker processes.
pub(super) struct Workers {
    host: Host,
    hangups: Mutex<Vec<Hangup>>,
}

impl Source for Workers {
    fn open(&self) -> Result<Box<dyn World>, Error> {
        let live = Live::start(self.host.isolation)?;
        self.hangups.lock().unwrap_or_else(PoisonError::into_inner).push(live.hangup());
        Ok(Box::new(live))
    }

    fn hang_up(&self) {
        self.hangups.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Hangup::hang_up);
    }
}
