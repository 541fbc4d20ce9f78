//! Descriptors: what is opened for a client is closed when it leaves, and goes to nobody else.
//!
//! # References
//! POSIX.1-2024 close, fork and open (O_CLOEXEC), select(2), getrlimit(2), UNP 4.8 and 6.3.

use proptest::prelude::Just;
use proptest::strategy::{BoxedStrategy, Strategy};

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::{come, fixed, visit};
use crate::scenario::{
    Act, Client, Condition, Facet, Instance, Payload, Scenario, Setting, Sig, Step, To, Who, act,
};
use crate::spec::close::stuck_resets;
use crate::trace::aftermath::{all_left, left_working};
use crate::trace::query::{count, judge, witness};
use crate::trace::{Look, Trace, What};
use crate::verdict::Verdict;

mod inherited;

/// The family, in the order in which it is told.
pub const CLAUSES: &[&Clause] = &[
    &NO_GROWTH,
    &NO_GROWTH_AFTER_RESETS,
    &NO_GROWTH_AFTER_KILLS,
    &inherited::CHILD_HOLDS_ONLY_ITS_OWN,
    &inherited::CLOSE_ON_EXEC,
    &inherited::BEYOND_1024,
    &inherited::INHERITED_DESCRIPTORS,
];

/// Descriptors do not grow with the number of past connections.
pub static NO_GROWTH: Clause = Clause {
    id: ClauseId("fd.no-growth"),
    level: Level::Must,
    requirement: "The server's descriptors do not grow in number with the clients that have left.",
    why: "A descriptor that is lost with each client ends the service with EMFILE after a thousand or a \
          million of them. Classic bugs: close on one path only, shutdown taken for close, a log file opened \
          for each client.",
    citations: &["POSIX.1-2024 close", "getrlimit(2)", "UNP 4.8"],
    needs: &[Need::Lasting],
    scenarios: churn,
    check: no_growth,
};

/// Nor with the number of connections that were reset.
pub static NO_GROWTH_AFTER_RESETS: Clause = Clause {
    id: ClauseId("fd.no-growth-after-resets"),
    level: Level::Must,
    requirement: "The server closes the descriptor of each connection that was reset.",
    why: "The path for errors is the one that forgets to close: read fails with ECONNRESET, the loop goes on \
          to the next client, and the descriptor stays until the server has none left.",
    citations: &["POSIX.1-2024 close", "RFC 9293 3.5.3", "UNP 5.13"],
    needs: &[Need::Lasting],
    scenarios: resets,
    check: no_growth,
};

/// Nor with the number of children that were killed.
pub static NO_GROWTH_AFTER_KILLS: Clause = Clause {
    id: ClauseId("fd.no-growth-after-kills"),
    level: Level::Must,
    requirement: "The server closes what it had opened for a child that was killed.",
    why: "A parent may hold a pidfd or a pipe for each of its children. Where it closes them only for those that exit, each \
          crash costs a descriptor, and the service ends long after the crashes did.",
    citations: &["POSIX.1-2024 close", "pidfd_open(2)", "POSIX.1-2024 waitpid"],
    needs: &[Need::ForkPerConnection, Need::Echo, Need::Lasting],
    scenarios: kills,
    check: no_growth_after_kills,
};

/// Many clients one after another, with a breath after every third: super-servers may refuse more than 50 a second.
///
/// One client is looked at while it is there, and the first ones come before the mark, so that what a runtime opens
/// once and for all does not count.
pub(in crate::spec) fn churn(profile: &Profile) -> BoxedStrategy<Scenario> {
    let (rounds, in_a_row) = profile.effort.pick((17, 3), (17, 3), (120, 3));
    // No wait for the end of the stream: a server that forgets it would make each of them wait.
    let life =
        [act(1, Act::Connect(To::Target)), act(1, Act::Exchange(Payload::greeting())), act(1, Act::Close)];
    let lives = |n: usize| std::iter::repeat_n(life.clone(), n).flatten();
    let mut steps = vec![
        act(0, Act::Connect(To::Target)),
        act(0, Act::Exchange(Payload::greeting())),
        Step::Look,
        act(0, Act::Close),
    ];
    steps.extend(lives(3));
    steps.extend([Step::Await(Condition::Back(Facet::Connections)), Step::Mark]);
    for _ in 0..rounds {
        steps.extend(lives(in_a_row));
        steps.push(Step::Watch(60, 1));
    }
    steps.push(Step::Await(Condition::Back(Facet::Connections)));
    if profile.forks {
        steps.push(Step::Await(Condition::Back(Facet::Processes)));
    }
    steps.push(Step::Await(Condition::Back(Facet::Descriptors)));
    Just(Scenario::served(steps)).boxed()
}

