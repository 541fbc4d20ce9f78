//! The worker: our own program started afresh, which serves requests from before `main` on and never reaches it.
//!
//! A constructor (crate `ctor`) calls [`take_over`] with the name of a service; it returns at once unless this process
//! was started by [`Worker::start`] with that name. So it works inside any program that links this library, a plain
//! `#[test]` binary too.
//!
//! Requests come through the worker's stdin, answers go through its stdout; both are then taken out of the way. The
//! requests' pipe is the lifeline as well: when the harness ends, however it ends, the pipe has no writer any more.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::{self, AssertUnwindSafe};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::unistd::{dup2_stdin, dup2_stdout, setsid};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::answer::{self, ANSWER_MAX};
use super::child::wait_until_ready;
use super::enactor::panic_message;
use super::scratch;
use crate::error::{Attempt, Error};
use crate::sys;

/// The variable that makes this program a worker; its value is the name of the service.
const VARIABLE: &str = "SOCKSPEC_WORKER";
/// What a worker is called in lists of processes.
pub(super) const NAME: &str = "sockspec-worker";
/// What a worker says when it has taken over.
const GREETING: &[u8] = b"sockspec worker";
/// How long a worker may take until it has taken over, on a busy machine.
const GREETING_WITHIN: Duration = Duration::from_secs(60);
/// How long a worker may take to end after a hang-up, with all that it started.
const END_WITHIN: Duration = Duration::from_secs(60);

/// Answers one request. The descriptor is the lifeline, for [`super::Terms::lifeline`].
pub type Handler = fn(&[u8], BorrowedFd<'_>) -> Result<Vec<u8>, Error>;

/// A worker process. Dropping it ends it, and all that it started.
#[derive(Debug)]
pub struct Worker {
    process: Child,
    pidfd: OwnedFd,
    requests: Hangup,
    answers: ChildStdout,
}

/// Ends a worker from another thread, even while it works on a request.
#[derive(Clone, Debug)]
pub struct Hangup {
    requests: Arc<Mutex<Option<ChildStdin>>>,
}

impl Worker {
    /// Starts this program again, to serve requests by the handler that [`take_over`] was given with this name.
    ///
    /// # Errors
    /// [`Error::System`] if it cannot be started, [`Error::Protocol`] if no constructor took it over.
    pub fn start(service: &str) -> Result<Self, Error> {
        if env::var_os(VARIABLE).is_some() {
            // This process was to be a worker, and nobody took it over: do not start another one, and so on.
            return Err(no_service(service));
        }
        let mut process = Command::new("/proc/self/exe")
            .arg0(NAME)
            // A program that is not taken over should stumble over this.
            .arg("--worker-of-sockspec")
            .env(VARIABLE, service)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .attempt(|| "start a worker".into())?;
        let (Some(requests), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Error::Protocol { doing: "start a worker", problem: "it has no pipes".into() });
        };
        let pid =
            i32::try_from(process.id()).ok().and_then(Pid::from_raw).ok_or_else(|| no_service(service))?;
        // If this fails, the worker ends with its pipes, which are dropped.
        let pidfd =
            pidfd_open(pid, PidfdFlags::empty()).attempt(|| "open a descriptor of a worker".into())?;
        let requests = Hangup { requests: Arc::new(Mutex::new(Some(requests))) };
        let mut worker = Self { process, pidfd, requests, answers };
        worker.await_greeting(service)?;
        Ok(worker)
    }

    /// Sends a request and waits for its answer. Its time is bounded by the handler ([`super::Terms::wall_max`]).
    ///
    /// # Errors
    /// What the handler returned; [`Error::Interrupted`] after a hang-up; [`Error::EnactorDied`] if the worker itself
    /// ended.
    pub fn request(&mut self, request: &[u8]) -> Result<Vec<u8>, Error> {
        let sent = match &mut *self.requests.lock() {
            Some(pipe) => write_frame(pipe, request),
            None => return Err(Error::Interrupted),
        };
        match sent.and_then(|()| read_frame(&mut self.answers)) {
            Ok(Some(bytes)) => answer::decode(bytes),
            Ok(None) | Err(_) if self.requests.lock().is_none() => Err(Error::Interrupted),
            Ok(None) => Err(Error::EnactorDied("the worker ended".into())),
            Err(error) => Err(Error::EnactorDied(format!("the worker ended: {error}"))),
        }
    }

    /// A handle by which another thread can end this worker.
    #[must_use]
    pub fn hangup(&self) -> Hangup {
        self.requests.clone()
    }

    /// The worker's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    fn ends_within(&self, time: Duration) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        wait_until_ready(&mut fds, Instant::now() + time).is_ok_and(|ready| ready > 0)
    }

    fn await_greeting(&mut self, service: &str) -> Result<(), Error> {
        let mut fds = [PollFd::new(&self.answers, PollFlags::IN)];
        let ready = wait_until_ready(&mut fds, Instant::now() + GREETING_WITHIN)
            .attempt(|| "wait for a worker".into())?;
        let mut greeting = [0; GREETING.len()];
        if ready > 0 && self.answers.read_exact(&mut greeting).is_ok() && greeting == GREETING {
            return Ok(());
        }
        // Whatever it is that it does instead, it does not end when we hang up.
        let _ = self.process.kill();
        Err(no_service(service))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.requests.hang_up();
        if !self.ends_within(END_WITHIN) {
            let _ = self.process.kill();
            self.ends_within(END_WITHIN);
        }
        // While it has not been waited for, no other process can have its number, and so its directories' names.
        let peeked = waitid(
            WaitId::PidFd(self.pidfd.as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
        );
        if !peeked.is_ok_and(|status| status.is_some_and(|status| status.exit_status() == Some(0))) {
            scratch::remove_of(self.process.id());
        }
        let _ = self.process.try_wait();
    }
}

