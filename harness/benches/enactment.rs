//! What an enactment costs: against the floor that the kernel sets, by the number of clients and steps, in a campaign, and
//! in a whole check.
//!
//! `cargo bench` measures all of it; `cargo bench -- clients` a part. The machine is never quiet and never the same, so
//! the numbers to look at are ratios from one run: they are printed at the end.

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sockspec::command::TargetCommand;
use sockspec::limits::Limits;
use sockspec::scenario::{Act, Client, Payload, Scenario, Setting, Step, To};
use sockspec::trace::{Fate, Isolation, Trace};
use sockspec::world::World as _;
use sockspec::world::live::Live;

mod campaign;

const SOCKSPEC: &str = env!("CARGO_BIN_EXE_sockspec");
const FLOOR_SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/floor/floor.c");
/// Where the server of the floor listens, in a network of its own.
const FLOOR_PORT: &str = "7007";

/// How often the memory of a whole check is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// An enactment may cost so many times what the floor costs.
const RATIO_GOAL: f64 = 2.0;
/// A whole check may take so long, and so much memory.
const CHECK_GOAL: Duration = Duration::from_secs(5);
const MEMORY_GOAL_KIB: u64 = 64 << 10;

/// Clients at once.
const CROWDS: [u32; 4] = [1, 10, 100, 1000];
/// Connections that may wait to be accepted: a whole crowd comes at once.
const BACKLOG: u32 = 2048;

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let floor = Floor::compile(scratch.path())?;
    let mut bench =
        Bench { live: Live::start(Isolation::Full)?, limits: Limits::default(), best: Vec::new() };
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4))
        .sample_size(20)
        .configure_from_args();
    bench.enactments(&mut criterion, floor.as_ref());
    bench.clients(&mut criterion);
    criterion.final_summary();
    // A part of it was asked for, or a mere test that it runs.
    if std::env::args().skip(1).any(|arg| arg != "--bench") {
        return Ok(());
    }
    say("\n")?;
    if let Some(floor) = &floor {
        bench.compare(floor)?;
        campaign::compare(floor)?;
    }
    bench.tell_crowds()?;
    campaign::tell_more(&mut bench)?;
    drop(bench);
    check()
}

/// The bare loop in C.
struct Floor {
    program: PathBuf,
}

