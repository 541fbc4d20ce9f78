//! A function as the server: this program is started again, as the target, for one test.
//!
//! A forked copy of a process with threads may do almost nothing, and a test binary has threads. So the target is this
//! program executed afresh with the name of the test that asked. It comes to the same call of
//! [`TargetCommand::in_process`], which then calls the function instead of returning. Everything before that call is
//! done again, so it should be short.
//!
//! Until the function runs, the test framework is kept from the server's business: its words go to /dev/null instead of
//! the server's stdout, and its main thread blocks all signals, so that they come to the thread that serves.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::process::{ExitCode, Termination};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::dup2_stdout;
use rustix::io::fcntl_dupfd_cloexec;
use socket2::{Domain, Socket, Type};

use crate::command::{IN_PROCESS, TargetCommand};
use crate::sys::worker::{at_exit, take_variable};

/// What a process that was started to be the server knows from before `main` on.
struct Called {
    /// What [`IN_PROCESS`] said.
    order: String,
    /// The server's stdout, while the test framework must not write there; `None`: it was closed.
    stdout: Mutex<Option<OwnedFd>>,
    /// The signals that the server is to have blocked.
    mask: SigSet,
}

static CALLED: OnceLock<Called> = OnceLock::new();
/// Whether the function was found.
static FOUND: AtomicBool = AtomicBool::new(false);

/// How such a server ends when it panics, and when it cannot begin.
const PANICKED: i32 = 101;
const CANNOT_BEGIN: i32 = 2;

impl TargetCommand {
    /// A function of this program as the server. It is given a listening socket, which it should serve until it is told
    /// to stop (by SIGTERM, unless [`TargetCommand::stopped_by`] says otherwise); when it returns, the server ends.
    ///
    /// Works in a `#[test]`, in an rstest fixture, in a documentation test and in the `main` of a test without libtest
    /// ([`crate::cargo_test`]). For each launch this program is started again and comes to this call a second time,
    /// where it does not return; what stands before this call runs again each time. The socket is opened by sockspec, so
    /// clauses of the family `start`, and those about the backlog and about binding, do not apply.
    ///
    /// # Panics
    /// In a thread that has no name: a test that was started again could not come to this call. Call it in the test's
    /// own thread.
    #[track_caller]
    #[must_use]
    pub fn in_process<R: Termination>(server: impl FnOnce(TcpListener) -> R) -> Self {
        let site = site(Location::caller());
        if let Some(called) = CALLED.get()
            && called.order.ends_with(&format!(" {site}"))
        {
            end(called.serve(server));
        }
        let thread = thread::current();
        let Some(test) = thread.name() else {
            panic!(
                "TargetCommand::in_process was called in a thread without a name; call it in the test's own thread"
            );
        };
        // Where it cannot be told, the kernel knows.
        let program = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
        let command = Self::new(program.to_string_lossy())
            .env(IN_PROCESS, format!("{{addr}} {{port}} {{backlog}} {site}"));
        match test {
            // A test without libtest, an example or a documentation test: `main` comes here by itself.
            "main" => command,
            test => command.args(["--exact", test, "--include-ignored", "--nocapture"]),
        }
    }
}

/// Whether this process was started to be the server.
pub(crate) fn is_server() -> bool {
    CALLED.get().is_some()
}

/// A call by its place in the source, and the number of calls from there in this thread: a test may be a loop.
fn site(place: &Location<'_>) -> String {
    thread_local! {
        static CALLS: RefCell<BTreeMap<String, u32>> = const { RefCell::new(BTreeMap::new()) };
    }
    let place = place.to_string().replace(' ', "_");
    CALLS.with_borrow_mut(|calls| {
        let number = calls.entry(place.clone()).or_default();
        *number += 1;
        format!("{place}#{number}")
    })
}

