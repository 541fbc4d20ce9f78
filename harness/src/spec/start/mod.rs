//! Starting: a server listens where it was told to, says so truthfully, costs nothing while idle, and takes its
//! surroundings as they are.
//!
//! # References
//! POSIX.1-2024 bind, listen and exec, socket(7), signal(7), UNP 4.4, 4.5 and 7.5.

use crate::clause::Clause;
use crate::profile::Profile;
use crate::scenario::generate::visit;
use crate::scenario::{Act, Instance, Scenario, Step, act};
use crate::trace::query::witness;
use crate::verdict::Verdict;

pub mod address;
pub mod conflict;
pub mod idle;
pub mod setting;
pub mod signals;

pub(in crate::spec) use idle::rests_in;

/// The family, in the order in which it is told.
pub const CLAUSES: &[&Clause] = &[
    &address::LISTENS_IN_TIME,
    &address::ANNOUNCES_WHEN_READY,
    &address::PORT_HONOURED,
    &address::ONLY_THE_REQUESTED_ADDRESS,
    &address::PORT_REPORTED,
    &address::NO_UNDECLARED_LISTENER,
    &conflict::PORT_IN_USE_EXITS,
    &conflict::PORT_IN_USE_MESSAGE,
    &conflict::SECOND_INSTANCE_REFUSED,
    &conflict::REUSEPORT_REPORTED,
    &conflict::BAD_PORT_REFUSED,
    &idle::IDLE_DOES_NOT_SPIN,
    &idle::IDLE_DOES_NOT_POLL,
    &idle::IDLE_AFTER_LOAD,
    &idle::SILENT_CLIENTS_COST_NOTHING,
    &setting::STDIO_CLOSED,
    &setting::SURVIVES_CLOSED_STDOUT,
    &setting::SURVIVES_FULL_STDOUT,
    &signals::SIGCHLD_IGNORED,
    &signals::SIGCHLD_BLOCKED,
    &signals::SIGPIPE_EITHER_WAY,
    &setting::LOW_NOFILE,
    &setting::WORKING_DIRECTORY_GONE,
];

const FIRST: Instance = Instance(0);
const SECOND: Instance = Instance(1);

/// The same act of some clients, at once.
fn each(clients: std::ops::Range<u32>, what: Act) -> Step {
    Step::Together(clients.map(|client| act(client, what)).collect())
}

/// Visitors, one after another, with a breath after every third: super-servers may refuse more than 50 a second.
fn visitors(many: u32) -> Vec<Step> {
    let breath = |n: u32| (n % 3 == 2).then_some(Step::Pause(60));
    (0..many).flat_map(|n| std::iter::once(visit(n)).chain(breath(n))).collect()
}

/// Ends the check if the server was signalled or limited.
fn left_alone(scenario: &Scenario) -> Result<(), Verdict> {
    let disturbs = |step: &Step| matches!(step, Step::Signal(..) | Step::Limit(..));
    witness(!scenario.flat().any(|(_, step)| disturbs(step)), "the server was signalled or limited")
}

/// Measures the use of the CPU in at least three windows.
fn watch(profile: &Profile) -> Step {
    let (ms, windows) = profile.effort.pick((60, 3), (80, 3), (200, 5));
    Step::Watch(ms, windows)
}
