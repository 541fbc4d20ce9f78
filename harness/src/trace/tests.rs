//! The questions that most verdicts hang on.

use super::aftermath::{all_left, left_working, newcomers};
use super::build::{Build, LISTENER, PORT, SERVER, client_address, connection, process, serving, zombie};
use super::*;
use crate::profile::Model;
use crate::scenario::{Amount, Payload, Scenario, Step, To, act};
use crate::verdict::{Kind, Verdict};

const FIRST: Instance = Instance(0);
const CONNECT: Act = Act::Connect(To::Target);
const CHILDREN: Who = Who::Children(FIRST);

fn hello() -> Act {
    Act::Exchange(Payload::of(9))
}

/// What a verdict is about: the kind of a failure, or none where it is a doubt.
fn kind<T: std::fmt::Debug>(result: Result<T, Verdict>) -> Option<Kind> {
    match result.unwrap_err() {
        Verdict::Fail(evidence) => Some(evidence.kind),
        Verdict::Inconclusive(_) | Verdict::NotApplicable(_) => None,
        pass @ Verdict::Pass(_) => panic!("{pass:?}"),
    }
}

/// What is said of c0, which sent nine bytes, and whose exchange ended like this.
fn exchanged(change: impl FnOnce(&mut Acted)) -> Result<u64, Verdict> {
    Build::served().done(0, CONNECT).acted(0, hello(), change).trace().served(Client(0))
}

fn got(spans: &[Span]) -> Result<u64, Verdict> {
    exchanged(|acted| acted.spans = spans.to_vec())
}

#[test]
fn who_gets_all_back_in_order_was_served() {
    assert_eq!(exchanged(|_| {}), Ok(9));
    assert_eq!(got(&[Span::Own { offset: 0, len: 4 }, Span::Own { offset: 4, len: 5 }]), Ok(9));
    let twice = Build::served().visited(0).visited(0).trace();
    assert_eq!(twice.served(Client(0)), Ok(9), "each connection begins at 0");
}

#[test]
fn a_wrong_byte_is_seen() {
    let own = |offset, len| Span::Own { offset, len };
    let wrong = [
        vec![own(1, 8)],
        vec![own(0, 4), own(3, 6)],
        vec![own(0, 4), own(0, 4)],
        vec![Span::Other { client: Client(1), offset: 0, len: 1 }],
        vec![own(0, 9), Span::Alien { len: 1, first: b"\n".to_vec() }],
    ];
    for spans in wrong {
        assert_eq!(kind(got(&spans)), Some(Kind::Seen), "{spans:?}");
    }
}

#[test]
fn what_did_not_come_is_missing_and_what_ended_early_is_seen() {
    assert_eq!(kind(exchanged(|acted| acted.fate = Fate::Missed)), Some(Kind::Missing));
    assert_eq!(kind(exchanged(|acted| acted.fate = Fate::Ended)), Some(Kind::Seen));
    assert_eq!(kind(exchanged(|acted| acted.fate = Fate::Refused("ECONNREFUSED".into()))), Some(Kind::Seen));
    assert_eq!(kind(exchanged(|acted| acted.ending = Some(Ending::Reset))), Some(Kind::Seen));
    let short = |acted: &mut Acted| (acted.received, acted.ending) = (8, Some(Ending::Eof));
    assert_eq!(kind(exchanged(short)), Some(Kind::Seen));
    let unconnected =
        Build::served().acted(0, CONNECT, |acted| (acted.fate, acted.local) = (Fate::Missed, None));
    assert_eq!(kind(unconnected.trace().served(Client(0))), Some(Kind::Missing));
}

#[test]
fn who_did_nothing_or_waited_for_itself_says_nothing() {
    assert_eq!(kind(exchanged(|acted| acted.fate = Fate::Unconnected)), None);
    assert_eq!(kind(Build::served().trace().served(Client(0))), None);
    let waits = |build: Build| build.acted(0, Act::ReadToEnd, |acted| acted.fate = Fate::Missed).trace();
    let open = Build::served().done(0, CONNECT).done(0, hello());
    assert_eq!(kind(waits(open).served(Client(0))), None);
    let half_closed = Build::served().done(0, CONNECT).done(0, hello()).done(0, Act::HalfClose);
    assert_eq!(kind(waits(half_closed).served(Client(0))), Some(Kind::Missing));
}

