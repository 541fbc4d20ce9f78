//! Questions that checks ask of a trace, and the answers that many clauses share.
//!
//! A check is a chain of `?` under [`judge`]: each question returns what was seen, or the verdict that ends the chain.

use std::net::SocketAddr;

use crate::profile::Model;
use crate::scenario::{Client, Condition, Instance, Sig, Who};
use crate::trace::{Acted, Event, Exit, Look, Process, Trace, What, Window};
use crate::verdict::Verdict;

/// Runs a check: what it returns is a pass with what was seen; a verdict that it meets on the way ends it.
pub fn judge(check: impl FnOnce() -> Result<String, Verdict>) -> Verdict {
    check().map_or_else(|verdict| verdict, Verdict::Pass)
}

/// Ends a check: the clause was not exercised.
///
/// # Errors
/// Always [`Verdict::Inconclusive`], unless `exercised`.
pub fn witness(exercised: bool, doubt: impl Into<String>) -> Result<(), Verdict> {
    if exercised { Ok(()) } else { Err(Verdict::Inconclusive(doubt.into())) }
}

/// Ends a check: this server cannot be brought into the situation that the clause is about.
///
/// # Errors
/// Always [`Verdict::NotApplicable`], unless `reached`.
pub fn applies(reached: bool, reason: impl Into<String>) -> Result<(), Verdict> {
    if reached { Ok(()) } else { Err(Verdict::NotApplicable(reason.into())) }
}

impl Trace {
    /// Everything that became of a client's acts, in order.
    pub fn acts(&self, client: Client) -> impl DoubleEndedIterator<Item = &Acted> {
        self.events.iter().filter_map(move |event| match &event.what {
            What::Acted(acted) if acted.client == client => Some(acted),
            _ => None,
        })
    }

    /// Everything that became of all acts, in order.
    pub fn all_acts(&self) -> impl DoubleEndedIterator<Item = &Acted> {
        self.events.iter().filter_map(|event| match &event.what {
            What::Acted(acted) => Some(acted),
            _ => None,
        })
    }

    /// The client's last act.
    #[must_use]
    pub fn last_act(&self, client: Client) -> Option<&Acted> {
        self.acts(client).next_back()
    }

    /// The client's own address on its last connection.
    #[must_use]
    pub fn local(&self, client: Client) -> Option<SocketAddr> {
        self.acts(client).rev().find_map(|acted| acted.local)
    }

