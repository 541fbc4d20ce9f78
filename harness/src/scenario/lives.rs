//! Whole scenarios: the interleaved lives of many clients, and what is done to the server meanwhile.

use std::ops::RangeInclusive;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any as anything};
use proptest::prop_oneof;
use proptest::strategy::BoxedStrategy;

use crate::profile::{Model as Kind, Profile};
use crate::scenario::generate::{class, cut, edge};
use crate::scenario::model::{Life, Model, UNREAD_MAX};
use crate::scenario::{
    Act, Client, Condition, Cut, Facet, Instance, Payload, Scenario, Setting, Sig, Step, To, Who, act,
};

/// What is drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// Clients in one scenario.
    pub clients: RangeInclusive<u32>,
    /// Bytes of one payload.
    pub payload: RangeInclusive<u64>,
    /// Limits of the accept queue.
    pub backlog: RangeInclusive<u32>,
    /// Whether the server has a network of its own, so that its sysctls can be varied.
    pub own_network: bool,
}

impl Default for Ranges {
    fn default() -> Self {
        Self { clients: 1..=64, payload: 0..=1 << 20, backlog: 0..=4096, own_network: true }
    }
}

/// Clients that are no part of the story: they come before and after it.
const EARLY: u32 = 9000;
const LATE: u32 = 9001;
const TREE: Who = Who::Tree(Instance(0));
/// A queue longer than this holds all who may come at once (see [`fitted`](crate::scenario::generate::fitted)).
const ROOM_FOR_ALL: usize = 64;
/// Small socket buffers, bytes.
const TINY: u32 = 4096;

/// One draw: who, what, with which payload; and a number for whatever else is to be decided.
type Draw = (u32, u8, Payload, u8);

/// Any scenario that makes sense for this kind of server. Each begins and ends with a visit, and ends with all clients
/// gone, so that every clause which can be judged from any trace has its witness.
///
/// It is a strategy like any other, to be composed with others in a property test of your own:
///
/// ```
/// use proptest::prelude::*;
/// use sockspec::profile::{Model, Profile};
/// use sockspec::scenario::{Ranges, any, model};
///
/// let ranges = Ranges { clients: 1..=3, payload: 0..=4096, ..Ranges::default() };
/// let profile = Profile::typical(Model::ForkPerConnection);
/// let tried = (any(&ranges, &profile), 1..=16_u32);
/// proptest!(|((scenario, workers) in tried)| {
///     // Here: launch the server with so many workers, and enact the scenario by `sockspec::world::live::Live`.
///     prop_assert!(workers > 0 && model::is_legal(&scenario), "{}", scenario.in_words().join("; "));
/// });
/// ```
pub fn any(ranges: &Ranges, profile: &Profile) -> BoxedStrategy<Scenario> {
    let (least, most) = (*ranges.clients.start(), *ranges.clients.end());
    let most = most.min(profile.clients.max(1)).max(1);
    let least = least.clamp(1, most);
    let steps = profile.effort.pick(6, 14, 40_usize);
    let (few, profile) = (most.min(least.max(4)), profile.clone());
    // Few clients are tried more often: most bugs need one or two, and their scenarios are fast.
    let clients = prop_oneof![6 => least..=few, 1 => least..=most];
    (clients, setting(ranges, &profile), vec(draw(ranges), 2..=steps))
        .prop_map(move |(clients, setting, draws)| story(clients, setting, &draws, &profile))
        .boxed()
}

fn draw(ranges: &Ranges) -> impl Strategy<Value = Draw> + use<> {
    (
        anything::<u16>().prop_map(u32::from),
        anything::<u8>(),
        payload(ranges.payload.clone()),
        anything::<u8>(),
    )
}

