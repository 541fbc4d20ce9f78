//! Where a server listens, and what it says about that.

use proptest::strategy::{BoxedStrategy, Just, Strategy};

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::Profile;
use crate::scenario::generate::fixed;
use crate::scenario::{Condition, Scenario, Setting, Sig, Step, Who};
use crate::spec::start::conflict::second_instance;
use crate::spec::start::{FIRST, watch};
use crate::trace::query::{judge, millis, span, witness};
use crate::trace::{Event, Exit, Look, Trace, What};
use crate::verdict::Verdict;

/// The server comes up.
pub static LISTENS_IN_TIME: Clause = Clause {
    id: ClauseId("start.listens-in-time"),
    level: Level::Must,
    requirement: "The server listens within a bounded time of being started.",
    why: "Until listen has been called clients are refused. Whatever starts servers waits for some seconds and then \
          starts another one, or gives up.",
    citations: &["POSIX.1-2024 listen", "UNP 4.5"],
    needs: &[],
    scenarios: idle_start,
    check: listens,
};

/// Who says "listening" listens.
pub static ANNOUNCES_WHEN_READY: Clause = Clause {
    id: ClauseId("start.announces-when-ready"),
    level: Level::Must,
    requirement: "The server announces that it is ready only when it listens.",
    why: "Scripts wait for the announcement and connect at once. If it comes before listen, or before a bind that fails, \
          they are refused now and then, most often on a busy machine. The cure is to print the line after listen.",
    citations: &["POSIX.1-2024 listen", "listen(2)"],
    needs: &[Need::Announces],
    scenarios: second_instance,
    check: announces_truthfully,
};

/// The port is the one that was asked for.
pub static PORT_HONOURED: Clause = Clause {
    id: ClauseId("start.port-honoured"),
    level: Level::Must,
    requirement: "The server listens on the port that it was given.",
    why: "Clients know the port that was configured, and no other. The classic bug is to leave out htons: port 7007 then \
          becomes 24347.",
    citations: &["POSIX.1-2024 bind", "POSIX.1-2024 htons", "UNP 3.4"],
    needs: &[Need::PortGiven],
    scenarios: idle_start,
    check: listens_on_the_port,
};

/// It is bound to nothing but the address that was asked for.
pub static ONLY_THE_REQUESTED_ADDRESS: Clause = Clause {
    id: ClauseId("start.only-the-requested-address"),
    level: Level::Must,
    requirement: "The server listens on the address that it was given, and on no other.",
    why: "Who asks for 127.0.0.1 relies on it that no other machine can connect. A server that binds INADDR_ANY all the \
          same opens a private service to the network, and nobody notices.",
    citations: &["POSIX.1-2024 bind", "ip(7) INADDR_ANY", "UNP 4.4"],
    needs: &[Need::AddrGiven],
    scenarios: idle_start,
    check: listens_on_loopback_only,
};

/// Asked for any port, it says which one it got.
pub static PORT_REPORTED: Clause = Clause {
    id: ClauseId("start.port-reported"),
    level: Level::Should,
    requirement: "The server reports the port that the kernel chose when it is asked for port 0.",
    why: "Port 0 means any free port, which is how tests run side by side. The classic bug is to report the 0 that was \
          asked for; the cure is getsockname after bind.",
    citations: &["POSIX.1-2024 getsockname", "UNP 4.10"],
    needs: &[Need::PortGiven],
    scenarios: any_port,
    check: says_its_port,
};

/// There is no door that nobody asked for.
pub static NO_UNDECLARED_LISTENER: Clause = Clause {
    id: ClauseId("start.no-undeclared-listener"),
    level: Level::Should,
    requirement: "The server listens on no port besides the one that it was given.",
    why: "A debugger's, a profiler's or an administrator's port that nobody declared is guarded by nobody either.",
    citations: &["POSIX.1-2024 listen", "POSIX.1-2024 bind"],
    needs: &[Need::PortGiven],
    scenarios: idle_start,
    check: listens_nowhere_else,
};

