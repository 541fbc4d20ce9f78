//! Whatever the launcher leaves behind: closed descriptors, a log that nobody reads, signals ignored or blocked, few
//! descriptors, no working directory.

use proptest::strategy::{BoxedStrategy, Just, Strategy};

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::{
    Act, Client, Condition, Cwd, Disposition, Instance, Payload, Resource, Scenario, Setting, Sig, Stdio,
    Step, To, Who, act,
};
use crate::spec::start::{FIRST, SECOND, each, left_alone, visit};
use crate::trace::query::{count, judge, name, witness};
use crate::trace::{Acted, Fate, Look, Span, Trace, What};
use crate::verdict::Verdict;

/// A log never gets into a connection.
pub static STDIO_CLOSED: Clause = Clause {
    id: ClauseId("start.stdio-closed"),
    level: Level::Must,
    requirement: "The server does not write its log into a client's connection when it is started with descriptors 0, 1 \
                  and 2 closed.",
    why: "A socket gets the lowest free number. If that is 1 or 2, whatever is printed goes to a client, in the middle of \
          its data. The cure is to open /dev/null until descriptor 2 is taken, before anything else.",
    citations: &["POSIX.1-2024 exec", "POSIX.1-2024 socket", "POSIX.1-2024 accept"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: without_stdio,
    check: nothing_but_echo,
};

/// A log without a reader ends nobody.
pub static SURVIVES_CLOSED_STDOUT: Clause = Clause {
    id: ClauseId("start.survives-closed-stdout"),
    level: Level::Should,
    requirement: "The server goes on serving when the reader of its output has left.",
    why: "A terminal is closed, a log collector is restarted: the next line gets EPIPE and SIGPIPE, and a server that does \
          not ignore that signal dies of a log line.",
    citations: &["POSIX.1-2024 write EPIPE", "pipe(7)", "signal(7)"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: |_| in_setting(Setting { stdio: Stdio::BrokenPipe, ..Setting::default() }),
    check: |scenario, trace| serves_in(scenario, trace, |setting| setting.stdio == Stdio::BrokenPipe),
};

/// A log that nobody reads stops nobody.
pub static SURVIVES_FULL_STDOUT: Clause = Clause {
    id: ClauseId("start.survives-full-stdout"),
    level: Level::Should,
    requirement: "The server goes on serving when nobody reads its output.",
    why: "A pipe holds 64 KiB. When it is full a plain write waits for ever, and with it the accept loop: the service \
          stops hours after the start, for no reason that its log could tell. The cure is to drop what cannot be written.",
    citations: &["pipe(7)", "POSIX.1-2024 write"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: |_| in_setting(Setting { stdio: Stdio::FullPipe, ..Setting::default() }),
    check: |scenario, trace| serves_in(scenario, trace, |setting| setting.stdio == Stdio::FullPipe),
};

/// An ignored SIGCHLD is inherited.
pub static SIGCHLD_IGNORED: Clause = Clause {
    id: ClauseId("start.sigchld-ignored"),
    level: Level::Must,
    requirement: "The server serves as usual when it is started with SIGCHLD ignored.",
    why: "exec keeps ignored signals ignored. Children then vanish without leaving a status, wait says ECHILD, and a \
          server that takes this for a disaster dies after its first client. The cure is to set the disposition of every \
          signal that matters.",
    citations: &["POSIX.1-2024 exec", "POSIX.1-2024 waitpid", "wait(2) NOTES"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: without_sigchld,
    check: |scenario, trace| serves_in(scenario, trace, |setting| setting.sigchld == Disposition::Ignored),
};

/// So is a blocked one.
pub static SIGCHLD_BLOCKED: Clause = Clause {
    id: ClauseId("start.sigchld-blocked"),
    level: Level::Should,
    requirement: "The server waits for its children when it is started with SIGCHLD blocked.",
    why: "exec keeps the signal mask. A handler for a blocked signal never runs, and each client leaves a zombie. The cure \
          is to unblock what one wants to hear of.",
    citations: &["POSIX.1-2024 exec", "sigprocmask(2)", "wait(2) NOTES"],
    needs: &[Need::ServingProcesses, Need::Lasting, Need::Echo],
    scenarios: |_| {
        let setting = Setting { sigchld: Disposition::Blocked, ..Setting::default() };
        let steps = [visit(0), visit(1), visit(2), Step::Await(Condition::NoZombie)];
        Just(Scenario::launched(setting, steps)).boxed()
    },
    check: reaps_in_setting,
};

/// SIGPIPE may be ignored or not.
pub static SIGPIPE_EITHER_WAY: Clause = Clause {
    id: ClauseId("start.sigpipe-either-way"),
    level: Level::Must,
    requirement: "The server survives clients that leave while it writes, whether it was started with SIGPIPE ignored or not.",
    why: "Shells and supervisors differ in what they leave of SIGPIPE. With the default, one client that leaves too early \
          ends the whole process; with SIG_IGN, write returns EPIPE, which nobody may have looked at. The cure is to \
          ignore the signal oneself and to check what write returns.",
    citations: &["POSIX.1-2024 exec", "POSIX.1-2024 write EPIPE", "UNP 5.13"],
    needs: &[Need::Lasting, Need::Echo],
    scenarios: |_| {
        let (usual, ignored) = (Disposition::Default, Disposition::Ignored);
        let between = [Step::Signal(Who::Tree(FIRST), Sig::Kill), Step::Await(Condition::Gone(FIRST))];
        let steps = client_leaves_writer(FIRST, usual).into_iter().chain(between);
        Just(Scenario { steps: steps.chain(client_leaves_writer(SECOND, ignored)).collect() }).boxed()
    },
    check: survives_sigpipe,
};

/// Few descriptors are enough for few clients.
pub static LOW_NOFILE: Clause = Clause {
    id: ClauseId("start.low-nofile"),
    level: Level::Should,
    requirement: "The server starts, and serves a client, with few descriptors allowed: 16, or 8 more than it has open.",
    why: "Small systems and strict supervisors give few descriptors. A server that asks for thousands beforehand, or sizes \
          a table by the limit, fails where it could serve.",
    citations: &["getrlimit(2) RLIMIT_NOFILE"],
    needs: &[Need::Echo],
    scenarios: |profile| {
        let enough = u64::from(profile.descriptors.saturating_add(8).max(16));
        let setting = Setting { rlimits: vec![(Resource::Descriptors, enough)], ..Setting::default() };
        Just(Scenario::launched(setting, [visit(0), Step::Look])).boxed()
    },
    check: |scenario, trace| serves_in(scenario, trace, |setting| !setting.rlimits.is_empty()),
};

/// The place where it was started may be gone.
pub static WORKING_DIRECTORY_GONE: Clause = Clause {
    id: ClauseId("start.working-directory-gone"),
    level: Level::Should,
    requirement: "The server starts and serves in a working directory that has been removed.",
    why: "A service outlives the directory of the deployment that started it. Whoever resolves a relative path later, or \
          insists on getcwd at the start, fails then; the cure is chdir(\"/\") and absolute paths.",
    citations: &["POSIX.1-2024 getcwd", "POSIX.1-2024 chdir"],
    needs: &[Need::Echo],
    scenarios: |_| {
        // The first launch tells what kind of program it is.
        let setting = Setting { cwd: Cwd::Removed, ..Setting::default() };
        let usual = [Step::Signal(Who::Tree(FIRST), Sig::Kill), Step::Await(Condition::Gone(FIRST))];
        let removed =
            [Step::Launch(SECOND, setting), Step::Await(Condition::Listening(SECOND)), visit(0), Step::Look];
        Just(Scenario::served(usual.into_iter().chain(removed))).boxed()
    },
    check: serves_without_directory,
};

/// Launched in this setting, the server has three visitors.
fn in_setting(setting: Setting) -> BoxedStrategy<Scenario> {
    Just(Scenario::launched(setting, [visit(0), visit(1), visit(2), visit(3), Step::Look])).boxed()
}

/// Several clients are there at once, so that descriptors 0, 1 and 2 are all in use.
fn without_stdio(profile: &Profile) -> BoxedStrategy<Scenario> {
    let setting = Setting { stdio: Stdio::Closed, ..Setting::default() };
    let clients = 0..if profile.concurrent { profile.clients.clamp(1, 4) } else { 1 };
    let steps = [
        each(clients.clone(), Act::Connect(To::Target)),
        each(clients.clone(), Act::Exchange(Payload::greeting())),
        each(clients.clone(), Act::Exchange(Payload::greeting())),
        each(clients.clone(), Act::HalfClose),
        each(clients.clone(), Act::ReadToEnd),
        each(clients, Act::Close),
        visit(8),
        visit(9),
    ];
    Just(Scenario::launched(setting, steps)).boxed()
}

/// One client stays while others come and leave, if it can.
fn without_sigchld(profile: &Profile) -> BoxedStrategy<Scenario> {
    let setting = Setting { sigchld: Disposition::Ignored, ..Setting::default() };
    let stays = profile.concurrent && profile.clients > 1;
    let first = [act(0, Act::Connect(To::Target)), act(0, Act::Exchange(Payload::greeting()))];
    let last = [act(0, Act::HalfClose), act(0, Act::ReadToEnd), act(0, Act::Close)];
    let steps = first.into_iter().filter(|_| stays).chain([visit(1), visit(2)]);
    let steps = steps.chain(last.into_iter().filter(|_| stays)).chain([visit(3), visit(4), Step::Look]);
    Just(Scenario::launched(setting, steps)).boxed()
}

/// A client that does not read stalls the server, closes its sending half and resets: the next write meets EPIPE.
fn client_leaves_writer(instance: Instance, sigpipe: Disposition) -> Vec<Step> {
    let setting = Setting { sigpipe, buffers: Some(16 << 10), ..Setting::default() };
    let client = 10 * instance.0;
    vec![
        Step::Launch(instance, setting),
        Step::Await(Condition::Listening(instance)),
        visit(client),
        act(client + 1, Act::Connect(To::Target)),
        act(client + 1, Act::Stall { max: 16 << 20 }),
        act(client + 1, Act::HalfClose),
        act(client + 1, Act::Reset),
        visit(client + 2),
        visit(client + 3),
        Step::Look,
    ]
}

/// The setting of a launch, in words: "with SIGCHLD ignored".
fn setting_of(scenario: &Scenario, wanted: Instance) -> String {
    let words = scenario.steps.iter().find_map(|step| match step {
        Step::Launch(instance, setting) if *instance == wanted => Some(setting.to_string()),
        _ => None,
    });
    words.unwrap_or_default()
}

/// Ends the check unless the instance came up: other than in `Trace::ready`, a start that fails is a failure here.
fn comes_up(scenario: &Scenario, trace: &Trace, instance: Instance) -> Result<(), Verdict> {
    let launched = |what: &What| matches!(what, What::Launched { instance: i, .. } if *i == instance);
    witness(trace.first(launched).is_some(), "it could not be launched in this setting")?;
    match trace.awaited(Condition::Listening(instance)) {
        Some((true, _)) => Ok(()),
        Some((false, _)) => Err(Verdict::missing(
            format!("it listens when launched{}, as it does otherwise", setting_of(scenario, instance)),
            trace.silence(instance),
        )),
        None => Err(Verdict::Inconclusive(format!("nobody waited for {instance} to listen"))),
    }
}

fn serves_in(scenario: &Scenario, trace: &Trace, wanted: fn(&Setting) -> bool) -> Verdict {
    judge(|| {
        left_alone(scenario)?;
        let there = |step: &Step| matches!(step, Step::Launch(FIRST, setting) if wanted(setting));
        witness(scenario.steps.iter().any(there), "the server was launched in another setting")?;
        let setting = setting_of(scenario, FIRST);
        comes_up(scenario, trace, FIRST)?;
        trace.lives(FIRST, &format!("the server lives when launched{setting}"))?;
        let clients = scenario.clients();
        witness(!clients.is_empty(), "no client came")?;
        trace.all_served(&clients)?;
        Ok(format!("{} served{setting}", count(clients.len(), "client")))
    })
}

fn reaps_in_setting(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        left_alone(scenario)?;
        let blocked =
            |step: &Step| matches!(step, Step::Launch(FIRST, s) if s.sigchld == Disposition::Blocked);
        witness(scenario.steps.iter().any(blocked), "SIGCHLD was not blocked")?;
        comes_up(scenario, trace, FIRST)?;
        let came = scenario.clients().len();
        witness(came > 0, "no client came")?;
        let (met, look) = trace
            .awaited(Condition::NoZombie)
            .ok_or_else(|| Verdict::Inconclusive("nobody waited for the zombies to go".into()))?;
        if met {
            return Ok(format!("{} left, no zombie", count(came, "client")));
        }
        let zombies: Vec<_> = look.zombies().map(name).collect();
        Err(Verdict::missing(
            format!("no zombie after clients have left, when launched{}", setting_of(scenario, FIRST)),
            format!("{}: {}", count(zombies.len(), "zombie"), zombies.join("; ")),
        ))
    })
}

fn nothing_but_echo(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let closed =
            |step: &Step| matches!(step, Step::Launch(FIRST, setting) if setting.stdio == Stdio::Closed);
        witness(scenario.steps.iter().any(closed), "descriptors 0, 1 and 2 were open")?;
        let foreign = trace.all_acts().find_map(|acted| Some((acted, foreign(acted)?)));
        if let Some((acted, bytes)) = foreign {
            return Err(Verdict::seen(
                format!("{} gets back its own bytes and no others", acted.client),
                bytes,
            ));
        }
        let (listens, _) = trace
            .awaited(Condition::Listening(FIRST))
            .ok_or_else(|| Verdict::Inconclusive("nobody waited for the server to listen".into()))?;
        if !listens {
            let exit = trace.exit(FIRST).map(|(_, exit)| exit);
            let exit = exit.ok_or_else(|| Verdict::Inconclusive("it neither listens nor exits".into()))?;
            return Ok(format!("it refuses to start: it {exit}"));
        }
        let heard: Vec<Client> = scenario
            .clients()
            .into_iter()
            .filter(|&client| trace.acts(client).any(|acted| acted.received > 0))
            .collect();
        let connected = trace.all_acts().any(|acted| acted.local.is_some() && acted.fate != Fate::Missed);
        witness(connected, "no client was connected")?;
        Ok(format!("{} heard from it, and nothing that was not theirs", count(heard.len(), "client")))
    })
}

