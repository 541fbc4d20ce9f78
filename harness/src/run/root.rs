//! Roots: a failure that explains others. What happens in the scenarios of many clauses, whatever they are about, is told
//! once, by the clause that asks for it as such.

use std::collections::BTreeSet;

use crate::clause::{Clause, ClauseId};
use crate::outcome::{Counterexample, Failure};
use crate::run::second_look::Unsettled;
use crate::scenario::{Act, Instance, Scenario, Sig, Who};
use crate::trace::{Acted, Ending, Exit, Fate, Trace, What};
use crate::verdict::Verdict;

const FIRST: Instance = Instance(0);

/// A clause whose failure explains those of others.
pub(super) struct Root {
    pub(super) id: ClauseId,
    /// Clauses, or whole families, that ask for the same as such: it does not speak for their failures.
    kin: &'static [&'static str],
    explains: fn(&Counterexample, &Clause, &Unsettled) -> bool,
    /// Whether all who wait for the same thing wait in vain.
    pub(super) is_waited_for: bool,
}

/// In the order in which they are looked at.
pub(super) const ROOTS: [Root; 4] = [
    // A server that a child's end interrupts in accept, and that then leaves its loop, ends with its first client.
    Root {
        id: ClauseId("accept.survives-child-death"),
        kin: &[
            "reap",
            "fork.sibling-survives",
            "fork.sibling-survives-mid-transfer",
            "fork.serves-after-mass-kill",
            "fork.crashed-child-reaped",
        ],
        explains: |failed, _, seen| ends_as_well(failed, seen, end_of_child),
        is_waited_for: false,
    },
    // One that takes an interruption by SIGCONT for an error ends wherever it was stopped, so that things happen unseen.
    Root {
        id: ClauseId("reap.stop-and-continue"),
        kin: &["reap"],
        explains: |failed, _, seen| ends_as_well(failed, seen, goes_on),
        is_waited_for: false,
    },
    // A server ends its half of a connection when the client has. Where it does not, whoever reads to the end waits in vain.
    Root {
        id: ClauseId("close.eof-reaches-client"),
        kin: &["close", "echo.empty", "echo.pipelined-close"],
        explains: |_, clause, seen| is_of_such_ends(clause, seen, lacks_its_end),
        is_waited_for: true,
    },
    // Nor does it reset a connection that has come to its end: whoever reads to the end is told that something was lost.
    Root {
        id: ClauseId("close.no-reset-on-clean"),
        kin: &["close", "echo.empty", "echo.pipelined-close"],
        explains: |_, clause, seen| is_of_such_ends(clause, seen, is_reset_at_its_end),
        is_waited_for: false,
    },
];

impl Root {
    /// Whether what was seen of this clause is explained by the failure of the root.
    pub(super) fn explains(&self, failed: &Counterexample, clause: &Clause, seen: &Unsettled) -> bool {
        let is_kin = self.kin.iter().any(|kin| *kin == clause.id.family() || *kin == clause.id.0);
        !(is_kin && matches!(seen, Unsettled::Failure(_))) && (self.explains)(failed, clause, seen)
    }
}

/// Whether the server ended by itself after such an event, as it mostly does where the root fails: a call that can be
/// interrupted is not always under way.
fn ends_as_well(failed: &Counterexample, seen: &Unsettled, cause: Cause) -> bool {
    let (failures, enactments) = failed.rate;
    let ends = [&failed.failure.trace, seen.trace()].map(|trace| end_after(trace, cause));
    let [Some(one), Some(other)] = ends else { return false };
    2 * failures > enactments && (one == other || one == End::Unseen || other == End::Unseen)
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Exit(Exit),
    /// The scenario was over before it could be told: the server listens no more.
    Unseen,
}

/// What a launched server may end of.
type Cause = fn(&What) -> Option<Instance>;

