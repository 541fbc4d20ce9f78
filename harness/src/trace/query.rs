//! Questions that checks ask of a trace, and the answers that many clauses share.
//!
//! A check is a chain of `?` under [`judge`]: each question returns what was seen, or the verdict that ends the chain.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::profile::Model;
use crate::scenario::{Act, Client, Condition, Instance, Sig, Who};
use crate::trace::{Acted, Ending, Event, Exit, Fate, Look, Process, Span, Trace, What, Window};
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

    /// Ends the check unless the client got all that it was owed: every act went as it was meant to, and what came
    /// back is what it sent, in order. Returns the bytes that it got back on its last connection.
    ///
    /// # Errors
    /// A failure, *seen* where bytes are wrong or the connection ended early, *missing* where a deadline passed;
    /// [`Verdict::Inconclusive`] where the client did nothing.
    pub fn served(&self, client: Client) -> Result<u64, Verdict> {
        let mut at = 0;
        let mut acts = 0;
        let mut half_closed = false;
        for acted in self.acts(client) {
            if matches!(acted.act, Act::Connect(_) | Act::Dial(_) | Act::Visit(_)) {
                at = 0;
                half_closed = false;
            }
            half_closed |= acted.act == Act::HalfClose;
            let waits_for_own_end = acted.act == Act::ReadToEnd && acted.fate == Fate::Missed && !half_closed;
            witness(
                !waits_for_own_end,
                format!("{client} waited for an end without having ended its own half"),
            )?;
            acts += 1;
            at = self.act_served(acted, at).map_err(|verdict| match verdict {
                Verdict::Fail(_) if self.was_bereaved(acted) => {
                    Verdict::Inconclusive(format!("the process that served {client} was killed"))
                }
                other => other,
            })?;
        }
        witness(acts > 0, format!("{client} did nothing"))?;
        Ok(at)
    }

    /// The same for several clients. Returns the bytes of all.
    ///
    /// # Errors
    /// As [`Trace::served`], of the first client that was not served; how many were is added to what was observed.
    pub fn all_served(&self, clients: &[Client]) -> Result<u64, Verdict> {
        let results: Vec<_> = clients.iter().map(|&client| self.served(client)).collect();
        let served = results.iter().filter(|result| result.is_ok()).count();
        let mut bytes = 0;
        for result in results {
            bytes += result.map_err(|verdict| match verdict {
                Verdict::Fail(mut evidence) if clients.len() > 1 => {
                    let _ = write!(evidence.observed, " ({served} of {} clients served)", clients.len());
                    Verdict::Fail(evidence)
                }
                other => other,
            })?;
        }
        Ok(bytes)
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

    /// What came back in one act, judged: `at` is the position in the client's stream before it. Returns the position
    /// after it.
    fn act_served(&self, acted: &Acted, at: u64) -> Result<u64, Verdict> {
        let client = acted.client;
        let at = own_bytes(acted, at)?;
        let owed = format!("{client} gets back the {} it sent", bytes(acted.sent));
        let got = format!("{} of {} came back", acted.received, bytes(acted.sent));
        match &acted.fate {
            Fate::Done | Fate::Stalled | Fate::Pending => {}
            Fate::Missed if acted.local.is_none() || matches!(acted.act, Act::Connect(_) | Act::Join) => {
                return Err(Verdict::missing(
                    format!("{client} is connected"),
                    format!("no connection after {}", millis(acted.took_us)),
                ));
            }
            Fate::Missed
                if matches!(acted.act, Act::ReadToEnd | Act::Visit(_)) && acted.received == acted.sent =>
            {
                return Err(Verdict::missing(
                    format!("{client} reads end of file after its own bytes"),
                    format!("{got}, then no end of file for {}", millis(acted.longest_us)),
                ));
            }
            Fate::Missed => {
                return Err(Verdict::missing(
                    owed,
                    format!("{got}, then nothing for {}", millis(acted.longest_us)),
                ));
            }
            Fate::Refused(errno) => {
                return Err(Verdict::seen(format!("{client} is connected"), format!("{errno} for {client}")));
            }
            Fate::Ended => {
                let how = ended(acted.ending);
                return Err(Verdict::seen(owed, format!("{got}, then {how}")));
            }
            Fate::Unconnected => return Err(Verdict::Inconclusive(format!("{client} had no connection"))),
        }
        if acted.ending == Some(Ending::Reset) && !matches!(acted.act, Act::Close | Act::Reset) {
            return Err(Verdict::seen(owed, format!("{got}, then {}", ended(acted.ending))));
        }
        if acted.ending == Some(Ending::Eof) && acted.received < acted.sent && acted.fate != Fate::Stalled {
            return Err(Verdict::seen(owed, format!("{got}, then {}", ended(acted.ending))));
        }
        Ok(at)
    }
}

/// Ends the check if anything but the client's own bytes, in order, came back in this act.
///
/// # Errors
/// A failure, *seen*, that names the first wrong run of bytes.
pub fn own_bytes(acted: &Acted, mut at: u64) -> Result<u64, Verdict> {
    let client = acted.client;
    let expected = format!("{client} gets back its own bytes, once and in order");
    for span in &acted.spans {
        let wrong = match span {
            Span::Own { offset, len } if *offset == at => {
                at += len;
                continue;
            }
            Span::Own { offset, len } if *offset > at => {
                format!(
                    "{} missing at position {at}, then {} from position {offset}",
                    bytes(offset - at),
                    bytes(*len)
                )
            }
            Span::Own { offset, len } => {
                format!("{} from position {offset} again, where position {at} was due", bytes(*len))
            }
            Span::Other { client: other, offset, len } => {
                format!("at position {at}: {} that {other} sent (its position {offset})", bytes(*len))
            }
            Span::Alien { len, first } => {
                format!("at position {at}: {} that nobody sent: \"{}\"", bytes(*len), first.escape_ascii())
            }
        };
        return Err(Verdict::seen(expected, wrong));
    }
    Ok(at)
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

fn ended(ending: Option<Ending>) -> &'static str {
    match ending {
        Some(Ending::Eof) => "end of file",
        Some(Ending::Reset) => "a reset (ECONNRESET)",
        None => "nothing more",
    }
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
