//! Waits: for a condition, and for quiet.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};

use crate::error::{Attempt, Error};
use crate::limits::Limits;
use crate::observe::States;
use crate::scenario::{Condition, Facet, Instance, Who};
use crate::trace::{Look, Socket, State, What};
use crate::world::live::drive::Starving;
use crate::world::live::enactor::Enactor;

/// Looks that must agree before the target counts as quiet, and the time between them.
const QUIET_LOOKS: u32 = 3;
pub(super) const QUIET_PAUSE: Duration = Duration::from_millis(10);
/// This part of the time for settling, an idle target leaves what waits in a queue where it is: then it stays there.
const LEFT_DIVISOR: u32 = 8;
/// Pauses between two looks for a condition: this part of the time that it has been waited for, within bounds.
const PAUSE_DIVISOR: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_micros(250);
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// What two looks at a target at rest have in common.
#[derive(Debug, PartialEq, Eq)]
struct Stillness {
    cpu_ns: u64,
    delay_ns: u64,
    processes: usize,
    /// Clients in the accept queue, and bytes in the queues of the connections.
    queued: u64,
}

impl Enactor<'_> {
    /// Waits until the condition holds or its deadline has passed, then looks.
    pub(super) fn wait_for(&mut self, condition: Condition) -> Result<(), Error> {
        if condition == Condition::Still {
            return self.wait_until_still();
        }
        let began = Instant::now();
        let starving = Starving::begin(self.clock.own());
        let mut own = self.clock.own();
        let within = within(condition, &self.limits, self.bounds, &self.unmet);
        let mut queued = u32::MAX;
        let mut seen;
        let mut is_first = true;
        let met = loop {
            let announced = self.pump()?;
            let of_use = matches!(condition, Condition::Listening(_) | Condition::Announced(_));
            seen = announced.filter(|_| of_use);
            if is_first && matches!(condition, Condition::NoZombie | Condition::Back(Facet::Processes)) {
                // A glance would do, but mostly it holds at once, and then a look is to be told.
                seen = Some(self.look()?);
            }
            is_first = false;
            if self.holds(condition, began, &mut seen)? {
                break true;
            }
            if condition == Condition::QueueEmpty {
                // A queue that gets shorter is being emptied, however long that takes.
                let still = self.queue()?;
                if still < queued {
                    own = self.clock.own();
                }
                queued = still;
            }
            if self.hopeless(condition)? || self.clock.own().saturating_sub(own) >= within {
                break false;
            }
            if starving.has_lasted(self) {
                self.tell_starved(starving.wall_us());
                break false;
            }
            self.nap((began.elapsed() / PAUSE_DIVISOR).clamp(PAUSE_MIN, PAUSE_MAX))?;
        };
        // What the condition was seen to hold in is what is told.
        let look = match seen.filter(|_| met) {
            Some(look) => look,
            None => self.look()?,
        };
        if let Condition::Listening(instance) = condition
            && met
        {
            self.settle_address(&look, instance);
            self.mark.get_or_insert_with(|| look.clone());
        }
        if !met {
            self.unmet.push(condition);
        }
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.tell(What::Awaited { condition, met, took_us, look });
        Ok(())
    }

    /// Whether the condition holds. `seen` is a fresh look at everything, if there is one; if it takes one to know, it is
    /// left there.
    fn holds(
        &mut self,
        condition: Condition,
        began: Instant,
        seen: &mut Option<Look>,
    ) -> Result<bool, Error> {
        Ok(match condition {
            Condition::Listening(instance) => self.listens(instance, began, seen)?,
            Condition::Exited(instance) => self.exits.contains_key(&instance),
            Condition::Gone(instance) => {
                self.exits.contains_key(&instance) && self.glance()?.of(instance).next().is_none()
            }
            Condition::PortFree => self.listeners()? == 0,
            Condition::NoZombie => match seen {
                Some(look) => look.zombies().next().is_none(),
                None => self.glance()?.zombies().next().is_none(),
            },
            Condition::Zombies(n) => self.glance()?.zombies().count() >= n as usize,
            Condition::Back(facet) => self.is_back(facet, seen)?,
            Condition::QueueAtLeast(n) => self.queue()? >= n,
            Condition::QueueEmpty => self.queue()? == 0,
            Condition::ServerOfGone(client) => {
                let look = self.glance()?;
                self.servers.get(&client).is_some_and(|&(pid, started)| {
                    look.process(pid).is_none_or(|process| process.started != started)
                })
            }
            Condition::Accepted(client) => {
                let local = self.connections.get(&client).and_then(|connection| connection.local);
                match local {
                    Some(local) => !seen.insert(self.look()?).holders(local).is_empty(),
                    None => false,
                }
            }
            Condition::Stopped(who) => {
                let pids = self.resolve(who)?;
                let look = self.glance()?;
                are_stopped(who, &pids, &look, self.observer.busy())
            }
            // See `wait_until_still`.
            Condition::Still => false,
            Condition::Announced(instance) => self
                .events
                .iter()
                .any(|event| matches!(&event.what, What::Announced { instance: i, .. } if *i == instance)),
        })
    }

    /// Whether the condition can no longer come true.
    fn hopeless(&mut self, condition: Condition) -> Result<bool, Error> {
        Ok(match condition {
            Condition::Listening(instance) | Condition::Announced(instance) => {
                let launched = self.launches.contains_key(&instance);
                let ended = self.exits.contains_key(&instance);
                !launched || (ended && self.glance()?.of(instance).next().is_none())
            }
            Condition::Exited(instance) | Condition::Gone(instance) => !self.launches.contains_key(&instance),
            Condition::ServerOfGone(client) => !self.servers.contains_key(&client),
            _ => self.is_all_gone()?,
        })
    }

    /// Whether no process of the target is left: then nothing changes any more.
    fn is_all_gone(&mut self) -> Result<bool, Error> {
        let ended = self.launches.keys().all(|instance| self.exits.contains_key(instance));
        Ok(ended && self.glance()?.processes.is_empty())
    }

    /// Whether the instance listens on its port, or, when it has had time to do so, on any other.
    fn listens(
        &mut self,
        instance: Instance,
        began: Instant,
        seen: &mut Option<Look>,
    ) -> Result<bool, Error> {
        if seen.is_none() && self.observer.sockets().tcp(States::LISTEN)?.is_empty() {
            return Ok(false);
        }
        let look = match seen.take() {
            Some(look) => look,
            None => self.look()?,
        };
        let look = seen.insert(look);
        let patient = began.elapsed() > self.limits.reply_within || self.misdirected.contains(&instance);
        Ok(self.listens_as_told(look, instance) || (patient && look.listening(instance).next().is_some()))
    }

    fn is_back(&mut self, facet: Facet, seen: &mut Option<Look>) -> Result<bool, Error> {
        let (instance, port) = (Instance(0), self.address.port());
        let before = self.mark.as_ref().map_or(0, |mark| facet.count(mark, instance, port));
        if facet == Facet::Processes {
            let count = match seen {
                Some(look) => facet.count(look, instance, port),
                None => facet.count(&self.glance()?, instance, port),
            };
            return Ok(count <= before);
        }
        Ok(facet.count(seen.insert(self.look()?), instance, port) <= before)
    }

    /// Length of the accept queue, of all listening sockets on the port together.
    fn queue(&mut self) -> Result<u32, Error> {
        let port = self.address.port();
        let rows = self.observer.sockets().tcp(States::LISTEN)?;
        Ok(rows.iter().filter(|row| row.local.port() == port).map(|row| row.receive_queue).sum())
    }

    /// Waits until nothing moves, or the deadline has passed, then looks.
    pub(super) fn wait_for_quiet(&mut self) -> Result<(), Error> {
        let quiet = self.falls_quiet(false)?;
        let look = self.look()?;
        self.tell(What::Looked { mark: false, quiet: Some(quiet), look });
        Ok(())
    }

    /// Waits until nothing moves; not if the deadline has passed first. In the queues there is nothing then, or what the
    /// target `may_leave` there: a client for whom there is no place, bytes that nobody reads.
    fn falls_quiet(&mut self, may_leave: bool) -> Result<bool, Error> {
        let own = self.clock.own();
        let starving = Starving::begin(own);
        let mut before = None;
        let mut agreed = 0;
        let mut since = own;
        loop {
            self.pump()?;
            let now = self.stillness()?;
            if now.is_some() && now == before {
                agreed += 1;
            } else {
                (agreed, since) = (0, self.clock.own());
            }
            let empty = now.as_ref().is_some_and(|now| now.queued == 0);
            before = now;
            let left = self.clock.own().saturating_sub(since) >= self.limits.settle_within / LEFT_DIVISOR;
            if agreed + 1 >= QUIET_LOOKS && (empty || (may_leave && left)) {
                return Ok(true);
            }
            if self.clock.own().saturating_sub(own) >= self.limits.settle_within || starving.has_lasted(self)
            {
                return Ok(false);
            }
            self.nap(QUIET_PAUSE)?;
        }
    }

    /// Waits for [`Condition::Still`], which is no look: those are counted.
    fn wait_until_still(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let met = self.falls_quiet(true)?;
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let look = self.look()?;
        self.tell(What::Awaited { condition: Condition::Still, met, took_us, look });
        Ok(())
    }

    /// How the target rests, if none of its tasks could run.
    fn stillness(&mut self) -> Result<Option<Stillness>, Error> {
        let port = self.address.port();
        let rows = self.observer.sockets().tcp(States::ALL)?;
        let waits_in = |row: &Socket| {
            let holds_unsent = !matches!(row.state, State::Listen | State::TimeWait);
            u64::from(row.receive_queue) + if holds_unsent { u64::from(row.send_queue) } else { 0 }
        };
        let queued = rows.iter().filter(|row| row.local.port() == port).map(waits_in).sum();
        let processes = self.glance()?.processes.len();
        let still = self.observer.busy() == 0;
        let usage = self.observer.usage();
        let stillness = Stillness { cpu_ns: usage.cpu_ns, delay_ns: usage.delay_ns, processes, queued };
        Ok(still.then_some(stillness))
    }

    /// Says that time said nothing, and how much CPU the target used so far.
    pub(super) fn tell_starved(&mut self, wall_us: u64) {
        let target_cpu_ns = self.observer.usage().cpu_ns;
        self.tell(What::Starved { target_cpu_ns, wall_us });
    }

    /// Waits a moment, or until the target writes something, or a launched process ends.
    pub(super) fn nap(&mut self, pause: Duration) -> Result<(), Error> {
        let mut polled: Vec<PollFd<'_>> = self
            .launches
            .values()
            .flat_map(|running| running.output.to_poll().map(|fd| PollFd::new(fd, PollFlags::POLLIN)))
            .collect();
        let living = self.launches.iter().filter(|(instance, _)| !self.exits.contains_key(instance));
        polled.extend(living.map(|(_, running)| PollFd::new(running.pidfd.as_fd(), PollFlags::POLLIN)));
        let timeout = nix::sys::time::TimeSpec::from_duration(pause);
        match nix::poll::ppoll(&mut polled, Some(timeout), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(e) => Err(e).attempt(|| "wait a moment".to_owned()),
        }
    }
}

