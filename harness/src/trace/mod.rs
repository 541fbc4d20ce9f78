//! What was seen while a scenario was enacted, as plain data: it can be saved, and judged again on any machine.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::profile::Profile;
use crate::scenario::{Act, Client, Condition, Endpoint, Facet, Instance, Resource, Sig, Who};

#[cfg(test)]
pub(crate) mod build;
pub mod aftermath;
pub mod look;
pub mod query;
pub mod service;
#[cfg(test)]
mod tests;
mod window;

pub use look::{Counters, Fd, FdKind, Look, Process, Socket, State};
pub use window::Window;

/// Everything seen in one enactment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Under what circumstances.
    pub circumstances: Circumstances,
    /// In order of time.
    pub events: Vec<Event>,
    /// What each launch wrote, in order of launches.
    pub output: Vec<Output>,
}

/// What else a check may need to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Circumstances {
    /// Release of the kernel.
    pub kernel: String,
    /// How well the target is isolated.
    pub isolation: Isolation,
    /// Address where clients connect to: the one that the target was asked to listen on, if it does.
    pub target: SocketAddr,
    /// The port that the target was asked to listen on.
    pub asked_port: u16,
    /// `net.core.somaxconn` in force at the first launch.
    pub somaxconn: u32,
    /// User id that the target was launched with.
    pub uid: u32,
    /// What the baseline told; `None` in the baseline itself.
    pub profile: Option<Profile>,
    /// The bounds in force.
    pub limits: Limits,
}

/// The rung of the isolation ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// The host's network and pids; a supervisor ends what is left.
    Loopback,
    /// Own network, pid, mount and ipc namespaces; the host's /proc, seen through our own pid namespace's eyes.
    NoProc,
    /// Own namespaces and a fresh /proc.
    Full,
}

/// Something that was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Microseconds since the enactment began.
    pub at_us: u64,
    /// Index of the top-level step during which it was seen.
    pub step: usize,
    /// What.
    pub what: What,
}

/// Kinds of events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The target was started.
    Launched {
        /// Which launch.
        instance: Instance,
        /// Its process id.
        pid: i32,
    },
    /// The target could not be started: what exec(2) or the setting said.
    NotLaunched {
        /// Which launch.
        instance: Instance,
        /// Why.
        error: String,
    },
    /// The launched process ended.
    Exited {
        /// Which launch.
        instance: Instance,
        /// How.
        exit: Exit,
    },
    /// A line of output said that the server is ready.
    Announced {
        /// Which launch.
        instance: Instance,
        /// The line.
        line: String,
        /// Whether a process of the instance held a socket in LISTEN when the line had been read.
        listening: bool,
    },
    /// A client finished an act, or met its deadline.
    Acted(Acted),
    /// A signal was sent.
    Signalled {
        /// To whom the scenario said.
        who: Who,
        /// Which.
        sig: Sig,
        /// The processes that got it; empty if there was nobody.
        pids: Vec<i32>,
    },
    /// A limit was set.
    Limited {
        /// Of whom.
        who: Who,
        /// Which.
        resource: Resource,
        /// The value.
        value: u64,
        /// Whether there was a process to limit, and the kernel agreed.
        done: bool,
    },
    /// A port was taken by the harness, or could not be.
    Occupied {
        /// What.
        endpoint: Endpoint,
        /// Whether the harness listens there now.
        done: bool,
    },
    /// A wait ended.
    Awaited {
        /// For what.
        condition: Condition,
        /// Whether the condition came true before its deadline.
        met: bool,
        /// How long it took, microseconds of wall-clock time.
        took_us: u64,
        /// What was there at the end of the wait.
        look: Look,
    },
    /// A look, with the reason for it.
    Looked {
        /// Whether it was a `Mark`.
        mark: bool,
        /// For a `Quiet`: whether the target fell quiet before the deadline.
        quiet: Option<bool>,
        /// What was there.
        look: Look,
    },
    /// One window of a `Watch`.
    Watched(Window),
    /// The standstill reached its bound: the machine was so busy that time said nothing.
    Starved {
        /// CPU time that the target used meanwhile, nanoseconds.
        target_cpu_ns: u64,
        /// Wall-clock time, microseconds.
        wall_us: u64,
    },
}