#[test]
fn one_client_that_was_not_served_fails_all() {
    let build = Build::served().visited(0).visited(2);
    let trace = build.acted(1, Act::Visit(Payload::of(9)), |acted| acted.fate = Fate::Ended).trace();
    assert_eq!(trace.all_served(&[Client(0), Client(2)]), Ok(18));
    let Err(Verdict::Fail(evidence)) = trace.all_served(&[Client(0), Client(1), Client(2)]) else { panic!() };
    assert!(evidence.observed.ends_with("(2 of 3 clients served)"), "{}", evidence.observed);
}

#[test]
fn a_kill_excuses_only_what_failed_after_it() {
    let missed = |build: Build| build.acted(0, hello(), |acted| acted.fate = Fate::Missed);
    let killed = |build: Build, who| build.signalled(who, Sig::Kill, &[7]);
    let connected = || Build::served().done(0, CONNECT);
    let says = |build: Build| kind(build.trace().served(Client(0)));
    let own = Who::Serving(Client(0));
    for who in [own, CHILDREN] {
        assert_eq!(says(missed(killed(connected(), who))), None, "{who:?}");
        assert_eq!(says(killed(missed(connected()), who)), Some(Kind::Missing), "{who:?}");
    }
    let other = missed(killed(connected(), Who::Serving(Client(1))));
    assert_eq!(says(other), Some(Kind::Missing), "it was another's process");
    let before = killed(Build::served(), CHILDREN).done(0, CONNECT);
    assert_eq!(says(missed(before)), Some(Kind::Missing), "it came later");
    let harmless = connected().signalled(own, Sig::Stop, &[7]).signalled(CHILDREN, Sig::Cont, &[7]);
    assert_eq!(says(missed(harmless)), Some(Kind::Missing));
    assert_eq!(says(missed(connected().signalled(CHILDREN, Sig::Kill, &[]))), Some(Kind::Missing));
}

#[test]
fn a_server_lives_while_it_runs_and_listens() {
    let lives = |build: Build| build.trace().lives(FIRST, "it lives");
    assert_eq!(lives(Build::served()), Ok(()));
    let ended = || Build::served().exited(0, Exit::Code(0)).looked(serving());
    assert_eq!(kind(lives(ended())), Some(Kind::Seen));
    assert_eq!(lives(ended().profile(|profile| profile.daemonizes = true)), Ok(()));
    let deaf = || Build::served().looked(Look { processes: vec![process(SERVER, 1, &[])], ..serving() });
    assert_eq!(kind(lives(deaf())), Some(Kind::Seen));
    assert_eq!(lives(deaf().profile(|profile| profile.model = Model::Prefork)), Ok(()));
    assert_eq!(kind(lives(Build::empty())), None);
}

#[test]
fn a_scenario_that_keeps_the_server_from_its_work_says_nothing() {
    let (acceptor, tree) = (Who::Acceptor(FIRST), Who::Tree(FIRST));
    let says = |steps: &[Step]| left_working(&Scenario::served(steps.to_vec())).is_ok();
    let limit = |amount| Step::Limit(acceptor, Resource::Descriptors, amount);
    assert!(says(&[act(0, CONNECT), Step::Signal(CHILDREN, Sig::Kill), Step::Signal(acceptor, Sig::Chld)]));
    assert!(!says(&[Step::Signal(acceptor, Sig::Term)]));
    assert!(!says(&[Step::Signal(tree, Sig::Kill)]));
    assert!(!says(&[Step::Signal(acceptor, Sig::Stop)]));
    assert!(says(&[Step::Signal(acceptor, Sig::Stop), Step::Signal(tree, Sig::Cont)]));
    assert!(!says(&[Step::Signal(acceptor, Sig::Cont), Step::Signal(acceptor, Sig::Stop)]));
    assert!(says(&[Step::Signal(CHILDREN, Sig::Stop), Step::Signal(CHILDREN, Sig::Kill)]));
    assert!(!says(&[limit(Amount::InUse)]));
    assert!(says(&[limit(Amount::InUse), limit(Amount::Original)]));
    assert!(!says(&[Step::Launch(Instance(1), crate::scenario::Setting::default())]));
}

