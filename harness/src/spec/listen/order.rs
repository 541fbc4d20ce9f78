//! In which order a queue is served.

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::{fixed, visit};
use crate::scenario::{Act, Condition, Payload, Scenario, Sig, Step, To, act};
use crate::spec::listen::seen::{has_one_task, was_stopped};
use crate::spec::listen::{EARLY, FIRST, TREE, together};
use crate::trace::query::{applies, count, judge, witness};
use crate::trace::{Acted, Fate, Trace};
use crate::verdict::Verdict;

/// First come, first served.
pub(super) static DRAINS_IN_ORDER: Clause = Clause {
    id: ClauseId("listen.drains-in-order"),
    level: Level::Should,
    requirement: "The server does not serve the clients of its queue from the last to the first.",
    why: "accept returns the first connection on the queue. A server that takes all and then works through its own \
          list backwards lets those wait longest who came first, under load for ever.",
    citations: &["POSIX.1-2024 accept", "UNP 4.6"],
    needs: &[Need::Lasting, Need::Concurrent],
    scenarios: greetings_in_the_queue,
    check: drains_in_order,
};

fn greetings_in_the_queue(profile: &Profile) -> BoxedStrategy<Scenario> {
    let clients = profile.clients.min(8).min(profile.backlog.saturating_add(1));
    let mut steps = vec![visit(EARLY), Step::Signal(TREE, Sig::Stop), Step::Await(Condition::Stopped(TREE))];
    for client in 0..clients {
        steps.extend([act(client, Act::Connect(To::Target)), act(client, Act::Send(Payload::greeting()))]);
    }
    // They read before the server goes on, so that its answers are seen in their order.
    let reads = (0..clients).map(|client| act(client, Act::Read));
    steps.push(Step::Together(reads.chain([Step::Signal(TREE, Sig::Cont)]).collect()));
    steps.push(together(clients, Act::Close));
    fixed(steps)
}

fn drains_in_order(scenario: &Scenario, trace: &Trace) -> Verdict {
    /// Fewer may be served backwards by chance, and sooner by a loop that goes backwards through what is ready at once.
    const CLIENTS_MIN: usize = 6;
    const WAIT_MIN_US: u64 = 40_000;
    judge(|| {
        trace.ready(FIRST)?;
        witness(was_stopped(trace), "the server was not stopped, so nobody waited")?;
        applies(has_one_task(trace), "which of several tasks comes first is for the scheduler to say")?;
        let is_read = |acted: &&Acted| acted.act == Act::Read && acted.fate == Fate::Done;
        let reads: Vec<&Acted> = trace.all_acts().filter(is_read).collect();
        let [last, .., first] = reads[..] else { return Err(Verdict::Inconclusive("nobody waited".into())) };
        let served = count(reads.len(), "client");
        witness(reads.len() >= CLIENTS_MIN, format!("{served} in the queue say nothing"))?;
        witness(scenario.clients().len() > reads.len(), "the clients did not wait in the queue")?;
        let wait_us = first.took_us.saturating_sub(last.took_us);
        if reads.windows(2).all(|pair| pair[0].client > pair[1].client) && wait_us >= WAIT_MIN_US {
            let order: Vec<String> = reads.iter().map(|acted| acted.client.to_string()).collect();
            return Err(Verdict::seen(
                "the first client in the queue is not served last",
                format!("{}, {} ms after the first of them", order.join(", "), wait_us / 1000),
            ));
        }
        Ok(format!("{served} of the queue served"))
    })
}
