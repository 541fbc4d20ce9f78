//! Traces made by hand, for the unit tests of checks.

use std::net::{Ipv4Addr, SocketAddr};

use crate::limits::Limits;
use crate::profile::{Model, Profile};
use crate::scenario::{Act, Client, Condition, Instance, Payload, Sig, Who};
use crate::trace::{
    Acted, Circumstances, Ending, Event, Exit, Fate, Fd, FdKind, Isolation, Kept, Look, Output, Process,
    Socket, Span, State, Trace, What, Window,
};

/// The port that the target was asked to listen on.
pub(crate) const PORT: u16 = 7007;
/// Pid of the server in [`serving`].
pub(crate) const SERVER: i32 = 2;
/// Inode of its listening socket.
pub(crate) const LISTENER: u64 = 100;

/// A trace under construction: each event comes 1 ms and one step after the one before.
#[derive(Debug)]
pub(crate) struct Build(Trace);

impl Build {
    /// A forking server was launched, and listens.
    pub(crate) fn served() -> Self {
        Self::empty().event(What::Launched { instance: Instance(0), pid: SERVER }).awaited(
            Condition::Listening(Instance(0)),
            true,
            serving(),
        )
    }

    /// Nothing has happened yet.
    pub(crate) fn empty() -> Self {
        let target = here(PORT);
        Self(Trace {
            circumstances: Circumstances {
                kernel: "6.18.0".into(),
                isolation: Isolation::Full,
                target,
                asked_port: PORT,
                somaxconn: 4096,
                uid: 1000,
                profile: Some(profile()),
                limits: Limits::default(),
            },
            events: Vec::new(),
            output: vec![Output::default()],
        })
    }

    /// Changes the profile.
    pub(crate) fn profile(mut self, change: impl FnOnce(&mut Profile)) -> Self {
        self.0.circumstances.profile.as_mut().map(change);
        self
    }

    /// What the first launch wrote to stderr.
    pub(crate) fn stderr(mut self, text: &str) -> Self {
        let total = u64::try_from(text.len()).unwrap_or(0);
        self.0.output[0].stderr = Kept { head: text.into(), tail: Vec::new(), total };
        self
    }

    /// One more event.
    pub(crate) fn event(mut self, what: What) -> Self {
        let step = self.0.events.len();
        self.0.events.push(Event { at_us: 1000 * u64::try_from(step).unwrap_or(0), step, what });
        self
    }

    /// A wait ended.
    pub(crate) fn awaited(self, condition: Condition, met: bool, look: Look) -> Self {
        self.event(What::Awaited { condition, met, took_us: 1000, look })
    }

    /// A look that is no mark.
    pub(crate) fn looked(self, look: Look) -> Self {
        self.event(What::Looked { mark: false, quiet: None, look })
    }

    /// A mark.
    pub(crate) fn marked(self, look: Look) -> Self {
        self.event(What::Looked { mark: true, quiet: None, look })
    }

    /// The launched process ended.
    pub(crate) fn exited(self, instance: u32, exit: Exit) -> Self {
        self.event(What::Exited { instance: Instance(instance), exit })
    }

    /// A signal was sent.
    pub(crate) fn signalled(self, who: Who, sig: Sig, pids: &[i32]) -> Self {
        self.event(What::Signalled { who, sig, pids: pids.to_vec() })
    }

    /// One window of a watch: 100 ms, of which so many microseconds were used.
    pub(crate) fn window(self, cpu_us: u64) -> Self {
        self.event(What::Watched(Window { wall_us: 100_000, cpu_us, delay_us: 0, switches: 1 }))
    }

    /// A client did what it was to do, and got nothing back that was not its own.
    pub(crate) fn done(self, client: u32, act: Act) -> Self {
        self.event(What::Acted(acted(client, act)))
    }

    /// A client's act ended otherwise.
    pub(crate) fn acted(self, client: u32, act: Act, change: impl FnOnce(&mut Acted)) -> Self {
        let mut it = acted(client, act);
        change(&mut it);
        self.event(What::Acted(it))
    }

    /// A client came, got back what it sent, and left.
    pub(crate) fn visited(self, client: u32) -> Self {
        self.done(client, Act::Visit(Payload::of(9)))
    }

    /// The trace.
    pub(crate) fn trace(self) -> Trace {
        self.0
    }
}

/// An act that went as it was meant to, with all bytes back where bytes are sent and read.
fn acted(client: u32, act: Act) -> Acted {
    let (sent, received) = match act {
        Act::Send(payload) => (payload.len, 0),
        Act::Exchange(payload) | Act::PingPong(payload) | Act::Visit(payload) => (payload.len, payload.len),
        _ => (0, 0),
    };
    Acted {
        client: Client(client),
        act,
        fate: Fate::Done,
        local: Some(client_address(client)),
        sent,
        received,
        spans: if received > 0 { vec![Span::Own { offset: 0, len: received }] } else { Vec::new() },
        ending: matches!(act, Act::Visit(_) | Act::ReadToEnd).then_some(Ending::Eof),
        took_us: 500,
        longest_us: 100,
    }
}

/// The client's own address.
pub(crate) fn client_address(client: u32) -> SocketAddr {
    here(40_000 + u16::try_from(client).unwrap_or(0))
}

/// 127.0.0.1 with this port.
pub(crate) fn here(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// What the baseline tells of a plain server that forks for each connection.
pub(crate) fn profile() -> Profile {
    Profile { announces: true, ..Profile::typical(Model::ForkPerConnection) }
}

/// A look at a server that listens and serves nobody.
pub(crate) fn serving() -> Look {
    Look {
        processes: vec![process(SERVER, 1, &[LISTENER])],
        sockets: vec![listening(PORT, LISTENER)],
        ..Look::default()
    }
}

/// A process of the first launch that has ended, and that its parent has not waited for.
pub(crate) fn zombie(pid: i32, ppid: i32) -> Process {
    Process { state: 'Z', fds: Vec::new(), ..process(pid, ppid, &[]) }
}

/// A process of the first launch that holds these sockets.
pub(crate) fn process(pid: i32, ppid: i32, inodes: &[u64]) -> Process {
    let fds = (3..).zip(inodes).map(|(number, &inode)| Fd {
        number,
        kind: FdKind::Socket(inode),
        cloexec: Some(true),
    });
    Process {
        pid,
        ppid,
        instance: Instance(0),
        started: u64::from(pid.unsigned_abs()),
        state: 'S',
        ended: None,
        comm: "srv".into(),
        exe: "/bin/srv".into(),
        threads: 1,
        cpu_ns: 0,
        delay_ns: 0,
        vm_kib: 9000,
        rss_kib: 1000,
        uid: 1000,
        ignored: 0,
        caught: 0,
        blocked: 0,
        fds: fds.collect(),
        fds_readable: true,
    }
}

/// A socket in LISTEN on 127.0.0.1.
pub(crate) fn listening(port: u16, inode: u64) -> Socket {
    socket(State::Listen, here(port), here(0), inode)
}

/// The server's end of a client's connection.
pub(crate) fn connection(state: State, client: u32, inode: u64) -> Socket {
    socket(state, here(PORT), client_address(client), inode)
}

fn socket(state: State, local: SocketAddr, remote: SocketAddr, inode: u64) -> Socket {
    Socket { state, local, remote, inode, receive_queue: 0, send_queue: 0, keepalive: false }
}
