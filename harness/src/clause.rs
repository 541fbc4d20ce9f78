//! One requirement of the sockets contract, as data: what is required, why, who says so, how it is tried and judged.

use std::fmt;

use proptest::strategy::BoxedStrategy;
use serde::{Deserialize, Serialize};

use crate::profile::{Model, Profile};
use crate::scenario::Scenario;
use crate::trace::{Isolation, Trace};
use crate::verdict::Verdict;

/// A requirement. One literal in the file of its family.
#[derive(Debug)]
pub struct Clause {
    /// Permanent; never renumbered or used again.
    pub id: ClauseId,
    /// How strong it is.
    pub level: Level,
    /// One sentence; its subject is "The server".
    pub requirement: &'static str,
    /// What a client or an operator loses; the classic bug and its cure.
    pub why: &'static str,
    /// The texts from which the requirement follows. Never empty.
    pub citations: &'static [&'static str],
    /// What must be so for the clause to apply.
    pub needs: &'static [Need],
    /// How it is tried.
    pub scenarios: fn(&Profile) -> BoxedStrategy<Scenario>,
    /// How it is judged. Pure and total: it may be given any trace.
    pub check: fn(&Scenario, &Trace) -> Verdict,
}

/// A family and a fact in the present tense: `reap.every-child`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ClauseId(pub &'static str);

impl ClauseId {
    /// The part before the dot.
    #[must_use]
    pub fn family(self) -> &'static str {
        self.0.split_once('.').map_or(self.0, |(family, _)| family)
    }
}

impl fmt::Display for ClauseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

/// Strength of a requirement, as in RFC 2119.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Recorded, never judged.
    May,
    /// A failure is reported; it fails the run with `--strict`.
    Should,
    /// A failure fails the run.
    Must,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::May => "MAY",
            Self::Should => "SHOULD",
            Self::Must => "MUST",
        })
    }
}

/// A condition of a clause: of the host, or of the kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Own namespaces: sysctls, ports and counters of our own.
    Namespaces,
    /// A bound on the number of processes that holds for this user.
    ProcessLimit,
    /// The service is echo.
    Echo,
    /// Serves more than one client in its life (not one-shot).
    Lasting,
    /// Serves clients side by side.
    Concurrent,
    /// Has what serving side by side takes, whether or not clients are then served side by side.
    MadeForMany,
    /// Makes a process for each connection, whether or not clients are then served side by side.
    Forks,
    /// Makes a process or a thread for each connection, or serves them by a pool of threads.
    MakesForEach,
    /// Serves each connection in a process of its own: made for it, not made beforehand.
    ForkPerConnection,
    /// Serves in processes made beforehand.
    Prefork,
    /// Serves clients in other processes than the accepting one.
    ServingProcesses,
    /// The command takes `{port}`.
    PortGiven,
    /// The command takes `{addr}`.
    AddrGiven,
    /// At least this many clients are served at once.
    Clients(u32),
    /// The process that was launched is the one that accepts.
    LaunchedAccepts,
    /// Its output announces readiness.
    Announces,
}

/// Why a clause does not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// This kind of server.
    Server(String),
    /// This host.
    Host(String),
}

impl Need {
    /// Whether it is about how a server is made, so that no limit of its clients matters.
    #[must_use]
    pub const fn is_of_make(self) -> bool {
        matches!(self, Self::MadeForMany | Self::MakesForEach | Self::Forks)
    }

    /// Why the need is not met, if it is not.
    #[must_use]
    pub fn unmet(self, profile: &Profile, host: Host) -> Option<Unmet> {
        let server = |holds: bool, reason: &str| (!holds).then(|| Unmet::Server(reason.to_owned()));
        match self {
            Self::Namespaces => (host.isolation == Isolation::Loopback)
                .then(|| Unmet::Host("namespaces cannot be made here".to_owned())),
            Self::ProcessLimit => (!host.process_limit)
                .then(|| Unmet::Host("the number of processes cannot be bounded here".to_owned())),
            Self::Echo => server(profile.echoes, "the server does not echo"),
            Self::Lasting => {
                server(profile.model != Model::OneShot, "the server serves one client and exits")
            }
            Self::Concurrent => server(profile.concurrent, "the server serves one client at a time"),
            Self::MadeForMany => server(profile.made_for_many, "the server is made for one client at a time"),
            Self::Forks => server(profile.forks, "the server does not fork for each connection"),
            Self::MakesForEach => server(
                profile.forks || profile.model == Model::Threads,
                "the server makes no process and no thread for each connection",
            ),
            Self::ForkPerConnection => server(
                profile.forks && profile.concurrent,
                "the server does not serve each connection in a process of its own",
            ),
            Self::Prefork => {
                server(profile.model == Model::Prefork, "the server has no processes made beforehand")
            }
            Self::ServingProcesses => server(
                profile.forks || profile.model == Model::Prefork,
                "the server serves all clients in one process",
            ),
            Self::PortGiven => server(profile.port_given, "the command has no {port}"),
            Self::AddrGiven => server(profile.addr_given, "the command has no {addr}"),
            Self::Clients(n) => (profile.clients < n).then(|| {
                Unmet::Server(match profile.client_limit {
                    Some(limit) => format!("{n} clients at once are needed; the server takes {limit}"),
                    None => format!("{n} clients at once are needed; --clients allows {}", profile.clients),
                })
            }),
            Self::LaunchedAccepts => {
                server(profile.launched_accepts, "the launched process is not the one that accepts")
            }
            Self::Announces => server(profile.announces, "the server does not announce that it is ready"),
        }
    }
}

/// What the host allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// The rung of the isolation ladder that is in use.
    pub isolation: Isolation,
    /// Whether the number of the target's processes can be bounded.
    pub process_limit: bool,
}
