//! What kind of server the baseline takes a target for.

use std::cell::RefCell;

use crate::clause::ClauseId;
use crate::command::TargetCommand;
use crate::limits::Limits;
use crate::plan::Options;
use crate::profile::{Model, Profile};
use crate::run::baseline::{self, Baseline};
use crate::run::tests::scripted::Scripted;
use crate::scenario::{Act, Condition, Facet, Instance, Payload, Scenario, To, act};
use crate::trace::build::{Build, LISTENER, PORT, SERVER, connection, listening, process, serving};
use crate::trace::{Acted, Ending, Exit, Fate, Look, State, Trace, What};

const FIRST: Instance = Instance(0);
const CONNECT: Act = Act::Connect(To::Target);
/// Bytes of [`Payload::greeting`].
const GREETING: u64 = 16;

/// A server as the first scenario of the baseline shows it.
#[derive(Clone, Copy)]
pub(super) struct Shown {
    /// Bytes that c1 and c2 got back while c0 was there, and in all once it had left.
    pub(super) beside: [u64; 2],
    pub(super) afterwards: [u64; 2],
    /// Whether the client that comes last is served.
    pub(super) last: bool,
    /// What is there while one client, three, and the last one are connected.
    pub(super) looks: fn(&[u32]) -> Look,
    pub(super) exit: Option<Exit>,
}

/// One that serves all at once; one that serves them one after another.
pub(super) const AT_ONCE: Shown =
    Shown { beside: [GREETING; 2], afterwards: [GREETING; 2], last: true, looks: |_| serving(), exit: None };
const IN_TURN: Shown = Shown { beside: [0; 2], ..AT_ONCE };

impl Shown {
    pub(super) fn trace(self) -> Trace {
        let hello = Act::Exchange(Payload::greeting());
        let got = |bytes: u64| {
            move |acted: &mut Acted| {
                acted.sent = GREETING;
                acted.received = bytes;
                acted.spans.clear();
                acted.fate = if bytes == GREETING { Fate::Done } else { Fate::Missed };
            }
        };
        let looks = self.looks;
        let build = Build::served().awaited(Condition::Still, true, looks(&[])).marked(looks(&[]));
        let build = build.done(0, CONNECT).done(0, hello).looked(looks(&[0]));
        let build = build.done(1, CONNECT).done(2, CONNECT);
        let build = build.acted(1, hello, got(self.beside[0])).acted(2, hello, got(self.beside[1]));
        let build = build.looked(looks(&[0, 1, 2])).done(0, Act::Close);
        let build = build.acted(1, Act::Read, got(self.afterwards[0])).done(1, Act::Close);
        let build = build.acted(2, Act::Read, got(self.afterwards[1])).done(2, Act::Close);
        let build = build.awaited(Condition::Back(Facet::Connections), true, looks(&[]));
        let build = match self.exit {
            Some(exit) => build.exited(0, exit),
            None => build,
        };
        let build = build.done(3, CONNECT).acted(3, hello, got(if self.last { GREETING } else { 0 }));
        build.looked(looks(&[3])).done(3, Act::Close).looked(looks(&[])).trace()
    }
}

/// Every client of the scenario with many is answered but these, who get nothing; with an end of file or without.
pub(super) fn many(scenario: &Scenario, unanswered: &[u32], ending: Option<Ending>) -> Trace {
    let hello = Act::Exchange(Payload::greeting());
    let mut build = Build::served();
    for client in scenario.clients() {
        let waits = unanswered.contains(&client.0);
        build = build.acted(client.0, hello, |acted| {
            if waits {
                (acted.received, acted.fate) = (0, Fate::Missed);
            }
        });
        build = build.acted(client.0, Act::ReadToEnd, |acted| {
            (acted.received, acted.ending) = if waits { (0, ending) } else { (GREETING, Some(Ending::Eof)) };
        });
    }
    build.looked(serving()).trace()
}

/// What is learned from these enactments, and no others; `given` are their limits.
fn learned(played: Vec<Trace>, given: &RefCell<Vec<Limits>>) -> Baseline {
    let mut played = played.into_iter();
    let mut world = Scripted(|scenario: &Scenario, limits: &Limits| {
        given.borrow_mut().push(limits.clone());
        Ok(played.next().unwrap_or_else(|| many(scenario, &[], None)))
    });
    let mut target = TargetCommand::from_words(["srv", "{port}"]);
    let learned = baseline::learn(&mut world, &mut target, &Options::default(), &Limits::default());
    learned.unwrap().0
}

fn profile(played: Vec<Trace>) -> Profile {
    match learned(played, &RefCell::default()) {
        Baseline::Serves(profile) => *profile,
        other => panic!("{other:?}"),
    }
}

fn failed(trace: &Trace) -> ClauseId {
    match learned(vec![trace.clone(), trace.clone()], &RefCell::default()) {
        Baseline::Fails { clause, .. } => clause,
        other => panic!("{other:?}"),
    }
}

