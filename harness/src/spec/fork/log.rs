//! The log of a forking server: each line once.

use std::collections::BTreeMap;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::scenario::{Act, Instance, Scenario};
use crate::spec::fd::churn;
use crate::trace::query::{count, judge, witness};
use crate::trace::{Acted, Trace, What};
use crate::verdict::Verdict;

/// How often the same line may be written for one event before it counts as duplicated.
const COPIES_MAX: usize = 5;

/// Buffered lines are not written again by each child.
pub(super) static LOG_NOT_DUPLICATED: Clause = Clause {
    id: ClauseId("fork.log-not-duplicated"),
    level: Level::Should,
    requirement: "The server writes each line of its log once.",
    why: "fork copies the buffers of stdio too. If something was in them, each child that ends with exit \
          writes it out again, and the log tells of clients that never came. The cure is to flush before \
          fork, or _exit in the child.",
    citations: &["POSIX.1-2024 fork", "POSIX.1-2024 _Exit", "POSIX.1-2024 exit"],
    needs: &[Need::Forks, Need::Lasting],
    scenarios: churn,
    check: log_not_duplicated,
};

fn log_not_duplicated(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let is_visit = |acted: &&Acted| matches!(acted.act, Act::Visit(_) | Act::Connect(_));
        let visits: Vec<_> = trace.all_acts().filter(is_visit).collect();
        witness(visits.len() > COPIES_MAX, "too few clients came to tell")?;
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for output in &trace.output {
            for text in [output.stdout.text(), output.stderr.text()] {
                for line in text.lines().map(str::trim).filter(|line| line.len() > 3) {
                    *lines.entry(line.to_owned()).or_default() += 1;
                }
            }
        }
        let ports: Vec<_> =
            visits.iter().filter_map(|acted| acted.local).map(|local| local.port().to_string()).collect();
        let announced: Vec<_> = trace
            .events
            .iter()
            .filter_map(|event| match &event.what {
                What::Announced { line, .. } => Some(line.trim()),
                _ => None,
            })
            .collect();
        // A line that names a client, or says that the server is ready, is about one event.
        let names =
            |line: &str, port: &String| line.split(|c: char| !c.is_ascii_digit()).any(|word| word == port);
        for (line, &copies) in &lines {
            let once = announced.contains(&line.as_str())
                || ports.iter().any(|port| names(line, port))
                || (names(line, &trace.port().to_string()) && tells_of_the_start(line));
            if copies > if once { COPIES_MAX } else { 4 * visits.len() } {
                return Err(duplicated(line, copies, visits.len()));
            }
        }
        // Two of each may be parent and child who write the same buffer; two of one may be chance.
        let most = |port: &String| {
            lines.iter().filter(|(line, _)| names(line, port)).max_by_key(|(_, copies)| **copies)
        };
        let named: Vec<_> = ports.iter().filter_map(most).collect();
        let twice = named.iter().filter(|(_, copies)| **copies > 1).count();
        if named.len() > COPIES_MAX && twice * 5 >= named.len() * 4 {
            return Err(duplicated(named[0].0, *named[0].1, visits.len()));
        }
        Ok(format!(
            "{} served, {} of log, none over and over",
            count(visits.len(), "client"),
            count(lines.len(), "line")
        ))
    })
}

/// Whether a line that names the server's own port tells of its start, by its words: the classic header, which stays in
/// the buffer of stdio until a child writes it out. What each round of a loop or each child may say, such as that it waits
/// or serves a client, is none.
fn tells_of_the_start(line: &str) -> bool {
    const START: [&str; 6] = ["started", "starting", "running", "serving", "bound", "launched"];
    const ROUND: [&str; 15] = [
        "client",
        "clients",
        "connection",
        "connections",
        "connected",
        "accepted",
        "peer",
        "from",
        "request",
        "session",
        "child",
        "worker",
        "process",
        "waiting",
        "for",
    ];
    let said = |words: &[&str]| {
        line.split(|c: char| !c.is_alphanumeric())
            .any(|word| words.iter().any(|w| word.eq_ignore_ascii_case(w)))
    };
    said(&START) && !said(&ROUND)
}

fn duplicated(line: &str, copies: usize, clients: usize) -> Verdict {
    Verdict::seen(
        "each line is written once",
        format!("{copies} times with {}: \"{}\"", count(clients, "client"), line.escape_debug()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::Build;

    fn logged(text: &str) -> Verdict {
        let trace = (1..=10).fold(Build::served(), Build::visited).stderr(text).trace();
        log_not_duplicated(&Scenario::default(), &trace)
    }

    #[test]
    fn a_line_for_each_client_is_no_duplicate() {
        assert!(matches!(logged(&"a client came\n".repeat(10)), Verdict::Pass(_)));
        assert!(matches!(logged(""), Verdict::Pass(_)));
    }

    #[test]
    fn a_header_for_each_client_is() {
        let copies = |line: &str| logged(&format!("{line}\n").repeat(10));
        assert!(matches!(copies("echo server started on port 7007"), Verdict::Fail(_)));
        assert!(matches!(copies("Serving on 127.0.0.1:7007 ..."), Verdict::Fail(_)));
        for fine in ["waiting for connections on port 7007", "7007: child started", "started", "7007: bye"] {
            assert!(matches!(copies(fine), Verdict::Pass(_)), "{fine}");
        }
        assert!(matches!(logged("echo server started on port 7007\n"), Verdict::Pass(_)));
    }

    #[test]
    fn two_lines_for_each_client_are() {
        let line = |port: u32| format!("accepted 127.0.0.1:{port}\n");
        let once: String = (40_001..=40_010).map(line).collect();
        assert!(matches!(logged(&once), Verdict::Pass(_)));
        assert!(matches!(logged(&(once.clone() + &once)), Verdict::Fail(_)));
    }

    #[test]
    fn the_line_of_one_client_again_and_again_is() {
        assert!(matches!(logged(&"connection from 127.0.0.1:40001\n".repeat(9)), Verdict::Fail(_)));
    }
}