/// How a server ended by itself after such an event, if one did.
fn end_after(trace: &Trace, cause: Cause) -> Option<End> {
    let (mut caused, mut told) = (BTreeSet::new(), BTreeSet::new());
    let mut listens = true;
    for event in &trace.events {
        caused.extend(cause(&event.what));
        match &event.what {
            What::Exited { instance, .. } if told.contains(instance) => {}
            What::Exited { instance, exit } if caused.contains(instance) => return Some(End::Exit(*exit)),
            What::Exited { instance: FIRST, .. } => return None,
            What::Looked { look, .. } | What::Awaited { look, .. } => {
                listens = look.acceptor(FIRST).is_some();
            }
            What::Signalled { who, sig, .. } if !matches!(sig, Sig::Stop | Sig::Cont | Sig::Chld) => {
                told.extend(whole(*who));
            }
            _ => {}
        }
    }
    (caused.contains(&FIRST) && !told.contains(&FIRST) && !listens).then_some(End::Unseen)
}

/// The server that is meant as a whole, or by its accepting process.
fn whole(who: Who) -> Option<Instance> {
    match who {
        Who::Launched(instance) | Who::Acceptor(instance) | Who::Tree(instance) => Some(instance),
        Who::Serving(_) | Who::Children(_) | Who::Child(..) => None,
    }
}

/// Whose child, made for some client, has reason to end.
fn end_of_child(what: &What) -> Option<Instance> {
    match what {
        What::Acted(acted) => (!matches!(acted.act, Act::Connect(_))).then_some(FIRST),
        What::Signalled { who: Who::Children(instance) | Who::Child(instance, _), .. } => Some(*instance),
        What::Signalled { who: Who::Serving(_), .. } => Some(FIRST),
        _ => None,
    }
}

/// Who was stopped and goes on.
fn goes_on(what: &What) -> Option<Instance> {
    match what {
        What::Signalled { who, sig: Sig::Cont, .. } => Some(whole(*who).unwrap_or(FIRST)),
        _ => None,
    }
}

/// Whether what was seen comes of nothing but such ends of clients that have all their bytes.
fn is_of_such_ends(clause: &Clause, seen: &Unsettled, is_such: fn(&Acted) -> bool) -> bool {
    match seen {
        Unsettled::Failure(failure) => fails_by_ends_alone(clause.check, failure, is_such),
        Unsettled::Doubt(doubt) => doubt.trace.all_acts().any(is_such),
    }
}

/// Whether the check would not fail if each of these clients had read the end of its connection.
fn fails_by_ends_alone(
    check: fn(&Scenario, &Trace) -> Verdict,
    failure: &Failure,
    is_such: fn(&Acted) -> bool,
) -> bool {
    let mut trace = failure.trace.clone();
    let mut ends = 0;
    for event in &mut trace.events {
        if let What::Acted(acted) = &mut event.what
            && is_such(acted)
        {
            (acted.fate, acted.ending) = (Fate::Done, Some(Ending::Eof));
            ends += 1;
        }
    }
    ends > 0 && !matches!(check(&failure.scenario, &trace), Verdict::Fail(_))
}

/// Whether a client that has all its bytes waited for the end of its connection in vain.
fn lacks_its_end(acted: &Acted) -> bool {
    acted.fate == Fate::Missed && has_all_at_its_end(acted)
}

/// Whether a client that has all its bytes met a reset in place of the end.
fn is_reset_at_its_end(acted: &Acted) -> bool {
    acted.ending == Some(Ending::Reset) && has_all_at_its_end(acted)
}