/// Each client has a process of its own, or a thread; `threads` says which.
pub(super) fn with_one_each(clients: &[u32], threads: bool) -> Look {
    let mut look = serving();
    for &client in clients {
        let inode = 200 + u64::from(client);
        look.sockets.push(connection(State::Established, client, inode));
        if threads {
            look.processes[0].threads += 1;
        } else {
            look.processes.push(process(10 + i32::try_from(client).unwrap(), SERVER, &[inode]));
        }
    }
    look
}

#[test]
fn a_server_is_taken_for_what_it_is() {
    let model = |shown: Shown| profile(vec![shown.trace()]).model;
    assert_eq!(model(AT_ONCE), Model::EventLoop);
    assert_eq!(model(IN_TURN), Model::OneAtATime);
    assert_eq!(
        model(Shown { looks: |clients| with_one_each(clients, false), ..AT_ONCE }),
        Model::ForkPerConnection
    );
    assert_eq!(model(Shown { looks: |clients| with_one_each(clients, true), ..AT_ONCE }), Model::Threads);
}

#[test]
fn a_server_of_one_client_serves_no_second_one() {
    let ended = Shown { last: false, exit: Some(Exit::Code(0)), ..AT_ONCE };
    let model = |shown: Shown| profile(vec![shown.trace(); 2]).model;
    assert_eq!(model(Shown { beside: [0; 2], afterwards: [0; 2], ..ended }), Model::OneShot);
    assert_eq!(model(Shown { beside: [0; 2], afterwards: [GREETING; 2], ..ended }), Model::OneAtATime);
    let forks = Shown { looks: |clients| with_one_each(clients, false), ..ended };
    assert_eq!(model(forks), Model::ForkPerConnection);
}

#[test]
fn who_is_answered_in_turn_is_served_one_at_a_time() {
    let profile = profile(vec![IN_TURN.trace()]);
    assert!(!profile.concurrent && !profile.made_for_many);
    assert_eq!(profile.clients, 1);
}

#[test]
fn a_server_that_forgets_a_client_does_not_serve_one_at_a_time() {
    for afterwards in [[0, GREETING], [GREETING, 0], [0, 0]] {
        let forgets = Shown { afterwards, ..IN_TURN }.trace();
        let profile = profile(vec![forgets.clone(), forgets]);
        assert!(profile.concurrent && profile.made_for_many, "{afterwards:?}");
        assert_eq!(profile.clients, 20);
    }
}

#[test]
fn who_gets_half_an_answer_was_not_forgotten() {
    let cut_short = Shown { afterwards: [5, GREETING], ..IN_TURN };
    assert!(!profile(vec![cut_short.trace()]).concurrent);
}

#[test]
fn a_client_counts_as_forgotten_only_after_a_second_look_with_patience() {
    let (given, limits) = (RefCell::default(), Limits::default());
    let forgets = Shown { afterwards: [0; 2], ..IN_TURN };
    let Baseline::Serves(profile) = learned(vec![forgets.trace(), IN_TURN.trace()], &given) else { panic!() };
    assert!(!profile.concurrent, "the server is slow");
    assert_eq!(given.into_inner(), [limits.clone(), limits.patient()]);
}

#[test]
fn who_is_never_attended_to_is_lost_and_no_limit() {
    let twenty = |unanswered: &[u32], ending| {
        let clients = (0..20).map(|client| act(client, CONNECT));
        many(&Scenario::served(clients), unanswered, ending)
    };
    let limit = |trace| profile(vec![AT_ONCE.trace(), trace]).client_limit;
    assert_eq!(limit(twenty(&[], None)), None);
    assert_eq!(limit(twenty(&[17, 18, 19], Some(Ending::Eof))), Some(17));
    assert_eq!(limit(twenty(&[17, 18, 19], None)), None);
    let all_but_two: Vec<u32> = (2..20).collect();
    assert_eq!(limit(twenty(&all_but_two, Some(Ending::Eof))), None, "three were served side by side before");
}

#[test]
fn a_server_that_does_not_serve_fails_the_clause_that_says_so() {
    let never = What::NotLaunched { instance: FIRST, error: "permission denied".into() };
    assert_eq!(failed(&Build::empty().event(never).trace()).0, "start.listens-in-time");
    let silent = Build::empty().awaited(Condition::Listening(FIRST), false, Look::default());
    assert_eq!(failed(&silent.trace()).0, "start.listens-in-time");
    let mut elsewhere = serving();
    elsewhere.sockets = vec![listening(PORT + 1, LISTENER)];
    let elsewhere = Build::empty().awaited(Condition::Listening(FIRST), true, elsewhere);
    assert_eq!(failed(&elsewhere.trace()).0, "start.port-honoured");
    let mute = Build::served().done(0, CONNECT).acted(0, Act::Exchange(Payload::greeting()), |acted| {
        (acted.fate, acted.received) = (Fate::Missed, 0);
        acted.spans.clear();
    });
    assert_eq!(failed(&mute.trace()).0, "echo.exact");
}
