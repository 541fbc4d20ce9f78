//! What the enactors of these tests do, and whether they see what they should.
use std::fs;
use std::io::{Read, Write};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::super::Sandbox;
use super::{shell, sleepers};
use crate::scenario::Amount;
use crate::sys::clone::{Forked, fork};

const AS_THEY_SHOULD_BE: &str = "as they should be";

/// A parent with a child, an orphan and a zombie: four processes, each with the right parent.
pub(super) fn census(sandbox: &Sandbox) -> String {
    let seconds = super::unique_seconds();
    let parent = shell(&format!("(sleep {seconds} &); sleep {seconds} & wait; wait"));
    let zombie = Command::new("true").spawn().unwrap();
    let (parent, zombie) = (i32::try_from(parent.id()).unwrap(), i32::try_from(zombie.id()).unwrap());
    let deadline = Instant::now() + super::DEADLINE;
    let mut seen = Vec::new();
    while Instant::now() < deadline {
        seen = look(sandbox);
        let mut states: Vec<(i32, char)> = seen.iter().map(|(_, parent, state)| (*parent, *state)).collect();
        states.sort_unstable();
        let reaper = sandbox.reaper_pid();
        let mut expected = vec![(reaper, 'S'), (reaper, 'S'), (reaper, 'Z'), (parent, 'S')];
        expected.sort_unstable();
        let pids: Vec<i32> = seen.iter().map(|(pid, ..)| *pid).collect();
        let all_are_there = pids.contains(&parent) && pids.contains(&zombie) && sleepers(&seconds).len() == 2;
        if states == expected && all_are_there {
            assert!(pids.is_sorted() && pids.iter().all(|pid| kill(Pid::from_raw(*pid), None).is_ok()));
            assert!(sandbox.is_ours(reaper) && !sandbox.is_ours(parent));
            return AS_THEY_SHOULD_BE.into();
        }
        thread::sleep(Duration::from_millis(2));
    }
    format!("parent {parent}, zombie {zombie}, seen {seen:?}")
}

/// Pid, parent and state of every process.
fn look(sandbox: &Sandbox) -> Vec<(i32, i32, char)> {
    let listed = sandbox.processes().unwrap();
    listed
        .into_iter()
        .filter_map(|(pid, dir)| {
            let stat = fs::read_to_string(dir.join("stat")).ok()?;
            let mut fields = stat[stat.rfind(')')? + 2..].split(' ');
            let (state, parent) = (fields.next()?.chars().next()?, fields.next()?.parse().ok()?);
            Some((pid, sandbox.pid_here(parent), state))
        })
        .collect()
}

/// Whether another process of the sandbox can fork and make threads just when it should.
pub(super) fn limit(sandbox: &Sandbox) -> String {
    let mut subject = Subject::start();
    let again = nix::errno::Errno::EAGAIN as u8;
    let (can, cannot) = ((0, 0), (again, again));
    for round in 0..3 {
        assert_eq!(subject.try_both(), can, "round {round}");
        for amount in [Amount::InUse, Amount::Exactly(0)] {
            assert!(sandbox.limit_processes(amount).unwrap());
            for _ in 0..5 {
                assert_eq!(subject.try_both(), cannot, "round {round}, {amount:?}");
            }
            assert!(
                sandbox.processes().unwrap().iter().all(|(pid, _)| *pid == subject.pid),
                "the filler is ours"
            );
        }
        for more in [1, 2, 7] {
            assert!(sandbox.limit_processes(Amount::Exactly(more)).unwrap());
            assert_eq!(subject.try_many(20), u8::try_from(more).unwrap(), "round {round}");
        }
        assert!(sandbox.limit_processes(Amount::Original).unwrap());
        assert_eq!(subject.try_many(20), 20, "round {round}");
    }
    AS_THEY_SHOULD_BE.into()
}

/// A process that tries to make others when told to.
struct Subject {
    pid: i32,
    orders: std::io::PipeWriter,
    results: std::io::PipeReader,
}

impl Subject {
    fn start() -> Self {
        let (mut orders, orders_to) = std::io::pipe().unwrap();
        let (results, mut results_to) = std::io::pipe().unwrap();
        match fork(CloneFlags::empty()).unwrap() {
            Forked::Parent { pid, .. } => Self { pid, orders: orders_to, results },
            Forked::Child(this) => {
                let mut order = [0];
                while orders.read_exact(&mut order).is_ok() {
                    let result =
                        if order == [0] { [try_fork(), try_thread()] } else { [try_children(order[0]), 0] };
                    results_to.write_all(&result).unwrap();
                }
                this.exit(0)
            }
        }
    }

    /// Errno of a fork, and of making a thread; 0 where it worked.
    fn try_both(&mut self) -> (u8, u8) {
        let [fork, thread] = self.order(0);
        (fork, thread)
    }

    /// How many of so many children at once it could make.
    fn try_many(&mut self, children: u8) -> u8 {
        self.order(children)[0]
    }

    fn order(&mut self, order: u8) -> [u8; 2] {
        let mut result = [0; 2];
        self.orders.write_all(&[order]).unwrap();
        self.results.read_exact(&mut result).unwrap();
        result
    }
}

fn try_fork() -> u8 {
    match fork(CloneFlags::empty()) {
        Ok(Forked::Child(this)) => this.exit(0),
        Ok(Forked::Parent { pid, .. }) => {
            waitpid(Pid::from_raw(pid), None).unwrap();
            0
        }
        Err(error) => errno(&error),
    }
}

fn try_thread() -> u8 {
    match thread::Builder::new().spawn(|| ()) {
        Ok(thread) => {
            thread.join().unwrap();
            // A thread that was joined may be there for a moment longer, and the next fork wants to be alone.
            while fs::read_dir("/proc/self/task").unwrap().count() > 1 {}
            0
        }
        Err(error) => errno(&error),
    }
}

fn try_children(wanted: u8) -> u8 {
    let mut made = Vec::new();
    for _ in 0..wanted {
        match fork(CloneFlags::empty()) {
            Ok(Forked::Child(_)) => loop {
                nix::unistd::pause();
            },
            Ok(Forked::Parent { pid, .. }) => made.push(Pid::from_raw(pid)),
            Err(_) => break,
        }
    }
    for &pid in &made {
        kill(pid, Signal::SIGKILL).unwrap();
        waitpid(pid, None).unwrap();
    }
    u8::try_from(made.len()).unwrap()
}

fn errno(error: &std::io::Error) -> u8 {
    error.raw_os_error().and_then(|errno| u8::try_from(errno).ok()).unwrap_or(u8::MAX)
}

/// Whether a program that forks without end makes no more processes than it may.
pub(super) fn bomb(sandbox: &Sandbox) -> String {
    shell("f() { f & f & f; }; f 2>/dev/null");
    let look = || sandbox.processes().unwrap().len();
    super::wait_until("many processes", || look() >= 50);
    let most = (0..20).map(|_| look()).max().unwrap();
    if (50..=800).contains(&most) { "bounded".into() } else { format!("{most} processes") }
}
