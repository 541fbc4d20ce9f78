//! Back-pressure: a client that does not read is made to wait, and loses nothing.

use proptest::prelude::Just;
use proptest::strategy::{BoxedStrategy, Strategy};

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::come;
use crate::scenario::{Act, Class, Client, Condition, Instance, Payload, Scenario, Setting, Step, To, act};
use crate::spec::echo::bytes::came_back;
use crate::spec::echo::text::own;
use crate::trace::aftermath::left_working;
use crate::trace::query::{applies, bytes, judge, millis, witness};
use crate::trace::{Acted, Ending, Fate, Isolation, Look, Trace, What};
use crate::verdict::Verdict;

/// A client that does not read is blocked in the end.
pub(super) static BACKPRESSURE_BLOCKS: Clause = Clause {
    id: ClauseId("echo.backpressure-blocks"),
    level: Level::Must,
    requirement: "The server stops taking input from a client that does not read, and does not end its \
                  connection.",
    why: "A server that reads on and keeps the answers in memory can be filled by one client until it is \
          killed. The cure is to read only as much as can be written: with a blocking write, or a bounded \
          buffer for each client.",
    citations: &["RFC 9293 3.8.6", "UNP 16.2", "POSIX.1-2024 send"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: stalled,
    check: backpressure_blocks,
};

/// And gets everything when it reads again.
pub(super) static BACKPRESSURE_RESUMES: Clause = Clause {
    id: ClauseId("echo.backpressure-resumes"),
    level: Level::Must,
    requirement: "The server goes on, and loses no byte, when a client that was blocked reads again.",
    why: "The moment at which a full buffer has room again is the one that is easily missed: an event that \
          was not asked for, a rest that was forgotten. The client then waits for ever for its own bytes.",
    citations: &["RFC 862", "RFC 9293 3.8.6", "UNP 16.2"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: stalled,
    check: backpressure_resumes,
};

/// A reader that takes little at a time.
pub(super) static SLOW_READER: Clause = Clause {
    id: ClauseId("echo.slow-reader"),
    level: Level::Must,
    requirement: "The server sends everything to a client that reads slowly through a small window.",
    why: "Phones and full disks read slowly. A server that gives up, or that takes part of a write for the \
          whole, serves only those who read fast.",
    citations: &["RFC 862", "RFC 9293 3.8.6.2"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: stalled,
    check: slow_reader,
};

/// A window that stays closed for a while.
pub(super) static ZERO_WINDOW: Clause = Clause {
    id: ClauseId("echo.zero-window"),
    level: Level::Should,
    requirement: "The server keeps a connection whose client takes nothing for longer than a probe interval.",
    why: "A window of zero is an order to wait, not an error. A send timeout of milliseconds, or a busy loop \
          around EAGAIN, makes a pause of the client into its end or into a spinning server.",
    citations: &["RFC 9293 3.8.6.1", "RFC 1122 4.2.2.17"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: shut_for_long,
    check: zero_window,
};

/// A write that took only a part is continued.
pub(super) static SHORT_WRITES_CONTINUED: Clause = Clause {
    id: ClauseId("echo.short-writes-continued"),
    level: Level::Must,
    requirement: "The server sends the rest when a write has taken only a part of the bytes.",
    why: "send may take fewer bytes than it was given, above all on non-blocking sockets and after a signal. \
          What is not sent again is lost, but only on slow days. The cure is a loop until all is written.",
    citations: &["POSIX.1-2024 send", "POSIX.1-2024 write", "UNP 3.9"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: stalled,
    check: short_writes_continued,
};

/// Bytes after which a server that still takes input without a reader counts as unbounded: far more than all buffers of
/// a connection hold, even where they cannot be made small.
const STALL_MAX: u64 = 32 << 20;
/// Bytes that are too much for bounded buffers, where they were taken little by little.
const TRICKLE: u64 = 256 << 10;

/// Bytes that are owed at a half-close: more than small buffers of the kernel hold.
const HALF_CLOSED_LEN: u64 = 16 * 3100;

/// Clients that do not read: one sends all it can, one has a payload and ends its stream while it is owed most of it,
/// one does so too when it is stalled, and then reads slowly through a small window, and one has more than many buffers
/// hold. They do so all at once, and others come meanwhile, where clients are served side by side.
pub(in crate::spec) fn stalled(profile: &Profile) -> BoxedStrategy<Scenario> {
    let setting = Setting { buffers: Some(16_384), ..Setting::default() };
    // Longer than a probe takes to come, in windows enough to tell a spin from a burst.
    let pause = Step::Watch(profile.effort.pick(70, 85, 1700), 3);
    let visitors = [3, 4].map(|client| act(client, Act::Visit(Payload::greeting())));
    // One place is for the visitors.
    let there = if profile.concurrent { profile.clients.max(2) - 1 } else { 3 };
    let mut lives = stuck_lives(profile);
    if (there as usize) < lives.len() {
        lives.remove(SECOND_STALLED);
    }
    lives.truncate(there as usize);
    // What somebody leaves in a pool of buffers, those who come together must not share.
    let early = come(6).into_iter().chain([act(6, Act::Close), Step::Look]);
    let mut steps: Vec<Step> = early.collect();
    if profile.concurrent {
        steps.extend(lives.iter().flat_map(|life| life.comes.clone()));
        steps.push(Step::Look);
        steps.push(Step::Together(lives.iter().map(|life| life.sends.clone()).collect()));
        steps.extend(lives.iter().flat_map(|life| life.ends.clone()));
        steps.push(pause);
        steps.extend(visitors);
        steps.extend(lives.iter().flat_map(|life| life.reads.clone()));
        // Nobody is owed anything any more.
        steps.extend([Step::Await(Condition::Still), Step::Watch(profile.effort.pick(30, 30, 200), 3)]);
        steps.extend(lives.iter().flat_map(|life| life.leaves.clone()));
    } else {
        for life in lives {
            steps.extend(life.comes);
            steps.push(life.sends);
            steps.extend(life.ends);
            steps.push(pause.clone());
            steps.extend(life.reads);
            steps.extend(life.leaves);
        }
    }
    steps.push(Step::Look);
    Just(Scenario::launched(setting, steps)).boxed()
}

/// A client that takes nothing for seconds, and then reads on.
fn shut_for_long(profile: &Profile) -> BoxedStrategy<Scenario> {
    let setting = Setting { buffers: Some(16_384), ..Setting::default() };
    let steps = [
        act(0, Act::Connect(To::Target)),
        act(0, Act::Stall { max: STALL_MAX }),
        Step::Pause(profile.effort.pick(1600, 3200, 20_000)),
        act(0, Act::Read),
        act(0, Act::Exchange(Payload::greeting())),
        act(0, Act::Close),
    ];
    Just(Scenario::launched(setting, steps)).boxed()
}

/// What one client does that does not read at first.
#[derive(Debug)]
struct StuckLife {
    comes: Vec<Step>,
    sends: Step,
    /// Before anything is read.
    ends: Option<Step>,
    reads: Vec<Step>,
    leaves: Option<Step>,
}

/// The life that only servers with places enough get.
const SECOND_STALLED: usize = 2;

fn stuck_lives(profile: &Profile) -> Vec<StuckLife> {
    let times = profile.effort.pick(5, 10, 100);
    let connect = |client: u32| act(client, Act::Connect(To::Target));
    vec![
        StuckLife {
            comes: vec![connect(0)],
            sends: act(0, Act::Stall { max: STALL_MAX }),
            ends: None,
            reads: vec![act(0, Act::Read), act(0, Act::Exchange(Payload::greeting()))],
            leaves: Some(act(0, Act::Close)),
        },
        // A server with a buffer of its own can take this much, and so sees the end while it still owes some of it.
        StuckLife {
            comes: vec![connect(1)],
            sends: act(1, Act::Send(Payload::of(HALF_CLOSED_LEN).class(Class::Line))),
            ends: Some(act(1, Act::HalfClose)),
            reads: vec![act(1, Act::ReadToEnd), act(1, Act::Close)],
            leaves: None,
        },
        // A second one who keeps the server's own buffers full.
        StuckLife {
            comes: vec![connect(5)],
            sends: act(5, Act::Send(Payload::of(600_000))),
            ends: None,
            reads: vec![act(5, Act::Read), act(5, Act::Exchange(Payload::greeting()))],
            leaves: Some(act(5, Act::Close)),
        },
        StuckLife {
            comes: vec![act(2, Act::ReceiveBuffer(4096)), connect(2)],
            sends: act(2, Act::Send(Payload::of(100_000))),
            ends: Some(act(2, Act::HalfClose)),
            reads: vec![
                act(2, Act::ReadSlowly { bytes: 512, pause_ms: 10, times }),
                act(2, Act::ReadToEnd),
                act(2, Act::Close),
            ],
            leaves: None,
        },
        // What it is owed fits into the buffers of the kernel, so the server may close while it is still on its way.
        StuckLife {
            comes: vec![act(7, Act::ReceiveBuffer(4096)), connect(7)],
            sends: act(7, Act::Send(Payload::of(12_000))),
            ends: Some(act(7, Act::HalfClose)),
            reads: vec![act(7, Act::ReadToEnd), act(7, Act::Close)],
            leaves: None,
        },
    ]
}

/// Acts that sent without reading, and left much unread.
fn unread(trace: &Trace) -> impl Iterator<Item = &Acted> {
    trace.all_acts().filter(|acted| matches!(acted.act, Act::Stall { .. } | Act::Send(_)) && is_unread(acted))
}

/// Whether the client had much left to read.
pub(in crate::spec) fn is_unread(acted: &Acted) -> bool {
    acted.sent >= acted.received + (32 << 10)
}

fn backpressure_blocks(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let stall = trace.all_acts().find(|acted| matches!(acted.act, Act::Stall { .. }));
        let stall = stall.ok_or_else(|| Verdict::Inconclusive("no client sent without reading".into()))?;
        let Act::Stall { max } = stall.act else {
            return Err(Verdict::Inconclusive("no client sent without reading".into()));
        };
        let client = stall.client;
        let expected = format!("{client}, who does not read, is made to wait");
        if stall.fate == Fate::Stalled {
            let cut_off =
                trace.acts(client).find(|acted| acted.ending.is_some() && acted.received < acted.sent);
            if let Some(acted) = cut_off {
                let ending = if acted.ending == Some(Ending::Eof) { "end of file" } else { "a reset" };
                return Err(Verdict::seen(
                    expected,
                    format!(
                        "after {} it gets {ending}, {} still owed",
                        bytes(acted.sent),
                        acted.sent - acted.received
                    ),
                ));
            }
            trace.lives(Instance(0), &expected)?;
            return Ok(format!("{client} was made to wait after {}", bytes(stall.sent)));
        }
        if stall.fate == Fate::Ended {
            let observed = format!("the connection ended after {} without a reader", bytes(stall.sent));
            return Err(Verdict::seen(expected, observed));
        }
        let within = trace.circumstances.limits.drain_within;
        let long = u128::from(stall.took_us) >= within.as_micros() && stall.sent >= TRICKLE;
        witness(
            stall.fate == Fate::Done && max >= STALL_MAX && (stall.sent >= max || long),
            "the client did not get to sending much",
        )?;
        let grown = memory_grown(trace);
        // Where the kernel's buffers cannot be made small they may hold much; memory of the server's own is proof.
        let own_buffers = trace.circumstances.isolation > Isolation::Loopback;
        witness(
            own_buffers || grown * 1024 >= stall.sent / 4,
            "the kernel's buffers took all that was sent",
        )?;
        Err(Verdict::seen(
            expected,
            format!(
                "the server took {} in {} that were not read back; its memory grew by {grown} KiB",
                bytes(stall.sent),
                millis(stall.took_us),
            ),
        ))
    })
}

/// KiB by which the resident memory of all processes grew from the first look with clients to the largest.
fn memory_grown(trace: &Trace) -> u64 {
    let resident = |look: &Look| look.of(Instance(0)).map(|process| process.rss_kib).sum::<u64>();
    let first = trace.plain_looks().next().map_or(0, resident);
    trace.plain_looks().map(resident).max().unwrap_or(0).saturating_sub(first)
}

fn backpressure_resumes(scenario: &Scenario, trace: &Trace) -> Verdict {
    read_again(scenario, trace, |act| matches!(act, Act::Stall { .. }))
}

fn short_writes_continued(scenario: &Scenario, trace: &Trace) -> Verdict {
    read_again(scenario, trace, |act| matches!(act, Act::Stall { .. } | Act::Send(_)))
}

fn slow_reader(scenario: &Scenario, trace: &Trace) -> Verdict {
    let slow: Vec<Client> = trace
        .all_acts()
        .filter(|acted| matches!(acted.act, Act::ReadSlowly { .. }))
        .map(|acted| acted.client)
        .collect();
    if slow.is_empty() {
        // Too few clients at once are served for a third: the second one is the slowest there is.
        return read_again(scenario, trace, |act| matches!(act, Act::Stall { .. } | Act::Send(_)));
    }
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let sent = unread(trace).find(|acted| slow.contains(&acted.client)).map_or(0, |acted| acted.sent);
        witness(sent > 0, "the slow reader had left nothing unread")?;
        slow.iter().try_for_each(|client| came_back(trace, *client))?;
        Ok(format!("{} read slowly, none lost", bytes(sent)))
    })
}

fn zero_window(scenario: &Scenario, trace: &Trace) -> Verdict {
    /// A probe is sent after the retransmission timeout, which is no less than 200 ms.
    const PROBE_US: u64 = 200_000;
    judge(|| {
        let is_stalled =
            |acted: &&Acted| matches!(acted.act, Act::Stall { .. }) && acted.fate == Fate::Stalled;
        let went_on =
            acted(trace, |acted| matches!(acted.act, Act::Stall { .. }) && acted.fate == Fate::Done);
        let stall = acted(trace, is_stalled);
        let never = "the server makes no client wait that does not read";
        applies(stall.is_some() || went_on.is_none(), never)?;
        let stall = stall.ok_or_else(|| Verdict::Inconclusive("no client's window was closed".into()))?;
        let read = acted(trace, |acted| acted.act == Act::Read && acted.client == stall.1.client)
            .ok_or_else(|| Verdict::Inconclusive("the client never read again".into()))?;
        let paused_us = read.0.saturating_sub(read.1.took_us).saturating_sub(stall.0);
        let closed_us = paused_us + stall.1.longest_us;
        witness(closed_us >= PROBE_US, "the window was closed for too short a time")?;
        match backpressure_resumes(scenario, trace) {
            Verdict::Pass(seen) => Ok(format!("the window was closed for {}; {seen}", millis(closed_us))),
            other => Err(other),
        }
    })
}

/// The first such act, and when it was over, in microseconds.
fn acted(trace: &Trace, wanted: impl Fn(&&Acted) -> bool) -> Option<(u64, &Acted)> {
    trace.events.iter().find_map(|event| match &event.what {
        What::Acted(acted) if wanted(&acted) => Some((event.at_us, acted)),
        _ => None,
    })
}

/// Passes if each client that had left much unread, in such an act, got all of it in the end.
fn read_again(scenario: &Scenario, trace: &Trace, wanted: fn(&Act) -> bool) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let clients: Vec<Client> =
            unread(trace).filter(|acted| wanted(&acted.act)).map(|acted| acted.client).collect();
        witness(!clients.is_empty(), "no client had left much unread")?;
        let reads = |client: &Client| {
            trace
                .acts(*client)
                .any(|acted| matches!(acted.act, Act::Read | Act::ReadToEnd | Act::ReadSlowly { .. }))
        };
        witness(clients.iter().all(reads), "a client never read again")?;
        clients.iter().try_for_each(|client| came_back(trace, *client))?;
        let back: u64 = clients.iter().flat_map(|client| trace.acts(*client)).map(own).sum();
        Ok(format!("{} came back after the wait", bytes(back)))
    })
}
