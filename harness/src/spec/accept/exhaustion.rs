//! The limit of descriptors: accept fails with EMFILE, and the clients are still there.

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::{Model, Profile};
use crate::scenario::generate::fixed;
use crate::scenario::{Act, Amount, Client, Instance, Payload, Resource, Scenario, Step, To, Who, act};
use crate::trace::aftermath::{first_step, in_context, left_working};
use crate::trace::query::{applies, count, judge, witness};
use crate::trace::{Fate, Look, Trace, What, Window};
use crate::verdict::Verdict;

/// The limit is survived.
pub(super) static SURVIVES_NOFILE_LIMIT: Clause = Clause {
    id: ClauseId("accept.survives-nofile-limit"),
    level: Level::Must,
    requirement: "The server goes on serving when descriptors are free again after accept has failed with \
                  EMFILE.",
    why: "At the limit accept fails, and the client stays in the queue. A server that ends there, or stops \
          to accept, turns a busy minute into an outage. The cure is to wait a moment, or for a client to \
          leave, and to try again.",
    citations: &["POSIX.1-2024 accept", "accept(2) ERRORS", "getrlimit(2)"],
    needs: &[Need::Lasting],
    scenarios: at_the_limit,
    check: survives_nofile_limit,
};

/// The limit is no reason to spin.
pub(super) static NOFILE_LIMIT_DOES_NOT_SPIN: Clause = Clause {
    id: ClauseId("accept.nofile-limit-does-not-spin"),
    level: Level::Should,
    requirement: "The server does not spin while accept fails with EMFILE.",
    why: "The client that cannot be accepted keeps the listening socket readable, so poll returns at once, \
          and accept fails at once, as fast as the machine can. The cure is to pause, or not to poll the \
          listener for a while.",
    citations: &["accept(2) ERRORS", "epoll(7)"],
    needs: &[Need::Lasting],
    scenarios: at_the_limit,
    check: nofile_limit_does_not_spin,
};

/// One client stays; then no descriptor can be had, and clients come in rounds; then all is as it was.
///
/// A blocked accept has its descriptor already, and a pool has many that are blocked: hence the rounds.
fn at_the_limit(profile: &Profile) -> BoxedStrategy<Scenario> {
    let workers = matches!(profile.model, Model::Prefork | Model::Threads);
    let who =
        if profile.model == Model::Prefork { Who::Tree(Instance(0)) } else { Who::Acceptor(Instance(0)) };
    let stays = profile.concurrent && profile.clients > 1;
    let rounds = if workers { 4 } else { 2 };
    let round = profile.clients.saturating_sub(1).clamp(1, if workers { 10 } else { 3 });
    // Those who are not accepted stay in the queue, although they have left.
    let round = round.min(profile.backlog.saturating_add(1) / rounds).max(1);
    let visit = |client: u32| act(client, Act::Visit(Payload::greeting()));
    let mut steps = vec![visit(0), visit(0)];
    if stays {
        steps.extend([act(1, Act::Connect(To::Target)), act(1, Act::Exchange(Payload::greeting()))]);
    }
    // Workers that were made beforehand may still be about to open what they need.
    steps.extend([Step::Quiet, Step::Limit(who, Resource::Descriptors, Amount::InUse)]);
    for n in 0..rounds {
        let each = |act_of: fn() -> Act| (2..2 + round).map(move |client| act(client, act_of()));
        steps.extend(each(|| Act::Dial(To::Target)));
        if n + 1 == rounds {
            // Who gives up does so after some tries.
            steps.extend([Step::Watch(60, 2), Step::Pause(profile.effort.pick(100, 600, 3000))]);
        } else {
            steps.push(Step::Watch(25, 1));
        }
        steps.push(Step::Together(each(|| Act::Close).collect()));
    }
    steps.push(Step::Limit(who, Resource::Descriptors, Amount::Original));
    steps.extend([visit(20), visit(21)]);
    if stays {
        steps.extend([act(1, Act::Exchange(Payload::greeting())), act(1, Act::Close)]);
    }
    steps.push(Step::Look);
    fixed(steps)
}