/// Clients that exchange something and reset, one after another; then one that visits.
fn resets(profile: &Profile) -> BoxedStrategy<Scenario> {
    let clients = profile.effort.pick(10, 14, 200);
    let life = |client: u32| {
        [
            act(client, Act::Connect(To::Target)),
            act(client, Act::Exchange(Payload::greeting())),
            act(client, Act::Reset),
        ]
    };
    let mut steps: Vec<Step> = (0..3).flat_map(life).collect();
    steps.extend([act(3, Act::Visit(Payload::greeting())), Step::Quiet, Step::Mark]);
    steps.extend((0..clients).flat_map(|n| life(n % 3)));
    // Where something is left to be sent, another path may be taken.
    steps.extend(stuck_resets(profile, clients));
    steps.extend([act(4, Act::Visit(Payload::greeting())), Step::Await(Condition::Back(Facet::Connections))]);
    steps.push(Step::Await(Condition::Back(Facet::Descriptors)));
    Just(Scenario::launched(Setting { buffers: Some(16_384), ..Setting::default() }, steps)).boxed()
}

/// Clients whose processes are killed, one after another; then one that visits.
fn kills(profile: &Profile) -> BoxedStrategy<Scenario> {
    let life = |client: u32| {
        let [connect, greet] = come(client);
        [connect, greet, Step::Signal(Who::Serving(Client(client)), Sig::Kill), act(client, Act::Close)]
    };
    let mut steps: Vec<Step> = (0..3).flat_map(life).collect();
    steps.extend([visit(3), Step::Quiet, Step::Mark]);
    steps.extend((0..profile.effort.pick(10, 14, 200)).flat_map(|n| life(n % 3)));
    steps.extend([
        visit(4),
        Step::Await(Condition::NoZombie),
        Step::Await(Condition::Back(Facet::Connections)),
    ]);
    steps.push(Step::Await(Condition::Back(Facet::Descriptors)));
    fixed(steps)
}

/// What there was at the mark and at the end, and how many connections came between.
#[derive(Debug)]
pub(in crate::spec) struct Growth<'a> {
    pub(in crate::spec) visits: usize,
    pub(in crate::spec) before: usize,
    pub(in crate::spec) after: usize,
    pub(in crate::spec) grew: usize,
    pub(in crate::spec) last: &'a Look,
}

/// How much more there is at the end than at the mark.
pub(in crate::spec) fn growth(trace: &Trace, facet: Facet) -> Result<Growth<'_>, Verdict> {
    let mark =
        trace.mark().ok_or_else(|| Verdict::Inconclusive("nobody looked before the clients came".into()))?;
    let marked = trace.events.iter().rposition(|event| matches!(event.what, What::Looked { mark: true, .. }));
    let visits = trace.events[marked.unwrap_or(0)..]
        .iter()
        .filter(|event| {
            matches!(&event.what, What::Acted(acted) if matches!(acted.act, Act::Visit(_) | Act::Connect(_)))
        })
        .count();
    witness(visits > 0, "no client came after the first look")?;
    let (_, last) = trace
        .awaited(Condition::Back(facet))
        .or_else(|| trace.awaited(Condition::Back(Facet::Connections)))
        .ok_or_else(|| Verdict::Inconclusive("nobody waited for what the clients had taken".into()))?;
    let before = facet.count(mark, Instance(0), trace.port());
    let after = facet.count(last, Instance(0), trace.port());
    Ok(Growth { visits, before, after, grew: after.saturating_sub(before), last })
}

fn no_growth(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        left_working(scenario)?;
        grows_by_little(scenario, trace)
    })
}

fn no_growth_after_kills(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        witness(!trace.signalled(Sig::Kill).is_empty(), "nobody was killed")?;
        grows_by_little(scenario, trace)
    })
}

fn grows_by_little(scenario: &Scenario, trace: &Trace) -> Result<String, Verdict> {
    trace.ready(Instance(0))?;
    all_left(scenario)?;
    let came = growth(trace, Facet::Descriptors)?;
    trace.lives(Instance(0), "the server goes on, with as many descriptors as before")?;
    witness(came.before > 0 && came.after > 0, "the accepting process was not seen at both looks")?;
    // A pool that settles grows by a few; a leak grows with the clients.
    if came.grew * 2 >= came.visits && came.grew > 3 {
        return Err(Verdict::missing(
            format!("as many descriptors as before {}", count(came.visits, "connection")),
            format!("{} before, {} after", came.before, came.after),
        ));
    }
    if let Some(counts) = steady_growth(trace, &came) {
        return Err(Verdict::missing(
            format!("descriptors come to rest in {}", count(came.visits, "connection")),
            format!("{} before, {counts} meanwhile, {} after", came.before, came.after),
        ));
    }
    Ok(format!(
        "{}, {} descriptors before and {} after",
        count(came.visits, "connection"),
        came.before,
        came.after
    ))
}

