//! Which steps make sense after which: what a generated scenario keeps to, and a smaller one still does.

use std::collections::BTreeMap;

use crate::scenario::{Act, Amount, Client, Condition, Facet, Instance, Scenario, Sig, Step, Who};

/// Bytes that are sent to a server that does not read: no more than any socket buffer holds.
pub const UNREAD_MAX: u64 = 16 << 10;

const TREE: Who = Who::Tree(Instance(0));

/// What is known of a server and its clients after some steps, if the server is right.
#[derive(Clone, Debug, Default)]
pub struct Model {
    stopped: bool,
    clients: BTreeMap<Client, Life>,
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// Not connected.
    #[default]
    Away,
    /// In the accept queue, or waiting for a place there.
    Dialled,
    /// Connected.
    Open(Talk),
    /// Connected; the process that serves it is stopped.
    Stopped(Talk),
    /// Connected; the process that served it was killed.
    Orphaned,
}

/// The state of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Talk {
    /// Whether something came back: then the server serves it.
    pub served: bool,
    /// Bytes sent since the client last read.
    pub unread: u64,
    /// Whether the client has closed its sending half.
    pub shut: bool,
}

impl Model {
    /// Whether no process of the server is stopped as a whole.
    #[must_use]
    pub fn runs(&self) -> bool {
        !self.stopped
    }

    /// Where this client stands.
    #[must_use]
    pub fn life(&self, client: Client) -> Life {
        self.clients.get(&client).copied().unwrap_or_default()
    }

    /// Clients that hold a connection, or wait for one.
    pub fn present(&self) -> impl Iterator<Item = (Client, Life)> + '_ {
        self.clients.iter().filter(|(_, life)| **life != Life::Away).map(|(client, life)| (*client, *life))
    }

    /// Takes note of a step. Returns whether it makes sense here.
    pub fn take(&mut self, step: &Step) -> bool {
        match step {
            Step::Do(client, act) => self.act(*client, act),
            Step::Together(steps) => {
                let mut actors: Vec<Client> = Vec::new();
                !steps.is_empty()
                    && steps.iter().all(|step| {
                        let Step::Do(client, _) = step else { return false };
                        let alone = !actors.contains(client);
                        actors.push(*client);
                        alone && self.take(step)
                    })
            }
            Step::Signal(who, sig) => self.signal(*who, *sig),
            Step::Limit(_, _, amount) => *amount == Amount::Original,
            Step::Await(condition) => self.may_wait(*condition),
            Step::Quiet | Step::Watch(..) | Step::Pause(_) => !self.stopped,
            Step::Look | Step::Mark | Step::Launch(..) => true,
            Step::Occupy(_) | Step::Vacate(_) => false,
        }
    }

    fn act(&mut self, client: Client, act: &Act) -> bool {
        let next = next(self.life(client), act, self.stopped);
        if let Some(life) = next {
            self.clients.insert(client, life);
        }
        next.is_some()
    }

    fn signal(&mut self, who: Who, sig: Sig) -> bool {
        match (who, sig) {
            (TREE, Sig::Stop) => !std::mem::replace(&mut self.stopped, true),
            (TREE, Sig::Cont) => {
                self.stopped = false;
                for life in self.clients.values_mut() {
                    if let Life::Stopped(talk) = *life {
                        *life = Life::Open(talk);
                    }
                }
                true
            }
            (Who::Serving(client), Sig::Stop | Sig::Cont | Sig::Kill) => {
                let next = match (self.life(client), sig) {
                    (Life::Open(talk), Sig::Stop) if talk.served => Life::Stopped(talk),
                    (Life::Stopped(talk), Sig::Cont) => Life::Open(talk),
                    (Life::Open(talk) | Life::Stopped(talk), Sig::Kill) if talk.served => Life::Orphaned,
                    _ => return false,
                };
                // SIGKILL ends what is stopped too: so several deaths meet a parent that does not look.
                (!self.stopped || sig == Sig::Kill) && self.clients.insert(client, next).is_some()
            }
            (Who::Children(_), Sig::Kill) => {
                let known = self.present().all(|(_, life)| match life {
                    Life::Open(talk) | Life::Stopped(talk) => talk.served,
                    Life::Away | Life::Orphaned => true,
                    Life::Dialled => false,
                });
                for life in self.clients.values_mut().filter(|life| **life != Life::Away) {
                    *life = Life::Orphaned;
                }
                known
            }
            // What nobody waits for, and the default is to ignore.
            (Who::Acceptor(_), Sig::Chld | Sig::Cont | Sig::Winch | Sig::Urg) => !self.stopped,
            _ => false,
        }
    }

    fn may_wait(&self, condition: Condition) -> bool {
        let none_stopped = !self.stopped && !self.present().any(|(_, life)| matches!(life, Life::Stopped(_)));
        match condition {
            Condition::NoZombie => !self.stopped,
            Condition::Back(Facet::Connections) => none_stopped && self.present().next().is_none(),
            Condition::Back(_) => none_stopped,
            Condition::Stopped(_) => self.stopped,
            Condition::QueueEmpty => none_stopped,
            _ => true,
        }
    }
}