/// The steps between which the limit held, once it is seen that it was felt: a client was left waiting or sent away.
fn limit_was_felt(scenario: &Scenario, trace: &Trace) -> Result<(usize, usize), Verdict> {
    left_working(scenario)?;
    let is = |amount: Amount| {
        move |step: &Step| match step {
            Step::Limit(_, Resource::Descriptors, other) => *other == amount,
            _ => false,
        }
    };
    let set = first_step(scenario, is(Amount::InUse));
    let lifted = first_step(scenario, is(Amount::Original));
    let (Some(set), Some(lifted)) = (set, lifted) else {
        return Err(Verdict::Inconclusive("the scenario sets no limit of descriptors".into()));
    };
    let done =
        |what: &What| matches!(what, What::Limited { resource: Resource::Descriptors, done: true, .. });
    let done = trace.events.iter().any(|event| event.step == set && done(&event.what));
    witness(done, "the number of descriptors could not be limited")?;
    let within = |step: usize| step > set && step < lifted;
    let felt = trace.looks().filter(|(step, _)| within(*step)).any(|(step, look)| {
        scenario.clients().into_iter().any(|client| is_left_out(trace, look, client, set, step))
    });
    applies(felt, "every client was accepted under the limit of descriptors")?;
    Ok((set, lifted))
}

/// Whether a client that had come between these steps is held by no process at this look.
fn is_left_out(trace: &Trace, look: &Look, client: Client, from: usize, to: usize) -> bool {
    let came = trace.events.iter().rev().find_map(|event| match &event.what {
        What::Acted(acted) if acted.client == client && event.step > from && event.step <= to => Some(acted),
        _ => None,
    });
    came.is_some_and(|acted| {
        let there =
            !matches!(acted.act, Act::Close | Act::Reset | Act::Visit(_)) && acted.fate != Fate::Unconnected;
        there && acted.local.is_some_and(|local| look.holders(local).is_empty())
    })
}

fn survives_nofile_limit(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let (set, lifted) = limit_was_felt(scenario, trace)?;
        let before = trace.before(set);
        let stays = |client: &Client| {
            before
                .last_act(*client)
                .is_some_and(|acted| matches!(acted.act, Act::Connect(_) | Act::Exchange(_)))
        };
        let staying: Vec<_> = scenario.clients().into_iter().filter(stays).collect();
        trace.served_before(set, &scenario.clients())?;
        let context = "when descriptors were free again after accept had failed";
        let seen = trace.goes_on(scenario, lifted, context)?;
        trace
            .all_served(&staying)
            .map_err(|verdict| in_context(verdict, "who was there before the limit"))?;
        Ok(format!("{seen}; {} went on", count(staying.len(), "older client")))
    })
}

fn nofile_limit_does_not_spin(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let (set, lifted) = limit_was_felt(scenario, trace)?;
        let windows: Vec<Window> = trace
            .events
            .iter()
            .filter(|event| event.step > set && event.step < lifted)
            .filter_map(|event| match event.what {
                What::Watched(window) if window.wall_us >= 50_000 => Some(window),
                _ => None,
            })
            .collect();
        witness(!windows.is_empty(), "nobody watched the CPU under the limit")?;
        let least = |part: fn(&Window) -> u64| {
            windows.iter().map(|window| 100 * part(window) / window.wall_us).min().unwrap_or(0)
        };
        let one = trace.is_one_task();
        let busy: Vec<Option<bool>> = windows.iter().map(|window| window.is_busy(one)).collect();
        if busy.iter().all(|busy| *busy == Some(true)) {
            return Err(Verdict::seen(
                "less than half a core while accept fails",
                format!(
                    "it spins in each of {}: it uses or waits for {} % of a core or more",
                    count(windows.len(), "window"),
                    least(|window| window.cpu_us.saturating_add(window.delay_us))
                ),
            ));
        }
        trace.lives(Instance(0), "the server lives on at the limit")?;
        witness(busy.contains(&Some(false)), "the machine was too busy: the server waited for a CPU")?;
        Ok(format!("{} % of a core at the limit", least(|window| window.cpu_us)))
    })
}
