//! What is done to a server, as plain data: generated, shrunk, saved and replayed.
//!
//! A scenario is a list of steps. Each step is finished, or has met its deadline, before the next one begins;
//! `Together` lets several begin at once. All addresses, ports and pids are filled in when it is enacted.

use serde::{Deserialize, Serialize};

pub mod generate;
pub mod lives;
pub mod model;
pub mod payload;
pub mod setting;
mod fold;
mod words;

pub use lives::{Ranges, any};
pub use payload::{Class, Cut, Payload};
pub use setting::{Cwd, Disposition, Resource, Setting, Stdio};

/// The n-th launch of the target in this scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Instance(pub u32);

/// A socket that the harness holds, and all its connections one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Client(pub u32);

/// A list of steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// In order.
    pub steps: Vec<Step>,
}

/// One stimulus, wait or look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Starts the target; it does not wait for anything. See [`Condition::Listening`].
    Launch(Instance, Setting),
    /// Lets a client act, to the end of the act or its deadline.
    Do(Client, Act),
    /// Sends a signal.
    Signal(Who, Sig),
    /// Sets a limit of running processes.
    Limit(Who, Resource, Amount),
    /// Takes the target's port before it can: the harness binds and listens there.
    Occupy(Endpoint),
    /// Gives an occupied port back.
    Vacate(Endpoint),
    /// Starts all of these at once. Only `Do`, `Signal` and `Limit` may stand here.
    Together(Vec<Step>),
    /// Waits until the condition holds, then looks at everything.
    Await(Condition),
    /// Waits until nothing moves any more (see DESIGN.md, "Quiet"), then looks at everything.
    Quiet,
    /// Looks at everything, now.
    Look,
    /// Looks at everything, and makes this the state to which [`Condition::Back`] refers.
    Mark,
    /// Measures the target's use of the CPU in consecutive windows of this many milliseconds.
    Watch(u32, Windows),
    /// Lets so many milliseconds of the target's own time pass, then looks at everything.
    Pause(u32),
}

/// How many windows a watch has.
pub type Windows = u32;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Connects, and waits until the connection is established. A client that was connected starts afresh.
    Connect(To),
    /// Sends a SYN and does not wait: with a full accept queue the client stays in SYN_SENT.
    Dial(To),
    /// Waits until a dialled connection is established.
    Join,
    /// Sets SO_RCVBUF (bytes) of the next connection.
    ReceiveBuffer(u32),
    /// Sets SO_SNDBUF (bytes) of the next connection.
    SendBuffer(u32),
    /// Sends the payload and reads nothing, until all is sent or the connection stalls.
    Send(Payload),
    /// Sends the payload and reads what comes back at the same time, until all of it is back.
    Exchange(Payload),
    /// Sends the payload cut by cut, each when the cut before it is back.
    PingPong(Payload),
    /// Sends one urgent byte (MSG_OOB); it is no part of the payload.
    Urgent(u8),
    /// Sends without reading until the server has taken nothing for a while (back-pressure), `max` bytes are sent, or
    /// the server has gone on taking some for as long as [`Limits::drain_within`](crate::limits::Limits::drain_within).
    Stall {
        /// Bytes.
        max: u64,
    },
    /// Reads until all that was sent is back.
    Read,
    /// Reads so many bytes at a time, so many milliseconds apart, until all that was sent is back.
    ReadSlowly {
        /// Bytes at a time.
        bytes: u32,
        /// Milliseconds between reads.
        pause_ms: u32,
        /// Reads, at most; the rest is read at full speed.
        times: u32,
    },
    /// Reads to the end of the stream.
    ReadToEnd,
    /// Stays connected for so many milliseconds and watches for anything that arrives.
    Linger(u32),
    /// Closes the sending half (SHUT_WR).
    HalfClose,
    /// Closes; with unread input the kernel sends a reset.
    Close,
    /// Resets (SO_LINGER 0 and close).
    Reset,
    /// One complete visit: connect, exchange, half-close, read to the end, close.
    Visit(Payload),
}

/// Which address a client connects to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum To {
    /// The address that the target was asked to listen on.
    #[default]
    Target,
    /// Another local IPv4 address, 127.0.0.2, same port.
    OtherLoopback,
    /// ::1, same port.
    Ipv6Loopback,
}

/// Whom a signal or a limit is for. Resolved when the step is enacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The process that was launched; when it has ended (a wrapper, a daemon), the acceptor.
    Launched(Instance),
    /// The topmost process that holds the listening socket.
    Acceptor(Instance),
    /// The process that holds the client's connection; the youngest, where several do.
    Serving(Client),
    /// All living children of the acceptor.
    Children(Instance),
    /// The child of the acceptor that was born n-th, modulo their number.
    Child(Instance, u32),
    /// Every process of the target.
    Tree(Instance),
}

/// A signal that a scenario may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names of signal(7)")]
pub enum Sig {
    Kill,
    Term,
    Int,
    Quit,
    Hup,
    Stop,
    Cont,
    Chld,
    Segv,
    Abrt,
    Pipe,
    Usr1,
    Usr2,
    Winch,
    Urg,
    /// The signal by which the user says this server is stopped (`--stop-signal`, SIGTERM by default).
    Stopping,
}

