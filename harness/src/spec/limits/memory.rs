//! Memory: what a client has used is free again when it has left.

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::{Model, Profile};
use crate::scenario::generate::fixed;
use crate::scenario::{Act, Condition, Facet, Scenario, Step};
use crate::spec::limits::{FIRST, started, visit};
use crate::trace::query::{judge, name, witness};
use crate::trace::{Fate, Look, Process, Trace, What};
use crate::verdict::Verdict;

/// Clients that have left leave no memory behind.
pub(super) static MEMORY_BOUNDED: Clause = Clause {
    id: ClauseId("limits.memory-bounded"),
    level: Level::Should,
    requirement: "The server does not use more memory for each client that it has ever served.",
    why: "A buffer that is not freed when its client leaves, or a thread that nobody joins or detaches and whose stack \
          stays, is invisible for a day and fatal after a month: the kernel ends the server for want of memory, or no \
          thread can be started any more.",
    citations: &[
        "POSIX.1-2024 free",
        "POSIX.1-2024 pthread_join",
        "pthread_join(3) NOTES",
        "proc_pid_status(5)",
    ],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: batches_of_visits,
    check: memory_does_not_grow,
};

/// Three batches of visits, each larger than the one before: what grows with the clients grows in these proportions,
/// and what a runtime takes in steps does not.
///
/// A server of threads gets more of them, and some time, since it may join threads that have ended by the dozen, or by a
/// timer.
fn batches_of_visits(profile: &Profile) -> BoxedStrategy<Scenario> {
    let threads = profile.model == Model::Threads;
    let third = if threads { profile.effort.pick(8, 10, 20) } else { profile.effort.pick(2, 3, 15) };
    let batch = |visits: u32| {
        let back = Step::Await(Condition::Back(Facet::Connections));
        (0..visits).map(|_| visit(0)).chain(threads.then_some(Step::Pause(350))).chain([back])
    };
    let warm = (0..4).map(|_| visit(0)).chain([Step::Mark]);
    fixed(warm.chain([3, 4, 5].into_iter().flat_map(|thirds| batch(thirds * third))))
}

fn memory_does_not_grow(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        started(scenario, trace, None)?;
        let mark =
            trace.mark().ok_or_else(|| Verdict::Inconclusive("nobody looked after the warm-up".into()))?;
        let mut looks = vec![(0, mark)];
        let mut visits = 0_u64;
        let after =
            trace.events.iter().skip_while(|event| !matches!(event.what, What::Looked { mark: true, .. }));
        for event in after {
            match &event.what {
                What::Acted(acted) if matches!(acted.act, Act::Visit(_)) && acted.fate == Fate::Done => {
                    visits += 1;
                }
                What::Awaited { look, .. } => looks.push((visits, look)),
                _ => {}
            }
        }
        witness(looks.len() > 2 && visits >= 16, "too few clients were served to tell growth from noise")?;
        for process in mark.of(FIRST) {
            let sizes: Option<Vec<_>> =
                looks.iter().map(|(n, look)| Some((*n, living(look, process.pid)?))).collect();
            let Some(sizes) = sizes else { continue };
            let over = format!("{} over {visits} clients, one after another", name(process));
            if grows_in_memory(&sizes) {
                return Err(Verdict::missing(
                    "resident memory comes to rest after a few clients",
                    format!("{over}: {}", in_words(&sizes, |process| process.rss_kib)),
                ));
            }
            if let Some(each) = grows_in_addresses(&sizes) {
                return Err(Verdict::missing(
                    "the address space comes to rest after a few clients",
                    format!(
                        "{over}, {each} KiB for each, and no more threads than before: {}",
                        in_words(&sizes, |process| process.vm_kib)
                    ),
                ));
            }
        }
        Ok(format!("no steady growth over {visits} clients"))
    })
}

/// A process, and how many clients had been served by then.
type Sized<'a> = (u64, &'a Process);