impl What {
    /// Whether a deadline passed.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        match self {
            Self::Awaited { met, .. } => !met,
            Self::Acted(acted) => acted.fate == Fate::Missed,
            _ => false,
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// exit(3) with this status.
    Code(i32),
    /// A signal, by number.
    Signal(i32),
}

/// What became of one act of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acted {
    /// Who.
    pub client: Client,
    /// What it was to do.
    pub act: Act,
    /// How it went.
    pub fate: Fate,
    /// The client's own address, once it has one.
    pub local: Option<SocketAddr>,
    /// Bytes sent on this connection so far.
    pub sent: u64,
    /// Bytes received on this connection so far.
    pub received: u64,
    /// What was received during this act, as runs of bytes.
    pub spans: Vec<Span>,
    /// How the connection stood at the end of the act.
    pub ending: Option<Ending>,
    /// How long the act took, microseconds of wall-clock time.
    pub took_us: u64,
    /// The longest time without progress within it, microseconds of the target's own time.
    pub longest_us: u64,
}

/// How an act went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// As it was meant to go.
    Done,
    /// The deadline passed first.
    Missed,
    /// The server took no more input (of `Stall` what is hoped for; of `Send` too).
    Stalled,
    /// The connection ended first: see `ending`.
    Ended,
    /// The connection was refused, reset while it was made, or otherwise failed: errno name.
    Refused(String),
    /// A dialled connection waits for its handshake (SYN_SENT).
    Pending,
    /// The client had no connection to act on.
    Unconnected,
}

/// How the server's half of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Orderly: a FIN, read as end of file.
    Eof,
    /// A reset (ECONNRESET, or EPIPE when sending).
    Reset,
}

/// A run of received bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Span {
    /// Bytes of the client's own stream.
    Own {
        /// Position in what the client sent.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// Bytes that another client sent.
    Other {
        /// Who.
        client: Client,
        /// Position in what that client sent.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// Bytes that nobody sent.
    Alien {
        /// How many.
        len: u64,
        /// The first of them, at most 64.
        first: Vec<u8>,
    },
}

/// What one launch wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Standard output.
    pub stdout: Kept,
    /// Standard error.
    pub stderr: Kept,
}

/// The start and the end of a stream of bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// From the start.
    pub head: Vec<u8>,
    /// From the end, where the middle is left out; else empty.
    pub tail: Vec<u8>,
    /// All bytes that were written, those left out too.
    pub total: u64,
}

impl Kept {
    /// All that is kept, as text, with a mark where the middle is left out.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.head).into_owned();
        let kept = self.head.len() + self.tail.len();
        let left_out = self.total.saturating_sub(u64::try_from(kept).unwrap_or(u64::MAX));
        if left_out > 0 {
            text.push_str(&format!("\n... ({left_out} bytes left out) ...\n"));
        }
        text.push_str(&String::from_utf8_lossy(&self.tail));
        text
    }

    /// The last lines, at most `n`.
    #[must_use]
    pub fn last_lines(&self, n: usize) -> Vec<String> {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(n)..].iter().map(ToString::to_string).collect()
    }
}

impl Facet {
    /// How many of it there are in a look, for the target on this port.
    #[must_use]
    pub fn count(self, look: &Look, instance: Instance, port: u16) -> usize {
        match self {
            Self::Processes => look.of(instance).count(),
            Self::Descriptors => look.acceptor(instance).map_or(0, |process| process.fds.len()),
            Self::Connections => look
                .sockets
                .iter()
                .filter(|socket| {
                    socket.local.port() == port && !matches!(socket.state, State::Listen | State::TimeWait)
                })
                .count(),
        }
    }
}