/// A value for a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    /// This much.
    Exactly(u64),
    /// What is in use now: nothing more can be had. For descriptors the lowest free number, for processes none.
    InUse,
    /// As it was at launch.
    Original,
}

/// Something that can be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP.
    Udp,
    /// A UNIX stream socket.
    Unix,
}

/// Something to wait for. Each has its deadline from `Limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// A process of the instance holds a TCP socket in LISTEN (`ready_within`); over at once when the instance is gone.
    Listening(Instance),
    /// The launched process has ended (`stop_within`).
    Exited(Instance),
    /// Every process of the instance has ended (`stop_within`).
    Gone(Instance),
    /// Nothing listens on the port any more (`stop_within`).
    PortFree,
    /// No process of the target is a zombie (`settle_within`).
    NoZombie,
    /// At least so many zombies exist (`settle_within`): for scenarios that need deaths unnoticed by a stopped parent.
    Zombies(u32),
    /// Processes (zombies count), descriptors of the acceptor, and server-side sockets are no more than at the last
    /// `Mark` (`settle_within`).
    Back(Facet),
    /// The accept queue holds at least so many connections (`connect_within`).
    QueueAtLeast(u32),
    /// The accept queue is empty (`settle_within` without getting shorter).
    QueueEmpty,
    /// The process that was last seen to serve the client has gone, and has been reaped (`settle_within`).
    ServerOfGone(Client),
    /// The client's connection has been accepted: a process holds its other end (`settle_within`).
    Accepted(Client),
    /// Each of these processes is stopped, state T (`settle_within`).
    Stopped(Who),
    /// A line of output announces readiness (`ready_within`).
    Announced(Instance),
    /// No process of the target runs, and nothing is in its queues but what is left there (`settle_within`).
    Still,
}

impl Condition {
    /// Whether something must go that was left behind: it was there for so long already when the wait ends in vain.
    #[must_use]
    pub(crate) fn lingers(self) -> bool {
        matches!(self, Self::NoZombie | Self::Back(_) | Self::ServerOfGone(_))
    }
}

/// What must be back where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Facet {
    /// Number of processes of the target, zombies counted.
    Processes,
    /// Number of descriptors that the acceptor holds.
    Descriptors,
    /// Number of connected sockets with the target's port as the local one, TIME_WAIT not counted.
    Connections,
}

impl Scenario {
    /// The target launched as usual and listening, then these steps.
    #[must_use]
    pub fn served(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::launched(Setting::default(), steps)
    }

    /// The target launched in this setting and listening, then these steps.
    #[must_use]
    pub fn launched(setting: Setting, steps: impl IntoIterator<Item = Step>) -> Self {
        let first = Instance(0);
        let mut all = vec![Step::Launch(first, setting), Step::Await(Condition::Listening(first))];
        all.extend(steps);
        Self { steps: all }
    }

    /// What is done, in words, one line a step: waits and looks are left out, and the first launch if it is as usual
    /// and anything else is done.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let done = |wanted: fn(&Step) -> bool| -> Vec<String> {
            self.steps.iter().filter(|step| wanted(step)).map(ToString::to_string).collect()
        };
        let words = done(Step::is_stimulus);
        if words.is_empty() { done(|step| matches!(step, Step::Launch(..))) } else { fold::folded(&words) }
    }

    /// The clients that take part, each once, in order of their numbers.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        fn collect(steps: &[Step], clients: &mut Vec<Client>) {
            for step in steps {
                match step {
                    Step::Do(client, _) => clients.push(*client),
                    Step::Together(steps) => collect(steps, clients),
                    _ => {}
                }
            }
        }
        let mut clients = Vec::new();
        collect(&self.steps, &mut clients);
        clients.sort_unstable();
        clients.dedup();
        clients
    }

    /// Every step, those inside `Together` too, with the index of the top-level step that it belongs to.
    pub fn flat(&self) -> impl Iterator<Item = (usize, &Step)> {
        self.steps.iter().enumerate().flat_map(|(index, step)| {
            let inner: &[Step] =
                if let Step::Together(inner) = step { inner } else { std::slice::from_ref(step) };
            inner.iter().map(move |step| (index, step))
        })
    }
}

impl Step {
    /// Milliseconds that it takes because it says so.
    #[must_use]
    pub fn takes_ms(&self) -> u64 {
        match self {
            Self::Watch(ms, windows) => u64::from(*ms) * u64::from(*windows),
            Self::Pause(ms) => u64::from(*ms),
            _ => 0,
        }
    }

    /// Whether the step does something to the target, rather than to wait or look.
    #[must_use]
    pub fn is_stimulus(&self) -> bool {
        match self {
            Self::Launch(_, setting) => {
                *self != Self::Launch(Instance(0), Setting::default()) || !setting.is_usual()
            }
            Self::Await(_) | Self::Quiet | Self::Look | Self::Mark => false,
            Self::Do(_, _)
            | Self::Signal(_, _)
            | Self::Limit(_, _, _)
            | Self::Occupy(_)
            | Self::Vacate(_)
            | Self::Together(_)
            | Self::Watch(_, _)
            | Self::Pause(_) => true,
        }
    }
}

/// `Step::Do`, shorter.
#[must_use]
pub fn act(client: u32, act: Act) -> Step {
    Step::Do(Client(client), act)
}