impl Called {
    /// Serves until the function returns. Returns the status with which to end.
    fn serve<R: Termination>(&self, server: impl FnOnce(TcpListener) -> R) -> i32 {
        FOUND.store(true, Ordering::Relaxed);
        let listener = self.restore().and_then(|()| listen(&self.order));
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                let _ = writeln!(io::stderr(), "sockspec: {}: {error}", self.order);
                return CANNOT_BEGIN;
            }
        };
        match catch_unwind(AssertUnwindSafe(|| server(listener).report())) {
            Ok(code) => i32::from(code != ExitCode::SUCCESS),
            // The panic has been told on stderr.
            Err(_) => PANICKED,
        }
    }

    /// Gives this thread the server's stdout and signals.
    fn restore(&self) -> io::Result<()> {
        if let Some(stdout) = self.stdout.lock().unwrap_or_else(PoisonError::into_inner).take() {
            io::stdout().flush()?;
            dup2_stdout(stdout)?;
        }
        self.mask.thread_set_mask()?;
        Ok(())
    }
}

/// Opens the socket that the order asks for: "ADDR PORT BACKLOG SITE".
fn listen(order: &str) -> io::Result<TcpListener> {
    let mut words = order.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let invalid =
        |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
    let addr: IpAddr = word().parse().map_err(|error| invalid(&error))?;
    let port: u16 = word().parse().map_err(|error| invalid(&error))?;
    let backlog: i32 = word().parse().map_err(|error| invalid(&error))?;
    let address = SocketAddr::new(addr, port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Before `main`: remembers what this process is to be, and keeps the test framework from stdout and from signals.
fn prepare() {
    let Some(order) = take_variable(IN_PROCESS) else { return };
    // What cannot be done here shows as words of the test framework on stdout, or signals in its thread.
    let stdout = hide_stdout().unwrap_or_default();
    let mut mask = SigSet::empty();
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut mask));
    let order = order.to_string_lossy().into_owned();
    let _ = CALLED.set(Called { order, stdout: Mutex::new(stdout), mask });
    at_exit(tell_if_not_found);
}

/// Puts /dev/null in the place of stdout, and keeps that; `None` where it is closed.
fn hide_stdout() -> io::Result<Option<OwnedFd>> {
    let Ok(kept) = fcntl_dupfd_cloexec(io::stdout(), 3) else { return Ok(None) };
    dup2_stdout(std::fs::File::options().write(true).open("/dev/null")?)?;
    Ok(Some(kept))
}

/// The last word of a process that was to be the server and never came to the call: the report shows it.
extern "C" fn tell_if_not_found() {
    if let Some(called) = CALLED.get()
        && !FOUND.load(Ordering::Relaxed)
    {
        let site = called.order.rsplit(' ').next().unwrap_or_default();
        let _ = writeln!(
            io::stderr(),
            "sockspec: the test was started again and did not come to TargetCommand::in_process at {site}; what \
             stands before that call must lead there each time, and must not check anything"
        );
    }
}

/// Ends the process: what the server function returned is all there is to do.
#[expect(clippy::exit, reason = "the call must not return into the test")]
fn end(status: i32) -> ! {
    std::process::exit(status)
}

crate::sys::before_main!(prepare);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_of_a_place_has_its_number() {
        let here = || site(Location::caller());
        let (first, second) = (here(), here());
        assert!(first.ends_with("#1") && second.ends_with("#2") || first != second, "{first} {second}");
        assert!(!first.contains(' '));
    }

    #[test]
    fn the_socket_is_the_one_that_was_ordered() {
        let listener = listen("127.0.0.1 0 5 src/lib.rs:1:1#1").unwrap();
        assert!(listener.local_addr().unwrap().ip().is_loopback());
        for order in ["", "127.0.0.1", "127.0.0.1 x 5 s", "127.0.0.1 0 -", "nowhere 0 5 s"] {
            assert!(listen(order).is_err(), "{order}");
        }
    }

    #[test]
    fn the_test_is_named() {
        let command = TargetCommand::in_process(|_listener| ());
        assert!(command.is_in_process());
        assert_eq!(command.argv[1..3], ["--exact", "in_process::tests::the_test_is_named"]);
        assert!(command.takes("{port}") && command.takes("{addr}") && command.takes("{backlog}"));
    }

    #[test]
    fn a_thread_without_a_name_is_told() {
        let panicked = thread::spawn(|| TargetCommand::in_process(|_| ())).join().unwrap_err();
        assert!(panicked.downcast_ref::<&str>().unwrap().contains("own thread"));
    }
}
