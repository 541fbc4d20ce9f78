//! Use of the CPU by a set of processes that come and go.
//!
//! What a living process used is exact: its CPU clock. What a dead one used is known in two ways, each too low: what
//! was read while it lived (which misses its end, and processes that lived between two looks), and what its parent's
//! cutime and cstime tell when it has waited (in ticks of 10 ms a parent, and nothing where SIGCHLD is ignored).
//! The greater of the two counts. Run delay and switches of the dead are only those that were read.

use std::collections::HashMap;
use std::time::Instant;

use crate::error::{Attempt, Error};
use crate::observe::proc_text::parse_schedstat;
use crate::observe::process::Seen;

/// Use of the CPU by a set of processes, living and dead, since they began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, nanoseconds.
    pub cpu_ns: u64,
    /// Time that tasks which could run waited for a CPU, nanoseconds, summed over tasks.
    pub delay_ns: u64,
    /// How often a task was put on a CPU.
    pub switches: u64,
}

impl Usage {
    /// What was used since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(before.cpu_ns),
            delay_ns: self.delay_ns.saturating_sub(before.delay_ns),
            switches: self.switches.saturating_sub(before.switches),
        }
    }

    /// Of this very thread.
    ///
    /// # Errors
    /// When `/proc/thread-self/schedstat` cannot be read.
    pub fn own() -> Result<Self, Error> {
        const PATH: &str = "/proc/thread-self/schedstat";
        Ok(parse_schedstat(&std::fs::read(PATH).attempt(|| format!("read {PATH}"))?))
    }

    pub(super) fn plus(self, more: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns + more.cpu_ns,
            delay_ns: self.delay_ns + more.delay_ns,
            switches: self.switches + more.switches,
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.max(other.cpu_ns),
            delay_ns: self.delay_ns.max(other.delay_ns),
            switches: self.switches.max(other.switches),
        }
    }
}

/// A process for ever: its id and its start time.
type Key = (i32, u64);

/// Keeps account of every process that was seen.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    accounts: HashMap<Key, Account>,
    /// Of the dead that have no living ancestor in the target.
    ended: Usage,
    /// The greatest total told so far: the ticks of cutime must not let it fall.
    told: Usage,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    parent: Option<Key>,
    usage: Usage,
    /// What the kernel says its dead children used.
    reaped_ns: u64,
    /// What its dead descendants were seen to use.
    buried_ns: u64,
    /// Since when it has been runnable without having run.
    waiting_since: Option<Instant>,
    waited_ns: u64,
}

impl Ledger {
    /// Takes in a look at all processes of the target.
    pub(super) fn update(&mut self, all: &[Seen], now: Instant) {
        let keys: HashMap<i32, Key> = all.iter().map(|seen| (seen.process.pid, key(seen))).collect();
        let mut before = std::mem::take(&mut self.accounts);
        for seen in all {
            let parent = keys.get(&seen.process.ppid).copied();
            let account = account(seen, parent, before.remove(&key(seen)), now);
            self.accounts.insert(key(seen), account);
        }
        for account in before.values() {
            self.bury(*account, &before);
        }
        self.told = self.told.max(self.total());
    }

    /// What all used so far. Never less than before.
    pub(super) fn usage(&self) -> Usage {
        self.told
    }

    /// Hands what a dead process used to its nearest living ancestor, whose cutime may tell it too.
    fn bury(&mut self, dead: Account, others: &HashMap<Key, Account>) {
        self.ended.delay_ns += dead.usage.delay_ns + dead.waited_ns;
        self.ended.switches += dead.usage.switches;
        let mut parent = dead.parent;
        // A parent is older than its child, or was its elder sibling's: the chain ends; the bound is for broken pids.
        for _ in 0..=others.len() {
            let Some(key) = parent else { break };
            if let Some(living) = self.accounts.get_mut(&key) {
                living.buried_ns += dead.cpu_ns();
                return;
            }
            parent = others.get(&key).and_then(|account| account.parent);
        }
        self.ended.cpu_ns += dead.cpu_ns();
    }

    fn total(&self) -> Usage {
        self.accounts.values().fold(self.ended, |sum, account| {
            sum.plus(Usage {
                cpu_ns: account.cpu_ns(),
                delay_ns: account.usage.delay_ns + account.waited_ns,
                switches: account.usage.switches,
            })
        })
    }
}

impl Account {
    fn cpu_ns(&self) -> u64 {
        self.usage.cpu_ns + self.reaped_ns.max(self.buried_ns)
    }
}