/// Bytes among what a client received that nobody sent, or somebody else.
fn foreign(acted: &Acted) -> Option<String> {
    acted.spans.iter().find_map(|span| match span {
        Span::Own { .. } => None,
        Span::Other { client, len, .. } => Some(format!("{len} bytes that {client} sent")),
        Span::Alien { len, first } => {
            Some(format!("{len} bytes that nobody sent: \"{}\"", first.escape_ascii()))
        }
    })
}

fn survives_sigpipe(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let mut survived = 0;
        for instance in [FIRST, SECOND] {
            let setting = setting_of(scenario, instance);
            if trace.awaited(Condition::Listening(instance)).is_none() {
                continue;
            }
            trace.ready(instance)?;
            let own = |client: &Client| client.0 / 10 == instance.0;
            let clients: Vec<_> = scenario.clients().into_iter().filter(own).collect();
            let stalls = |acted: &Acted| matches!(acted.act, Act::Stall { .. }) && acted.sent > 0;
            let left = |client: &&Client| trace.acts(**client).any(stalls);
            witness(
                clients.iter().any(|client| left(&client)),
                "no client left while the server was writing",
            )?;
            if let Some(exit) = ended_by_itself(trace, instance) {
                return Err(Verdict::seen(
                    format!("the server lives when launched{setting}"),
                    format!("it {exit}"),
                ));
            }
            let visitors: Vec<_> = clients.iter().filter(|client| !left(client)).copied().collect();
            trace.all_served(&visitors)?;
            survived += 1;
        }
        witness(survived > 0, "the server was not launched and awaited")?;
        Ok(format!("it survived in {survived} of 2 settings that were tried"))
    })
}