/// The server starts and is left alone.
pub(super) fn idle_start(profile: &Profile) -> BoxedStrategy<Scenario> {
    fixed([Step::Quiet, watch(profile)])
}

/// The server starts on any free port, says so, and is stopped: what is left in a buffer is written at the end.
fn any_port(profile: &Profile) -> BoxedStrategy<Scenario> {
    let setting = Setting { port: Some("0".into()), ..Setting::default() };
    let up = if profile.announces { Condition::Announced(FIRST) } else { Condition::Listening(FIRST) };
    Just(Scenario {
        steps: vec![
            Step::Launch(FIRST, setting),
            Step::Await(up),
            Step::Quiet,
            Step::Signal(Who::Launched(FIRST), Sig::Stopping),
            Step::Await(Condition::Exited(FIRST)),
        ],
    })
    .boxed()
}

fn listens(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        if let Some(What::NotLaunched { error, .. }) =
            trace.first(|what| matches!(what, What::NotLaunched { .. })).map(|event| &event.what)
        {
            return Err(Verdict::Inconclusive(format!("it could not be launched: {error}")));
        }
        let listening =
            |what: &What| matches!(what, What::Awaited { condition: Condition::Listening(FIRST), .. });
        let Some(What::Awaited { met, took_us, .. }) = trace.first(listening).map(|event| &event.what) else {
            return Err(Verdict::Inconclusive("nobody waited for the server to listen".into()));
        };
        if *met {
            return Ok(format!("it listened after {}", millis(*took_us)));
        }
        let within = span(trace.circumstances.limits.ready_within);
        Err(Verdict::missing(format!("a socket in LISTEN within {within}"), trace.silence(FIRST)))
    })
}

fn announces_truthfully(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(FIRST)?;
        let stop = |what: &What| matches!(what, What::Signalled { .. });
        let mut announced = 0;
        for event in trace.events.iter().take_while(|event| !stop(&event.what)) {
            let What::Announced { instance, line, listening } = &event.what else { continue };
            if !is_claim(line) {
                continue;
            }
            announced += 1;
            if !listening {
                return Err(Verdict::seen(
                    format!("{instance} listens when it says so"),
                    format!("it wrote {line:?} and had no socket in LISTEN"),
                ));
            }
        }
        witness(announced > 0, "the server announced nothing")?;
        Ok("it listened when it said so".into())
    })
}

/// Whether a line says that the server is ready now: not that it will be, nor that it failed to be.
fn is_claim(line: &str) -> bool {
    const CLAIMS: [&str; 3] = ["listening", "ready", "accepting"];
    const NO_CLAIMS: [&str; 22] = [
        "not", "no", "cannot", "can't", "couldn't", "unable", "error", "errors", "failed", "fail", "failure",
        "refused", "denied", "starting", "start", "will", "trying", "try", "before", "until", "waiting",
        "getting",
    ];
    let line = line.to_lowercase();
    let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '\'').collect();
    let has = |list: &[&str]| words.iter().any(|word| list.contains(word));
    has(&CLAIMS) && !has(&NO_CLAIMS) && !line.contains("in use")
}

fn listens_on_the_port(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(FIRST)?;
        let asked = trace.circumstances.asked_port;
        if trace.looks().any(|(_, look)| ports(look).contains(&asked)) {
            return Ok(format!("it listens on port {asked}"));
        }
        let ports = trace.last_look().map(ports).unwrap_or_default();
        witness(!ports.is_empty(), "no socket in LISTEN was seen")?;
        let swapped = ports.contains(&asked.swap_bytes());
        let hint = if swapped { " (the same two bytes in the other order: htons is missing)" } else { "" };
        Err(Verdict::missing(format!("it listens on port {asked}"), format!("it listens on {ports:?}{hint}")))
    })
}