/// Payloads of all classes and cuts; mostly small ones, and those at the edges of buffers.
fn payload(len: RangeInclusive<u64>) -> impl Strategy<Value = Payload> + use<> {
    let (least, most) = (*len.start(), *len.end());
    let small = most.min(least.max(300));
    let len =
        prop_oneof![5 => least..=small, 4 => edge(most.max(1)), 1 => least..=most.min(least.max(70_000))];
    (len, anything::<u16>(), class(), cut()).prop_map(move |(len, seed, class, cut)| Payload {
        len: len.clamp(least, most),
        seed: u64::from(seed),
        class,
        cut,
    })
}

/// Mostly the usual launch; else another backlog, or small buffers.
fn setting(ranges: &Ranges, profile: &Profile) -> BoxedStrategy<Setting> {
    let (given, own) = (profile.backlog_given, ranges.own_network);
    if !given && !own {
        return Just(Setting::default()).boxed();
    }
    let most = *ranges.backlog.end();
    let least = *ranges.backlog.start();
    let backlog = prop_oneof![least..=most.min(least.max(8)), least..=most].prop_map(move |backlog| {
        Setting { backlog: given.then_some(backlog), somaxconn: own.then_some(backlog), ..Setting::default() }
    });
    let buffers = Just(Setting { buffers: own.then_some(4 * TINY), ..Setting::default() });
    prop_oneof![6 => Just(Setting::default()), 3 => backlog, 1 => buffers].boxed()
}

/// What is made of draws: at each one the first thing that makes sense for what was drawn.
struct Story<'a> {
    model: Model,
    steps: Vec<Step>,
    profile: &'a Profile,
    /// Who is, or was last, in each of the places that clients can take: who leaves does not come back, somebody else
    /// does, so that each client has one connection in its life.
    places: Vec<u32>,
    /// The number of the next one.
    next: u32,
    /// Connections that the queue holds.
    room: u32,
}

fn story(clients: u32, setting: Setting, draws: &[Draw], profile: &Profile) -> Scenario {
    let asked = setting.backlog.or(setting.somaxconn).unwrap_or(u32::MAX);
    let clients = if profile.concurrent { clients } else { 1 };
    let room = asked.min(profile.backlog).saturating_add(1);
    let mut story = Story {
        model: Model::default(),
        steps: Vec::new(),
        profile,
        places: (0..clients).collect(),
        next: clients,
        room,
    };
    story.push(act(EARLY, Act::Visit(Payload::greeting())));
    story.push(Step::Await(Condition::NoZombie));
    story.push(Step::Mark);
    for draw in draws {
        story.go_on(*draw);
    }
    story.end();
    Scenario::launched(setting, story.steps)
}

