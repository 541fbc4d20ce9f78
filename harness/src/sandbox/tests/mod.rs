//! The sandbox on every rung that this host allows, with real workers and real processes.
#![allow(clippy::zombie_processes, reason = "the children of an enactor end with its sandbox")]
#![allow(clippy::print_stderr, reason = "a skip, a measurement, prints its reason")]

use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde::{Deserialize, Serialize};

mod deeds;
mod hosts;
mod kill;

use super::{Sandbox, Terms, Worker, enclose, probe};
use crate::error::Error;
use crate::trace::Isolation;

const DEADLINE: Duration = Duration::from_secs(30);

/// What a test asks of its worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Request {
    isolation: Isolation,
    deed: Deed,
    wall_max: Duration,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Deed {
    Nothing,
    Describe,
    Panic,
    Abort,
    /// Leaves sleepers of this many seconds in every kind of place, and never answers.
    Hang(String),
    /// The same, but answers.
    Leave(String),
    Census,
    Limit,
    /// Says whether this path, which is to stay visible, exists, and where directories are made.
    Keep(PathBuf),
    /// Makes children as fast as it can, and ends.
    Bomb,
}

#[derive(Debug, Serialize, Deserialize)]
struct Description {
    pid: u32,
    uid: u32,
    proc_self: PathBuf,
    processes: usize,
    interfaces: Vec<String>,
    port: u16,
    dirs: Vec<(PathBuf, u32)>,
    somaxconn_set: bool,
    somaxconn: u32,
    descriptors: usize,
    core_limit: u64,
    marker: bool,
}

crate::sys::before_main!(|| {
    super::worker::take_over("test", |request, lifeline| {
        let request: Request = serde_json::from_slice(request).expect("a request of this file");
        handle(&request, lifeline)
    });
});

fn handle(request: &Request, lifeline: BorrowedFd<'_>) -> Result<Vec<u8>, Error> {
    let Request { isolation, wall_max, .. } = *request;
    let visible: &[PathBuf] =
        if let Deed::Keep(path) = &request.deed { std::slice::from_ref(path) } else { &[] };
    let terms = Terms { isolation, visible, processes_max: 500, pids_after: 1, wall_max, lifeline };
    enclose(&terms, |sandbox| match &request.deed {
        Deed::Nothing => Vec::new(),
        Deed::Describe => serde_json::to_vec(&describe(sandbox)).unwrap(),
        Deed::Panic => panic!("on purpose"),
        Deed::Abort => std::process::abort(),
        Deed::Hang(seconds) => {
            leave_sleepers(seconds);
            sandbox.fresh_dir().unwrap();
            loop {
                nix::unistd::pause();
            }
        }
        Deed::Leave(seconds) => {
            leave_sleepers(seconds);
            fs::write(sandbox.fresh_dir().unwrap().join("file"), "x").unwrap();
            b"left".to_vec()
        }
        Deed::Census => deeds::census(sandbox).into_bytes(),
        Deed::Limit => deeds::limit(sandbox).into_bytes(),
        Deed::Keep(path) => {
            let dir = sandbox.fresh_dir().unwrap();
            fs::write(dir.join("file"), "x").unwrap();
            format!("{} {}", path.exists(), dir.parent().unwrap().display()).into_bytes()
        }
        Deed::Bomb => deeds::bomb(sandbox).into_bytes(),
    })
}

fn request(
    worker: &mut Worker,
    isolation: Isolation,
    deed: Deed,
    wall_max: Duration,
) -> Result<Vec<u8>, Error> {
    worker.request(&serde_json::to_vec(&Request { isolation, deed, wall_max }).unwrap())
}

/// The rungs that work here.
fn rungs() -> Vec<Isolation> {
    let mut works = Vec::new();
    for rung in probe().unwrap().rungs {
        match &rung.outcome {
            Ok(()) => works.push(rung.isolation),
            Err(_) => {
                assert!(std::env::var_os("SOCKSPEC_SKIP").is_none_or(|value| value != "forbid"), "{rung}");
                eprintln!("skipped: {:?}: {rung}", rung.isolation);
            }
        }
    }
    works
}

fn shell(script: &str) -> Child {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).spawn().unwrap()
}