fn ports(look: &Look) -> Vec<u16> {
    look.listening(FIRST).map(|socket| socket.local.port()).collect()
}

fn listens_on_loopback_only(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(FIRST)?;
        witness(
            trace.circumstances.target.ip().to_canonical().is_loopback(),
            "it was not asked for a loopback address",
        )?;
        let rows: Vec<_> =
            trace.looks().flat_map(|(_, look)| look.listening(FIRST)).map(|socket| socket.local).collect();
        witness(!rows.is_empty(), "no socket in LISTEN was seen")?;
        match rows.iter().find(|local| !local.ip().to_canonical().is_loopback()) {
            None => Ok(format!("it listens on {}", rows[0])),
            Some(open) => Err(Verdict::seen(
                format!("no address besides {}", trace.circumstances.target.ip()),
                format!("it listens on {open}: whoever reaches this host can connect"),
            )),
        }
    })
}

fn says_its_port(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        let zero = |step: &Step| matches!(step, Step::Launch(FIRST, setting) if setting.port.as_deref() == Some("0"));
        witness(scenario.steps.iter().any(zero), "the server was not asked for port 0")?;
        let ports = trace.looks().map(|(_, look)| ports(look)).find(|ports| !ports.is_empty());
        let is_end = |event: &Event| matches!(event.what, What::Exited { .. } | What::Signalled { .. });
        let ports = ports.ok_or_else(|| match trace.events.iter().find(|event| is_end(event)) {
            Some(Event { what: What::Exited { exit: exit @ Exit::Code(_), .. }, .. }) => {
                Verdict::NotApplicable(format!("given port 0 it {exit}"))
            }
            _ => Verdict::Inconclusive("no socket in LISTEN was seen".into()),
        })?;
        let output = trace.output.first();
        let said =
            output.map(|output| output.stdout.text() + "\n" + &output.stderr.text()).unwrap_or_default();
        if said.trim().is_empty() {
            return Err(Verdict::NotApplicable("the server writes nothing at all".into()));
        }
        let numbers: Vec<&str> = said.split(|c: char| !c.is_ascii_digit()).collect();
        match ports.iter().find(|port| numbers.contains(&port.to_string().as_str())) {
            Some(port) => Ok(format!("it said that it listens on port {port}")),
            None => Err(Verdict::missing(
                format!("it says that it listens on port {}", ports[0]),
                format!("it wrote {:?}", said.trim().chars().take(200).collect::<String>()),
            )),
        }
    })
}