fn key(seen: &Seen) -> Key {
    (seen.process.pid, seen.process.started)
}

/// The account of a living process.
///
/// The kernel adds a wait to the run delay only when the wait ends, so a task that is still waiting shows none: if it
/// was runnable at the look before and has not run since, the time between the looks counts, until the kernel tells.
fn account(seen: &Seen, parent: Option<Key>, before: Option<Account>, now: Instant) -> Account {
    let mut account = Account {
        parent,
        usage: seen.usage,
        reaped_ns: seen.reaped_ns,
        buried_ns: before.map_or(0, |before| before.buried_ns),
        waiting_since: (seen.busy > 0).then_some(now),
        waited_ns: 0,
    };
    if let Some(before) = before
        && let Some(since) = before.waiting_since
        && seen.process.state == 'R'
        && before.usage == seen.usage
    {
        account.waiting_since = Some(since);
        account.waited_ns = u64::try_from(now.duration_since(since).as_nanos()).unwrap_or(u64::MAX);
    }
    account
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::Instance;
    use crate::trace::Process;

    fn seen(pid: i32, ppid: i32, cpu_ns: u64, reaped_ns: u64) -> Seen {
        let usage = Usage { cpu_ns, delay_ns: 1, switches: 1 };
        Seen {
            process: Process {
                pid,
                ppid,
                instance: Instance(0),
                started: 1,
                state: 'S',
                ended: None,
                comm: String::new(),
                exe: String::new(),
                threads: 1,
                cpu_ns,
                delay_ns: 1,
                vm_kib: 0,
                rss_kib: 0,
                uid: 0,
                ignored: 0,
                caught: 0,
                blocked: 0,
                fds: Vec::new(),
                fds_readable: true,
            },
            usage,
            reaped_ns,
            busy: 0,
        }
    }

    fn cpu_after(looks: &[&[Seen]]) -> u64 {
        let mut ledger = Ledger::default();
        for look in looks {
            ledger.update(look, Instant::now());
        }
        ledger.usage().cpu_ns
    }

    #[test]
    fn the_time_of_a_dead_child_is_not_lost_and_not_counted_twice() {
        // Seen with 5 while it lived; the parent's cutime tells nothing, less, the same or more.
        for (reaped, expected) in [(0, 15), (3, 15), (5, 15), (9, 19)] {
            let sum = cpu_after(&[&[seen(2, 1, 10, 0), seen(3, 2, 5, 0)], &[seen(2, 1, 10, reaped)]]);
            assert_eq!(sum, expected, "cutime {reaped}");
        }
    }

    #[test]
    fn a_child_that_was_never_seen_counts_by_its_parents_cutime() {
        assert_eq!(cpu_after(&[&[seen(2, 1, 10, 0)], &[seen(2, 1, 10, 20)]]), 30);
    }

    #[test]
    fn a_family_that_died_between_two_looks_goes_to_the_living_ancestor() {
        let family = [seen(2, 1, 1, 0), seen(3, 2, 10, 0), seen(4, 3, 100, 0)];
        assert_eq!(cpu_after(&[&family, &[seen(2, 1, 1, 0)]]), 111);
        assert_eq!(cpu_after(&[&family, &[]]), 111);
        assert_eq!(cpu_after(&[&family, &[seen(4, 1, 100, 0)]]), 111);
    }

    #[test]
    fn the_sum_never_falls() {
        let mut ledger = Ledger::default();
        ledger.update(&[seen(2, 1, 50, 90)], Instant::now());
        ledger.update(&[seen(2, 1, 50, 0)], Instant::now());
        assert_eq!(ledger.usage().cpu_ns, 140);
    }

    #[test]
    fn a_task_that_waits_for_a_cpu_and_gets_none_is_delayed_already() {
        let mut starved = seen(2, 1, 50, 0);
        (starved.process.state, starved.busy) = ('R', 1);
        let begin = Instant::now();
        let mut ledger = Ledger::default();
        for ms in [0, 10, 30] {
            ledger.update(&[starved.clone()], begin + Duration::from_millis(ms));
        }
        assert_eq!(ledger.usage().delay_ns, 30_000_001);
        // Then it ran: the kernel's own number takes the place of ours.
        starved.usage.delay_ns = 31_000_000;
        ledger.update(&[starved], begin + Duration::from_millis(40));
        assert_eq!(ledger.usage().delay_ns, 31_000_000);
    }
}