    /// The port that the target was asked to listen on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.circumstances.target.port()
    }

    /// How the launched process of an instance ended, and when.
    #[must_use]
    pub fn exit(&self, wanted: Instance) -> Option<(u64, Exit)> {
        self.events.iter().find_map(|event| match event.what {
            What::Exited { instance, exit } if instance == wanted => Some((event.at_us, exit)),
            _ => None,
        })
    }

    /// When an event that satisfies `wanted` was first seen, in microseconds.
    pub fn first(&self, wanted: impl Fn(&What) -> bool) -> Option<&Event> {
        self.events.iter().find(|event| wanted(&event.what))
    }

    /// How the last wait for this condition ended: whether it was met, and what was there then.
    #[must_use]
    pub fn awaited(&self, wanted: Condition) -> Option<(bool, &Look)> {
        self.events.iter().rev().find_map(|event| match &event.what {
            What::Awaited { condition, met, look, .. } if *condition == wanted => Some((*met, look)),
            _ => None,
        })
    }

    /// All looks with the index of their step, in order of time.
    pub fn looks(&self) -> impl DoubleEndedIterator<Item = (usize, &Look)> {
        self.events.iter().filter_map(|event| match &event.what {
            What::Awaited { look, .. } | What::Looked { look, .. } => Some((event.step, look)),
            _ => None,
        })
    }

    /// Looks of `Look`, `Mark` and `Quiet` steps only, in order of time.
    pub fn plain_looks(&self) -> impl DoubleEndedIterator<Item = &Look> {
        self.events.iter().filter_map(|event| match &event.what {
            What::Looked { look, .. } => Some(look),
            _ => None,
        })
    }

    /// The last look of all.
    #[must_use]
    pub fn last_look(&self) -> Option<&Look> {
        self.looks().next_back().map(|(_, look)| look)
    }

    /// The last `Mark`.
    #[must_use]
    pub fn mark(&self) -> Option<&Look> {
        self.events.iter().rev().find_map(|event| match &event.what {
            What::Looked { mark: true, look, .. } => Some(look),
            _ => None,
        })
    }

    /// The pids that got this signal, all together.
    #[must_use]
    pub fn signalled(&self, wanted: Sig) -> Vec<i32> {
        self.signals()
            .filter(|(_, sig, _)| *sig == wanted)
            .flat_map(|(_, _, pids)| pids.iter().copied())
            .collect()
    }

    /// All signals that were sent.
    pub fn signals(&self) -> impl Iterator<Item = (Who, Sig, &Vec<i32>)> {
        self.events.iter().filter_map(|event| match &event.what {
            What::Signalled { who, sig, pids } => Some((*who, *sig, pids)),
            _ => None,
        })
    }

    /// All windows of `Watch` steps.
    pub fn windows(&self) -> impl Iterator<Item = Window> {
        self.events.iter().filter_map(|event| match event.what {
            What::Watched(window) => Some(window),
            _ => None,
        })
    }

    /// Ends the check unless the instance was launched and listened.
    ///
    /// # Errors
    /// [`Verdict::Inconclusive`]: whether a server starts is judged by the family `start`.
    pub fn ready(&self, instance: Instance) -> Result<&Look, Verdict> {
        match self.awaited(Condition::Listening(instance)) {
            Some((true, look)) => Ok(look),
            Some((false, _)) => {
                Err(Verdict::Inconclusive(format!("{instance} did not listen in this scenario")))
            }
            None => Err(Verdict::Inconclusive(format!("{instance} was not launched and awaited"))),
        }
    }

    /// Ends the check unless the server still listens at the last look and its launched process has not died.
    ///
    /// # Errors
    /// A failure, *seen*: how the server ended, or that nothing listens any more.
    pub fn lives(&self, instance: Instance, expected: &str) -> Result<(), Verdict> {
        let profile = self.circumstances.profile.as_ref();
        let daemonizes = profile.is_some_and(|profile| profile.daemonizes);
        if let Some((_, exit)) = self.exit(instance)
            && !daemonizes
        {
            return Err(Verdict::seen(expected, format!("{instance} {exit}")));
        }
        match self.last_look() {
            // Workers that all have died take the socket with them; whether it comes back, the next client tells.
            Some(look) if look.acceptor(instance).is_none() && !self.is_prefork() => {
                Err(Verdict::seen(expected, format!("{instance} no longer has a socket in LISTEN")))
            }
            Some(_) => Ok(()),
            None => Err(Verdict::Inconclusive("nobody looked whether the server lives".into())),
        }
    }

    fn is_prefork(&self) -> bool {
        self.circumstances.profile.as_ref().is_some_and(|profile| profile.model == Model::Prefork)
    }

    /// Why an instance does not listen, as far as that can be told: how it ended, and the last line that it wrote.
    #[must_use]
    pub fn silence(&self, instance: Instance) -> String {
        let end = match self.exit(instance) {
            Some((_, exit)) => format!("{instance} {exit}"),
            None => format!("{instance} runs, and has no socket in LISTEN there"),
        };
        match self.last_line(instance) {
            Some(line) => format!("{end}; its last line: {line:?}"),
            None => end,
        }
    }

    /// The last line that an instance wrote, on stderr if it wrote there.
    fn last_line(&self, instance: Instance) -> Option<String> {
        let output = self.output.get(usize::try_from(instance.0).ok()?)?;
        [&output.stderr, &output.stdout].iter().find_map(|kept| kept.last_lines(1).pop())
    }
}

/// "1 byte", "4097 bytes".
#[must_use]
pub fn bytes(n: u64) -> String {
    if n == 1 { "1 byte".into() } else { format!("{n} bytes") }
}

/// "1 zombie", "3 zombies", for a noun whose plural takes an s.
#[must_use]
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// "1500 ms", from microseconds.
#[must_use]
pub fn millis(us: u64) -> String {
    format!("{} ms", us / 1000)
}

/// "6 s", "1.5 s", "375 ms".
#[must_use]
pub fn span(duration: std::time::Duration) -> String {
    if duration.as_millis() < 1000 {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{} s", (duration.as_secs_f64() * 10.0).round() / 10.0)
    }
}

/// "pid 7 (srv), child of 2".
#[must_use]
pub fn name(process: &Process) -> String {
    format!("pid {} ({}), child of {}", process.pid, process.comm, process.ppid)
}

impl std::fmt::Display for Exit {
    /// "exited with status 1", "was killed by SIGPIPE".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal(number) => match nix::sys::signal::Signal::try_from(*number) {
                Ok(signal) => write!(f, "was killed by {signal}"),
                Err(_) => write!(f, "was killed by signal {number}"),
            },
        }
    }
}