/// How long a condition is waited for, with these limits as they are now, and those bounds of the whole enactment.
fn within(condition: Condition, limits: &Limits, bounds: &Limits, unmet: &[Condition]) -> Duration {
    // What was left behind for so long already will not go now.
    let again = condition.lingers() && unmet.contains(&condition);
    let limits = if again { &bounds.hasty() } else { limits };
    match condition {
        Condition::Listening(_) | Condition::Announced(_) => limits.ready_within,
        Condition::Exited(_) | Condition::Gone(_) | Condition::PortFree => limits.stop_within,
        Condition::QueueAtLeast(_) => limits.connect_within,
        Condition::QueueEmpty
        | Condition::NoZombie
        | Condition::Zombies(_)
        | Condition::Back(_)
        | Condition::ServerOfGone(_)
        | Condition::Accepted(_)
        | Condition::Stopped(_)
        | Condition::Still => limits.settle_within,
    }
}

/// Whether all of these are stopped or dead; `busy` tasks of the target could run.
fn are_stopped(who: Who, pids: &[i32], look: &Look, busy: u32) -> bool {
    // Each thread stops by itself: one that waits for a CPU could still take what comes.
    let all_threads = busy == 0 || !matches!(who, Who::Tree(_));
    let stopped = |&pid: &i32| look.process(pid).is_none_or(|process| "TtZX".contains(process.state));
    all_threads && !pids.is_empty() && pids.iter().all(stopped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Client;
    use crate::trace::build::{SERVER, process, serving};

    const FIRST: Instance = Instance(0);

    #[test]
    fn a_stopped_tree_has_no_task_that_could_run() {
        let (tree, acceptor) = (Who::Tree(FIRST), Who::Acceptor(FIRST));
        let look = |state| {
            let mut look = serving();
            look.processes[0].state = state;
            look
        };
        assert!(are_stopped(tree, &[SERVER], &look('T'), 0));
        assert!(!are_stopped(tree, &[SERVER], &look('T'), 1), "a thread may still run");
        assert!(are_stopped(acceptor, &[SERVER], &look('T'), 1), "the others were not told to stop");
        assert!(!are_stopped(tree, &[SERVER], &look('S'), 0));
        assert!(!are_stopped(tree, &[], &look('T'), 0), "nobody was told to stop");
        let mut two = look('T');
        two.processes.push(process(3, SERVER, &[]));
        assert!(!are_stopped(tree, &[SERVER, 3], &two, 0));
        assert!(are_stopped(tree, &[SERVER, 4], &two, 0), "who has gone takes nothing any more");
    }

    #[test]
    fn what_was_left_behind_is_not_waited_for_as_long_again() {
        let (bounds, slow) = (Limits::default(), Limits::default().scaled(2.0));
        let long = slow.settle_within;
        let short = bounds.hasty().settle_within;
        let back = Condition::Back(Facet::Processes);
        let gone = Condition::ServerOfGone(Client(1));
        for lingering in [Condition::NoZombie, back, gone] {
            assert_eq!(within(lingering, &slow, &bounds, &[]), long);
            assert_eq!(within(lingering, &slow, &bounds, &[lingering]), short);
        }
        let other = Condition::Back(Facet::Descriptors);
        assert_eq!(within(back, &slow, &bounds, &[other]), long, "another thing was left");
        for coming in [Condition::Still, Condition::QueueEmpty, Condition::Accepted(Client(0))] {
            assert_eq!(within(coming, &slow, &bounds, &[coming]), long, "this may still come");
        }
    }
}
