//! Whatever the launcher leaves behind: closed descriptors, a log that nobody reads, signals ignored or blocked, few
//! descriptors, no working directory.

use proptest::strategy::{BoxedStrategy, Just, Strategy};

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::come;
use crate::scenario::{
    Act, Client, Condition, Cwd, Instance, Payload, Resource, Scenario, Setting, Sig, Stdio, Step, To, Who,
};
use crate::spec::start::{FIRST, SECOND, each, left_alone, visit, visitors};
use crate::trace::query::{count, judge, witness};
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
    scenarios: |profile| {
        let setting = Setting { stdio: Stdio::BrokenPipe, ..Setting::default() };
        // What is written in blocks is written late.
        let steps = visitors(profile.effort.pick(4, 60, 200));
        Just(Scenario::launched(setting, steps.into_iter().chain([Step::Look]))).boxed()
    },
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

/// Several clients are there at once, so that descriptors 0, 1 and 2 are all in use; and one resets, of which some write.
fn without_stdio(profile: &Profile) -> BoxedStrategy<Scenario> {
    let setting = Setting { stdio: Stdio::Closed, ..Setting::default() };
    let clients = 0..if profile.concurrent { profile.clients.clamp(1, 4) } else { 1 };
    let steps = [
        each(clients.clone(), Act::Connect(To::Target)),
        each(clients.clone(), Act::Exchange(Payload::greeting())),
    ];
    let mut steps = steps.to_vec();
    if profile.concurrent && profile.clients > 4 {
        steps.extend(come(7));
        steps.extend([Step::Do(Client(7), Act::Reset), Step::Await(Condition::Still)]);
    }
    steps.extend([
        each(clients.clone(), Act::Exchange(Payload::greeting())),
        each(clients.clone(), Act::HalfClose),
        each(clients.clone(), Act::ReadToEnd),
        each(clients, Act::Close),
        visit(8),
        visit(9),
    ]);
    Just(Scenario::launched(setting, steps)).boxed()
}

/// The setting of a launch, in words: "with SIGCHLD ignored".
pub(super) fn setting_of(scenario: &Scenario, wanted: Instance) -> String {
    let words = scenario.steps.iter().find_map(|step| match step {
        Step::Launch(instance, setting) if *instance == wanted => Some(setting.to_string()),
        _ => None,
    });
    words.unwrap_or_default()
}

/// Ends the check unless the instance came up: other than in `Trace::ready`, a start that fails is a failure here.
pub(super) fn comes_up(scenario: &Scenario, trace: &Trace, instance: Instance) -> Result<(), Verdict> {
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

pub(super) fn serves_in(scenario: &Scenario, trace: &Trace, wanted: fn(&Setting) -> bool) -> Verdict {
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
            // Where no client can come, no client can get what it should not.
            let exit = exit.ok_or_else(|| Verdict::NotApplicable("without them it never listens".into()))?;
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
            let why = "it is run by a program that may need its directory to start";
            return Err(Verdict::NotApplicable(why.into()));
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
    use crate::trace::build::Build;
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
    fn where_it_never_listens_nobody_can_get_its_log() {
        let trace = Build::empty().awaited(Condition::Listening(FIRST), false, Look::default());
        assert!(matches!((STDIO_CLOSED.check)(&closed(), &trace.trace()), Verdict::NotApplicable(_)));
    }
}
