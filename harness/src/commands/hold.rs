//! A case that is held: what to do with it, and the wait until it may go on.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sockspec::args::When;
use sockspec::run::fuzz::hold::HeldCase;
use sockspec::sandbox::Inmate;

use crate::show as print;

/// How often it is looked whether to stop, milliseconds.
const STOP_EVERY_MS: u16 = 100;

/// Says how to look into what is held, and waits for a line, the end of stdin, or a signal.
pub(super) fn show(held: &HeldCase, stop: &AtomicBool, color: When) {
    // Nobody reads it? Then there is nobody to wait for.
    if print(color, |out| describe(held, out)).is_ok() {
        wait(stop);
    }
}

fn describe(held: &HeldCase, out: &mut dyn Write) -> io::Result<()> {
    use owo_colors::OwoColorize as _;
    writeln!(out, "{} expected {}", "HELD".yellow().bold(), held.evidence.expected)?;
    writeln!(out, "     observed {}", held.evidence.observed)?;
    writeln!(out, "     after    {}", held.scenario.in_words().join(" · "))?;
    writeln!(out, "\nhost pid  in sandbox  state")?;
    for inmate in &held.inmates {
        let Inmate { host_pid, pid, state, command, is_ours } = inmate;
        let command = if *is_ours { "(sockspec: the clients)" } else { command };
        writeln!(out, "{host_pid:>8}  {pid:>10}  {state}      {command}")?;
    }
    let address = held.trace.circumstances.target;
    writeln!(out, "\nThe server listens on {address}, in the network of the sandbox.")?;
    let Some(enter) = held.inmates.iter().rfind(|inmate| inmate.is_ours).map(nsenter) else { return Ok(()) };
    let server = held.inmates.iter().find(|inmate| !inmate.is_ours && inmate.state != 'Z');
    if let Some(server) = server {
        let pid = server.host_pid;
        writeln!(out, "  gdb -p {pid}")?;
        writeln!(out, "  strace -f -p {pid}")?;
        writeln!(out, "  ls -l /proc/{pid}/fd; cat /proc/{pid}/status /proc/{pid}/stack")?;
    }
    if enter.is_empty() {
        writeln!(out, "  ss -tanp")?;
    } else {
        writeln!(out, "  {enter} -n ss -tan")?;
        writeln!(out, "  {enter} -n -p -m sh       # pids, network and files as the server sees them")?;
    }
    writeln!(out, "\nPress Enter to end it.")
}

/// How to enter the namespaces of a process; nothing if they are the host's.
fn nsenter(inmate: &Inmate) -> String {
    let pid = inmate.host_pid;
    let differs = |kind: &str| {
        let of = |pid: &str| fs::read_link(Path::new("/proc").join(pid).join("ns").join(kind)).ok();
        of(&pid.to_string()) != of("self")
    };
    match (differs("net"), differs("user")) {
        (false, _) => String::new(),
        (true, false) => format!("nsenter -t {pid}"),
        (true, true) => format!("nsenter -t {pid} -U --preserve-credentials"),
    }
}

fn wait(stop: &AtomicBool) {
    let stdin = io::stdin();
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(STOP_EVERY_MS)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            // A line, the end, or nothing that can be waited for.
            Ok(_) | Err(_) => return,
        }
    }
}