fn has_all_at_its_end(acted: &Acted) -> bool {
    acted.received == acted.sent && matches!(acted.act, Act::ReadToEnd | Act::Visit(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Client, Payload};
    use crate::trace::Look;
    use crate::trace::build::{Build, serving};
    use crate::trace::query::judge;

    fn fails_alone(trace: Trace, is_such: fn(&Acted) -> bool) -> bool {
        let check: fn(&Scenario, &Trace) -> Verdict =
            |_, trace| judge(|| trace.served(Client(0)).map(|bytes| bytes.to_string()));
        let Verdict::Fail(evidence) = check(&Scenario::default(), &trace) else { panic!("it passes") };
        let failure = Failure { scenario: Scenario::default(), trace, evidence };
        fails_by_ends_alone(check, &failure, is_such)
    }

    fn visited(received: u64, fate: Fate, ending: Option<Ending>) -> Trace {
        let visit = Act::Visit(Payload::greeting());
        let became = |acted: &mut Acted| {
            (acted.fate, acted.received, acted.ending) = (fate, received, ending);
            if received < acted.sent {
                acted.spans.clear();
            }
        };
        Build::served().acted(0, visit, became).trace()
    }

    #[test]
    fn roots_and_kin_are_in_the_catalogue() {
        let is_there = |name: &str| {
            crate::spec::catalogue().any(|clause| clause.id.0 == name || clause.id.family() == name)
        };
        for root in &ROOTS {
            assert!([root.id.0].iter().chain(root.kin).all(|name| is_there(name)), "{}", root.id);
        }
    }

    #[test]
    fn who_has_all_bytes_lacks_the_end_alone() {
        assert!(fails_alone(visited(16, Fate::Missed, None), lacks_its_end));
        assert!(!fails_alone(visited(0, Fate::Missed, None), lacks_its_end));
        assert!(!fails_alone(visited(0, Fate::Ended, None), lacks_its_end));
    }

    #[test]
    fn who_has_all_bytes_is_reset_at_the_end_alone() {
        let reset = Some(Ending::Reset);
        assert!(fails_alone(visited(16, Fate::Ended, reset), is_reset_at_its_end));
        assert!(!fails_alone(visited(0, Fate::Ended, reset), is_reset_at_its_end));
        assert!(!fails_alone(visited(16, Fate::Missed, None), is_reset_at_its_end));
    }

    #[test]
    fn an_end_of_the_server_is_its_own_only_if_nobody_asked_for_it() {
        let left = || Build::served().visited(0);
        let signalled = |who, sig| What::Signalled { who, sig, pids: vec![2] };
        let whole = Who::Tree(Instance(0));
        let end = |build: Build| end_after(&build.trace(), end_of_child);
        assert_eq!(end(left().exited(0, Exit::Code(0))), Some(End::Exit(Exit::Code(0))));
        assert_eq!(end(left()), None);
        assert_eq!(end(Build::served().exited(0, Exit::Code(1))), None);
        let told = left().event(signalled(whole, Sig::Term)).exited(0, Exit::Code(0));
        assert_eq!(end(told), None);
        let child = Build::served().event(signalled(Who::Serving(Client(0)), Sig::Kill));
        assert_eq!(end(child.exited(0, Exit::Code(0))), Some(End::Exit(Exit::Code(0))));
        let continued = Build::served().event(signalled(whole, Sig::Cont)).exited(0, Exit::Code(1)).trace();
        assert_eq!(end_after(&continued, goes_on), Some(End::Exit(Exit::Code(1))));
        assert_eq!(end_after(&continued, end_of_child), None);
        assert_eq!(end(left().looked(serving())), None);
        assert_eq!(end(left().looked(Look::default())), Some(End::Unseen));
        assert_eq!(end(Build::served().looked(Look::default())), None);
    }

    #[test]
    fn only_a_server_that_mostly_ends_explains_other_ends() {
        let failure = |trace: Trace| {
            let evidence = crate::verdict::Evidence {
                kind: crate::verdict::Kind::Seen,
                expected: String::new(),
                observed: String::new(),
            };
            Failure { scenario: Scenario::default(), trace, evidence }
        };
        let ended = |code| failure(Build::served().visited(0).exited(0, Exit::Code(code)).trace());
        let [root, ..] = &ROOTS;
        let explains = |rate, code, id: &str| {
            let clause = crate::spec::catalogue().find(|clause| clause.id.0 == id).unwrap();
            let failed = Counterexample { failure: ended(0), rate };
            root.explains(&failed, clause, &Unsettled::Failure(Box::new(ended(code))))
        };
        assert!(explains((3, 3), 0, "echo.binary"));
        assert!(explains((2, 3), 0, "echo.binary"));
        assert!(!explains((1, 3), 0, "echo.binary"));
        assert!(!explains((3, 3), 1, "echo.binary"));
        assert!(!explains((3, 3), 0, "reap.accept-goes-on"));
    }
}