/// How the launched process of an instance ended before the harness killed it.
fn ended_by_itself(trace: &Trace, wanted: Instance) -> Option<String> {
    let daemonizes = trace.circumstances.profile.as_ref().is_some_and(|profile| profile.daemonizes);
    for event in &trace.events {
        match &event.what {
            What::Signalled { who: Who::Tree(instance), sig: Sig::Kill, .. } if *instance == wanted => {
                return None;
            }
            What::Exited { instance, exit } if *instance == wanted && !daemonizes => {
                return Some(exit.to_string());
            }
            _ => {}
        }
    }
    None
}

fn serves_without_directory(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let removed =
            |step: &Step| matches!(step, Step::Launch(SECOND, setting) if setting.cwd == Cwd::Removed);
        witness(scenario.steps.iter().any(removed), "the working directory was not removed")?;
        let usual = trace.ready(FIRST)?;
        let found = comes_up(scenario, trace, SECOND);
        if let Err(Verdict::Fail(_)) = found
            && may_need_a_file(trace, usual)
        {
            return Err(Verdict::Inconclusive(
                "a program whose command may name a file in that directory".into(),
            ));
        }
        found?;
        trace.lives(SECOND, "the server lives when its working directory was removed")?;
        trace.all_served(&scenario.clients())?;
        Ok("it serves without a working directory".into())
    })
}