impl Hangup {
    /// Ends the worker: its enactor is killed, and a request that waits gives [`Error::Interrupted`].
    pub fn hang_up(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ChildStdin>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves requests and ends the process, if it is a worker of this service; else returns at once.
///
/// To be called from a constructor, while the process has one thread:
/// `before_main!(|| worker::take_over("live", handler))`.
pub fn take_over(service: &str, handler: Handler) {
    if env::var_os(VARIABLE).is_none_or(|name| name != service) {
        return;
    }
    sys::worker::take_variable(VARIABLE);
    let served = serve(handler);
    sys::worker::exit(i32::from(served.is_err()));
}

/// Serves until nobody can send a request any more.
fn serve(handler: Handler) -> io::Result<()> {
    sys::worker::reset_signals()?;
    // Signals of the terminal are for the harness, which then hangs up. It fails only if this is done already.
    let _ = setsid();
    let (mut requests, mut answers) = take_pipes()?;
    answers.write_all(GREETING)?;
    while let Some(request) = read_frame(&mut requests)? {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| handler(&request, requests.as_fd())));
        let outcome = outcome.unwrap_or_else(|payload| {
            Err(Error::EnactorDied(format!("the worker panicked: {}", panic_message(payload.as_ref()))))
        });
        write_frame(&mut answers, &answer::encode(outcome))?;
    }
    Ok(())
}

/// Takes stdin and stdout as pipes that no program started from here inherits, and leaves /dev/null in their place.
fn take_pipes() -> io::Result<(File, File)> {
    let requests: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let answers: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok((requests.into(), answers.into()))
}

/// Writes the length, four bytes in the machine's order, and the bytes: all at once, so that the reader wakes up once.
fn write_frame(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&[&len.to_ne_bytes(), bytes].concat())
}

/// Reads what [`write_frame`] wrote; `None` at the end.
fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut len = [0; 4];
    if from.read(&mut len[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut len[1..])?;
    let len = usize::try_from(u32::from_ne_bytes(len)).map_err(io::Error::other)?;
    if len > ANSWER_MAX + 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {len} bytes")));
    }
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

fn no_service(service: &str) -> Error {
    Error::Protocol { doing: "start a worker", problem: format!("no constructor took over for {service:?}") }
}
