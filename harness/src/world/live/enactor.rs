//! The enactor: pid 1 of the sandbox, which launches the target, is all its clients, and writes down what it sees.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use rustix::process::WaitOptions;
use socket2::{Domain, Socket, Type};

use crate::client::connection::CHUNK;
use crate::client::{Connection, Stream};
use crate::command::TargetCommand;
use crate::error::Error;
use crate::limits::Limits;
use crate::observe::{Observer, Usage};
use crate::sandbox::Sandbox;
use crate::scenario::{Act, Client, Condition, Endpoint, Instance, Scenario, Setting, Stdio, Step, To};
use crate::target::{Fill, Launch, Running, launch};
use crate::trace::{self, Circumstances, Event, Exit, Isolation, Look, Output, State, Trace, What};
use crate::world::live::clock::Clock;
use crate::world::live::whom::{canonical, servers};

/// What the backlog is where nobody says.
const BACKLOG: u32 = 128;

/// One enactment under way.
#[derive(Debug)]
pub(super) struct Enactor<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) target: &'a TargetCommand,
    /// The bounds as they are now: see [`Limits::misses_max`].
    pub(super) limits: Limits,
    pub(super) bounds: &'a Limits,
    /// Steps in which a deadline passed, and the last of them.
    misses: (u32, Option<usize>),
    /// What was waited for in vain.
    pub(super) unmet: Vec<Condition>,
    pub(super) observer: Observer,
    pub(super) clock: Clock,
    /// Where clients connect to.
    pub(super) address: SocketAddr,
    pub(super) launches: BTreeMap<Instance, Running>,
    pub(super) exits: BTreeMap<Instance, Exit>,
    pub(super) connections: BTreeMap<Client, Connection>,
    pub(super) streams: BTreeMap<Client, Stream>,
    /// Process that was last seen to hold each client's connection: pid and start time.
    pub(super) servers: BTreeMap<Client, (i32, u64)>,
    /// Soft RLIMIT_NOFILE of processes whose limit was lowered.
    pub(super) descriptors: BTreeMap<i32, u64>,
    /// What [`Condition::Back`] refers to.
    pub(super) mark: Option<Look>,
    pub(super) buffer: Vec<u8>,
    pub(super) occupied: Vec<(Endpoint, Socket)>,
    /// Launches whose output nobody shall read once they listen.
    to_break: BTreeSet<Instance>,
    /// Instances that were given what is no port of ours: wherever they listen, that is it.
    pub(super) misdirected: BTreeSet<Instance>,
    outputs: BTreeMap<Instance, Output>,
    pub(super) step: usize,
    somaxconn: u32,
    asked_port: u16,
    pub(super) events: Vec<Event>,
}

impl<'a> Enactor<'a> {
    /// Enacts the scenario.
    pub(super) fn enact(
        sandbox: &'a Sandbox,
        target: &'a TargetCommand,
        scenario: &Scenario,
        limits: &'a Limits,
    ) -> Result<Trace, Error> {
        let mut enactor = Self::at_work(sandbox, target, limits)?;
        enactor.take_all(scenario)?;
        Ok(enactor.trace())
    }

    /// Ready for the first step.
    pub(super) fn at_work(
        sandbox: &'a Sandbox,
        target: &'a TargetCommand,
        limits: &'a Limits,
    ) -> Result<Self, Error> {
        let port = target.fixed_port.unwrap_or_else(|| sandbox.port());
        Ok(Self {
            sandbox,
            target,
            limits: limits.clone(),
            bounds: limits,
            misses: (0, None),
            unmet: Vec::new(),
            observer: Observer::open()?,
            clock: Clock::start(),
            address: SocketAddr::new(target.addr, port),
            launches: BTreeMap::new(),
            exits: BTreeMap::new(),
            connections: BTreeMap::new(),
            streams: BTreeMap::new(),
            servers: BTreeMap::new(),
            descriptors: BTreeMap::new(),
            mark: None,
            buffer: vec![0; CHUNK],
            occupied: Vec::new(),
            to_break: BTreeSet::new(),
            misdirected: BTreeSet::new(),
            outputs: BTreeMap::new(),
            step: 0,
            somaxconn: sandbox.somaxconn()?,
            asked_port: port,
            events: Vec::new(),
        })
    }

    pub(super) fn take_all(&mut self, scenario: &Scenario) -> Result<(), Error> {
        for (index, step) in scenario.steps.iter().enumerate() {
            self.step = index;
            self.take(step)?;
        }
        let looked =
            !matches!(scenario.steps.last(), Some(Step::Do(..) | Step::Together(_) | Step::Signal(..)));
        if looked { self.pump().map(drop) } else { self.see_ends() }
    }