/// The least descriptors seen in each quarter of the looks after the mark, in words, if they grow from each quarter to
/// the next: a pool that settles, and a client that is still being let go, do not do that. Nor does a pool of threads
/// that open something of their own: it has more threads in the end.
fn steady_growth(trace: &Trace, came: &Growth<'_>) -> Option<String> {
    const QUARTERS: usize = 4;
    let threads = |look: &Look| look.acceptor(Instance(0)).map_or(0, |process| process.threads);
    let mark = trace.mark()?;
    if came.grew < QUARTERS || threads(came.last) > threads(mark) {
        return None;
    }
    let is_mark = |what: &What| matches!(what, What::Looked { mark: true, .. });
    let from = trace.events.iter().rposition(|event| is_mark(&event.what))?;
    let counts: Vec<usize> = trace.events[from + 1..]
        .iter()
        .filter_map(|event| match &event.what {
            What::Looked { look, .. } => Some(Facet::Descriptors.count(look, Instance(0), trace.port())),
            _ => None,
        })
        .collect();
    let quarters: Vec<_> = counts.chunks_exact((counts.len() / QUARTERS).max(1)).take(QUARTERS).collect();
    let least: Vec<usize> = quarters.iter().filter_map(|quarter| quarter.iter().min().copied()).collect();
    let grows = least.len() == QUARTERS && least.windows(2).all(|pair| 0 < pair[0] && pair[0] < pair[1]);
    grows.then(|| least.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Process;
    use crate::trace::build::{Build, LISTENER, SERVER, process, serving};

    fn left_behind(visits: u32, descriptors: u64) -> Verdict {
        let mut last = serving();
        let held: Vec<u64> = (LISTENER..=LISTENER + descriptors).collect();
        last.processes = vec![process(SERVER, 1, &held)];
        let build = Build::served().marked(serving());
        let trace = (0..visits)
            .fold(build, Build::visited)
            .awaited(Condition::Back(Facet::Descriptors), descriptors == 0, last)
            .trace();
        no_growth(&Scenario::served([]), &trace)
    }

    #[test]
    fn a_pool_that_settles_is_no_leak() {
        assert!(matches!(left_behind(30, 0), Verdict::Pass(_)));
        assert!(matches!(left_behind(30, 3), Verdict::Pass(_)));
    }

    #[test]
    fn a_descriptor_for_each_client_is_one() {
        assert!(matches!(left_behind(30, 30), Verdict::Fail(_)));
        assert!(matches!(left_behind(4, 4), Verdict::Fail(_)));
    }

    /// So many descriptors at looks after every third connection, and at the end; so many threads at the end.
    fn seen(counts: &[u64], last: u64, threads: u32) -> Verdict {
        let holding = |n: u64, threads: u32| {
            let held: Vec<u64> = (LISTENER..LISTENER + n).collect();
            let mut look = serving();
            look.processes = vec![Process { threads, ..process(SERVER, 1, &held) }];
            look
        };
        let round = |build: Build, &n: &u64| (0..3).fold(build, Build::visited).looked(holding(n, 1));
        let build = counts.iter().fold(Build::served().marked(holding(1, 1)), round);
        let trace =
            build.awaited(Condition::Back(Facet::Descriptors), last == 1, holding(last, threads)).trace();
        no_growth(&Scenario::served([]), &trace)
    }

    #[test]
    fn a_slow_leak_grows_all_the_time_and_a_pool_or_a_late_close_does_not() {
        let slow = [1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 7, 7];
        assert!(matches!(seen(&slow, 7, 1), Verdict::Fail(_)));
        assert!(matches!(seen(&slow, 7, 7), Verdict::Pass(_)), "a pool of threads");
        assert!(matches!(seen(&slow, 1, 1), Verdict::Pass(_)), "closed late");
        let settles = [3, 4, 5, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];
        assert!(matches!(seen(&settles, 7, 1), Verdict::Pass(_)));
        assert!(
            matches!(seen(&[1, 9], 7, 1), Verdict::Fail(_) | Verdict::Pass(_)),
            "too few looks do not panic"
        );
    }

    #[test]
    fn without_clients_nothing_is_known() {
        assert!(matches!(left_behind(0, 0), Verdict::Inconclusive(_)));
    }
}
