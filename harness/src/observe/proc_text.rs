//! The texts of /proc, parsed. Total: what is missing or cut short counts as 0.
//!
//! # References
//! proc_pid_stat(5), proc_pid_status(5), proc_net(5); `Documentation/scheduler/sched-stats.rst`

use crate::observe::cpu::Usage;
use crate::trace::Counters;

/// `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) comm: String,
    pub(super) state: char,
    pub(super) ppid: i32,
    /// cutime and cstime: CPU time of children that were waited for.
    pub(super) reaped_ticks: u64,
    pub(super) threads: u32,
    pub(super) started: u64,
    pub(super) vm_bytes: u64,
    pub(super) rss_pages: u64,
    /// As waitpid(2) would tell it; 0 as long as the process lives.
    pub(super) wait_status: i32,
}

/// Parses `/proc/PID/stat`; `None` where it is cut short before the start time.
pub(super) fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The name may hold spaces, parentheses and line feeds: it ends at the last parenthesis.
    let begin = text.iter().position(|&byte| byte == b'(')? + 1;
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let comm = String::from_utf8_lossy(text.get(begin..end)?).into_owned();
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    // Field n of proc_pid_stat(5) is fields[n - 3].
    let fields: Vec<&str> = rest.split_ascii_whitespace().take(50).collect();
    let number = |n: usize| fields.get(n - 3).and_then(|field| field.parse::<i64>().ok());
    let positive = |n: usize| number(n).and_then(|value| u64::try_from(value).ok());
    Some(Stat {
        comm,
        state: fields.first()?.chars().next()?,
        ppid: i32::try_from(number(4)?).ok()?,
        reaped_ticks: positive(16).unwrap_or(0) + positive(17).unwrap_or(0),
        threads: positive(20).and_then(|value| u32::try_from(value).ok()).unwrap_or(1),
        started: fields.get(22 - 3)?.parse().ok()?,
        vm_bytes: positive(23).unwrap_or(0),
        rss_pages: positive(24).unwrap_or(0),
        wait_status: number(52).and_then(|status| i32::try_from(status).ok()).unwrap_or(0),
    })
}

/// What is used of `/proc/PID/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// The effective one.
    pub(super) uid: u32,
    pub(super) ignored: u64,
    pub(super) caught: u64,
    pub(super) blocked: u64,
}

/// Parses `/proc/PID/status`.
pub(super) fn parse_status(text: &[u8]) -> Status {
    let mut status = Status::default();
    for line in text.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()) {
        let Some((key, value)) = line.split_once(':') else { continue };
        let mask = || u64::from_str_radix(value.trim(), 16).unwrap_or(0);
        match key {
            "Uid" => status.uid = nth(value, 1),
            "SigBlk" => status.blocked = mask(),
            "SigIgn" => status.ignored = mask(),
            "SigCgt" => {
                status.caught = mask();
                break;
            }
            _ => {}
        }
    }
    status
}

/// Parses `schedstat` of one task: CPU time and run delay in nanoseconds, and how often it ran.
pub(super) fn parse_schedstat(text: &[u8]) -> Usage {
    let text = std::str::from_utf8(text).unwrap_or_default();
    Usage { cpu_ns: nth(text, 0), delay_ns: nth(text, 1), switches: nth(text, 2) }
}

/// Parses `/proc/net/netstat` and `/proc/net/snmp` into the counters.
pub(super) fn parse_counters(netstat: &[u8], snmp: &[u8]) -> Counters {
    let mut counters = Counters::default();
    each_counter(netstat, "TcpExt:", |name, value| match name {
        "ListenOverflows" => counters.listen_overflows = value,
        "ListenDrops" => counters.listen_drops = value,
        "TCPAbortOnClose" => counters.abort_on_close = value,
        "TCPAbortOnData" => counters.abort_on_data = value,
        _ => {}
    });
    each_counter(snmp, "Tcp:", |name, value| {
        if name == "OutRsts" {
            counters.resets_sent = value;
        }
    });
    counters
}

/// Calls `each` with the names and values of one group: a line of names, then a line of values, with the same prefix.
fn each_counter(text: &[u8], prefix: &str, mut each: impl FnMut(&str, u64)) {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
    if let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        for (name, value) in names.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
            each(name, value.parse().unwrap_or(0));
        }
    }
}

/// The n-th field, counted from 0.
fn nth<T: std::str::FromStr + Default>(text: &str, n: usize) -> T {
    text.split_ascii_whitespace().nth(n).and_then(|field| field.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "412 (a) b) (c) S 1 412 412 0 -1 4194560 120 0 0 0 7 3 20 30 20 0 5 0 98765 2494464 252 \
                        18446744073709551615 1 1 0 0 0 0 0 4096 65536 0 0 0 17 1 0 0 0 0 0";

    #[test]
    fn a_name_may_hold_parentheses_and_spaces() {
        let stat = parse_stat(STAT.as_bytes()).unwrap();
        let expected = Stat {
            comm: "a) b) (c".to_owned(),
            state: 'S',
            ppid: 1,
            reaped_ticks: 50,
            threads: 5,
            started: 98765,
            vm_bytes: 2_494_464,
            rss_pages: 252,
            wait_status: 0,
        };
        assert_eq!(stat, expected);
    }

    #[test]
    fn a_stat_cut_short_anywhere_does_no_harm() {
        for length in 0..STAT.len() {
            let _ = parse_stat(&STAT.as_bytes()[..length]);
        }
        assert_eq!(parse_stat(b""), None);
        assert_eq!(parse_stat(b") ("), None);
        assert_eq!(parse_stat(b"1 (x) S 0 1"), None);
    }

    #[test]
    fn masks_and_the_effective_user_come_from_status() {
        let text = b"Name:\tx\nUid:\t1000\t65534\t1000\t1000\nSigQ:\t0/95\nSigPnd:\t0000000000000000\n\
                     SigBlk:\t0000000000010000\nSigIgn:\t0000000000001000\nSigCgt:\t0000000180004a02\n";
        let expected = Status { uid: 65534, blocked: 0x10000, ignored: 0x1000, caught: 0x1_8000_4a02 };
        assert_eq!(parse_status(text), expected);
        assert_eq!(parse_status(b"garbage\n\xff:\n"), Status::default());
    }

    #[test]
    fn schedstat_has_time_delay_and_slices() {
        assert_eq!(parse_schedstat(b"123 45 6\n"), Usage { cpu_ns: 123, delay_ns: 45, switches: 6 });
        assert_eq!(parse_schedstat(b""), Usage::default());
    }

    #[test]
    fn counters_are_found_by_name() {
        let netstat = b"TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPAbortOnData TCPAbortOnClose\n\
                        TcpExt: 1 2 3 4 5\nIpExt: InNoRoutes\nIpExt: 9\n";
        let snmp = b"Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm MaxConn OutRsts InCsumErrors\nTcp: 1 -1 7 0\n";
        let expected = Counters {
            listen_overflows: 2,
            listen_drops: 3,
            abort_on_data: 4,
            abort_on_close: 5,
            resets_sent: 7,
        };
        assert_eq!(parse_counters(netstat, snmp), expected);
        assert_eq!(parse_counters(b"", b"Tcp: OutRsts\n"), Counters::default());
    }
}
