//! The baseline: what kind of server this is, learned before any clause is tried.

use std::collections::BTreeSet;

use crate::clause::ClauseId;
use crate::command::TargetCommand;
use crate::error::Error;
use crate::limits::Limits;
use crate::outcome::Failure;
use crate::plan::Options;
use crate::profile::{Model, Profile};
use crate::scenario::{Act, Client, Condition, Facet, Instance, Payload, Scenario, Step, To, act};
use crate::trace::query::{bytes, span};
use crate::trace::{Acted, Exit, Fate, Look, Trace, What};
use crate::verdict::Verdict;
use crate::world::World;

/// What the baseline told.
#[derive(Debug)]
pub(super) enum Baseline {
    /// The server serves: clauses can be tried.
    Serves(Box<Profile>),
    /// It does not serve even one visit: this clause has failed, with this evidence.
    Fails { clause: ClauseId, failure: Box<Failure> },
    /// What was seen does not decide.
    Unclear(String),
}

const FIRST: Instance = Instance(0);
/// Steps of [`few`] that launch the server, and those that end with its first answer.
const LAUNCH: usize = 2;
const FIRST_VISIT: usize = 6;
/// Clients of [`few`] that are there at once.
const BESIDE: u32 = 3;

/// Learns the profile in two enactments: one client and then a few; and, if they are served side by side, many.
pub(super) fn learn(
    world: &mut dyn World,
    target: &mut TargetCommand,
    options: &Options,
    limits: &Limits,
) -> Result<(Baseline, Trace), Error> {
    let scenario = few();
    let mut trace = world.enact(target, &scenario, limits)?;
    let mut judged = first_visit(target, &scenario, &trace);
    if judged.is_err() || forgets(&trace) {
        // Whatever was missing is looked at again with more patience, before it counts.
        trace = world.enact(target, &scenario, &limits.patient())?;
        judged = first_visit(target, &scenario, &trace);
    }
    if let Err(baseline) = judged {
        return Ok((baseline, trace));
    }
    let mut profile = profile(target, options, &trace);
    if !profile.port_given {
        target.fixed_port = Some(trace.port());
    }
    if profile.concurrent && options.clients > 1 {
        profile.client_limit = client_limit(world, target, options.clients, limits)?;
        profile.clients = profile.client_limit.unwrap_or(options.clients).clamp(1, options.clients);
        profile.crowd = if profile.client_limit.is_some() { profile.clients } else { options.crowd };
    } else {
        (profile.clients, profile.crowd) = (1, 1);
    }
    Ok((Baseline::Serves(Box::new(profile)), trace))
}

/// One client, then two more beside it, then one after all have left.
fn few() -> Scenario {
    let greet = |client| act(client, Act::Exchange(Payload::greeting()));
    let connect = |client| act(client, Act::Connect(To::Target));
    Scenario::served([
        // Workers may still be made when the first one listens.
        Step::Await(Condition::Still),
        Step::Mark,
        connect(0),
        greet(0),
        Step::Look,
        Step::Together(vec![connect(1), connect(2)]),
        Step::Together(vec![greet(1), greet(2)]),
        Step::Look,
        act(0, Act::Close),
        act(1, Act::Read),
        act(1, Act::Close),
        act(2, Act::Read),
        act(2, Act::Close),
        Step::Await(Condition::Back(Facet::Connections)),
        connect(3),
        greet(3),
        Step::Look,
        act(3, Act::Close),
        Step::Quiet,
    ])
}

/// Whether the server started and served its first client: if not, which clause says so.
fn first_visit(target: &TargetCommand, scenario: &Scenario, trace: &Trace) -> Result<(), Baseline> {
    // What came after the failure is no part of it.
    let fails = |clause: &'static str, verdict| match verdict {
        Verdict::Fail(evidence) => {
            let steps = if clause.starts_with("start.") { LAUNCH } else { FIRST_VISIT };
            let scenario = Scenario { steps: scenario.steps[..steps].to_vec() };
            let failure = Failure { scenario, trace: trace.clone(), evidence };
            Baseline::Fails { clause: ClauseId(clause), failure: Box::new(failure) }
        }
        Verdict::Pass(doubt) | Verdict::Inconclusive(doubt) | Verdict::NotApplicable(doubt) => {
            Baseline::Unclear(doubt)
        }
    };
    if let Some(error) = trace.events.iter().find_map(|event| match &event.what {
        What::NotLaunched { error, .. } => Some(error.clone()),
        _ => None,
    }) {
        return Err(fails("start.listens-in-time", Verdict::seen("the server starts", error)));
    }
    let listening = trace.awaited(Condition::Listening(FIRST));
    if !matches!(listening, Some((true, _))) {
        return Err(fails("start.listens-in-time", not_listening(trace)));
    }
    if target.takes("{port}")
        && let Some(look) = listening.map(|(_, look)| look)
        && let Some(elsewhere) = look.listening(FIRST).next()
        && look.listening(FIRST).all(|socket| socket.local.port() != asked_port(trace))
    {
        let expected = format!("a socket in LISTEN on port {}, which it was given", asked_port(trace));
        return Err(fails(
            "start.port-honoured",
            Verdict::seen(expected, format!("it listens on {}", elsewhere.local)),
        ));
    }
    let first = trace.acts(Client(0)).take(2).try_fold(0, |at, acted| {
        let at = crate::trace::service::own_bytes(acted, at)?;
        match &acted.fate {
            Fate::Done => Ok(at),
            Fate::Missed => Err(Verdict::missing(
                format!("c0 gets back the {} it sent", bytes(Payload::greeting().len)),
                format!("{} came back", bytes(acted.received)),
            )),
            fate => Err(Verdict::seen(
                format!("c0 gets back the {} it sent", bytes(Payload::greeting().len)),
                format!("{} came back ({fate:?})", bytes(acted.received)),
            )),
        }
    });
    first.map(drop).map_err(|verdict| fails("echo.exact", verdict))
}