/// What each batch of clients added, by one measure.
fn added(sizes: &[Sized<'_>], measure: fn(&Process) -> u64) -> impl Iterator<Item = (u64, u64)> {
    sizes.windows(2).map(move |pair| {
        let [(n, before), (m, after)] = [pair[0], pair[1]];
        (m.saturating_sub(n), measure(after).saturating_sub(measure(before)))
    })
}

fn grows_in_memory(sizes: &[Sized<'_>]) -> bool {
    /// Less than this for each visit is noise: allocators, caches, and garbage that nobody has collected yet.
    const GENEROUS_KIB: u64 = 160;
    added(sizes, |process| process.rss_kib).all(|(visits, kib)| visits > 0 && kib >= visits * GENEROUS_KIB)
}

/// KiB of address space for each client, if three batches of different sizes added as much for each of their clients:
/// stacks of threads that have ended, and mappings that nobody touches. Besides, glibc and other allocators reserve arenas
/// of 64 MiB; they alone are no growth. A pool that still grows has more threads.
fn grows_in_addresses(sizes: &[Sized<'_>]) -> Option<u64> {
    const ARENA_KIB: u64 = 64 << 10;
    /// What a heap may grow by meanwhile.
    const NOISE_KIB: u64 = 512;
    /// Stacks of threads are larger, and what one client leaves in a heap is smaller.
    const LEAST_KIB: u64 = 64;
    let batches: Vec<(u64, u64)> = added(sizes, |process| process.vm_kib).collect();
    let differ = batches.len() >= 3 && batches.windows(2).all(|pair| pair[0].0 != pair[1].0);
    if !differ || sizes.last()?.1.threads > sizes.first()?.1.threads {
        return None;
    }
    let besides_arenas = |kib: u64| (kib % ARENA_KIB).min(ARENA_KIB - kib % ARENA_KIB);
    if batches.iter().all(|(_, kib)| besides_arenas(*kib) <= NOISE_KIB) {
        return None;
    }
    let (visits, first) = batches[0];
    let candidates = (0..=first / ARENA_KIB).filter_map(|n| (first - n * ARENA_KIB).checked_div(visits));
    candidates.filter(|each| *each >= LEAST_KIB).find(|each| {
        batches.iter().all(|&(visits, kib)| {
            let owed = visits * each;
            kib + NOISE_KIB >= owed && besides_arenas(kib.abs_diff(owed)) <= NOISE_KIB
        })
    })
}

fn living(look: &Look, pid: i32) -> Option<&Process> {
    look.process(pid).filter(|process| !process.is_zombie())
}

fn in_words(sizes: &[Sized<'_>], measure: fn(&Process) -> u64) -> String {
    let kib: Vec<_> = sizes.iter().map(|(_, process)| format!("{} KiB", measure(process))).collect();
    kib.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::{Build, SERVER, process, serving};

    const BATCHES: [u32; 3] = [9, 12, 15];

    fn judged(sizes: [Process; 4]) -> Verdict {
        let look = |process: &Process| {
            let mut look = serving();
            look.processes = vec![Process { fds: look.processes[0].fds.clone(), ..process.clone() }];
            look
        };
        let mut build = Build::served().marked(look(&sizes[0]));
        for (size, visits) in sizes[1..].iter().zip(BATCHES) {
            build = (0..visits).fold(build, |build, _| build.visited(0));
            build = build.awaited(Condition::Back(Facet::Connections), true, look(size));
        }
        memory_does_not_grow(&Scenario::default(), &build.trace())
    }

    #[test]
    fn steady_growth_is_a_leak_and_one_step_is_not() {
        let with =
            |sizes: [u64; 4]| judged(sizes.map(|rss_kib| Process { rss_kib, ..process(SERVER, 1, &[]) }));
        assert!(matches!(with([5000, 8100, 11_200, 14_300]), Verdict::Fail(_)));
        assert!(matches!(with([5000, 14_000, 14_100, 14_200]), Verdict::Pass(_)));
    }

    #[test]
    fn address_space_that_grows_with_the_clients_is_a_leak_and_steps_are_not() {
        let with = |sizes: [u64; 4], threads: u32| {
            let mut sizes = sizes.map(|vm_kib| Process { vm_kib, ..process(SERVER, 1, &[]) });
            sizes[3].threads = threads;
            judged(sizes)
        };
        let stacks = [9, 21, 36].map(|visits| 9000 + visits * 132);
        let linear = [9000, stacks[0], stacks[1], stacks[2]];
        assert!(matches!(with(linear, 1), Verdict::Fail(_)));
        assert!(matches!(with(linear, 36), Verdict::Pass(_)), "a pool that grows");
        let arenas = [9000, 9000 + 65_536, 9000 + 2 * 65_536, 9000 + 3 * 65_536];
        assert!(matches!(with(arenas, 1), Verdict::Pass(_)), "one step for each batch");
        let both = [9000, stacks[0] + 65_536, stacks[1] + 65_536, stacks[2] + 3 * 65_536];
        assert!(matches!(with(both, 1), Verdict::Fail(_)), "stacks beside arenas");
        assert!(matches!(with([9000, 9500, 9500, 9500], 1), Verdict::Pass(_)));
        assert!(matches!(with([0; 4], 1), Verdict::Pass(_)), "not looked at");
    }
}