    fn take(&mut self, step: &Step) -> Result<(), Error> {
        match step {
            Step::Launch(instance, setting) => self.launch(*instance, setting),
            Step::Do(..) => self.drive(std::slice::from_ref(step)),
            Step::Together(steps) => self.drive(steps),
            Step::Signal(who, sig) => self.signal(*who, *sig),
            Step::Limit(who, resource, amount) => self.limit(*who, *resource, *amount),
            Step::Occupy(endpoint) => {
                self.occupy(*endpoint);
                Ok(())
            }
            Step::Vacate(endpoint) => {
                self.occupied.retain(|(occupied, _)| occupied != endpoint);
                Ok(())
            }
            Step::Await(condition) => self.wait_for(*condition),
            Step::Quiet => self.wait_for_quiet(),
            Step::Look | Step::Mark => {
                self.pump()?;
                let look = self.look_thoroughly()?;
                let mark = *step == Step::Mark;
                if mark {
                    self.mark = Some(look.clone());
                }
                self.tell(What::Looked { mark, quiet: None, look });
                Ok(())
            }
            Step::Watch(ms, windows) => self.watch(*ms, *windows),
            Step::Pause(ms) => self.pause(*ms),
        }
    }

    fn launch(&mut self, instance: Instance, setting: &Setting) -> Result<(), Error> {
        self.see_listeners_let_go()?;
        if let Some(n) = setting.somaxconn
            && self.sandbox.set_sysctl("net.core.somaxconn", &n.to_string())?
        {
            self.somaxconn = n;
        }
        if let Some(n) = setting.buffers {
            for name in ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"] {
                self.sandbox.set_sysctl(name, &format!("4096 {n} {n}"))?;
            }
        }
        let fill = Fill {
            port: self.address.port(),
            dir: self.sandbox.fresh_dir()?,
            instance,
            descriptors: None,
            output_kept: self.limits.output_kept,
        };
        let backlog = setting.backlog.or(self.target.backlog).unwrap_or(BACKLOG);
        let command = TargetCommand { backlog: Some(backlog), ..self.target.clone() };
        match launch(&command, setting, &fill)? {
            Launch::Running(running) => {
                self.observer.launched(instance, running.pid);
                self.tell(What::Launched { instance, pid: running.pid });
                self.launches.insert(instance, running);
                if setting.port.is_some() {
                    self.misdirected.insert(instance);
                }
                if setting.stdio == Stdio::BrokenPipe {
                    self.to_break.insert(instance);
                }
            }
            Launch::Failed(error) => self.tell(What::NotLaunched { instance, error }),
        }
        Ok(())
    }

    fn occupy(&mut self, endpoint: Endpoint) {
        let port = self.address.port();
        let attempt = || -> std::io::Result<Socket> {
            let address: SocketAddr = match endpoint {
                Endpoint::Tcp6 => (Ipv6Addr::UNSPECIFIED, port).into(),
                Endpoint::Tcp4 | Endpoint::Udp | Endpoint::Unix => (Ipv4Addr::UNSPECIFIED, port).into(),
            };
            let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), None)?;
            if address.is_ipv6() {
                // The port may be taken for IPv4 too, by another socket.
                socket.set_only_v6(true)?;
            }
            socket.bind(&address.into())?;
            socket.listen(16)?;
            Ok(socket)
        };
        let socket = attempt().ok();
        self.tell(What::Occupied { endpoint, done: socket.is_some() });
        self.occupied.extend(socket.map(|socket| (endpoint, socket)));
    }

    /// Does what must not wait: keeps what the target writes, reaps what has ended, lets own time pass. Returns the look
    /// that an announcement made it take, if it did.
    pub(super) fn pump(&mut self) -> Result<Option<Look>, Error> {
        let mut seen = None;
        let announced: Vec<_> = self
            .launches
            .iter_mut()
            .filter_map(|(instance, running)| Some((*instance, running.output.drain().announced?)))
            .collect();
        for (instance, line) in announced {
            let listening = seen.insert(self.look()?).listening(instance).next().is_some();
            self.tell(What::Announced { instance, line, listening });
        }
        self.reap();
        if self.clock.is_due() {
            self.glance()?;
            let delay = self.observer.usage().delay_ns + Usage::own()?.delay_ns;
            self.clock.end_slice(delay);
        }
        Ok(seen)
    }

    /// Waits for all children that have ended: the launched processes, whose end is told, and orphans of the target.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let exit = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => continue,
            };
            let ended = self.launches.iter().find(|(_, running)| running.pid == pid.as_raw_nonzero().get());
            if let Some((&instance, _)) = ended
                && !self.exits.contains_key(&instance)
            {
                self.exits.insert(instance, exit);
                self.tell(What::Exited { instance, exit });
            }
        }
    }

    pub(super) fn tell(&mut self, what: What) {
        let (misses, last) = self.misses;
        if what.is_missed() && last != Some(self.step) {
            self.misses = (misses + 1, Some(self.step));
            if misses + 1 == self.bounds.misses_max {
                self.limits = self.bounds.hasty();
            }
        }
        self.events.push(Event { at_us: self.clock.wall_us(), step: self.step, what });
    }

    pub(super) fn processes(&self) -> Result<Vec<(i32, PathBuf)>, Error> {
        self.sandbox.processes()
    }

    /// Looks at everything but close-on-exec flags, and remembers who serves whom.
    pub(super) fn look(&mut self) -> Result<Look, Error> {
        self.see(Observer::look)
    }

    /// Looks at everything that tells who is meant, and remembers who serves whom.
    pub(super) fn look_around(&mut self) -> Result<Look, Error> {
        self.see(Observer::look_around)
    }

    /// Looks at everything.
    fn look_thoroughly(&mut self) -> Result<Look, Error> {
        self.see(Observer::look_thoroughly)
    }

    /// Takes a look; another one if it shows a listener that nobody holds: a process that was made since they were listed
    /// may have it, as when a daemon is born.
    fn see(
        &mut self,
        take: impl Fn(&mut Observer, &[(i32, PathBuf)]) -> Result<Look, Error>,
    ) -> Result<Look, Error> {
        let mut look = take(&mut self.observer, &self.sandbox.processes()?)?;
        for _ in 0..2 {
            if self.unheld(&look) <= self.occupied.len() {
                break;
            }
            look = take(&mut self.observer, &self.sandbox.processes()?)?;
        }
        Ok(self.remember(look))
    }

    /// Sockets in LISTEN that no process of the target holds. On a shared network those of others are left out.
    fn unheld(&self, look: &Look) -> usize {
        let shared = self.sandbox.isolation() == Isolation::Loopback;
        let listens = |socket: &&trace::Socket| {
            socket.state == State::Listen && (!shared || socket.local.port() == self.address.port())
        };
        let held = |socket: &&trace::Socket| look.processes.iter().any(|process| process.holds(socket.inode));
        look.sockets.iter().filter(listens).filter(|socket| !held(socket)).count()
    }

    /// Remembers who serves whom.
    fn remember(&mut self, look: Look) -> Look {
        if self.connections.is_empty() {
            return look;
        }
        let servers = servers(&look);
        for (client, connection) in &self.connections {
            let server = connection.local.and_then(|local| servers.get(&canonical(local)));
            self.servers.extend(server.map(|&server| (*client, server)));
        }
        look
    }

    /// Looks at the processes alone.
    pub(super) fn glance(&mut self) -> Result<Look, Error> {
        let processes = self.processes()?;
        self.observer.glance(&processes)
    }

    /// Settles where clients connect to, now that the instance listens.
    pub(super) fn settle_address(&mut self, look: &Look, instance: Instance) {
        let port = self.address.port();
        let rows: Vec<SocketAddr> = look.listening(instance).map(|socket| socket.local).collect();
        let preferred = |row: &&SocketAddr| (row.port() != port, row.is_ipv6() != self.target.addr.is_ipv6());
        if let Some(row) = rows.iter().min_by_key(preferred) {
            let ip = match row.ip().to_canonical() {
                IpAddr::V4(ip) if ip.is_unspecified() && self.target.addr.is_ipv4() => self.target.addr,
                IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                ip => ip,
            };
            self.address = SocketAddr::new(ip, row.port());
        }
        let Some(running) = self.launches.get_mut(&instance) else { return };
        running.release_foreign();
        if self.to_break.contains(&instance)
            && let Some(line) = running.output.break_pipes().announced
        {
            self.tell(What::Announced { instance, line, listening: true });
        }
    }

    /// Whether the instance holds a socket in LISTEN on the port it was given.
    pub(super) fn listens_as_told(&self, look: &Look, instance: Instance) -> bool {
        look.listening(instance)
            .any(|socket| socket.state == State::Listen && socket.local.port() == self.address.port())
    }

    /// Where an act of connecting goes.
    pub(super) fn destination(&self, act: Act) -> SocketAddr {
        match act {
            Act::Connect(To::OtherLoopback) | Act::Dial(To::OtherLoopback) => {
                (Ipv4Addr::new(127, 0, 0, 2), self.address.port()).into()
            }
            Act::Connect(To::Ipv6Loopback) | Act::Dial(To::Ipv6Loopback) => {
                (Ipv6Addr::LOCALHOST, self.address.port()).into()
            }
            _ => self.address,
        }
    }

    /// What was seen so far.
    pub(super) fn trace(&mut self) -> Trace {
        let kept: Vec<_> =
            self.launches.iter().map(|(instance, running)| (*instance, running.output.kept())).collect();
        self.outputs.extend(kept);
        Trace {
            circumstances: Circumstances {
                kernel: nix::sys::utsname::uname()
                    .map(|uname| uname.release().to_string_lossy().into_owned())
                    .unwrap_or_default(),
                isolation: self.sandbox.isolation(),
                target: self.address,
                asked_port: self.asked_port,
                somaxconn: self.somaxconn,
                uid: nix::unistd::geteuid().as_raw(),
                profile: None,
                limits: self.bounds.clone(),
            },
            events: std::mem::take(&mut self.events),
            output: std::mem::take(&mut self.outputs).into_values().collect(),
        }
    }
}
