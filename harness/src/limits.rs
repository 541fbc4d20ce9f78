//! Every bound of an enactment, by name: nothing waits, loops, grows or is kept without one of these.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The bounds under which a scenario is enacted.
///
/// Deadlines are in the target's own time: they stand still while one of its processes, or the harness, waits for
/// a CPU. `standstill_factor` bounds that standstill in wall-clock time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// From exec to a LISTEN row. Runtimes that compile at start (JVM, `cargo run`) are slow; an exit ends the wait.
    pub ready_within: Duration,
    /// From a SYN to an established connection, where the accept queue has room.
    pub connect_within: Duration,
    /// Without any byte of progress, from the last byte sent or received to the next one that is owed.
    pub reply_within: Duration,
    /// From the end of a process or connection until every trace of it is gone: zombie, descriptor, socket.
    pub settle_within: Duration,
    /// From a stop signal, or a failed start, to the end of the launched process.
    pub stop_within: Duration,
    /// From the moment that the server runs again until an overfull queue is served: clients whose SYN was dropped
    /// come back by themselves after 1 s, then 1 s, 1 s, 1 s (since Linux 6.5) or 1, 3, 7 s (before).
    pub drain_within: Duration,
    /// How many times a deadline wall-clock time may be, at most, because someone waited for a CPU.
    pub standstill_factor: u32,
    /// Deadlines that may pass in one enactment before those that follow become short: who has left so many clients
    /// without an answer will not answer the next.
    pub misses_max: u32,
    /// Wall-clock end of one whole enactment; after it the harness gives up, and the finding is "broken".
    pub enactment_max: Duration,
    /// Bytes kept of each of stdout and stderr (half from the start, half from the end); the rest is counted.
    pub output_kept: usize,
    /// Bytes after which a server that goes on swallowing input without a reader counts as unbounded.
    pub stall_max: u64,
    /// Processes that the target may have at once, where the kernel lets us bound them.
    pub processes_max: u32,
    /// Clients at once in a scenario.
    pub clients_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ready_within: Duration::from_secs(10),
            connect_within: Duration::from_millis(2500),
            reply_within: Duration::from_millis(1500),
            settle_within: Duration::from_millis(1500),
            stop_within: Duration::from_millis(2500),
            drain_within: Duration::from_millis(6000),
            standstill_factor: 12,
            misses_max: 3,
            enactment_max: Duration::from_secs(150),
            output_kept: 64 << 10,
            stall_max: 256 << 20,
            processes_max: 4096,
            clients_max: 20,
        }
    }
}

impl Limits {
    /// The same bounds with every deadline multiplied by `factor`.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        Self {
            ready_within: self.ready_within.mul_f64(factor),
            connect_within: self.connect_within.mul_f64(factor),
            reply_within: self.reply_within.mul_f64(factor),
            settle_within: self.settle_within.mul_f64(factor),
            stop_within: self.stop_within.mul_f64(factor),
            drain_within: self.drain_within.mul_f64(factor),
            enactment_max: self.enactment_max.mul_f64(factor),
            ..self.clone()
        }
    }

    /// The bounds for a second look at something that was missing: four times the patience, twice where that is long,
    /// but not for one thing after another.
    #[must_use]
    pub fn patient(&self) -> Self {
        let (twice, four_times) = (self.scaled(2.0), self.scaled(4.0));
        Self {
            ready_within: twice.ready_within,
            connect_within: twice.connect_within,
            stop_within: twice.stop_within,
            drain_within: twice.drain_within,
            misses_max: 2,
            ..four_times
        }
    }

    /// The bounds where too much was missed already.
    #[must_use]
    pub fn hasty(&self) -> Self {
        self.scaled(1.0 / 16.0)
    }
}
