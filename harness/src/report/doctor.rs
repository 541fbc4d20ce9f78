//! Prints what this host allows, and the remedy for what it does not.

use std::io::{self, Write};

use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::page::Page;
use super::text::isolation;
use crate::doctor::Examination;

/// Writes one line for each fact, and the remedy under each that hinders.
///
/// # Errors
/// As the destination.
pub fn print(examination: &Examination, width: usize, out: &mut dyn Write) -> io::Result<()> {
    let page = &mut Page::new(out, width);
    page.line(format_args!("kernel        Linux {}", examination.kernel))?;
    page.line(format_args!("isolation     {}", examination.best().map_or("none", isolation)))?;
    for rung in &examination.rungs {
        fact(page, &format!("  {}", isolation(rung.isolation)), &rung.outcome, rung.remedy.as_deref())?;
    }
    let remedy = "the clauses that make fork fail are skipped; Linux 6.14 or later bounds it";
    let bounded = if examination.process_limit { Ok(()) } else { Err("cannot be bounded".to_owned()) };
    fact(page, "process limit", &bounded, Some(remedy))?;
    let remedy =
        "/proc/net/tcp is read instead, which is slower; the modules inet_diag and tcp_diag are wanted";
    fact(page, "sock_diag", &examination.sock_diag, Some(remedy))?;
    let known = |value: Option<u64>| value.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
    page.line(format_args!("somaxconn     {} (sandboxes have their own)", known(examination.somaxconn)))?;
    page.line(format_args!("syncookies    {} (sandboxes have their own)", known(examination.syncookies)))?;
    page.line(format_args!("ptrace scope  {}", known(examination.ptrace_scope)))?;
    let root = if examination.uid == 0 { " (root)" } else { "" };
    page.line(format_args!("user          {}{root}", examination.uid))?;
    page.line(format_args!("CPUs          {}", examination.cpus))?;
    let (soft, hard) = examination.descriptors;
    page.line(format_args!("descriptors   {soft}, at most {hard}"))
}

fn fact(
    page: &mut Page<'_>,
    name: &str,
    outcome: &Result<(), String>,
    remedy: Option<&str>,
) -> io::Result<()> {
    match outcome {
        Ok(()) => page.line(format_args!("{name:<13} {}", "works".green())),
        Err(problem) => {
            page.hanging(&format!("{name:<13} {} ", "no:".yellow()), 18, 14, problem)?;
            match remedy {
                Some(remedy) => page.hanging(&format!("{:<14}{} ", "", "remedy:".cyan()), 22, 22, remedy),
                None => Ok(()),
            }
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    kernel: &'a str,
    isolation: Option<&'static str>,
    rungs: Vec<Entry<'a>>,
    process_limit: bool,
    sock_diag: bool,
    somaxconn: Option<u64>,
    syncookies: Option<u64>,
    ptrace_scope: Option<u64>,
    uid: u32,
    cpus: usize,
    descriptors: (u64, u64),
}

#[derive(Serialize)]
struct Entry<'a> {
    isolation: &'static str,
    works: bool,
    problem: Option<&'a str>,
    remedy: Option<&'a str>,
}

/// Writes the same as a JSON document, `sockspec.doctor/1`.
///
/// # Errors
/// As the destination.
pub fn print_json(examination: &Examination, out: &mut dyn Write) -> io::Result<()> {
    let rungs = examination.rungs.iter().map(|rung| Entry {
        isolation: isolation(rung.isolation),
        works: rung.outcome.is_ok(),
        problem: rung.outcome.as_ref().err().map(String::as_str),
        remedy: rung.remedy.as_deref(),
    });
    let document = Document {
        schema: "sockspec.doctor/1",
        kernel: &examination.kernel,
        isolation: examination.best().map(isolation),
        rungs: rungs.collect(),
        process_limit: examination.process_limit,
        sock_diag: examination.sock_diag.is_ok(),
        somaxconn: examination.somaxconn,
        syncookies: examination.syncookies,
        ptrace_scope: examination.ptrace_scope,
        uid: examination.uid,
        cpus: examination.cpus,
        descriptors: examination.descriptors,
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Rung;
    use crate::trace::Isolation;

    fn examination() -> Examination {
        let works = |isolation| Rung { isolation, outcome: Ok(()), remedy: None };
        Examination {
            kernel: "6.18.44".to_owned(),
            rungs: vec![
                Rung {
                    isolation: Isolation::Full,
                    outcome: Err("mount proc: operation not permitted".to_owned()),
                    remedy: Some("run outside the container".to_owned()),
                },
                works(Isolation::NoProc),
                works(Isolation::Loopback),
            ],
            process_limit: true,
            sock_diag: Ok(()),
            somaxconn: Some(4096),
            syncookies: Some(1),
            ptrace_scope: None,
            uid: 0,
            cpus: 2,
            descriptors: (1024, 4096),
        }
    }

    #[test]
    fn what_does_not_work_has_its_remedy() {
        let text = crate::report::sample::plain(|out| print(&examination(), 80, out));
        assert_eq!(
            text,
            "\
kernel        Linux 6.18.44
isolation     no-proc
  full        no: mount proc: operation not permitted
              remedy: run outside the container
  no-proc     works
  loopback    works
process limit works
sock_diag     works
somaxconn     4096 (sandboxes have their own)
syncookies    1 (sandboxes have their own)
ptrace scope  unknown
user          0 (root)
CPUs          2
descriptors   1024, at most 4096
"
        );
    }

    #[test]
    fn the_json_says_the_same() {
        let mut text = Vec::new();
        print_json(&examination(), &mut text).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document["isolation"], "no-proc");
        assert_eq!(document["rungs"][0]["works"], false);
        assert_eq!(document["descriptors"], serde_json::json!([1024, 4096]));
    }
}
