//! Everything launched is gone afterwards, however a run ends.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Runs that are killed, each at another moment.
const KILLS: u32 = 50;
/// How long the kernel may take to end a pid namespace, on a busy machine.
const GONE_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn sigkill_at_any_moment_leaves_nothing() {
    for round in 0..KILLS {
        let mark = format!("{}-{round}", std::process::id());
        let before = temporary();
        let mut run = start(&mark);
        wait_until(&format!("run {mark} has started its workers"), || marked(&mark).len() > 2);
        // Each round kills at another moment of the run, if it has not ended by then.
        wait_for_end(&run, u16::try_from(round * 17 % 600).unwrap());
        run.kill().unwrap();
        run.wait().unwrap();
        wait_until(&format!("no process of run {mark} is left"), || marked(&mark).is_empty());
        wait_until("no temporary file of it is left", || {
            temporary().difference(&before).all(|name| is_alive(name))
        });
    }
}

#[test]
fn an_interrupted_run_reports_what_it_knows() {
    let mark = format!("{}-int", std::process::id());
    let run = start(&mark);
    wait_until("the run has started its workers", || marked(&mark).len() > 2);
    kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), Signal::SIGINT).unwrap();
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["partial"], true);
    wait_until("nothing is left", || marked(&mark).is_empty());
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let runs: Vec<Child> = (0..2).map(|n| start(&format!("{}-two-{n}", std::process::id()))).collect();
    for run in runs {
        let output = run.wait_with_output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{report:#}");
    }
}

/// A check of the reference server, of which every process carries a mark in its environment.
fn start(mark: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_sockspec"))
        .args(["check", "--effort", "quick", "--format", "json", "--only", "start", "--only", "reap"])
        .env("SOCKSPEC_TEST_MARK", mark)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Processes whose environment has the mark.
fn marked(mark: &str) -> Vec<i32> {
    let wanted = format!("SOCKSPEC_TEST_MARK={mark}");
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    })
    .collect()
}

/// What lies in the temporary directory and could be ours.
fn temporary() -> BTreeSet<String> {
    let names = |folder: &Path| -> Vec<String> {
        fs::read_dir(folder)
            .map(|entries| entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect())
            .unwrap_or_default()
    };
    let all = [std::env::temp_dir().as_path(), Path::new("/dev/shm")]
        .into_iter()
        .flat_map(names)
        .collect::<Vec<_>>();
    all.into_iter().filter(|name| name.contains("sockspec")).collect()
}

/// Waits until the process has ended, so many milliseconds at most.
fn wait_for_end(process: &Child, ms: u16) {
    let pidfd = rustix::process::pidfd_open(
        rustix::process::Pid::from_child(process),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, ms).unwrap();
}

/// Whether the process whose number stands in the name ("sockspec-4711-...") lives: then the file is another run's.
fn is_alive(name: &str) -> bool {
    name.split('-')
        .any(|part| part.parse::<u32>().is_ok_and(|pid| Path::new(&format!("/proc/{pid}")).exists()))
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < GONE_WITHIN, "waited {GONE_WITHIN:?} until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
