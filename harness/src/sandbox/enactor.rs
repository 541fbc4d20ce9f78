//! The life of the enactor: it cuts its ties, makes its sandbox, enacts, answers, and ends.

use std::any::Any;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nix::sys::prctl::{set_child_subreaper, set_pdeathsig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{getppid, setsid};
use rustix::event::{PollFd, PollFlags};

use super::facilities::Sandbox;
use super::nursery::Nursery;
use super::scratch::Scratch;
use super::{Terms, answer, child, mounts};
use crate::error::{Attempt, Error};
use crate::sys;
use crate::trace::Isolation;

/// How the enactor knows that its parent lives.
#[derive(Debug)]
pub(super) enum Parent {
    /// A pipe: one byte says "go on", its end that the parent has ended.
    Tether(OwnedFd),
    /// Its process id.
    Supervisor(i32),
}

/// Lives the enactor's life. The status is 0 if the answer was written, be it good or bad.
pub(super) fn live(
    this: sys::clone::Child,
    parent: &Parent,
    answer_to: OwnedFd,
    terms: &Terms<'_>,
    scratch: &Scratch,
    enact: impl FnOnce(&Sandbox) -> Vec<u8>,
) -> ! {
    let kept = match parent {
        Parent::Tether(tether) => this.close_all_but(&[tether.as_fd(), answer_to.as_fd()]),
        Parent::Supervisor(_) => this.close_all_but(&[answer_to.as_fd()]),
    };
    if set_pdeathsig(Signal::SIGKILL).is_err() || parent.has_ended() {
        this.exit(1);
    }
    let answer_to = Rc::new(RefCell::new(Some(File::from(answer_to))));
    let answer = kept
        .attempt(|| "close the worker's descriptors".into())
        .and_then(|()| make(terms, scratch, &answer_to))
        .and_then(|sandbox| catch_panic(|| enact(&sandbox)));
    let written = write(&answer_to, answer);
    this.exit(i32::from(written.is_err()))
}

/// Where the answer goes, until it has gone there.
pub(super) type AnswerTo = Rc<RefCell<Option<File>>>;

/// Writes the answer, and closes the pipe: the reader takes its end for the end of the answer. Does nothing the second
/// time.
pub(super) fn write(answer_to: &AnswerTo, answer: Result<Vec<u8>, Error>) -> io::Result<()> {
    answer_to.take().map_or(Ok(()), |mut pipe| pipe.write_all(&answer::encode(answer)))
}

impl Parent {
    /// Waits for the word to go on. To be asked after PR_SET_PDEATHSIG, which does not tell of a death before it.
    fn has_ended(&self) -> bool {
        match self {
            Self::Tether(tether) => {
                let mut word = [0];
                let mut fds = [PollFd::new(tether, PollFlags::empty())];
                !matches!(rustix::io::retry_on_intr(|| rustix::io::read(tether, &mut word)), Ok(1))
                    || child::wait_until_ready(&mut fds, Instant::now()) != Ok(0)
            }
            Self::Supervisor(pid) => getppid().as_raw() != *pid,
        }
    }
}

/// Makes the sandbox from inside.
fn make(terms: &Terms<'_>, scratch: &Scratch, answer_to: &AnswerTo) -> Result<Sandbox, Error> {
    // 1 is too little for any file, and unlike 0 it keeps the kernel from starting a core handler: core(5).
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).attempt(|| "read RLIMIT_CORE".into())?;
    setrlimit(Resource::RLIMIT_CORE, hard.min(1), hard).attempt(|| "set RLIMIT_CORE".into())?;
    let base = match terms.isolation {
        Isolation::Full => {
            mounts::make_private()?;
            mounts::mount_proc()?;
            sys::loopback::raise().attempt(|| "bring the loopback interface up".into())?;
            Nursery::of_use(terms).map_or(Ok(()), Nursery::restore_derived)?;
            mounts::mount_memory(terms.visible)?
        }
        Isolation::NoProc => {
            sys::loopback::raise().attempt(|| "bring the loopback interface up".into())?;
            // Where no mount at all is allowed, a directory on disk serves; the worker removes it.
            match mounts::make_private().and_then(|()| mounts::mount_memory(terms.visible)) {
                Ok(base) => base,
                Err(_) => scratch.make()?,
            }
        }
        Isolation::Loopback => {
            set_child_subreaper(true).attempt(|| "become a subreaper".into())?;
            // A signal that the target sends to its own process group must not reach the supervisor.
            setsid().attempt(|| "begin a session".into())?;
            scratch.make()?
        }
    };
    Sandbox::new(terms, base, Rc::clone(answer_to))
}

/// Runs it; a panic becomes an error with its message and place.
fn catch_panic(enact: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, Error> {
    static WHERE: Mutex<Option<String>> = Mutex::new(None);
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        *WHERE.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }));
    panic::catch_unwind(AssertUnwindSafe(enact)).map_err(|payload| {
        let place = WHERE.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        Error::EnactorDied(format!("it panicked at {place}: {}", panic_message(payload.as_ref())))
    })
}

/// What a panic said.
pub(super) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(no message)"
    }
}
