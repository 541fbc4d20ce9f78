//! Explains one clause in depth: the classic bug, its cure, and how to see it fail.

use std::io::{self, Write};

use owo_colors::OwoColorize as _;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

use super::finding::steps;
use super::page::Page;
use crate::clause::{Clause, Need};
use crate::profile::{Effort, Model, Profile};

/// Writes all that is known of a clause. `shown_by` are the planted defects that it fails.
///
/// # Errors
/// As the destination.
pub fn print(clause: &Clause, shown_by: &[&str], width: usize, out: &mut dyn Write) -> io::Result<()> {
    let page = &mut Page::new(out, width);
    page.line(format_args!("{} ({})", clause.id.bold(), clause.level))?;
    page.paragraph(2, clause.requirement)?;
    page.gap()?;
    page.field("why", clause.why)?;
    page.gap()?;
    page.field("cited", &clause.citations.join("; "))?;
    let needs: Vec<String> = clause.needs.iter().map(|need| in_words(*need)).collect();
    page.field(
        "needs",
        &if needs.is_empty() { "any server, any host".to_owned() } else { needs.join("; ") },
    )?;
    page.field(
        "tried",
        &example(clause).unwrap_or_else(|| "nothing on the kind of server assumed".to_owned()),
    )?;
    match shown_by {
        [] => page.field("shown by", "no planted defect"),
        [first, ..] => {
            page.field("shown by", &shown_by.join(", "))?;
            let command = format!(
                "sockspec check --only {} -- sockspec serve --defect {first} --port {{port}}",
                clause.id
            );
            page.field_raw("see it", &command)
        }
    }
}

/// One of the clause's scenarios in words, for a server to which it applies; always the same one.
fn example(clause: &Clause) -> Option<String> {
    let mut runner = TestRunner::deterministic();
    let tree = (clause.scenarios)(&assumed(clause.needs)).new_tree(&mut runner).ok()?;
    Some(steps(&tree.current()).join(" · "))
}

/// A server that has what the clause needs.
fn assumed(needs: &[Need]) -> Profile {
    let prefork = needs.contains(&Need::Prefork);
    Profile {
        model: if prefork { Model::Prefork } else { Model::ForkPerConnection },
        processes_per_connection: u32::from(!prefork),
        concurrent: true,
        made_for_many: true,
        forks: !prefork,
        echoes: true,
        backlog: 128,
        backlog_declared: Some(128),
        port_given: true,
        addr_given: true,
        backlog_given: true,
        launched_accepts: true,
        daemonizes: false,
        announces: true,
        client_limit: None,
        clients: 20,
        crowd: 72,
        restless: false,
        descriptors: 4,
        ready_us: 1000,
        reply_us: 100,
        effort: Effort::Quick,
    }
}

fn in_words(need: Need) -> String {
    match need {
        Need::Namespaces => "a host that allows namespaces".to_owned(),
        Need::ProcessLimit => "a host that can bound the number of processes".to_owned(),
        Need::Echo => "a server that echoes".to_owned(),
        Need::Lasting => "a server that serves more than one client in its life".to_owned(),
        Need::Concurrent => "a server that serves clients side by side".to_owned(),
        Need::MadeForMany => "a server that has what it takes to serve side by side".to_owned(),
        Need::Forks => "a server that forks for each connection".to_owned(),
        Need::MakesForEach => "a server that makes a process or a thread for each connection".to_owned(),
        Need::ForkPerConnection => "a server that serves each connection in a process of its own".to_owned(),
        Need::Prefork => "a server with processes made beforehand".to_owned(),
        Need::ServingProcesses => {
            "a server that serves clients in other processes than the accepting one".to_owned()
        }
        Need::PortGiven => "a command with {port}".to_owned(),
        Need::AddrGiven => "a command with {addr}".to_owned(),
        Need::Clients(n) => format!("{n} clients at once"),
        Need::LaunchedAccepts => "that the launched process is the one that accepts".to_owned(),
        Need::Announces => "a server that says when it is ready".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn all_that_is_known_of_a_clause_is_told() {
        let text =
            sample::plain(|out| print(sample::catalogue()[2], &["never-reaps", "reaps-once"], 80, out));
        assert_eq!(
            text,
            "\
reap.every-child (MUST)
  The server waits for every child that has ended.

  why        A child that nobody waits for stays a zombie until fork fails. The
             cure is waitpid(-1, WNOHANG) until none is left.

  cited      POSIX.1-2024 waitpid
  needs      a server that forks for each connection
  tried      connect c0 · close c0
  shown by   never-reaps, reaps-once
  see it     sockspec check --only reap.every-child -- sockspec serve --defect never-reaps --port {port}
"
        );
    }
}