impl Floor {
    /// Compiles it; `None` where there is no compiler.
    fn compile(dir: &Path) -> Result<Option<Self>, Box<dyn Error>> {
        let program = dir.join("floor");
        match Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(FLOOR_SOURCE).status() {
            Ok(status) if status.success() => Ok(Some(Self { program })),
            Ok(status) => Err(format!("cc {FLOOR_SOURCE}: {status}").into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                say("SKIPPED: the floor, and the ratio to it: there is no C compiler (cc) here\n")?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// How long `times` enactments take.
    fn enact(&self, times: u64) -> Result<Duration, Box<dyn Error>> {
        let output = Command::new(&self.program)
            .args([&times.to_string(), FLOOR_PORT, SOCKSPEC, "serve", "--port", FLOOR_PORT])
            .stderr(Stdio::inherit())
            .output()?;
        let nanos = String::from_utf8(output.stdout)?;
        Ok(Duration::from_nanos(nanos.trim().parse().map_err(|_| "the floor failed")?))
    }
}

/// Our side.
struct Bench {
    live: Live,
    limits: Limits,
    /// The quickest enactment for each crowd.
    best: Vec<(u32, Duration)>,
}

impl Bench {
    fn enactments(&mut self, criterion: &mut Criterion, floor: Option<&Floor>) {
        let mut group = criterion.benchmark_group("enactment");
        if let Some(floor) = floor {
            group.bench_function("floor", |bencher| {
                bencher.iter_custom(|times| floor.enact(times).expect("the floor runs where ours does"));
            });
        }
        group.bench_function("ours", |bencher| {
            bencher.iter_custom(|times| self.visits(times).expect("the reference server can be visited"));
        });
        group.finish();
    }

    /// How long `times` enactments of one visit to the reference server take.
    fn visits(&mut self, times: u64) -> Result<Duration, Box<dyn Error>> {
        let scenario = Scenario::served([Step::Do(Client(0), Act::Visit(Payload::greeting()))]);
        self.enact(&Self::reference(), &scenario, times)
    }

    fn reference() -> TargetCommand {
        TargetCommand::from_words([SOCKSPEC, "serve", "--port", "{port}"])
    }

    fn clients(&mut self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("clients");
        group.sample_size(10);
        for crowd in CROWDS {
            group.throughput(Throughput::Elements(crowd.into()));
            group.bench_function(BenchmarkId::from_parameter(crowd), |bencher| {
                bencher.iter_custom(|times| self.meet(crowd, times).expect("an event loop can be visited"));
            });
        }
        group.finish();
    }

    /// How long `times` enactments take in which a crowd comes at once, is served, and leaves.
    fn meet(&mut self, crowd: u32, times: u64) -> Result<Duration, Box<dyn Error>> {
        let design = ["--design", "event-loop-epoll", "--port", "{port}", "--backlog", "{backlog}"];
        let target = TargetCommand::from_words([SOCKSPEC, "serve"].into_iter().chain(design));
        let all = |act| Step::Together((0..crowd).map(|client| Step::Do(Client(client), act)).collect());
        let setting = Setting { backlog: Some(BACKLOG), ..Setting::default() };
        let acts = [Act::Connect(To::Target), Act::Exchange(Payload::of(64)), Act::HalfClose, Act::ReadToEnd];
        let took = self.enact(&target, &Scenario::launched(setting, acts.map(all)), times)?;
        let each = took.div_f64(times as f64);
        match self.best.iter_mut().find(|(other, _)| *other == crowd) {
            Some((_, best)) => *best = each.min(*best),
            None => self.best.push((crowd, each)),
        }
        Ok(took)
    }

    fn enact(
        &mut self,
        target: &TargetCommand,
        scenario: &Scenario,
        times: u64,
    ) -> Result<Duration, Box<dyn Error>> {
        let began = Instant::now();
        for _ in 0..times {
            went_well(&self.live.enact(target, scenario, &self.limits)?)?;
        }
        Ok(began.elapsed())
    }

    /// Prints how many times the floor ours costs. They take turns, so that what disturbs one disturbs the other.
    fn compare(&mut self, floor: &Floor) -> Result<(), Box<dyn Error>> {
        const ROUNDS: usize = 40;
        const TIMES: u64 = 10;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push((self.visits(TIMES)?, floor.enact(TIMES)?));
        }
        let ratio = median(rounds.iter().map(|(ours, floor)| ours.as_secs_f64() / floor.as_secs_f64()));
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3 / TIMES as f64;
        let (ours, least_ours) = middle_and_least(rounds.iter().map(|(ours, _)| ms(*ours)));
        let (bare, least_bare) = middle_and_least(rounds.iter().map(|(_, floor)| ms(*floor)));
        say(&format!(
            "enactment: {ratio:.2} times the floor, median of {ROUNDS} rounds in turns ({})\n  \
             ours {ours:.2} ms, floor {bare:.2} ms; of the quickest rounds {least_ours:.2} and {least_bare:.2} ms, \
             {:.2} times\n",
            verdict(ratio <= RATIO_GOAL, &format!("at most {RATIO_GOAL}")),
            least_ours / least_bare,
        ))?;
        Ok(())
    }

    /// Prints what one more client costs, in small crowds and in great ones.
    fn tell_crowds(&self) -> io::Result<()> {
        say("clients: what one more costs, of the quickest enactments\n")?;
        for pair in self.best.windows(2) {
            let [(few, cheap), (many, dear)] = pair else { continue };
            let more = dear.saturating_sub(*cheap).as_secs_f64() * 1e6 / f64::from(many - few);
            say(&format!("  from {few:>3} to {many:>4}: {more:.0} us\n"))?;
        }
        Ok(())
    }
}

/// Whether every client did what it was to do.
fn went_well(trace: &Trace) -> Result<(), Box<dyn Error>> {
    match trace.all_acts().find(|acted| acted.fate != Fate::Done) {
        None if trace.all_acts().next().is_some() => Ok(()),
        None => Err("no client did anything".into()),
        Some(acted) => Err(format!("{:?} of {:?}: {:?}", acted.act, acted.client, acted.fate).into()),
    }
}

/// Checks the reference server once, and prints how long that takes and how much memory.
fn check() -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let mut sockspec = Command::new(SOCKSPEC).args(["check", "-q"]).stdout(Stdio::null()).spawn()?;
    let mut memory = Memory::default();
    let pidfd = pidfd_open(Pid::from_child(&sockspec), PidfdFlags::empty())?;
    let between = Timespec::try_from(LOOK_EVERY)?;
    while poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&between))? == 0 {
        memory.look(&sockspec);
    }
    let status = sockspec.wait()?;
    let took = began.elapsed();
    if !matches!(status.code(), Some(0 | 1 | 3)) {
        return Err(format!("sockspec check: {status}").into());
    }
    say(&format!(
        "whole check of the reference server: {:.2} s ({}), {status}\n",
        took.as_secs_f64(),
        verdict(took <= CHECK_GOAL, &format!("at most {} s", CHECK_GOAL.as_secs())),
    ))?;
    let all = memory.all_kib();
    say(&format!(
        "  memory at the peak: {:.1} MiB in the command, {:.1} MiB with its {} workers ({})\n",
        memory.command_kib as f64 / 1024.0,
        all as f64 / 1024.0,
        memory.workers_kib.len(),
        verdict(all <= MEMORY_GOAL_KIB, &format!("at most {} MiB", MEMORY_GOAL_KIB >> 10)),
    ))?;
    Ok(())
}

/// Peaks of resident memory: of the command, and of its workers by process id.
#[derive(Default)]
struct Memory {
    command_kib: u64,
    workers_kib: std::collections::BTreeMap<u32, u64>,
}

impl Memory {
    fn look(&mut self, command: &Child) {
        let pid = command.id();
        self.command_kib = self.command_kib.max(peak_kib(pid));
        let children = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children = children.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        for worker in
            children.flat_map(|pids| pids.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        {
            let peak = self.workers_kib.entry(worker).or_default();
            *peak = peak_kib(worker).max(*peak);
        }
    }

    fn all_kib(&self) -> u64 {
        self.command_kib + self.workers_kib.values().sum::<u64>()
    }
}

/// The most resident memory that a process had so far: the kernel remembers it. 0 when the process is gone.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    middle_and_least(values).0
}

fn middle_and_least(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(values.len() / 2), at(0))
}

fn verdict(met: bool, goal: &str) -> String {
    format!("goal: {goal}, {}", if met { "met" } else { "MISSED" })
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}