/// Where a client stands after an act; `None` if the act makes no sense.
fn next(life: Life, act: &Act, stopped: bool) -> Option<Life> {
    let fresh = Talk::default();
    let read = |talk: Talk| Talk { served: talk.served || talk.unread > 0, unread: 0, ..talk };
    Some(match (life, act) {
        (Life::Away, Act::Connect(_)) => Life::Open(fresh),
        (Life::Away, Act::Dial(_)) => Life::Dialled,
        (Life::Away, Act::Visit(_)) if !stopped => Life::Away,
        (Life::Away, Act::ReceiveBuffer(_) | Act::SendBuffer(_)) => Life::Away,
        (Life::Dialled, Act::Join) if !stopped => Life::Open(fresh),
        (Life::Dialled | Life::Open(_) | Life::Stopped(_) | Life::Orphaned, Act::Close | Act::Reset) => {
            Life::Away
        }
        (Life::Open(talk), Act::Exchange(payload) | Act::PingPong(payload)) if !stopped && !talk.shut => {
            // Nothing sent, nothing seen: perhaps nobody has accepted it yet.
            let served = talk.served || talk.unread + payload.len > 0;
            Life::Open(Talk { served, unread: 0, ..talk })
        }
        (Life::Open(talk), Act::Send(payload)) if !talk.shut => {
            let unread = talk.unread + payload.len;
            if stopped && unread > UNREAD_MAX {
                return None;
            }
            Life::Open(Talk { unread, ..talk })
        }
        (Life::Stopped(talk), Act::Send(payload))
            if !talk.shut && talk.unread + payload.len <= UNREAD_MAX =>
        {
            Life::Stopped(Talk { unread: talk.unread + payload.len, ..talk })
        }
        (Life::Open(talk), Act::Read | Act::ReadSlowly { .. }) if !stopped && talk.unread > 0 => {
            Life::Open(read(talk))
        }
        (Life::Open(talk), Act::ReadToEnd) if !stopped && talk.shut => Life::Open(read(talk)),
        (Life::Open(talk), Act::HalfClose) if !talk.shut => Life::Open(Talk { shut: true, ..talk }),
        (Life::Stopped(talk), Act::HalfClose) if !talk.shut => Life::Stopped(Talk { shut: true, ..talk }),
        (Life::Orphaned, Act::ReadToEnd) if !stopped => Life::Orphaned,
        (Life::Open(_), Act::Linger(_)) => life,
        _ => return None,
    })
}

/// Whether each step makes sense after those before it, and the server is left running.
#[must_use]
pub fn is_legal(scenario: &Scenario) -> bool {
    let mut model = Model::default();
    scenario.steps.iter().all(|step| model.take(step)) && model.runs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Payload, To, act};

    fn legal(steps: impl IntoIterator<Item = Step>) -> bool {
        is_legal(&Scenario::served(steps))
    }

    #[test]
    fn nobody_sends_after_a_half_close_or_without_a_connection() {
        let (connect, send) = (act(0, Act::Connect(To::Target)), act(0, Act::Send(Payload::greeting())));
        assert!(legal([connect.clone(), send.clone()]));
        assert!(!legal([send.clone()]));
        assert!(!legal([connect.clone(), connect.clone()]));
        assert!(!legal([connect, act(0, Act::HalfClose), send]));
    }

    #[test]
    fn a_stopped_server_answers_nobody_and_goes_on() {
        let talk = [act(0, Act::Connect(To::Target)), act(0, Act::Exchange(Payload::greeting()))];
        let (stop, cont) = (Step::Signal(TREE, Sig::Stop), Step::Signal(TREE, Sig::Cont));
        assert!(legal([stop.clone(), talk[0].clone(), cont.clone(), talk[1].clone()]));
        assert!(!legal([stop.clone(), talk[0].clone(), talk[1].clone(), cont]));
        assert!(!legal([stop]));
    }

    #[test]
    fn who_is_killed_must_have_been_seen_to_serve() {
        let connect = act(0, Act::Connect(To::Target));
        let kill = Step::Signal(Who::Serving(Client(0)), Sig::Kill);
        let greet = act(0, Act::Exchange(Payload::greeting()));
        assert!(legal([connect.clone(), greet.clone(), kill.clone(), act(0, Act::ReadToEnd)]));
        assert!(!legal([connect.clone(), kill.clone()]));
        assert!(!legal([connect, greet.clone(), kill, greet]));
    }
}