/// A child, a grandchild, an orphan in a session of its own, and one that ignores signals.
fn leave_sleepers(seconds: &str) {
    let script = format!(
        "setsid sleep {seconds} & (sleep {seconds} &) ; \
         (trap '' TERM HUP INT; sleep {seconds}) & exec sleep {seconds}"
    );
    shell(&script);
    wait_until("four sleepers", || sleepers(seconds).len() >= 4);
}

/// Processes that were started as `sleep SECONDS`, by their command line.
fn sleepers(seconds: &str) -> Vec<i32> {
    super::processes::all()
        .unwrap()
        .into_iter()
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with(b"sleep\0") && line[6..].starts_with(seconds.as_bytes()))
        })
        .collect()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A number of seconds that no other test sleeps.
fn unique_seconds() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("9{}.{:04}1", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn scratches_of(worker: u32) -> usize {
    let prefix = format!("sockspec-{worker}-");
    let entries = fs::read_dir(std::env::temp_dir()).unwrap();
    entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
}

fn describe(sandbox: &Sandbox) -> Description {
    let dirs = [sandbox.fresh_dir().unwrap(), sandbox.fresh_dir().unwrap()];
    let somaxconn_set = sandbox.set_sysctl("net.core.somaxconn", "77").unwrap();
    assert!(!sandbox.set_sysctl("net.no.such", "77").unwrap());
    let interfaces = fs::read_to_string("/proc/self/net/dev").unwrap();
    Description {
        pid: std::process::id(),
        uid: nix::unistd::getuid().as_raw(),
        proc_self: fs::read_link("/proc/self").unwrap(),
        processes: sandbox.processes().unwrap().len(),
        interfaces: interfaces
            .lines()
            .skip(2)
            .map(|line| line.split(':').next().unwrap().trim().to_owned())
            .collect(),
        port: sandbox.port(),
        dirs: dirs.iter().map(|dir| (dir.clone(), fs::metadata(dir).unwrap().mode() & 0o7777)).collect(),
        somaxconn_set,
        somaxconn: sandbox.somaxconn().unwrap(),
        descriptors: fs::read_dir("/proc/self/fd").unwrap().count() - 1,
        core_limit: nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_CORE).unwrap().0,
        marker: std::env::var_os("SOCKSPEC_WORKER").is_some(),
    }
}

#[test]
fn a_sandbox_has_what_its_rung_promises() {
    let mut worker = Worker::start("test").unwrap();
    let host_somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    for isolation in rungs() {
        let bytes = request(&mut worker, isolation, Deed::Describe, DEADLINE).unwrap();
        let seen: Description = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(seen.uid, nix::unistd::getuid().as_raw());
        assert_eq!(seen.processes, 0, "{seen:?}");
        assert!(seen.core_limit <= 1);
        assert!(!seen.marker);
        // stdin, stdout, stderr and the pipe for the answer; in namespaces the tether too, and a /proc of our own.
        let most = 5 + usize::from(isolation == Isolation::Full);
        assert!(seen.descriptors <= most, "{seen:?}");
        assert!(seen.dirs.iter().all(|(_, mode)| *mode == 0o1777) && seen.dirs[0].0 != seen.dirs[1].0);
        assert!(seen.dirs.iter().all(|(dir, _)| !dir.exists()), "{seen:?}");
        if isolation == Isolation::Loopback {
            assert!(!seen.somaxconn_set && seen.port != super::port::OWN);
        } else {
            assert_eq!((seen.pid, seen.port), (1, super::port::OWN));
            assert_eq!(seen.interfaces, ["lo"]);
            assert_eq!((seen.somaxconn_set, seen.somaxconn), (true, 77));
        }
        assert_eq!(seen.proc_self == Path::new("1"), isolation == Isolation::Full, "{seen:?}");
        assert_eq!(scratches_of(worker.pid()), 0);
    }
    assert_eq!(fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap(), host_somaxconn);
}

#[test]
fn a_panic_an_abort_and_a_hang_are_told_apart_and_the_worker_goes_on() {
    let mut worker = Worker::start("test").unwrap();
    for isolation in rungs() {
        let error = request(&mut worker, isolation, Deed::Panic, DEADLINE).unwrap_err().to_string();
        assert!(error.contains("on purpose") && error.contains("tests/mod.rs"), "{error}");
        let error = request(&mut worker, isolation, Deed::Abort, DEADLINE).unwrap_err().to_string();
        // Pid 1 does not die of its own SIGABRT; abort(3) then executes an instruction that is forbidden.
        let expected = if isolation == Isolation::Loopback { "by SIGABRT" } else { "by SIGSEGV" };
        assert!(error.contains(expected) || error.contains("by SIGILL"), "{error}");
        let seconds = unique_seconds();
        let short = Duration::from_millis(300);
        let outcome = request(&mut worker, isolation, Deed::Hang(seconds.clone()), short);
        assert!(matches!(outcome, Err(Error::TooLong(limit)) if limit == short), "{outcome:?}");
        assert_eq!(sleepers(&seconds), Vec::<i32>::new());
        assert_eq!(request(&mut worker, isolation, Deed::Nothing, DEADLINE).unwrap(), b"");
    }
}

