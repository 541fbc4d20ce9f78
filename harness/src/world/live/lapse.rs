//! Time that passes: in a pause, and in windows in which the use of the CPU is measured.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::observe::{States, Usage};
use crate::trace::{What, Window};
use crate::world::live::conditions::QUIET_PAUSE;
use crate::world::live::enactor::Enactor;

/// A reading of the use of the CPU that took longer was interrupted; how often it is tried.
const READING_MAX: Duration = Duration::from_millis(4);
const READINGS_MAX: u32 = 8;
/// How long a process may take to end once it has closed its sockets.
const ENDING: Duration = Duration::from_millis(100);
/// How long a listener may outlive the last process that held it.
const LETTING_GO: Duration = Duration::from_secs(1);

impl Enactor<'_> {
    /// Measures the use of the CPU, window by window.
    pub(super) fn watch(&mut self, ms: u32, windows: u32) -> Result<(), Error> {
        for _ in 0..windows {
            let (began, before) = self.read_usage()?;
            self.let_pass(ms, began, before)?;
            let (ended, after) = self.read_usage()?;
            let used = after.since(before);
            self.tell(What::Watched(Window {
                wall_us: u64::try_from((ended - began).as_micros()).unwrap_or(u64::MAX),
                cpu_us: used.cpu_ns / 1000,
                delay_us: used.delay_ns / 1000,
                switches: used.switches,
            }));
        }
        self.look_and_tell()
    }

    /// Lets time pass.
    pub(super) fn pause(&mut self, ms: u32) -> Result<(), Error> {
        let (began, before) = self.read_usage()?;
        self.let_pass(ms, began, before)?;
        self.look_and_tell()
    }

    /// Waits for so long in the target's own time, so that a busy machine shows what an idle one does.
    fn let_pass(&mut self, ms: u32, began: Instant, before: Usage) -> Result<(), Error> {
        let length = Duration::from_millis(u64::from(ms));
        loop {
            self.pump()?;
            let wall = began.elapsed();
            let delay = Duration::from_nanos(self.observer.usage().since(before).delay_ns);
            if wall >= length.saturating_add(delay).min(length * self.limits.standstill_factor) {
                return Ok(());
            }
            self.nap(QUIET_PAUSE.min(length))?;
        }
    }

    /// Tells of launched processes that are ending: their sockets are closed before they have ended, so that a client
    /// may know first.
    pub(super) fn see_ends(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        self.pump()?;
        while self.exits.len() < self.launches.len() && self.listeners()? == 0 && began.elapsed() < ENDING {
            self.nap(ENDING)?;
            self.pump()?;
        }
        Ok(())
    }

    /// Waits for listeners of processes that are no more: where a listener is in use by the kernel itself, as by a request
    /// of io_uring(7), the kernel lets go of it a little after the process has ended, and no server can hasten that.
    pub(super) fn see_listeners_let_go(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        while !self.launches.is_empty() && began.elapsed() < LETTING_GO {
            let listeners = self.listeners()?;
            if listeners == 0 || listeners <= self.look()?.listeners(self.address.port()).count() {
                break;
            }
            self.nap(QUIET_PAUSE)?;
        }
        Ok(())
    }

    /// Sockets in LISTEN on the target's port, but for those of the world itself.
    pub(super) fn listeners(&mut self) -> Result<usize, Error> {
        let port = self.address.port();
        let ours = self.occupied.len();
        let rows = self.observer.sockets().tcp(States::LISTEN)?;
        Ok(rows.iter().filter(|row| row.local.port() == port).count().saturating_sub(ours))
    }

    fn look_and_tell(&mut self) -> Result<(), Error> {
        let look = self.look()?;
        self.tell(What::Looked { mark: false, quiet: None, look });
        Ok(())
    }

    /// The use of the CPU so far, and when that was: read again if the reading itself took long.
    fn read_usage(&mut self) -> Result<(Instant, Usage), Error> {
        let mut tries = 0;
        loop {
            let began = Instant::now();
            self.glance()?;
            tries += 1;
            if began.elapsed() <= READING_MAX || tries == READINGS_MAX {
                return Ok((began, self.observer.usage()));
            }
        }
    }
}
