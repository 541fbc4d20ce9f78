//! Those who are served stay served while others come.

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::{Model, Profile};
use crate::scenario::generate::{come, fixed, visit};
use crate::scenario::{Act, Client, Instance, Payload, Scenario, Step, act};
use crate::trace::aftermath::{in_context, left_working};
use crate::trace::query::{count, judge, witness};
use crate::trace::{Acted, Fate, Trace};
use crate::verdict::Verdict;

/// Who loses the race for a new client still serves the old ones.
pub(super) static NEWCOMER_DELAYS_NOBODY: Clause = Clause {
    id: ClauseId("accept.newcomer-delays-nobody"),
    level: Level::Must,
    requirement: "The server goes on serving the clients it has when a new one has come and gone.",
    why: "Several workers that wait for one listener all wake when a client comes, and one of them gets it. On a \
          listener that blocks, the others then wait in accept for the next client, and everybody whom they serve \
          waits with them. The cure is a listener with O_NONBLOCK, or a lock around accept.",
    citations: &["accept(2) NOTES", "UNP 16.6", "UNP 30.6"],
    needs: &[Need::Concurrent, Need::Lasting],
    scenarios: one_visitor_after_another,
    check: newcomer_delays_nobody,
};

/// What all visits may take, microseconds, where there are three replies to each: to the visitor, and to those who stay.
const VISITING_US: u64 = 10_000_000;

/// Some clients stay, one visitor comes after another, and after each of them all who stay are served again.
fn one_visitor_after_another(profile: &Profile) -> BoxedStrategy<Scenario> {
    // Where each connection has a task of its own from the start, nobody competes.
    let compete = matches!(profile.model, Model::Prefork | Model::EventLoop | Model::Threads);
    // More than a byte can number, but where each reply takes its time.
    let in_time = (VISITING_US / 3).checked_div(profile.reply_us).unwrap_or(u64::MAX).max(3);
    let visits = if compete { profile.effort.pick(150, 260, 400).min(in_time) } else { 3 };
    // A visitor needs a place, too.
    let staying = profile.clients.saturating_sub(1).clamp(1, 8);
    let all = |what: fn(u32) -> Step| Step::Together((0..staying).map(what).collect());
    let mut steps: Vec<Step> = (0..staying).flat_map(come).collect();
    for _ in 0..visits {
        steps.extend([visit(staying), all(|client| act(client, Act::Exchange(Payload::greeting())))]);
    }
    steps.push(all(|client| act(client, Act::Close)));
    fixed(steps)
}

fn newcomer_delays_nobody(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let stays = |client: &Client| {
            let mut acts = trace.all_acts().skip_while(|acted| acted.client != *client);
            acts.any(|acted| matches!(acted.act, Act::Visit(_)) && acted.client != *client)
                && acts.any(|acted| matches!(acted.act, Act::Exchange(_)) && acted.client == *client)
        };
        let staying: Vec<_> = scenario.clients().into_iter().filter(stays).collect();
        let is_visit = |acted: &&Acted| matches!(acted.act, Act::Visit(_)) && acted.fate == Fate::Done;
        let visits = trace.all_acts().filter(is_visit).count();
        witness(visits > 0 && !staying.is_empty(), "nobody stayed while another one came and went")?;
        let context = format!("while {} came and went", count(visits, "visitor"));
        trace.all_served(&staying).map_err(|verdict| in_context(verdict, &context))?;
        trace.lives(Instance(0), &format!("the server goes on, {context}"))?;
        Ok(format!("{} served {context}", count(staying.len(), "client")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::To;
    use crate::trace::Span;
    use crate::trace::build::Build;

    fn judged(last: impl Fn(&mut Acted)) -> Verdict {
        let greet = Act::Exchange(Payload::greeting());
        let steps = [act(0, Act::Connect(To::Target)), act(0, greet), visit(1), act(0, greet)];
        let trace = Build::served().done(0, greet).done(1, Act::Visit(Payload::greeting()));
        let again = |acted: &mut Acted| {
            acted.spans = vec![Span::Own { offset: 16, len: 16 }];
            last(acted);
        };
        newcomer_delays_nobody(&Scenario::served(steps), &trace.acted(0, greet, again).trace())
    }

    #[test]
    fn who_is_served_no_more_after_a_visit_was_delayed() {
        assert!(matches!(judged(|_| {}), Verdict::Pass(_)));
        let missed = judged(|acted| {
            (acted.fate, acted.received) = (Fate::Missed, 0);
            acted.spans.clear();
        });
        assert!(matches!(missed, Verdict::Fail(_)), "{missed:?}");
    }
}
