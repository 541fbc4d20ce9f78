//! Finds whom a step means, and does to them what it says: signals and limits.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::Error;
use crate::sandbox::owner::as_owner;
use crate::scenario::{Amount, Client, Instance, Resource, Sig, Who};
use crate::sys;
use crate::trace::{FdKind, Look, Process, State, What};
use crate::world::live::enactor::Enactor;

/// How long an acceptor that is at work is waited for, before it counts as the one who serves.
const LETS_GO_WITHIN: Duration = Duration::from_millis(100);
/// How often those who came while a signal was sent to all are sent it too.
const ROUNDS_MAX: u32 = 16;

impl Enactor<'_> {
    /// The living processes that are meant, now.
    pub(super) fn resolve(&mut self, who: Who) -> Result<Vec<i32>, Error> {
        let deadline = Instant::now() + LETS_GO_WITHIN;
        loop {
            let look = self.look_around()?;
            let pids = self.meant(who, &look);
            let unsure = matches!(who, Who::Serving(_)) && pids.iter().any(|&pid| may_let_go(pid, &look));
            if !unsure || Instant::now() >= deadline {
                return Ok(pids);
            }
            thread::yield_now();
        }
    }

    fn meant(&self, who: Who, look: &Look) -> Vec<i32> {
        let acceptor = |instance| look.acceptor(instance).map(|process| process.pid);
        match who {
            Who::Launched(instance) => {
                let running = self.launches.get(&instance).filter(|_| !self.exits.contains_key(&instance));
                running.map(|running| running.pid).or_else(|| acceptor(instance)).into_iter().collect()
            }
            Who::Acceptor(instance) => acceptor(instance).into_iter().collect(),
            Who::Serving(client) => self.serving(client, look).into_iter().collect(),
            Who::Children(instance) => children(instance, look).iter().map(|process| process.pid).collect(),
            Who::Child(instance, n) => {
                let children = children(instance, look);
                (!children.is_empty())
                    .then(|| children[n as usize % children.len()].pid)
                    .into_iter()
                    .collect()
            }
            Who::Tree(instance) => {
                look.of(instance).filter(|process| !process.is_zombie()).map(|process| process.pid).collect()
            }
        }
    }

    fn serving(&self, client: Client, look: &Look) -> Option<i32> {
        let local = self.connections.get(&client)?.local?;
        youngest(&look.holders(local)).map(|(pid, _)| pid)
    }

    /// Sends a signal.
    pub(super) fn signal(&mut self, who: Who, sig: Sig) -> Result<(), Error> {
        let signal = self.number(sig);
        let mut pids = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let mut more = self.resolve(who)?;
            more.retain(|pid| !pids.contains(pid));
            // A process may end before the signal comes: it is not among those that got it.
            more.retain(|&pid| kill(Pid::from_raw(pid), signal).is_ok());
            let newcomers = !more.is_empty();
            pids.append(&mut more);
            // A process that was not stopped or killed yet may have forked meanwhile.
            if !newcomers || !matches!((who, sig), (Who::Tree(_), Sig::Stop | Sig::Kill)) {
                break;
            }
        }
        self.tell(What::Signalled { who, sig, pids });
        Ok(())
    }

    fn number(&self, sig: Sig) -> Signal {
        match sig {
            Sig::Kill => Signal::SIGKILL,
            Sig::Term => Signal::SIGTERM,
            Sig::Int => Signal::SIGINT,
            Sig::Quit => Signal::SIGQUIT,
            Sig::Hup => Signal::SIGHUP,
            Sig::Stop => Signal::SIGSTOP,
            Sig::Cont => Signal::SIGCONT,
            Sig::Chld => Signal::SIGCHLD,
            Sig::Segv => Signal::SIGSEGV,
            Sig::Abrt => Signal::SIGABRT,
            Sig::Pipe => Signal::SIGPIPE,
            Sig::Usr1 => Signal::SIGUSR1,
            Sig::Usr2 => Signal::SIGUSR2,
            Sig::Winch => Signal::SIGWINCH,
            Sig::Urg => Signal::SIGURG,
            Sig::Stopping if self.target.stop == Sig::Stopping => Signal::SIGTERM,
            Sig::Stopping => self.number(self.target.stop),
        }
    }

    /// Sets a limit.
    pub(super) fn limit(&mut self, who: Who, resource: Resource, amount: Amount) -> Result<(), Error> {
        if resource == Resource::Processes {
            let done = self.sandbox.limit_processes(amount)?;
            let value = if let Amount::Exactly(n) = amount { n } else { 0 };
            self.tell(What::Limited { who, resource, value, done });
            return Ok(());
        }
        let look = self.look_around()?;
        let pids = self.meant(who, &look);
        let mut value = 0;
        let mut done = !pids.is_empty();
        for (pid, dir) in self.processes()?.into_iter().filter(|(pid, _)| pids.contains(pid)) {
            let Some(process) = look.process(pid) else { continue };
            let set = as_owner(&dir, || {
                let soft = self.soft_limit(process, resource, amount)?;
                sys::limits::set_soft(pid, resource, soft)?;
                Ok(soft)
            });
            match set {
                Ok(soft) => value = soft,
                Err(_) => done = false,
            }
        }
        self.tell(What::Limited { who, resource, value, done });
        Ok(())
    }

    /// The soft limit that `amount` means for this process.
    fn soft_limit(&mut self, process: &Process, resource: Resource, amount: Amount) -> io::Result<u64> {
        if resource == Resource::Descriptors && !self.descriptors.contains_key(&process.pid) {
            self.descriptors.insert(process.pid, sys::limits::soft(process.pid, resource)?);
        }
        let soft = match amount {
            Amount::Exactly(n) => Some(n),
            Amount::InUse if resource == Resource::Descriptors => {
                let used = |n: &u32| process.fds.iter().any(|fd| fd.number == *n);
                (0..).find(|n| !used(n)).map(u64::from)
            }
            Amount::Original if resource == Resource::Descriptors => {
                self.descriptors.get(&process.pid).copied()
            }
            Amount::InUse | Amount::Original => None,
        };
        soft.ok_or_else(|| io::ErrorKind::Unsupported.into())
    }
}

