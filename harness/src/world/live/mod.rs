//! The live world: a worker process that makes a sandbox for each enactment.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::command::TargetCommand;
use crate::error::Error;
use crate::limits::Limits;
use crate::sandbox::{self, Hangup, Held, Terms, Worker, worker};
use crate::scenario::Scenario;
use crate::trace::{Isolation, Trace};
use crate::world::World;

mod clock;
mod conditions;
mod drive;
mod enactor;
pub mod held;
mod lapse;
mod whom;

use enactor::Enactor;

/// Name by which the worker knows what it is to serve.
const SERVICE: &str = "live";
/// Last byte of what the enactor returns: what stands before it.
const TRACE: u8 = b'T';
const ERROR: u8 = b'E';
/// The pids of targets that run side by side begin this far apart, and no later than after so many: all below 300 are
/// given out once only.
const PIDS_APART: u32 = 37;
const PIDS_SPREAD: u32 = 256;

/// What goes to a worker for one enactment.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    target: TargetCommand,
    scenario: Scenario,
    limits: Limits,
    isolation: Isolation,
    /// Whether all stays as it is at the end of the scenario, until the next request or the end of the worker.
    hold: bool,
}

/// The sandbox that is held, in the worker.
static HELD: Mutex<Option<Held>> = Mutex::new(None);

/// A worker, ready to enact.
#[derive(Debug)]
pub struct Live {
    worker: Worker,
    isolation: Isolation,
    usable: bool,
}

impl Live {
    /// Starts a worker.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub fn start(isolation: Isolation) -> Result<Self, Error> {
        Ok(Self { worker: Worker::start(SERVICE)?, isolation, usable: true })
    }

    fn enacted(
        &mut self,
        target: &TargetCommand,
        scenario: &Scenario,
        limits: &Limits,
        hold: bool,
    ) -> Result<Trace, Error> {
        let answer = self.request(Some(&Request {
            target: target.clone(),
            scenario: scenario.clone(),
            limits: limits.clone(),
            isolation: self.isolation,
            hold,
        }))?;
        serde_json::from_slice(&answer).map_err(|e| unreadable("read a trace", &e))
    }

    fn request(&mut self, request: Option<&Request>) -> Result<Vec<u8>, Error> {
        let request = serde_json::to_vec(&request).map_err(|e| unreadable("write a request", &e))?;
        self.usable = false;
        let answer = self.worker.request(&request)?;
        self.usable = true;
        Ok(answer)
    }

    /// A handle by which another thread can end the enactment under way.
    #[must_use]
    pub fn hangup(&self) -> Hangup {
        self.worker.hangup()
    }
}

impl World for Live {
    fn enact(
        &mut self,
        target: &TargetCommand,
        scenario: &Scenario,
        limits: &Limits,
    ) -> Result<Trace, Error> {
        self.enacted(target, scenario, limits, false)
    }

    fn is_usable(&self) -> bool {
        self.usable
    }
}

fn unreadable(doing: &'static str, error: &serde_json::Error) -> Error {
    Error::Protocol { doing, problem: error.to_string() }
}

/// Answers one request, in the worker: makes a sandbox, and enacts inside.
fn answer(request: &[u8], lifeline: BorrowedFd<'_>) -> Result<Vec<u8>, Error> {
    let request: Option<Request> =
        serde_json::from_slice(request).map_err(|e| unreadable("read a request", &e))?;
    // What was held until now goes first.
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let Some(request) = request else { return Ok(Vec::new()) };
    let visible = visible(&request.target);
    let terms = Terms {
        isolation: request.isolation,
        visible: &visible,
        processes_max: request.limits.processes_max,
        pids_after: 1 + std::process::id() * PIDS_APART % PIDS_SPREAD,
        wall_max: request.limits.enactment_max,
        lifeline,
    };
    let mut answer = if request.hold {
        let (answer, held) = sandbox::hold(&terms, |sandbox| {
            let tell = |trace: &Trace| sandbox.answer(told(Ok(trace)));
            let held = Enactor::hold(sandbox, &request.target, &request.scenario, &request.limits, tell);
            told(Err(&match held {
                Ok(never) => match never {},
                Err(error) => error,
            }))
        })?;
        *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        answer
    } else {
        sandbox::enclose(&terms, |sandbox| {
            let trace = Enactor::enact(sandbox, &request.target, &request.scenario, &request.limits);
            told(trace.as_ref())
        })?
    };
    match answer.pop() {
        Some(TRACE) => Ok(answer),
        _ => Err(Error::EnactorDied(String::from_utf8_lossy(&answer).into_owned())),
    }
}

/// What the enactor answers.
fn told(enacted: Result<&Trace, &Error>) -> Vec<u8> {
    match enacted {
        // Plain data can always be written; were it not so, the reader would say what is wrong.
        Ok(trace) => [serde_json::to_vec(trace).unwrap_or_default(), vec![TRACE]].concat(),
        Err(error) => [error.in_full().into_bytes(), vec![ERROR]].concat(),
    }
}

/// Paths that the sandbox must not hide from the target.
fn visible(target: &TargetCommand) -> Vec<PathBuf> {
    let here = std::env::current_dir().ok();
    let exe = std::env::current_exe().ok();
    let words = target.argv.iter().filter(|word| word.starts_with('/')).map(PathBuf::from);
    words.chain(target.cwd.clone()).chain(here).chain(exe).collect()
}

crate::sys::before_main!(|| worker::take_over(SERVICE, answer));