impl Story<'_> {
    /// Adds a step if it makes sense; returns whether it did.
    fn push(&mut self, step: Step) -> bool {
        let mut model = self.model.clone();
        let makes_sense = model.take(&step);
        if makes_sense {
            self.model = model;
            self.steps.push(step);
        }
        makes_sense
    }

    fn all(&mut self, steps: impl IntoIterator<Item = Step>) {
        for step in steps {
            self.push(step);
        }
    }

    fn go_on(&mut self, (who, what, payload, n): Draw) {
        let place = who as usize % self.places.len();
        let client = Client(self.renewed(place));
        if !self.model.runs() {
            return self.while_stopped(client, what, payload);
        }
        // One draw in eight is about the server, or about all clients.
        if what >= 224 {
            return self.whole(what, n, payload);
        }
        match self.model.life(client) {
            Life::Away => self.arrive(client, what, payload),
            Life::Dialled => self.all([act(client.0, Act::Join)]),
            Life::Open(_) => self.talk(client, what, payload, n),
            Life::Stopped(_) => {
                let sig = if what % 3 == 0 { Sig::Kill } else { Sig::Cont };
                self.all([Step::Signal(Who::Serving(client), sig)]);
            }
            Life::Orphaned => {
                let leave = if what % 2 == 0 { Act::Close } else { Act::Reset };
                self.all([act(client.0, Act::ReadToEnd), act(client.0, leave)]);
            }
        }
    }

    /// Who is in this place; somebody new, if the one who was there has left.
    fn renewed(&mut self, place: usize) -> u32 {
        let client = Client(self.places[place]);
        let was_there = self.steps.iter().any(|step| match step {
            Step::Do(other, _) => *other == client,
            Step::Together(steps) => {
                steps.iter().any(|step| matches!(step, Step::Do(other, _) if *other == client))
            }
            _ => false,
        });
        if was_there && self.model.life(client) == Life::Away {
            self.places[place] = self.next;
            self.next += 1;
        }
        self.places[place]
    }

    fn arrive(&mut self, Client(client): Client, what: u8, payload: Payload) {
        let connect = act(client, Act::Connect(To::Target));
        match what % 16 {
            0..=8 => self.all([connect, act(client, Act::Exchange(payload))]),
            9 | 10 => self.all([connect]),
            11 | 12 => self.all([act(client, Act::Visit(payload))]),
            13 => self.all([connect, act(client, Act::Send(payload)), act(client, Act::HalfClose)]),
            14 => self.all([
                act(client, Act::ReceiveBuffer(TINY)),
                act(client, Act::SendBuffer(TINY)),
                connect,
                act(client, Act::Exchange(payload)),
            ]),
            _ => self.all([connect, act(client, Act::Reset)]),
        }
    }

    fn talk(&mut self, who: Client, what: u8, payload: Payload, n: u8) {
        let client = who.0;
        let serving = Who::Serving(who);
        // Processes that serve several clients are no business of one of them.
        let own_process = self.profile.forks && self.profile.concurrent;
        match what % 24 {
            0..=5 => self.all([act(client, Act::Exchange(payload))]),
            6 => self.all([act(client, Act::PingPong(Payload { len: payload.len.min(2000), ..payload }))]),
            7 | 8 => self.all([act(client, Act::Send(payload))]),
            9 => self.all([act(client, Act::Send(payload)), act(client, Act::Read)]),
            10 => {
                let slowly = Act::ReadSlowly { bytes: 512, pause_ms: 1, times: u32::from(n % 8) };
                self.all([act(client, Act::Send(payload)), act(client, slowly)]);
            }
            11 | 12 => self.all([act(client, Act::HalfClose)]),
            13 => {
                self.all([act(client, Act::HalfClose), act(client, Act::ReadToEnd), act(client, Act::Close)])
            }
            14 | 15 => self.all([act(client, Act::Close)]),
            16 | 17 => self.all([act(client, Act::Reset)]),
            18..=20 if own_process => self.all([Step::Signal(serving, Sig::Kill)]),
            21 if own_process => self.all([Step::Signal(serving, Sig::Stop)]),
            22 => self.all([act(client, Act::ReadToEnd), act(client, Act::Close)]),
            _ => self.all([act(client, Act::Exchange(payload.cut(Cut::Whole)))]),
        }
    }

    /// What is done to the server, or by many clients at once.
    fn whole(&mut self, what: u8, n: u8, payload: Payload) {
        let payload = Payload { len: payload.len.min(4096), ..payload };
        let there: Vec<u32> = (0..self.places.len()).map(|place| self.renewed(place)).collect();
        let away: Vec<u32> =
            there.into_iter().filter(|&client| self.model.life(Client(client)) == Life::Away).collect();
        let some = |most: u32| away.iter().copied().take(1 + n as usize % 16).take(most as usize);
        match what - 224 {
            0..=6 => {
                let burst: Vec<u32> = some(u32::MAX).collect();
                let each =
                    |what: Act| Step::Together(burst.iter().map(|&client| act(client, what)).collect());
                let comes = |&client: &u32| act(client, Act::Connect(To::Target));
                if self.room as usize > ROOM_FOR_ALL {
                    self.all([each(Act::Connect(To::Target))]);
                } else {
                    self.all(burst.iter().map(comes).collect::<Vec<_>>());
                }
                self.all([each(Act::Exchange(payload))]);
            }
            7..=15 => {
                self.all([Step::Signal(TREE, Sig::Stop), Step::Await(Condition::Stopped(TREE))]);
                // Now and then more than there is room for: they come in when they try again, after a second.
                let over = if n.is_multiple_of(8) { 2 } else { 0 };
                let arrivals: Vec<u32> = some(self.room.saturating_add(over)).collect();
                self.all(arrivals.into_iter().map(|client| act(client, Act::Dial(To::Target))));
                self.all([Step::Look]);
            }
            16..=19 => {
                let sig = [Sig::Chld, Sig::Cont, Sig::Winch, Sig::Urg][n as usize % 4];
                self.all([Step::Signal(Who::Acceptor(Instance(0)), sig)]);
            }
            20..=22 if self.profile.forks && self.profile.concurrent => {
                self.all([Step::Signal(Who::Children(Instance(0)), Sig::Kill)]);
            }
            23..=26 => {
                let open: Vec<u32> = self.model.present().map(|(client, _)| client.0).collect();
                let leave = if n.is_multiple_of(2) { Act::Close } else { Act::Reset };
                if !open.is_empty() {
                    self.all([Step::Together(open.iter().map(|&client| act(client, leave)).collect())]);
                }
            }
            _ => self.all([Step::Quiet]),
        }
    }

    fn while_stopped(&mut self, Client(client): Client, what: u8, payload: Payload) {
        let payload = Payload { len: payload.len.min(UNREAD_MAX / 4), ..payload };
        let own_process = self.profile.forks && self.profile.concurrent;
        match (self.model.life(Client(client)), what % 8) {
            (Life::Open(_), 0 | 1) => self.all([act(client, Act::Send(payload))]),
            (Life::Open(_), 2) => self.all([act(client, Act::HalfClose)]),
            (Life::Open(_) | Life::Dialled, 3) => self.all([act(client, Act::Close)]),
            (Life::Open(_) | Life::Dialled, 4) => self.all([act(client, Act::Reset)]),
            (Life::Open(_), 5) if own_process => {
                self.all([Step::Signal(Who::Serving(Client(client)), Sig::Kill)]);
            }
            (_, 6) if own_process => self.all([Step::Signal(Who::Children(Instance(0)), Sig::Kill)]),
            _ => self.resume(),
        }
    }

    /// Lets the server go on; those in the queue are served.
    fn resume(&mut self) {
        self.all([Step::Signal(TREE, Sig::Cont)]);
        let dialled: Vec<u32> = self
            .model
            .present()
            .filter(|(_, life)| *life == Life::Dialled)
            .map(|(client, _)| client.0)
            .collect();
        if !dialled.is_empty() {
            let each = |what: Act| Step::Together(dialled.iter().map(|&client| act(client, what)).collect());
            self.all([each(Act::Join), each(Act::Exchange(Payload::greeting()))]);
        }
    }

    /// Everybody leaves; what they took is given back; somebody else comes.
    fn end(&mut self) {
        if !self.model.runs() {
            self.resume();
        }
        if self.model.present().any(|(_, life)| matches!(life, Life::Stopped(_))) {
            self.all([Step::Signal(TREE, Sig::Cont)]);
        }
        let left: Vec<u32> = self.model.present().map(|(client, _)| client.0).collect();
        if !left.is_empty() {
            self.all([Step::Together(left.iter().map(|&client| act(client, Act::Close)).collect())]);
        }
        self.all([Step::Await(Condition::Back(Facet::Connections)), Step::Await(Condition::NoZombie)]);
        if self.profile.model != Kind::OneShot {
            self.all([
                Step::Await(Condition::Back(Facet::Processes)),
                Step::Await(Condition::Back(Facet::Descriptors)),
                act(LATE, Act::Visit(Payload::greeting())),
                Step::Look,
            ]);
        }
    }
}
