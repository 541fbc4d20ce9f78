//! What kind of server the target is, learned from a baseline run; it decides which clauses apply.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a server serves several clients, as in UNP chapter 30.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// A new process for each connection.
    ForkPerConnection,
    /// A new process for each connection, which runs another program.
    ForkAndExec,
    /// Processes made beforehand serve the connections.
    Prefork,
    /// A new thread for each connection, or a pool of threads.
    Threads,
    /// One thread serves all connections.
    EventLoop,
    /// A client waits until the one before it has left.
    OneAtATime,
    /// Serves one client, then exits.
    OneShot,
    /// The baseline did not tell.
    Unknown,
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ForkPerConnection => "fork-per-connection",
            Self::ForkAndExec => "fork-and-exec",
            Self::Prefork => "prefork",
            Self::Threads => "threads",
            Self::EventLoop => "event-loop",
            Self::OneAtATime => "one-at-a-time",
            Self::OneShot => "one-shot",
            Self::Unknown => "unknown",
        })
    }
}

/// Everything that the choice and the shape of scenarios may depend on. Plain data, kept in each trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// How it serves several clients.
    pub model: Model,
    /// Processes that appear for each open connection (0 for threads and event loops; 2 for relay and program).
    pub processes_per_connection: u32,
    /// Whether clients are served side by side.
    pub concurrent: bool,
    /// Whether it has what serving side by side takes (a process or a thread for each connection, or several workers),
    /// whether or not clients are then served side by side.
    pub made_for_many: bool,
    /// Whether a process is made for each connection, even if clients are then served one after another.
    pub forks: bool,
    /// Whether a visit is one exchange of bytes that come back unchanged.
    pub echoes: bool,
    /// The limit of the accept queue that the kernel holds for the listening socket (Send-Q of `ss -ltn`).
    pub backlog: u32,
    /// The value that was asked for by `{backlog}` or declared by the user.
    pub backlog_declared: Option<u32>,
    /// Whether the command takes `{port}`.
    pub port_given: bool,
    /// Whether the command takes `{addr}`.
    pub addr_given: bool,
    /// Whether the command takes `{backlog}`.
    pub backlog_given: bool,
    /// Whether the launched process is the one that accepts (a wrapper or a daemon makes them differ).
    pub launched_accepts: bool,
    /// Whether the launched process had ended by the time that the server listened: it daemonizes.
    pub daemonizes: bool,
    /// Whether a line of its output announces readiness.
    pub announces: bool,
    /// Most clients that were seen to be served at once, where that is less than were tried.
    pub client_limit: Option<u32>,
    /// Most clients that a scenario may use at once (`--clients`, or less where the server shows a limit).
    pub clients: u32,
    /// Most clients at once where the question is how many there can be; as many, if a limit is known or was said.
    #[serde(default)]
    pub crowd: u32,
    /// Whether the target never falls quiet when idle (timer threads).
    pub restless: bool,
    /// Descriptors open in the acceptor, idle.
    pub descriptors: u32,
    /// How long the baseline's launch took to listen, microseconds.
    pub ready_us: u64,
    /// How long the quickest reply of the baseline took, microseconds.
    #[serde(default)]
    pub reply_us: u64,
    /// How much is tried: sizes and counts that a clause may scale.
    pub effort: Effort,
}

/// How much to try for each clause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// The least that exercises every witness.
    Quick,
    /// A few generated scenarios for each clause.
    #[default]
    Default,
    /// Many scenarios, larger counts and sizes.
    Thorough,
}

impl Effort {
    /// How many scenarios are drawn for each clause; equal ones count once.
    #[must_use]
    pub fn cases(self) -> u32 {
        match self {
            Self::Quick => 1,
            Self::Default => 3,
            Self::Thorough => 24,
        }
    }

    /// `quick`, `default` or `thorough`, by effort.
    #[must_use]
    pub fn pick<T>(self, quick: T, default: T, thorough: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Default => default,
            Self::Thorough => thorough,
        }
    }
}
impl Profile {
    /// A server of this kind as most of them are: twenty clients at once, a backlog of 128, and all placeholders taken. For
    /// scenarios that are drawn before anything is known of the server.
    #[must_use]
    pub fn typical(model: Model) -> Self {
        let forks = matches!(model, Model::ForkPerConnection | Model::ForkAndExec);
        let concurrent = !matches!(model, Model::OneAtATime | Model::OneShot | Model::Unknown);
        Self {
            model,
            processes_per_connection: u32::from(forks),
            concurrent,
            made_for_many: concurrent && model != Model::EventLoop,
            forks,
            echoes: true,
            backlog: 128,
            backlog_declared: None,
            port_given: true,
            addr_given: true,
            backlog_given: true,
            launched_accepts: true,
            daemonizes: false,
            announces: false,
            client_limit: None,
            clients: if concurrent { 20 } else { 1 },
            crowd: if concurrent { 72 } else { 1 },
            restless: false,
            descriptors: 5,
            ready_us: 2000,
            reply_us: 100,
            effort: Effort::Default,
        }
    }
}
