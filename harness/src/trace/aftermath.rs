//! Questions about a disturbance: what was so before it, who came after it, and whether the server goes on.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::scenario::{Act, Amount, Client, Instance, Scenario, Sig, Step, Who};
use crate::trace::query::{applies, count, witness};
use crate::trace::{Acted, Event, Look, Process, State, Trace, What};
use crate::verdict::Verdict;

/// Ends the check if the scenario itself keeps the server from its work to the end: it is told to stop, stays stopped
/// or limited, or is launched more than once.
///
/// # Errors
/// [`Verdict::Inconclusive`], with the reason.
pub fn left_working(scenario: &Scenario) -> Result<(), Verdict> {
    let steps: Vec<&Step> = scenario.flat().map(|(_, step)| step).collect();
    let launches = steps.iter().filter(|step| matches!(step, Step::Launch(..))).count();
    witness(launches == 1, "the scenario launches more than one server, or none")?;
    for (index, step) in steps.iter().enumerate() {
        let later = &steps[index + 1..];
        match step {
            Step::Signal(Who::Launched(_) | Who::Acceptor(_) | Who::Tree(_), sig) if is_deadly(*sig) => {
                return Err(Verdict::Inconclusive(format!("the scenario sends {sig} to the server")));
            }
            Step::Signal(who, Sig::Stop) => {
                let goes_on = |step: &&Step| match step {
                    Step::Signal(other, Sig::Cont) => other == who || matches!(other, Who::Tree(_)),
                    // Who is killed was not what the server waits for.
                    Step::Signal(other, Sig::Kill) => {
                        other == who || matches!(other, Who::Children(_) | Who::Tree(_))
                    }
                    _ => false,
                };
                witness(later.iter().any(goes_on), format!("{who} stays stopped"))?;
            }
            Step::Limit(_, resource, Amount::InUse | Amount::Exactly(_)) => {
                let lifted = |step: &&Step| matches!(step, Step::Limit(_, other, Amount::Original) if other == resource);
                witness(later.iter().any(lifted), format!("the limit of {resource} stays"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the default reaction, or a usual one, is to end.
fn is_deadly(sig: Sig) -> bool {
    !matches!(sig, Sig::Stop | Sig::Cont | Sig::Chld | Sig::Winch | Sig::Urg)
}

/// Ends the check unless every client has left by the end of the scenario.
///
/// # Errors
/// [`Verdict::Inconclusive`]: names a client that stays.
pub fn all_left(scenario: &Scenario) -> Result<(), Verdict> {
    for client in scenario.clients() {
        let last = scenario.flat().filter_map(|(_, step)| match step {
            Step::Do(other, act) if *other == client => Some(act),
            _ => None,
        });
        let left = matches!(last.last(), Some(Act::Close | Act::Reset | Act::Visit(_)));
        witness(left, format!("{client} has not left"))?;
    }
    Ok(())
}

/// Clients that come only after this top-level step, with a visit.
#[must_use]
pub fn newcomers(scenario: &Scenario, after: usize) -> Vec<Client> {
    let acts = |client: Client| {
        scenario.flat().filter_map(move |(index, step)| match step {
            Step::Do(other, act) if *other == client => Some((index, act)),
            _ => None,
        })
    };
    let comes_later =
        |client: &Client| acts(*client).all(|(index, act)| index > after && matches!(act, Act::Visit(_)));
    scenario.clients().into_iter().filter(comes_later).collect()
}

/// Index of the first top-level step that is, or holds, such a step.
#[must_use]
pub fn first_step(scenario: &Scenario, wanted: impl Fn(&Step) -> bool) -> Option<usize> {
    scenario.flat().find(|(_, step)| wanted(step)).map(|(index, _)| index)
}

/// Says in a failure when it was seen: "c3 is connected, after a child was killed".
#[must_use]
pub fn in_context(verdict: Verdict, context: &str) -> Verdict {
    match verdict {
        Verdict::Fail(mut evidence) => {
            evidence.expected = format!("{}, {context}", evidence.expected);
            Verdict::Fail(evidence)
        }
        other => other,
    }
}

impl Trace {
    /// What was seen before this top-level step began.
    #[must_use]
    pub fn before(&self, step: usize) -> Self {
        let events = self.events.iter().filter(|event| event.step < step).cloned().collect();
        Self { circumstances: self.circumstances.clone(), events, output: Vec::new() }
    }

    /// Ends the check unless these clients were served up to this step: a server that does not serve them anyway says
    /// nothing about a disturbance. Clients that had not come yet do not count.
    ///
    /// # Errors
    /// [`Verdict::Inconclusive`].
    pub fn served_before(&self, step: usize, clients: &[Client]) -> Result<(), Verdict> {
        let before = self.before(step);
        for &client in clients.iter().filter(|&&client| before.acts(client).next().is_some()) {
            before.served(client).map_err(|verdict| match verdict {
                Verdict::Fail(evidence) => Verdict::Inconclusive(format!(
                    "{client} was not served to begin with: {}",
                    evidence.observed
                )),
                other => other,
            })?;
        }
        Ok(())
    }

    /// Ends the check unless the server lives and all clients that came after this step were served. Returns what was
    /// seen, in words.
    ///
    /// # Errors
    /// A failure: how the server ended, or what became of the newcomer; [`Verdict::Inconclusive`] where nobody came.
    pub fn goes_on(&self, scenario: &Scenario, after: usize, context: &str) -> Result<String, Verdict> {
        left_working(scenario)?;
        self.lives(Instance(0), &format!("the server goes on, {context}"))?;
        let newcomers = newcomers(scenario, after);
        witness(!newcomers.is_empty(), "no client came afterwards")?;
        self.all_served(&newcomers).map_err(|verdict| in_context(verdict, context))?;
        Ok(format!("{} served {context}", count(newcomers.len(), "new client")))
    }

    /// Zombies in this look that were none when the server began to listen.
    pub fn new_zombies<'a>(&'a self, look: &'a Look) -> impl Iterator<Item = &'a Process> {
        let first = self.looks().next().map(|(_, look)| look);
        look.zombies().filter(move |zombie| {
            first.and_then(|first| first.process(zombie.pid)).is_none_or(|old| old.started != zombie.started)
        })
    }

    /// Ends the check if a signal that was meant for the process of one client met the accepting process or, where each
    /// client has a process of its own, one that holds several connections: then it is not known whom it hurt.
    ///
    /// # Errors
    /// [`Verdict::NotApplicable`].
    pub fn only_servers_were_hurt(&self) -> Result<(), Verdict> {
        let mut last = None;
        let profile = self.circumstances.profile.as_ref();
        let shared = profile.is_some_and(|profile| !profile.forks);
        for event in &self.events {
            match &event.what {
                What::Awaited { look, .. } | What::Looked { look, .. } => last = Some(look),
                What::Signalled { who: Who::Serving(client), sig, pids } if *sig != Sig::Cont => {
                    let Some(look) = last else { continue };
                    let acceptor = look.acceptor(Instance(0)).map(|process| process.pid);
                    for pid in pids {
                        let doubt = format!("the accepting process itself served {client}");
                        applies(Some(*pid) != acceptor, doubt)?;
                        let held =
                            look.process(*pid).map_or(0, |p| look.connections_of(p, self.port()).len());
                        applies(
                            shared || held <= 1,
                            format!("the process that served {client} held {held} connections"),
                        )?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the process that served this client was killed, or may have been: it was among children that were.
    #[must_use]
    pub fn is_bereaved(&self, client: Client) -> bool {
        is_bereaved(client, &self.events)
    }

    /// Whether that had happened when this act of the client's ended.
    pub(super) fn was_bereaved(&self, acted: &Acted) -> bool {
        let is_it = |event: &Event| matches!(&event.what, What::Acted(other) if std::ptr::eq(other, acted));
        let end = self.events.iter().position(is_it).unwrap_or(self.events.len());
        is_bereaved(acted.client, &self.events[..end])
    }

    /// Whether a byte had come back to this client before this look.
    #[must_use]
    pub fn was_answered(&self, client: Client, look: &Look) -> bool {
        let is_it = |event: &&Event| matches!(&event.what, What::Looked { look: other, .. } if std::ptr::eq(other, look));
        let before = self.events.iter().take_while(|event| !is_it(event));
        before.into_iter().any(
            |event| matches!(&event.what, What::Acted(acted) if acted.client == client && acted.received > 0),
        )
    }

    /// Pids that got this signal in this top-level step.
    #[must_use]
    pub fn signalled_in(&self, step: usize) -> Vec<i32> {
        self.events
            .iter()
            .filter(|event| event.step == step)
            .filter_map(|event| match &event.what {
                What::Signalled { pids, .. } => Some(pids),
                _ => None,
            })
            .flatten()
            .copied()
            .collect()
    }

    /// The last look before this top-level step.
    #[must_use]
    pub fn look_before(&self, step: usize) -> Option<&Look> {
        self.looks().rfind(|(index, _)| *index < step).map(|(_, look)| look)
    }
}

/// Whether the process that served this client was killed in these events.
fn is_bereaved(client: Client, events: &[Event]) -> bool {
    let mut came = false;
    events.iter().any(|event| match &event.what {
        What::Acted(acted) => {
            came |= acted.client == client;
            false
        }
        What::Signalled { who: Who::Serving(served), sig, .. } => *served == client && is_deadly(*sig),
        What::Signalled { sig, pids, .. } => came && is_deadly(*sig) && !pids.is_empty(),
        _ => false,
    })
}

impl Look {
    /// Processes, the acceptor left out, that hold the server's end of this client's connection.
    #[must_use]
    pub fn servers(&self, client: SocketAddr) -> Vec<&Process> {
        let acceptor = self.acceptor(Instance(0)).map(|process| process.pid);
        self.holders(client).into_iter().filter(|process| Some(process.pid) != acceptor).collect()
    }

    /// Inodes of the connections with the target's port that a process holds.
    #[must_use]
    pub fn connections_of(&self, process: &Process, port: u16) -> BTreeSet<u64> {
        self.sockets
            .iter()
            .filter(|socket| socket.local.port() == port && socket.state != State::Listen)
            .filter(|socket| process.holds(socket.inode))
            .map(|socket| socket.inode)
            .collect()
    }

    /// Whether this process, named by pid and start time, is there and no zombie.
    #[must_use]
    pub fn lives(&self, pid: i32, started: u64) -> bool {
        self.process(pid).is_some_and(|process| process.started == started && !process.is_zombie())
    }
}