#[test]
fn newcomers_come_only_later_and_everybody_leaves() {
    let visit = Act::Visit(Payload::of(9));
    let scenario = |last| {
        let steps = [act(0, visit), act(1, CONNECT), Step::Look, act(2, visit), act(0, visit), act(1, last)];
        Scenario::served(steps)
    };
    assert_eq!(newcomers(&scenario(Act::Close), 4), [Client(2)]);
    assert!(all_left(&scenario(Act::Close)).is_ok() && all_left(&scenario(Act::Reset)).is_ok());
    assert!(all_left(&scenario(Act::HalfClose)).is_err());
}

#[test]
fn a_server_goes_on_if_it_lives_and_serves_whom_comes_next() {
    let scenario = Scenario::served([Step::Signal(CHILDREN, Sig::Kill), act(1, Act::Visit(Payload::of(9)))]);
    let after = |build: Build| build.trace().goes_on(&scenario, 2, "after a kill");
    let killed = || Build::served().signalled(CHILDREN, Sig::Kill, &[7]);
    assert_eq!(after(killed().visited(1)), Ok("1 new client served after a kill".into()));
    assert_eq!(kind(after(killed().exited(0, Exit::Code(1)))), Some(Kind::Seen));
    let lost = killed().acted(1, Act::Visit(Payload::of(9)), |acted| acted.fate = Fate::Ended);
    assert_eq!(kind(after(lost)), Some(Kind::Seen));
    assert_eq!(kind(killed().visited(1).trace().goes_on(&scenario, 3, "")), None, "nobody came that late");
}

#[test]
fn a_signal_for_one_client_may_hurt_nobody_else() {
    let serves = |pid, ppid, clients: &[u32]| {
        let inodes: Vec<u64> = clients.iter().map(|client| 200 + u64::from(*client)).collect();
        let mut look = serving();
        if pid == SERVER {
            look.processes.clear();
        }
        let held: Vec<u64> = if pid == SERVER { vec![LISTENER] } else { vec![] };
        look.processes.push(process(pid, ppid, &[held, inodes.clone()].concat()));
        let ends = clients.iter().zip(inodes);
        look.sockets.extend(ends.map(|(&client, inode)| connection(State::Established, client, inode)));
        look
    };
    let hurts =
        |look, pid| Build::served().looked(look).signalled(Who::Serving(Client(0)), Sig::Kill, &[pid]);
    let only = |build: Build| build.trace().only_servers_were_hurt();
    assert_eq!(only(hurts(serves(7, SERVER, &[0]), 7)), Ok(()));
    assert!(only(hurts(serves(7, SERVER, &[0, 1]), 7)).is_err());
    assert!(only(hurts(serves(SERVER, 1, &[0]), SERVER)).is_err());
    let workers = hurts(serves(7, SERVER, &[0, 1]), 7).profile(|profile| profile.forks = false);
    assert_eq!(only(workers), Ok(()), "a worker serves many");
}

#[test]
fn zombies_are_those_that_the_server_should_wait_for() {
    let with = |processes: &[Process]| {
        let mut look = serving();
        look.processes.extend_from_slice(processes);
        look
    };
    let (own, orphan) = (zombie(7, SERVER), zombie(8, 1));
    assert_eq!(with(&[own.clone(), orphan]).zombies().collect::<Vec<_>>(), [&own]);
    let inherited =
        Build::empty().awaited(Condition::Listening(FIRST), true, with(std::slice::from_ref(&own))).trace();
    assert_eq!(inherited.new_zombies(&with(std::slice::from_ref(&own))).count(), 0);
    let same_pid = Process { started: 99, ..own };
    assert_eq!(inherited.new_zombies(&with(&[same_pid])).count(), 1);
}

#[test]
fn the_acceptor_is_the_topmost_process_that_holds_the_listener() {
    let mut look = serving();
    look.processes = vec![process(5, 4, &[LISTENER]), process(4, 3, &[LISTENER]), process(3, 1, &[])];
    assert_eq!(look.acceptor(FIRST).map(|process| process.pid), Some(4));
    look.sockets.push(connection(State::Established, 0, 200));
    look.processes.push(process(6, 4, &[200]));
    assert_eq!(look.holders(client_address(0)).iter().map(|p| p.pid).collect::<Vec<_>>(), [6]);
    assert!(look.descends(6, 3) && !look.descends(3, 6));
    assert_eq!(look.listeners(PORT).count(), 1);
    look.processes.retain(|process| !process.holds(LISTENER));
    assert!(look.listeners(PORT).next().is_none(), "nobody holds it");
}