fn listens_nowhere_else(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(FIRST)?;
        let look = trace.last_look().ok_or_else(|| Verdict::Inconclusive("nobody looked".into()))?;
        let asked = trace.circumstances.asked_port;
        let rows: Vec<_> = look.listening(FIRST).map(|socket| socket.local).collect();
        witness(
            rows.iter().any(|local| local.port() == asked),
            "it does not listen on the port that it was given",
        )?;
        match rows.iter().find(|local| local.port() != asked) {
            None => Ok(format!("it listens on port {asked} alone")),
            Some(other) => Err(Verdict::seen(
                format!("sockets in LISTEN on port {asked} only"),
                format!("another one on {other}"),
            )),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Socket;
    use crate::trace::build::{Build, PORT, SERVER, listening, process};
    use crate::verdict::Kind;

    fn listens_at(rows: &[&str]) -> Trace {
        let sockets: Vec<Socket> = rows
            .iter()
            .zip(100..)
            .map(|(row, inode)| Socket { local: row.parse().unwrap(), ..listening(PORT, inode) })
            .collect();
        let inodes: Vec<u64> = sockets.iter().map(|socket| socket.inode).collect();
        let look = Look { processes: vec![process(SERVER, 1, &inodes)], sockets, ..Look::default() };
        Build::empty().awaited(Condition::Listening(FIRST), true, look).trace()
    }

    fn judged(clause: &Clause, trace: &Trace) -> Verdict {
        (clause.check)(&Scenario::default(), trace)
    }

    #[test]
    fn a_server_that_exits_never_listens() {
        let trace = Build::empty()
            .exited(0, Exit::Code(1))
            .stderr("srv: no such option\n")
            .awaited(Condition::Listening(FIRST), false, Look::default())
            .trace();
        let Verdict::Fail(evidence) = judged(&LISTENS_IN_TIME, &trace) else { panic!("no failure") };
        assert_eq!(
            evidence.observed,
            "the server exited with status 1; its last line: \"srv: no such option\""
        );
        assert!(matches!(judged(&PORT_HONOURED, &trace), Verdict::Inconclusive(_)));
    }

    #[test]
    fn other_ports_and_addresses_are_seen() {
        let usual = listens_at(&["127.0.0.1:7007"]);
        for clause in [&PORT_HONOURED, &ONLY_THE_REQUESTED_ADDRESS, &NO_UNDECLARED_LISTENER] {
            assert!(matches!(judged(clause, &usual), Verdict::Pass(_)), "{}", clause.id);
        }
        assert!(matches!(judged(&PORT_HONOURED, &listens_at(&["127.0.0.1:7008"])), Verdict::Fail(_)));
        for open in ["0.0.0.0:7007", "[::]:7007"] {
            assert!(
                matches!(judged(&ONLY_THE_REQUESTED_ADDRESS, &listens_at(&[open])), Verdict::Fail(_)),
                "{open}"
            );
        }
        let mapped = listens_at(&["[::ffff:127.0.0.1]:7007"]);
        assert!(matches!(judged(&ONLY_THE_REQUESTED_ADDRESS, &mapped), Verdict::Pass(_)));
        let two = listens_at(&["127.0.0.1:7007", "127.0.0.1:9229"]);
        assert!(matches!(judged(&NO_UNDECLARED_LISTENER, &two), Verdict::Fail(e) if e.kind == Kind::Seen));
    }

    #[test]
    fn an_announcement_is_a_claim_about_now() {
        for claim in ["listening on 127.0.0.1:7007", "Server ready", "now accepting connections"] {
            assert!(is_claim(claim), "{claim}");
        }
        for other in [
            "not ready",
            "error listening on :7007",
            "starting, will be ready soon",
            "address already in use",
        ] {
            assert!(!is_claim(other), "{other}");
        }
        let said = |listening| {
            let line = "listening on 7007".into();
            let announced = What::Announced { instance: FIRST, line, listening };
            judged(&ANNOUNCES_WHEN_READY, &Build::served().event(announced).trace())
        };
        assert!(matches!(said(true), Verdict::Pass(_)));
        assert!(matches!(said(false), Verdict::Fail(_)));
    }

    #[test]
    fn who_refuses_port_0_need_not_report_one() {
        let zero = Scenario::launched(Setting { port: Some("0".into()), ..Setting::default() }, []);
        let judged = |build: Build| (PORT_REPORTED.check)(&zero, &build.trace());
        assert!(matches!(judged(Build::empty().exited(0, Exit::Code(2))), Verdict::NotApplicable(_)));
        let late = Build::empty().signalled(Who::Launched(FIRST), Sig::Term, &[2]).exited(0, Exit::Code(0));
        assert!(matches!(judged(late), Verdict::Inconclusive(_)));
    }

    #[test]
    fn the_port_that_was_got_is_said_as_a_number_of_its_own() {
        let mut trace = listens_at(&["127.0.0.1:4001"]);
        for (text, said) in [("listening on 127.0.0.1:4001", true), ("port 0", false), ("pid 14001", false)] {
            trace.output[0].stdout.head = text.into();
            let zero = Setting { port: Some("0".into()), ..Setting::default() };
            let verdict = (PORT_REPORTED.check)(&Scenario::launched(zero, []), &trace);
            assert_eq!(matches!(verdict, Verdict::Pass(_)), said, "{text}");
        }
    }
}
