//! Drives clients: all acts of a step at once, each to its end or its deadline.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::client::connection::CHUNK;
use crate::client::task::Surroundings;
use crate::client::{Connection, Task};
use crate::error::{Attempt, Error};
use crate::scenario::{Act, Client, Instance, Step};
use crate::target::Running;
use crate::trace::What;
use crate::world::live::enactor::Enactor;

/// Longest time between two readings of the clock.
const NAP: Duration = Duration::from_millis(10);

impl Enactor<'_> {
    /// Starts the steps in order, then lets all clients act until each is done or out of time.
    pub(super) fn drive(&mut self, steps: &[Step]) -> Result<(), Error> {
        self.pump()?;
        let mut crowd = Crowd::default();
        let mut waiting = Waiting::begin(&self.launches)?;
        for step in steps {
            match step {
                Step::Do(client, act) => crowd.add(self.start(*client, *act)),
                Step::Signal(who, sig) => {
                    // What the signal sets going is seen in the order in which it happens.
                    for (index, member) in crowd.members.iter_mut().enumerate() {
                        waiting.renew(index, member, self)?;
                    }
                    self.signal(*who, *sig)?;
                }
                Step::Limit(who, resource, amount) => self.limit(*who, *resource, *amount)?,
                // Only these may stand together; others have no effect.
                _ => {}
            }
        }
        let mut starving = Starving::begin(self.clock.own());
        let mut due = waiting.everybody(&crowd)?;
        let mut left = crowd.members.len();
        loop {
            for index in due {
                let member = &mut crowd.members[index];
                if member.tasks.is_empty() {
                    continue;
                }
                for task in &mut member.tasks {
                    self.advance(task);
                }
                for task in member.tasks.extract_if(.., |task| task.is_over()) {
                    self.finish_task(task);
                    starving = Starving::begin(self.clock.own());
                }
                left -= usize::from(member.tasks.is_empty());
                waiting.renew(index, member, self)?;
            }
            if left == 0 {
                return Ok(());
            }
            due = waiting.wait(&crowd)?;
            self.pump()?;
            if starving.has_lasted(self) {
                self.tell_starved(starving.wall_us());
                crowd
                    .members
                    .into_iter()
                    .flat_map(|member| member.tasks)
                    .for_each(|task| self.finish_task(task));
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
            limits: &self.limits,
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
            limits: &self.limits,
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
}

/// The acts of a step, by client, in the order in which the clients come first.
#[derive(Debug, Default)]
struct Crowd {
    members: Vec<Member>,
    index: HashMap<Client, usize>,
}

/// A client and what it is about; most have one act at a time.
#[derive(Debug)]
struct Member {
    client: Client,
    tasks: Vec<Task>,
    /// What its socket is watched for.
    watched: EpollFlags,
    /// When it wants to go on by itself.
    wake: Option<Instant>,
}

impl Crowd {
    fn add(&mut self, task: Task) {
        let client = task.client();
        let index = *self.index.entry(client).or_insert(self.members.len());
        if index == self.members.len() {
            self.members.push(Member { client, tasks: Vec::new(), watched: EpollFlags::empty(), wake: None });
        }
        self.members[index].tasks.push(task);
    }
}

/// Watches over all sockets of a crowd, at a cost that does not grow with those that are not ready.
#[derive(Debug)]
struct Waiting {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    /// When all clients were last due.
    all_due: Instant,
}

/// Marks what is no client: the output of the target, which [`Enactor::pump`] reads.
const OUTPUT: u64 = u64::MAX;
/// Clients that are told to be ready by one call.
const READY_MAX: usize = 256;

impl Waiting {
    fn begin(launches: &BTreeMap<Instance, Running>) -> Result<Self, Error> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).attempt(|| "make an epoll".to_owned())?;
        for output in launches.values().flat_map(|running| running.output.to_poll()) {
            let added = epoll.add(output, EpollEvent::new(EpollFlags::EPOLLIN, OUTPUT));
            added.attempt(|| "watch the output of the target".to_owned())?;
        }
        Ok(Self { epoll, events: vec![EpollEvent::empty(); READY_MAX], all_due: Instant::now() })
    }

    /// Watches the client's socket for what it wants now.
    fn renew(&mut self, index: usize, member: &mut Member, enactor: &Enactor<'_>) -> Result<(), Error> {
        let Some(connection) = enactor.connections.get(&member.client) else { return Ok(()) };
        let mut wanted = EpollFlags::empty();
        member.wake = None;
        for task in &member.tasks {
            let wants = task.wants(connection, &enactor.streams);
            if wants.read && connection.ending.is_none() {
                wanted |= EpollFlags::EPOLLIN;
            }
            if wants.write {
                wanted |= EpollFlags::EPOLLOUT;
            }
            member.wake = member.wake.into_iter().chain(wants.wake).min();
        }
        // A socket that was closed has left the epoll by itself.
        let Some(socket) = &connection.socket else { return Ok(()) };
        let mut event = EpollEvent::new(wanted, index as u64);
        let done = match (member.watched.is_empty(), wanted.is_empty()) {
            _ if member.watched == wanted => return Ok(()),
            (true, _) => self.epoll.add(socket, event),
            // Not watched for nothing: an error or a hang-up would be told again and again.
            (false, true) => self.epoll.delete(socket),
            (false, false) => self.epoll.modify(socket, &mut event),
        };
        member.watched = wanted;
        done.attempt(|| format!("watch the socket of client {}", member.client.0))
    }

    /// Waits until a client's socket is ready, the target writes, or it is time to read the clock; says who is due.
    fn wait(&mut self, crowd: &Crowd) -> Result<Vec<usize>, Error> {
        let now = Instant::now();
        let wake = crowd.members.iter().filter_map(|member| member.wake).min();
        let timeout = wake.map_or(NAP, |wake| wake.saturating_duration_since(now).min(NAP));
        // Rounded up, so that a wake-up is never early and never a spin.
        let ms = u16::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        let ready = self.ready(EpollTimeout::from(ms))?;
        let now = Instant::now();
        let has_come = |member: &Member| member.wake.is_some_and(|wake| wake <= now);
        // Deadlines pass without any event.
        let all = now.duration_since(self.all_due) >= NAP;
        if all {
            self.all_due = now;
        }
        if !all && wake.is_none() {
            return Ok(each_once(crowd, ready, []));
        }
        let due = crowd.members.iter().enumerate().filter(|(_, member)| all || has_come(member));
        Ok(each_once(crowd, ready, due.map(|(index, _)| index)))
    }

    /// All clients: first those whose sockets are ready.
    fn everybody(&mut self, crowd: &Crowd) -> Result<Vec<usize>, Error> {
        let ready = self.ready(EpollTimeout::ZERO)?;
        Ok(each_once(crowd, ready, 0..crowd.members.len()))
    }

    /// Whose sockets are ready or become so in time, in the order in which they became so.
    fn ready(&mut self, timeout: EpollTimeout) -> Result<Vec<usize>, Error> {
        let ready = match self.epoll.wait(&mut self.events, timeout) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(e) => return Err(e).attempt(|| "wait for the clients".to_owned()),
        };
        Ok(self.events[..ready].iter().filter_map(|event| usize::try_from(event.data()).ok()).collect())
    }
}

/// The members of both lists, in that order, each of them once.
fn each_once(crowd: &Crowd, first: Vec<usize>, then: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    let is_new = |index: &usize| *index < crowd.members.len() && seen.insert(*index);
    first.into_iter().chain(then).filter(is_new).collect()
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
