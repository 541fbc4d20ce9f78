//! One process, as `/proc/PID` shows it.
//!
//! # References
//! proc_pid_stat(5), proc_pid_status(5); `Documentation/scheduler/sched-stats.rst` for `schedstat`;
//! clock_getcpuclockid(3)

use std::path::Path;

use nix::time::ClockId;

use crate::error::Error;
use crate::observe::cpu::Usage;
use crate::observe::descriptor;
use crate::observe::proc_dir::{Found, ProcDir};
use crate::observe::proc_text::{Stat, Status, parse_schedstat, parse_stat, parse_status};
use crate::scenario::Instance;
use crate::trace::{Exit, Process};

/// How much of a process is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// State, parent, start and CPU use.
    Glance,
    /// All of it, but for FD_CLOEXEC.
    Full,
    /// All of it.
    Thorough,
}

/// A process, and what the trace does not keep of it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// As the trace has it. The parent is as /proc numbers it, and the instance is not known yet.
    pub process: Process,
    /// CPU time of all threads, run delay and switches of living ones.
    pub usage: Usage,
    /// CPU time of children that it has waited for, and of theirs, nanoseconds (counted in ticks of 10 ms).
    pub reaped_ns: u64,
    /// Tasks that are neither asleep nor stopped nor dead.
    pub busy: u32,
}

/// Reads the process of this directory; `pid` is its id in our own pid namespace. `None`: it is gone.
///
/// # Errors
/// When /proc fails in another way than by the end of the process.
pub fn read(dir: &Path, pid: i32, depth: Depth) -> Result<Option<Seen>, Error> {
    match ProcDir::open(dir)?.here() {
        Some(dir) => read_in(&dir, pid, depth),
        None => Ok(None),
    }
}

/// As [`read`], of a directory that is open.
pub(super) fn read_in(dir: &ProcDir, pid: i32, depth: Depth) -> Result<Option<Seen>, Error> {
    let mut buffer = [0; 4096];
    let Some(stat) = dir.read_again("stat", &mut buffer)?.here().and_then(parse_stat) else {
        return Ok(None);
    };
    let Some(tasks) = Tasks::read(dir, &stat)? else { return Ok(None) };
    let mut usage = tasks.usage;
    usage.cpu_ns = cpu_clock(pid).unwrap_or(usage.cpu_ns).max(usage.cpu_ns);

    let mut seen = Seen {
        reaped_ns: stat.reaped_ticks.saturating_mul(TICK_NS),
        busy: tasks.busy,
        usage,
        process: process(pid, stat, tasks.state, usage),
    };
    if depth != Depth::Glance && !complete(&mut seen.process, dir, &tasks.base, depth)? {
        return Ok(None);
    }
    Ok(Some(seen))
}

/// One of the ticks in which /proc counts: USER_HZ is 100 on every architecture that Rust's std knows.
const TICK_NS: u64 = 10_000_000;

/// What a status of waitpid(2) says.
fn exit(wait_status: i32) -> Exit {
    match wait_status & 0x7f {
        0 => Exit::Code((wait_status >> 8) & 0xff),
        signal => Exit::Signal(signal),
    }
}

fn process(pid: i32, stat: Stat, state: char, usage: Usage) -> Process {
    Process {
        pid,
        ppid: stat.ppid,
        instance: Instance(0),
        started: stat.started,
        state,
        ended: (state == 'Z').then_some(exit(stat.wait_status)),
        comm: stat.comm,
        exe: String::new(),
        threads: stat.threads,
        cpu_ns: usage.cpu_ns,
        delay_ns: usage.delay_ns,
        vm_kib: stat.vm_bytes / 1024,
        rss_kib: stat.rss_pages.saturating_mul(rustix::param::page_size() as u64 / 1024),
        uid: 0,
        ignored: 0,
        caught: 0,
        blocked: 0,
        fds: Vec::new(),
        fds_readable: false,
    }
}

/// Adds what only a full look reads; `false`: the process is gone.
fn complete(process: &mut Process, dir: &ProcDir, base: &str, depth: Depth) -> Result<bool, Error> {
    let mut buffer = [0; 16 << 10];
    let status = dir.read_again("status", &mut buffer)?.here().map(parse_status);
    let Some(Status { uid, ignored, caught, blocked }) = status else { return Ok(false) };
    (process.uid, process.ignored, process.caught, process.blocked) = (uid, ignored, caught, blocked);
    if process.is_zombie() {
        process.fds_readable = true;
        return Ok(true);
    }
    process.exe = dir.link(&format!("{base}/exe"))?.here().unwrap_or_default();
    if let Found::Here(fds) = descriptor::read(dir, base, depth)? {
        process.fds = fds;
        process.fds_readable = true;
    }
    Ok(true)
}

/// The threads of a process, summed.
struct Tasks {
    usage: Usage,
    busy: u32,
    /// Of the first thread; of a living one where the first has ended before the others.
    state: char,
    /// Where `fd` and `exe` are: `.`, or `task/TID` where the first thread has ended before the others.
    base: String,
}

impl Tasks {
    fn read(dir: &ProcDir, stat: &Stat) -> Result<Option<Self>, Error> {
        let mut tasks = Self { usage: Usage::default(), busy: 0, state: stat.state, base: ".".to_owned() };
        if stat.threads <= 1 {
            let mut buffer = [0; 128];
            let Found::Here(text) = dir.read_again("schedstat", &mut buffer)? else { return Ok(None) };
            tasks.usage = parse_schedstat(text);
            tasks.busy = u32::from(is_busy(stat.state));
            return Ok(Some(tasks));
        }
        let Some((list, tids)) = dir.list("task")?.here() else { return Ok(None) };
        for tid in tids {
            tasks.add(&list, tid)?;
        }
        Ok(Some(tasks))
    }

    fn add(&mut self, list: &ProcDir, tid: u32) -> Result<(), Error> {
        let mut buffer = [0; 1024];
        let Found::Here(text) = list.read(&format!("{tid}/schedstat"), &mut buffer)? else { return Ok(()) };
        self.usage = self.usage.plus(parse_schedstat(text));
        let text = list.read(&format!("{tid}/stat"), &mut buffer)?.here();
        let Some(state) = text.and_then(parse_stat).map(|stat| stat.state) else { return Ok(()) };
        self.busy += u32::from(is_busy(state));
        if self.state == 'Z' && state != 'Z' {
            self.state = state;
            self.base = format!("task/{tid}");
        }
        Ok(())
    }
}

/// Whether a task in this state runs, wants to run, or is in the middle of a system call that will end by itself.
fn is_busy(state: char) -> bool {
    !matches!(state, 'S' | 'T' | 't' | 'Z' | 'X' | 'I')
}

/// In the number of a clock of a process (`include/linux/posix-timers.h`): all the time that its tasks ran.
const CPUCLOCK_SCHED: i32 = 2;

/// CPU time of the process, ended threads and the running slice included, in nanoseconds.
///
/// The clock is exact where `schedstat` lags by up to one tick of the scheduler, and `stat` by 10 ms.
fn cpu_clock(pid: i32) -> Option<u64> {
    // As clock_getcpuclockid(3), which asks the kernel whether there is such a clock: reading it tells, too.
    let time = ClockId::from_raw((!pid << 3) | CPUCLOCK_SCHED).now().ok()?;
    let seconds = u64::try_from(time.tv_sec()).ok()?;
    Some(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).ok()?)
}
