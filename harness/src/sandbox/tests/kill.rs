//! Nothing is left, whoever is killed, at whatever moment.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{PidfdFlags, pidfd_open};

use super::super::child::wait_until_ready;
use super::{Deed, Worker, request, rungs, scratches_of, sleepers, unique_seconds, wait_until};
use crate::trace::Isolation;

const ROUNDS: u64 = 50;
const HARNESS: &str = "SOCKSPEC_TEST_HARNESS";

/// In place of a harness that is killed: not a test, but what [`a_killed_harness_leaves_nothing`] starts.
fn be_the_harness() {
    let Ok(order) = env::var(HARNESS) else { return };
    if env::var_os("SOCKSPEC_WORKER").is_some() {
        return;
    }
    let (isolation, seconds) = order.split_once(' ').unwrap();
    let isolation: Isolation = serde_json::from_str(isolation).unwrap();
    let mut worker = Worker::start("test").unwrap();
    fs::write(env::var("SOCKSPEC_TEST_FILE").unwrap(), worker.pid().to_string()).unwrap();
    let outcome = request(&mut worker, isolation, Deed::Hang(seconds.into()), Duration::from_secs(100));
    crate::sys::worker::exit(i32::from(outcome.is_err()));
}

crate::sys::before_main!(be_the_harness);

/// A different time for each round: between nothing and about twice as much as it takes until the sleepers sleep.
fn moment(round: u64) -> Duration {
    Duration::from_micros(round * 104_729 % 16_000)
}

#[test]
fn a_killed_harness_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for isolation in rungs() {
        let mut reached = 0;
        for round in 0..ROUNDS {
            let seconds = unique_seconds();
            let file = dir.path().join(format!("{isolation:?}{round}"));
            let mut harness = Command::new("/proc/self/exe")
                .arg0("harness")
                .env(HARNESS, format!("{} {seconds}", serde_json::to_string(&isolation).unwrap()))
                .env("SOCKSPEC_TEST_FILE", &file)
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            assert!(!ends_within(&harness, moment(round)));
            reached += usize::from(!sleepers(&seconds).is_empty());
            kill(Pid::from_raw(i32::try_from(harness.id()).unwrap()), Signal::SIGKILL).unwrap();
            harness.wait().unwrap();
            nothing_is_left(&seconds, &order_marker(isolation, &seconds));
            // It may have been killed before it had written this, or while it did.
            if let Ok(worker) = fs::read_to_string(&file).unwrap_or_default().parse() {
                assert_eq!(scratches_of(worker), 0, "round {round}");
            }
        }
        eprintln!("{isolation:?}: {reached} of {ROUNDS} were killed when something ran");
    }
}

#[test]
fn a_killed_worker_leaves_nothing() {
    for isolation in rungs() {
        for round in 0..ROUNDS {
            let seconds = unique_seconds();
            let mut worker = Worker::start("test").unwrap();
            let pid = worker.pid();
            let (answered, answer) = mpsc::channel::<()>();
            let killer = thread::spawn(move || {
                assert_eq!(answer.recv_timeout(moment(round)), Err(RecvTimeoutError::Timeout));
                kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
            });
            let outcome =
                request(&mut worker, isolation, Deed::Hang(seconds.clone()), Duration::from_secs(100));
            drop(answered);
            assert!(outcome.is_err());
            killer.join().unwrap();
            drop(worker);
            wait_until("no sleeper", || sleepers(&seconds).is_empty());
            wait_until("no directory", || scratches_of(pid) == 0);
        }
    }
}

#[test]
fn a_killed_enactor_or_supervisor_leaves_nothing() {
    for isolation in rungs() {
        // The worker's child, and in the loopback rung the child's child too.
        for generation in 1..=if isolation == Isolation::Loopback { 2 } else { 1 } {
            for _ in 0..5 {
                let seconds = unique_seconds();
                let mut worker = Worker::start("test").unwrap();
                let pid = worker.pid();
                let waiting = seconds.clone();
                let killer = thread::spawn(move || {
                    wait_until("sleepers", || sleepers(&waiting).len() >= 4);
                    let victim = (0..generation).fold(pid, |parent, _| only_child(parent));
                    kill(Pid::from_raw(i32::try_from(victim).unwrap()), Signal::SIGKILL).unwrap();
                });
                let patience = Duration::from_secs(100);
                let outcome = request(&mut worker, isolation, Deed::Hang(seconds.clone()), patience);
                killer.join().unwrap();
                let error = outcome.unwrap_err().to_string();
                assert!(error.contains("by SIGKILL"), "{error}");
                assert_eq!(sleepers(&seconds), Vec::<i32>::new(), "{isolation:?} {generation}");
                assert_eq!(scratches_of(pid), 0);
            }
        }
    }
}

/// Whether the process ends by itself before that time is over.
fn ends_within(process: &Child, time: Duration) -> bool {
    let pidfd = pidfd_open(rustix::process::Pid::from_child(process), PidfdFlags::empty()).unwrap();
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    wait_until_ready(&mut fds, Instant::now() + time).unwrap() > 0
}

fn only_child(parent: u32) -> u32 {
    fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap().trim().parse().unwrap()
}

fn order_marker(isolation: Isolation, seconds: &str) -> String {
    format!("{HARNESS}={} {seconds}", serde_json::to_string(&isolation).unwrap())
}

/// Neither a sleeper nor any other process that was started for this round: all inherit its environment.
fn nothing_is_left(seconds: &str, marker: &str) {
    wait_until("no sleeper", || sleepers(seconds).is_empty());
    wait_until("no process of that environment", || {
        super::super::processes::all().unwrap().into_iter().all(|pid| {
            !fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == marker.as_bytes()))
        })
    });
}
