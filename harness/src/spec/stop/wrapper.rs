//! A server behind another program: a script, a launcher, a package manager.

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::scenario::generate::fixed;
use crate::scenario::{Condition, Scenario, Sig, Step, Who};
use crate::spec::stop::{FIRST, waits};
use crate::trace::Trace;
use crate::trace::query::{applies, judge, name, span};
use crate::verdict::Verdict;

/// The stop signal comes through to the server.
pub static PASSES_SIGNAL_ON: Clause = Clause {
    id: ClauseId("stop.passes-signal-on"),
    level: Level::Should,
    requirement: "The server ends when the program that was launched to start it gets the stop signal.",
    why: "A supervisor signals the process that it started. Where that is a shell which waits for the server, the shell dies \
          or waits on, and the server never hears of it: it is orphaned with the port, or killed after a minute. The cure \
          is exec as the script's last line, or a trap that passes the signal on.",
    citations: &["signal(7)", "POSIX.1-2024 XCU 2.12", "POSIX.1-2024 exec"],
    needs: &[Need::Lasting],
    scenarios: |_| {
        fixed([Step::Signal(Who::Launched(FIRST), Sig::Stopping), Step::Await(Condition::Gone(FIRST))])
    },
    check: signal_comes_through,
};

fn signal_comes_through(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let profile = trace.circumstances.profile.as_ref();
        let wrapped = profile.is_some_and(|profile| !profile.launched_accepts && !profile.daemonizes);
        applies(wrapped, "the launched process is the server itself")?;
        let looks = waits(trace, Sig::Stopping)?;
        let left: Vec<_> =
            looks[looks.len() - 1].of(FIRST).filter(|process| !process.is_zombie()).map(name).collect();
        if left.is_empty() {
            return Ok("the launched process and its server ended".into());
        }
        let within = span(trace.circumstances.limits.stop_within);
        Err(Verdict::missing(
            format!("the server ends within {within} when the launched process gets the stop signal"),
            format!("left: {}", left.join("; ")),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Look;
    use crate::trace::build::{Build, process};

    fn judged(launched_accepts: bool, left: Look) -> Verdict {
        let trace = Build::served()
            .profile(|profile| profile.launched_accepts = launched_accepts)
            .signalled(Who::Launched(FIRST), Sig::Stopping, &[7])
            .awaited(Condition::Gone(FIRST), left.processes.is_empty(), left)
            .trace();
        signal_comes_through(&Scenario::default(), &trace)
    }

    #[test]
    fn a_server_whose_wrapper_has_died_is_left_behind() {
        let left = || Look { processes: vec![process(7, 1, &[])], ..Look::default() };
        assert!(matches!(judged(false, left()), Verdict::Fail(_)));
        assert!(matches!(judged(false, Look::default()), Verdict::Pass(_)));
        assert!(matches!(judged(true, left()), Verdict::NotApplicable(_)));
    }
}