/// Whether this is an acceptor that is at work: it may be a parent that has just forked, and holds the connection, too,
/// until it comes to closing it, while its child has ended already.
fn may_let_go(pid: i32, look: &Look) -> bool {
    let accepts = |process: &Process| look.acceptor(process.instance).is_some_and(|it| it.pid == pid);
    look.process(pid).is_some_and(|process| process.state == 'R' && accepts(process))
}

/// Living children of the acceptor, the eldest first.
fn children(instance: Instance, look: &Look) -> Vec<&Process> {
    let Some(acceptor) = look.acceptor(instance) else { return Vec::new() };
    let mut children: Vec<_> =
        look.of(instance).filter(|process| process.ppid == acceptor.pid && !process.is_zombie()).collect();
    children.sort_by_key(|process| (process.started, process.pid));
    children
}

/// The youngest process that holds each connection, by the address of the client: for a crowd it is far quicker to go
/// through the look once than to ask it for each client's [`Look::holders`].
pub(super) fn servers(look: &Look) -> HashMap<SocketAddr, (i32, u64)> {
    let mut holders: HashMap<u64, (i32, u64)> = HashMap::new();
    for process in &look.processes {
        for fd in &process.fds {
            if let FdKind::Socket(inode) = fd.kind {
                let found = (process.pid, process.started);
                let youngest = holders.entry(inode).or_insert(found);
                if (found.1, found.0) > (youngest.1, youngest.0) {
                    *youngest = found;
                }
            }
        }
    }
    let mut servers = HashMap::new();
    for socket in look.sockets.iter().filter(|socket| socket.state != State::Listen) {
        servers.entry(canonical(socket.remote)).or_insert(holders.get(&socket.inode).copied());
    }
    servers.into_iter().filter_map(|(client, server)| Some((client, server?))).collect()
}

/// The address, with an IPv4-mapped IPv6 one taken for what it maps.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The youngest of some processes: pid and start time.
fn youngest(processes: &[&Process]) -> Option<(i32, u64)> {
    processes
        .iter()
        .map(|process| (process.pid, process.started))
        .max_by_key(|(pid, started)| (*started, *pid))
}