fn not_listening(trace: &Trace) -> Verdict {
    let expected = "a socket in LISTEN on the port it was given";
    let last = trace.output.first().map(|output| output.stderr.last_lines(1)).unwrap_or_default();
    let said = last.first().map(|line| format!("; its last words: {line}")).unwrap_or_default();
    match trace.exit(FIRST) {
        Some((at_us, exit)) => {
            Verdict::seen(expected, format!("the server {exit} after {} ms{said}", at_us / 1000))
        }
        None => {
            let within = trace.circumstances.limits.ready_within;
            Verdict::missing(expected, format!("no socket in LISTEN after {}{said}", span(within)))
        }
    }
}

/// The port that the target was asked to listen on, before the enactor settled for another.
fn asked_port(trace: &Trace) -> u16 {
    trace.circumstances.asked_port
}

fn profile(target: &TargetCommand, options: &Options, trace: &Trace) -> Profile {
    let looks: Vec<&Look> = trace.plain_looks().collect();
    let (idle, one, three, last) = (looks[0], looks[1], looks[2], looks[3]);
    let quiet = trace.events.iter().any(|event| matches!(event.what, What::Looked { quiet: Some(true), .. }));
    // A daemon's launcher may still be there when its child listens already: the last look knows better.
    let acceptor = last.acceptor(FIRST).or_else(|| idle.acceptor(FIRST));
    let holders = |look: &Look, client| {
        let local = trace.local(Client(client));
        local
            .map(|local| look.holders(local).iter().map(|p| (p.pid, p.exe.clone())).collect())
            .unwrap_or_default()
    };
    let known: BTreeSet<i32> = idle.processes.iter().map(|process| process.pid).collect();
    let first: Vec<(i32, String)> = holders(one, 0);
    let again: Vec<(i32, String)> = holders(last, 3);
    let fresh = |holders: &[(i32, String)], known: &BTreeSet<i32>| {
        holders.iter().any(|(pid, _)| !known.contains(pid))
    };
    let known_later: BTreeSet<i32> =
        known.iter().copied().chain(three.processes.iter().map(|p| p.pid)).collect();
    let served = |client| {
        trace
            .acts(Client(client))
            .any(|acted| matches!(acted.act, Act::Exchange(_)) && acted.fate == Fate::Done)
    };
    // Who got the wrong bytes was attended to all the same.
    let beside = answered(trace, 1) && answered(trace, 2);
    let forks = fresh(&first, &known) && (fresh(&again, &known_later) || again.is_empty());
    let acceptor_exe = acceptor.map(|process| process.exe.clone()).unwrap_or_default();
    let execs =
        one.processes.iter().any(|p| !known.contains(&p.pid) && !p.exe.is_empty() && p.exe != acceptor_exe);
    let listening: Vec<u64> = last.listening(FIRST).map(|socket| socket.inode).collect();
    let accepting = last.of(FIRST).filter(|p| listening.iter().any(|&inode| p.holds(inode))).count();
    let threads = |look: &Look| look.of(FIRST).map(|process| process.threads).sum::<u32>();
    // Who has served a second client and then ends is no server of one, but one that ends too soon.
    let got = |client: u32| trace.acts(Client(client)).any(|acted| acted.received > 0);
    let one_shot =
        !(1..=BESIDE).any(got) && !served(3) && matches!(trace.exit(FIRST), Some((_, Exit::Code(0))));
    let concurrent = beside || (!one_shot && forgets(trace));
    let model = if one_shot {
        Model::OneShot
    } else if forks && execs {
        Model::ForkAndExec
    } else if forks {
        Model::ForkPerConnection
    } else if !first.is_empty()
        && (accepting > 1 || first.iter().all(|(pid, _)| acceptor.is_none_or(|a| a.pid != *pid)))
    {
        Model::Prefork
    } else if threads(three) > threads(idle) + 1 {
        Model::Threads
    } else if concurrent {
        Model::EventLoop
    } else {
        Model::OneAtATime
    };
    let grown = three.processes.len().saturating_sub(one.processes.len());
    let launched = trace.events.iter().find_map(|event| match event.what {
        What::Launched { pid, .. } => Some(pid),
        _ => None,
    });
    let listener = idle.listening(FIRST).find(|socket| socket.local.port() == trace.port());
    let ready_us = trace.events.iter().find_map(|event| match &event.what {
        What::Awaited { condition: Condition::Listening(_), took_us, .. } => Some(*took_us),
        _ => None,
    });
    let replies =
        trace.all_acts().filter(|acted| matches!(acted.act, Act::Exchange(_)) && acted.fate == Fate::Done);
    Profile {
        model,
        processes_per_connection: if forks { u32::try_from(grown / 2).unwrap_or(u32::MAX).max(1) } else { 0 },
        concurrent,
        made_for_many: concurrent || forks || model == Model::Prefork || threads(one) > threads(idle),
        forks,
        echoes: true,
        backlog: listener.map_or(0, |socket| socket.send_queue),
        backlog_declared: target.backlog.or(target.takes("{backlog}").then_some(128)),
        port_given: target.takes("{port}") || trace.port() == asked_port(trace),
        addr_given: target.takes("{addr}"),
        backlog_given: target.takes("{backlog}"),
        launched_accepts: acceptor.is_some_and(|process| Some(process.pid) == launched),
        daemonizes: trace.exit(FIRST).is_some() && idle.acceptor(FIRST).is_some() && !one_shot && served(3),
        announces: trace.events.iter().any(|event| matches!(event.what, What::Announced { .. })),
        client_limit: None,
        clients: options.clients,
        crowd: options.crowd,
        restless: !quiet,
        descriptors: acceptor.map_or(0, |process| u32::try_from(process.fds.len()).unwrap_or(u32::MAX)),
        ready_us: ready_us.unwrap_or(0),
        reply_us: replies.map(|acted| acted.took_us).min().unwrap_or(0),
        effort: options.effort,
    }
}