#[test]
fn what_the_target_leaves_ends_with_the_enactment() {
    let mut worker = Worker::start("test").unwrap();
    for isolation in rungs() {
        let seconds = unique_seconds();
        assert_eq!(request(&mut worker, isolation, Deed::Leave(seconds.clone()), DEADLINE).unwrap(), b"left");
        assert_eq!(sleepers(&seconds), Vec::<i32>::new(), "{isolation:?}");
        assert_eq!(scratches_of(worker.pid()), 0);
    }
}

#[test]
fn a_hang_up_from_another_thread_interrupts_a_request() {
    for isolation in rungs() {
        let mut worker = Worker::start("test").unwrap();
        let seconds = unique_seconds();
        let hangup = worker.hangup();
        let waiting = seconds.clone();
        let thread = thread::spawn(move || {
            wait_until("sleepers", || sleepers(&waiting).len() >= 4);
            hangup.hang_up();
        });
        let outcome = request(&mut worker, isolation, Deed::Hang(seconds.clone()), Duration::from_secs(60));
        assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
        thread.join().unwrap();
        drop(worker);
        assert_eq!(sleepers(&seconds), Vec::<i32>::new());
    }
}

#[test]
fn a_service_that_nobody_serves_is_an_error() {
    // The program started again runs these tests: of which none is called so.
    let error = Worker::start("no-such-service").unwrap_err();
    assert!(error.to_string().contains("no constructor"), "{error}");
}

#[test]
fn the_processes_of_a_sandbox_are_all_found_and_no_others() {
    let mut worker = Worker::start("test").unwrap();
    for isolation in rungs() {
        let found = request(&mut worker, isolation, Deed::Census, DEADLINE).unwrap();
        assert_eq!(String::from_utf8_lossy(&found), "as they should be", "{isolation:?}");
    }
}

#[test]
fn processes_and_threads_can_be_limited_and_the_limit_lifted() {
    if !probe().unwrap().process_limit {
        eprintln!("skipped: pid_max is not per pid namespace here");
        return;
    }
    let host_pid_max = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap();
    let mut worker = Worker::start("test").unwrap();
    for isolation in rungs().into_iter().filter(|isolation| *isolation != Isolation::Loopback) {
        let found = request(&mut worker, isolation, Deed::Limit, DEADLINE).unwrap();
        assert_eq!(String::from_utf8_lossy(&found), "as they should be", "{isolation:?}");
        assert_eq!(fs::read_to_string("/proc/sys/kernel/pid_max").unwrap(), host_pid_max);
    }
}

#[test]
fn the_private_file_system_hides_no_path_that_is_wanted() {
    let Ok(wanted) = tempfile::tempdir_in("/dev/shm") else { return };
    let mut worker = Worker::start("test").unwrap();
    for isolation in rungs() {
        let deed = Deed::Keep(wanted.path().to_owned());
        let found = String::from_utf8(request(&mut worker, isolation, deed, DEADLINE).unwrap()).unwrap();
        let deed = Deed::Keep("/no/such/path".into());
        let other = String::from_utf8(request(&mut worker, isolation, deed, DEADLINE).unwrap()).unwrap();
        assert!(found.starts_with("true"), "{isolation:?}: {found}");
        if isolation == Isolation::Full {
            assert_eq!((found.as_str(), other.as_str()), ("true /proc/driver", "false /dev/shm"));
        }
    }
}

#[test]
fn a_fork_bomb_is_bounded_and_ended() {
    if !probe().unwrap().process_limit {
        return;
    }
    let mut worker = Worker::start("test").unwrap();
    let found = request(&mut worker, rungs()[0], Deed::Bomb, DEADLINE).unwrap();
    assert_eq!(String::from_utf8_lossy(&found), "bounded");
}
