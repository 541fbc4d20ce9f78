//! Drives clients: all acts of a step at once, each to its end or its deadline.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::client::connection::CHUNK;
use crate::client::task::Surroundings;
use crate::client::{Connection, Task};
use crate::error::{Attempt, Error};
use crate::scenario::{Act, Client, Step};
use crate::trace::What;
use crate::world::live::enactor::Enactor;

/// Longest time between two readings of the clock.
const NAP: Duration = Duration::from_millis(10);

impl Enactor<'_> {
    /// Starts the steps in order, then lets all clients act until each is done or out of time.
    pub(super) fn drive(&mut self, steps: &[Step]) -> Result<(), Error> {
        self.pump()?;
        let mut tasks = Vec::new();
        for step in steps {
            match step {
                Step::Do(client, act) => tasks.push(self.start(*client, *act)),
                Step::Signal(who, sig) => self.signal(*who, *sig)?,
                Step::Limit(who, resource, amount) => self.limit(*who, *resource, *amount)?,
                // Only these may stand together; others have no effect.
                _ => {}
            }
        }
        let mut starving = Starving::begin(self.clock.own());
        loop {
            for task in &mut tasks {
                self.advance(task);
            }
            while let Some(index) = tasks.iter().position(Task::is_over) {
                let task = tasks.remove(index);
                self.finish_task(task);
                starving = Starving::begin(self.clock.own());
            }
            if tasks.is_empty() {
                return Ok(());
            }
            self.wait(&tasks)?;
            self.pump()?;
            if starving.has_lasted(self) {
                self.tell_starved(starving.wall_us());
                tasks.drain(..).for_each(|task| self.finish_task(task));
                return Ok(());
            }
        }
    }

    fn start(&mut self, client: Client, act: Act) -> Task {
        let address = self.destination(act);
        let connection = self.connections.entry(client).or_insert_with(|| Connection::new(client));
        let mut around = Surroundings {
            streams: &mut self.streams,
            own: self.clock.own(),
            limits: self.limits,
            buffer: &mut self.buffer,
        };
        Task::start(connection, act, address, &mut around)
    }

    fn advance(&mut self, task: &mut Task) {
        debug_assert_eq!(self.buffer.len(), CHUNK);
        let Some(connection) = self.connections.get_mut(&task.client()) else { return };
        let mut around = Surroundings {
            streams: &mut self.streams,
            own: self.clock.own(),
            limits: self.limits,
            buffer: &mut self.buffer,
        };
        task.advance(connection, &mut around);
    }

    fn finish_task(&mut self, task: Task) {
        if let Some(connection) = self.connections.get_mut(&task.client()) {
            let acted = task.finish(connection, &self.streams);
            self.tell(What::Acted(acted));
        }
    }

    /// Waits until a client's socket is ready, the target writes, or it is time to read the clock.
    fn wait(&mut self, tasks: &[Task]) -> Result<(), Error> {
        let mut polled = Vec::new();
        let mut timeout = NAP;
        for task in tasks {
            let Some(connection) = self.connections.get(&task.client()) else { continue };
            let wants = task.wants(connection, &self.streams);
            if let Some(wake) = wants.wake {
                timeout = timeout.min(wake.saturating_duration_since(Instant::now()));
            }
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, wants.read && connection.ending.is_none());
            flags.set(PollFlags::POLLOUT, wants.write);
            if let Some(socket) = &connection.socket
                && !flags.is_empty()
            {
                polled.push(PollFd::new(socket.as_fd(), flags));
            }
        }
        for running in self.launches.values() {
            polled.extend(running.output.to_poll().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
        // Rounded up, so that a wake-up is never early and never a spin.
        let ms = u16::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        match poll(&mut polled, PollTimeout::from(ms)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(e) => Err(e).attempt(|| "poll the clients".to_owned()),
        }
    }
}

/// Notices that a wait has become much longer in wall-clock time than in the target's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Starving {
    began: Instant,
    own: Duration,
}

impl Starving {
    pub(super) fn begin(own: Duration) -> Self {
        Self { began: Instant::now(), own }
    }

    pub(super) fn wall_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Whether the standstill, the time that did not count, has reached its bound.
    pub(super) fn has_lasted(&self, enactor: &Enactor<'_>) -> bool {
        let counted = enactor.clock.own().saturating_sub(self.own);
        let stood = self.began.elapsed().saturating_sub(counted);
        stood > enactor.limits.reply_within * enactor.limits.standstill_factor
    }
}