/// Whether somebody got nothing even when the others had left: who serves one at a time forgets nobody.
fn forgets(trace: &Trace) -> bool {
    let forgotten =
        |acted: &Acted| acted.act == Act::Read && acted.fate == Fate::Missed && acted.received == 0;
    (1..BESIDE).any(|client| trace.acts(Client(client)).any(forgotten))
}

/// How many of `clients` at once are served, if it is less than all and the server survives it.
fn client_limit(
    world: &mut dyn World,
    target: &TargetCommand,
    clients: u32,
    limits: &Limits,
) -> Result<Option<u32>, Error> {
    // With a short accept queue some come in only at their second or third SYN: that is no limit.
    let dials = (0..clients).map(|client| act(client, Act::Dial(To::Target)));
    let each = |what| Step::Together((0..clients).map(|client| act(client, what)).collect());
    let greet = each(Act::Exchange(Payload::greeting()));
    let then = [each(Act::Join), greet, Step::Look, each(Act::HalfClose), each(Act::ReadToEnd)];
    let scenario = Scenario::served(dials.chain(then));
    let trace = world.enact(target, &scenario, limits)?;
    let answered = (0..clients).filter(|&client| answered(&trace, client)).count();
    let answered = u32::try_from(answered).unwrap_or(clients);
    // At a limit one waits until others have left. Whom nobody attends to even then was lost.
    if (0..clients).any(|client| lost(&trace, client)) {
        return Ok(None);
    }
    let lives = trace.last_look().is_some_and(|look| look.acceptor(FIRST).is_some());
    // Fewer than were served side by side before are no limit.
    Ok((lives && answered >= BESIDE && answered < clients).then_some(answered))
}

/// Whether the client was connected, and nothing came of it, neither a byte nor an end.
fn lost(trace: &Trace, client: u32) -> bool {
    let mut acts = trace.acts(Client(client));
    let waited = acts.any(|acted| matches!(acted.act, Act::Exchange(_)) && acted.fate == Fate::Missed);
    let last = trace.acts(Client(client)).last();
    waited && last.is_some_and(|acted| acted.received == 0 && acted.ending.is_none())
}

/// Whether the client got any byte in answer: more does not matter here.
fn answered(trace: &Trace, client: u32) -> bool {
    trace.acts(Client(client)).any(|acted| matches!(acted.act, Act::Exchange(_)) && acted.received > 0)
}
