//! How a child ends whose client has left in order.

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::fixed;
use crate::scenario::{Act, Condition, Instance, Payload, Scenario, Sig, Step, To, Who, act};
use crate::trace::aftermath::first_step;
use crate::trace::query::{applies, count, judge, name, witness};
use crate::trace::{Acted, Exit, Fate, Trace};
use crate::verdict::Verdict;

/// A client that has left in order is no failure.
pub(super) static CHILD_STATUS: Clause = Clause {
    id: ClauseId("fork.child-status"),
    level: Level::Should,
    requirement: "The server's child exits with status 0 when its client has left in order.",
    why: "The status is all that a parent learns of its child. Where an ordinary end of file looks like a crash, real ones \
          are not seen among them; and a count, or what read returned last, makes a status of any number.",
    citations: &["POSIX.1-2024 wait", "exit(3)"],
    needs: &[Need::ForkPerConnection, Need::Echo, Need::Lasting],
    scenarios: leave_in_order,
    check: child_status,
};

/// Bytes of each client: the last read of its child is small, or fills a buffer.
const LENGTHS: [u64; 4] = [16, 60_000, 1, 4096];
const FIRST: Instance = Instance(0);

/// Clients leave in order while the parent is stopped: their children stay zombies until it goes on.
fn leave_in_order(profile: &Profile) -> BoxedStrategy<Scenario> {
    let parent = Who::Acceptor(FIRST);
    let there = if profile.concurrent { profile.clients as usize } else { 1 };
    let clients = || (0..).zip(LENGTHS).take(there);
    let mut steps: Vec<Step> = clients()
        .flat_map(|(client, len)| {
            [act(client, Act::Connect(To::Target)), act(client, Act::Exchange(Payload::of(len)))]
        })
        .collect();
    steps.extend([Step::Look, Step::Signal(parent, Sig::Stop), Step::Await(Condition::Stopped(parent))]);
    steps.extend(clients().map(|(client, _)| act(client, Act::Close)));
    steps.extend([Step::Quiet, Step::Signal(parent, Sig::Cont), Step::Await(Condition::NoZombie)]);
    fixed(steps)
}

fn child_status(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(FIRST)?;
        let disturbs = |step: &Step| match step {
            Step::Signal(_, sig) => !matches!(sig, Sig::Stop | Sig::Cont),
            Step::Limit(..) => true,
            _ => false,
        };
        witness(!scenario.flat().any(|(_, step)| disturbs(step)), "more was done than to stop the parent")?;
        let in_order = |acted: &Acted| {
            acted.fate == Fate::Done && acted.act != Act::Reset && acted.received >= acted.sent
        };
        witness(trace.all_acts().all(in_order), "a client left without its bytes, or by a reset")?;
        let stopped = first_step(scenario, |step| matches!(step, Step::Signal(_, Sig::Stop)))
            .ok_or_else(|| Verdict::Inconclusive("the parent was not stopped".into()))?;
        let ended = trace
            .looks()
            .filter(|(step, _)| *step > stopped)
            .flat_map(|(_, look)| trace.new_zombies(look))
            .filter_map(|zombie| Some((zombie, zombie.ended?)));
        let exited: Vec<_> = ended.filter(|(_, exit)| matches!(exit, Exit::Code(_))).collect();
        applies(!exited.is_empty(), "its children leave no status to anybody")?;
        if let Some((zombie, exit)) = exited.iter().find(|(_, exit)| *exit != Exit::Code(0)) {
            return Err(Verdict::seen(
                "each child exits with status 0 when its client has left in order",
                format!("{} {exit}", name(zombie)),
            ));
        }
        Ok(format!("{} with status 0", count(exited.len(), "look at an exit")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::{Build, SERVER, process, serving};

    fn judged(ended: Option<Exit>) -> Verdict {
        let steps = [Step::Signal(Who::Acceptor(FIRST), Sig::Stop), Step::Quiet];
        let mut look = serving();
        let mut child = process(9, SERVER, &[]);
        (child.state, child.ended) = ('Z', ended);
        look.processes.push(child);
        let scenario = Scenario::served(steps);
        let build = Build::served().signalled(Who::Acceptor(FIRST), Sig::Stop, &[SERVER]);
        let mut trace = build.looked(look).trace();
        for event in trace.events.iter_mut().rev().take(1) {
            event.step = scenario.steps.len();
        }
        child_status(&scenario, &trace)
    }

    #[test]
    fn a_status_is_told_and_who_leaves_none_is_not_judged() {
        assert!(matches!(judged(Some(Exit::Code(0))), Verdict::Pass(_)));
        assert!(matches!(judged(Some(Exit::Code(1))), Verdict::Fail(_)));
        assert!(matches!(judged(None), Verdict::NotApplicable(_)));
        assert!(matches!(judged(Some(Exit::Signal(9))), Verdict::NotApplicable(_)));
    }
}
