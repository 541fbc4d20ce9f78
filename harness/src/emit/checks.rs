//! What a program looks for, by the clause that its case breaks: one table.

use crate::emit::NotTold;

/// Something that a program can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Clients are connected, get back their own bytes in order, and the end of the stream after theirs.
    Service,
    /// The launched process lives, and something listens.
    Lives,
    /// No child stays a zombie.
    Reaped,
    /// No more processes than there were at the mark.
    Processes,
    /// No more connections of the server than there were at the mark.
    Connections,
    /// No more descriptors of the accepting process than there were at the mark.
    Descriptors,
    /// A client that comes at the end is served.
    Latecomer,
}

use Check::{Connections, Descriptors, Latecomer, Lives, Processes, Reaped, Service};

/// A clause, or a family with its dot; the first row that fits decides. An empty list: no such program can see it.
const TABLE: &[(&str, &[Check])] = &[
    // What takes a stopwatch, the server's memory, its CPU or its log.
    ("echo.prompt", &[]),
    ("echo.log-clean", &[]),
    ("echo.backpressure-blocks", &[]),
    ("echo.backpressure-does-not-spin", &[]),
    ("echo.no-crash", &[Service, Lives, Latecomer]),
    ("echo.", &[Service]),
    ("close.no-close-wait", &[Connections]),
    ("close.survives-", &[Lives, Latecomer]),
    ("close.", &[Service]),
    ("accept.nofile-limit-does-not-spin", &[]),
    ("accept.prompt-beside-idle-clients", &[]),
    ("accept.one-descriptor-per-client", &[]),
    ("accept.listener-stays", &[]),
    ("accept.", &[Service, Lives, Latecomer]),
    ("listen.backlog-not-tiny", &[]),
    ("listen.queue-holds-backlog", &[]),
    ("listen.", &[Service, Lives, Latecomer]),
    ("limits.memory-bounded", &[]),
    ("limits.clients-recorded", &[]),
    ("limits.full-disk-log", &[]),
    ("limits.", &[Service, Lives, Latecomer]),
    ("fork.sibling-survives", &[Service, Lives, Latecomer]),
    ("fork.sigterm-to-child-isolated", &[Service, Lives, Latecomer]),
    ("fork.stopped-child-isolated", &[Service, Lives, Latecomer]),
    ("fork.survives-churn", &[Service, Processes, Reaped, Lives, Latecomer]),
    ("fork.survives-", &[Service, Lives, Latecomer]),
    ("fork.serves-after-mass-kill", &[Service, Lives, Latecomer]),
    ("fork.replaces-killed-worker", &[Service, Lives, Latecomer]),
    ("fork.crashed-child-reaped", &[Reaped, Lives]),
    ("fork.child-exits", &[Processes]),
    ("fork.", &[]),
    ("reap.hangup-recorded", &[]),
    ("reap.no-lasting-orphan", &[]),
    ("reap.accept-goes-on", &[Service, Lives, Latecomer]),
    ("reap.does-not-block", &[Service, Lives, Latecomer]),
    ("reap.spurious-sigchld", &[Service, Lives, Latecomer]),
    ("reap.survives-sigpipe", &[Lives, Latecomer]),
    ("reap.benign-signals", &[Service, Lives, Latecomer]),
    ("reap.stop-and-continue", &[Service, Lives, Latecomer]),
    ("reap.signal-storm", &[Service, Reaped, Lives, Latecomer]),
    ("reap.foreign-child", &[Reaped, Lives, Latecomer]),
    ("reap.any-schedule", &[Reaped, Processes, Lives]),
    ("reap.", &[Reaped]),
    ("fd.no-growth", &[Descriptors]),
];

/// What to look for in a case of this clause.
pub(super) fn of(clause: &str) -> Result<&'static [Check], NotTold> {
    match TABLE.iter().find(|(prefix, _)| clause.starts_with(prefix)) {
        Some((_, checks)) if !checks.is_empty() => Ok(checks),
        _ => Err(NotTold(format!("{clause} is about something that only sockspec itself can see"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;

    #[test]
    fn every_row_is_reached_by_a_clause() {
        for (index, (prefix, _)) in TABLE.iter().enumerate() {
            let reaches =
                |id: &str| TABLE.iter().position(|(prefix, _)| id.starts_with(prefix)) == Some(index);
            assert!(spec::catalogue().any(|clause| reaches(clause.id.0)), "{prefix}");
        }
    }

    #[test]
    fn what_only_the_harness_sees_is_not_told() {
        assert!(of("start.idle-does-not-spin").is_err());
        assert!(of("stop.drains").is_err());
        assert_eq!(of("echo.exact"), Ok(&[Service][..]));
    }
}