/// Whether a relative path in the command is the likely reason why it does not start: scripts and wrappers have one.
fn may_need_a_file(trace: &Trace, usual: &Look) -> bool {
    const INTERPRETERS: [&str; 19] = [
        "python", "pypy", "node", "java", "perl", "ruby", "php", "sh", "bash", "dash", "zsh", "busybox",
        "lua", "deno", "bun", "dotnet", "mono", "beam", "tclsh",
    ];
    let wrapped = trace.circumstances.profile.as_ref().is_some_and(|profile| !profile.launched_accepts);
    let runs_script = usual.of(FIRST).any(|process| {
        let program = process.exe.rsplit('/').next().unwrap_or_default();
        program.is_empty() || INTERPRETERS.iter().any(|name| program.starts_with(name))
    });
    wrapped || runs_script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Exit;
    use crate::trace::build::{Build, serving};
    use crate::verdict::Kind;

    fn launched(setting: Setting) -> Scenario {
        Scenario::launched(setting, [visit(0)])
    }

    fn closed() -> Scenario {
        launched(Setting { stdio: Stdio::Closed, ..Setting::default() })
    }

    #[test]
    fn log_text_in_a_connection_is_seen() {
        let text = Span::Alien { len: 9, first: b"accepted\n".into() };
        let trace = Build::served().acted(0, Act::ReadToEnd, |acted| acted.spans = vec![text]).trace();
        assert!(matches!((STDIO_CLOSED.check)(&closed(), &trace), Verdict::Fail(e) if e.kind == Kind::Seen));
        assert!(matches!(
            (STDIO_CLOSED.check)(&closed(), &Build::served().visited(0).trace()),
            Verdict::Pass(_)
        ));
        let usual = launched(Setting::default());
        assert!(matches!(
            (STDIO_CLOSED.check)(&usual, &Build::served().visited(0).trace()),
            Verdict::Inconclusive(_)
        ));
    }

    #[test]
    fn a_server_may_refuse_to_start_without_stdio() {
        let trace = Build::empty().exited(0, Exit::Code(1)).awaited(
            Condition::Listening(FIRST),
            false,
            Look::default(),
        );
        assert!(matches!((STDIO_CLOSED.check)(&closed(), &trace.trace()), Verdict::Pass(_)));
    }

    #[test]
    fn a_server_that_does_not_come_up_in_a_setting_fails_it() {
        let scenario = launched(Setting { sigchld: Disposition::Ignored, ..Setting::default() });
        let trace = Build::empty()
            .event(What::Launched { instance: FIRST, pid: 2 })
            .exited(0, Exit::Code(1))
            .awaited(Condition::Listening(FIRST), false, Look::default())
            .trace();
        assert!(
            matches!((SIGCHLD_IGNORED.check)(&scenario, &trace), Verdict::Fail(e) if e.kind == Kind::Missing)
        );
        let fine = Build::served().visited(0).looked(serving()).trace();
        assert!(matches!((SIGCHLD_IGNORED.check)(&scenario, &fine), Verdict::Pass(_)));
    }

    #[test]
    fn a_server_that_dies_of_sigpipe_is_seen() {
        let steps = client_leaves_writer(FIRST, Disposition::Default);
        let stalled = || Build::served().visited(0).acted(1, Act::Stall { max: 9 }, |acted| acted.sent = 9);
        let dead = stalled().exited(0, Exit::Signal(13)).looked(Look::default()).trace();
        let scenario = Scenario { steps };
        assert!(matches!((SIGPIPE_EITHER_WAY.check)(&scenario, &dead), Verdict::Fail(_)));
        let alive = stalled().visited(2).visited(3).looked(serving()).trace();
        assert!(matches!((SIGPIPE_EITHER_WAY.check)(&scenario, &alive), Verdict::Pass(_)));
    }
}
