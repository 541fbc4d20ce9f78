//! A few worlds side by side, each with a thread that hands it one job after another.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::run::load::{Load, width};
use crate::world::World;

/// How often a run looks whether it is to stop.
const STOP_EVERY: Duration = Duration::from_millis(50);

/// Where worlds come from, and how all that is under way in them is ended.
pub(super) trait Source: Sync {
    /// Opens a world. Called in the thread that will use it; again after a world has failed.
    fn open(&self) -> Result<Box<dyn World>, Error>;
    /// Ends every enactment under way.
    fn hang_up(&self);
}

/// Worlds and the jobs that wait for them.
pub(super) struct Pool<'a> {
    source: &'a dyn Source,
    stop: &'a AtomicBool,
    at_once: RangeInclusive<usize>,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

type Job = Box<dyn FnOnce(Result<&mut dyn World, Error>) + Send>;

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Threads at work.
    busy: usize,
    /// How many may be.
    width: usize,
    closed: bool,
}

impl<'a> Pool<'a> {
    /// Runs `body` beside threads, each with a world of its own; all end when `body` does. So many jobs are done at once,
    /// the more the more the CPUs idle.
    pub(super) fn with<T>(
        source: &'a dyn Source,
        stop: &'a AtomicBool,
        at_once: RangeInclusive<usize>,
        body: impl FnOnce(&Self) -> T,
    ) -> T {
        let (width, threads) = (*at_once.start(), *at_once.end());
        let waiting = Mutex::new(Waiting { width, ..Waiting::default() });
        let pool = Self { source, stop, at_once, waiting, changed: Condvar::new() };
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| pool.serve());
            }
            let result = body(&pool);
            pool.close();
            source.hang_up();
            result
        })
    }

    /// Does all jobs, as many at once as there are worlds, and hands each result to `take` as it comes. Jobs are asked
    /// for as they are needed, so there may be any number of them.
    ///
    /// Returns whether all were done: not if the run is stopped, or `take` says that no more are wanted.
    pub(super) fn each<T: Send + 'static>(
        &self,
        jobs: impl IntoIterator<Item = impl FnOnce(&mut dyn World) -> Result<T, Error> + Send + 'static>,
        mut take: impl FnMut(usize, Result<T, Error>) -> bool,
    ) -> bool {
        let (sender, results) = mpsc::channel();
        let mut jobs = jobs.into_iter().enumerate();
        let mut left = 0;
        let mut load = Load::begin();
        loop {
            let width = self.adapt(load.idle());
            for (index, job) in jobs.by_ref().take((2 * width).saturating_sub(left)) {
                let sender = sender.clone();
                left += 1;
                self.push(Box::new(move |world| {
                    // The receiver is gone only when the results are no longer wanted.
                    let _ = sender.send((index, world.and_then(job)));
                }));
            }
            if left == 0 {
                return true;
            }
            match results.recv_timeout(STOP_EVERY) {
                Ok((index, result)) => {
                    left -= 1;
                    if !take(index, result) {
                        self.lock().jobs.clear();
                        return false;
                    }
                }
                Err(_) if self.stop.load(Ordering::Relaxed) => {
                    self.lock().jobs.clear();
                    self.source.hang_up();
                    return false;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Lets more or fewer jobs be done at once, where that part of the CPUs idles. Returns how many are.
    fn adapt(&self, idle: Option<f64>) -> usize {
        let mut waiting = self.lock();
        if let Some(idle) = idle {
            waiting.width = width(waiting.width, &self.at_once, idle);
            self.changed.notify_all();
        }
        waiting.width
    }

    fn push(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.jobs.clear();
        self.changed.notify_all();
    }

    fn next(&self, was_busy: bool) -> Option<Job> {
        let mut waiting = self.lock();
        waiting.busy -= usize::from(was_busy);
        loop {
            if waiting.busy < waiting.width
                && let Some(job) = waiting.jobs.pop_front()
            {
                waiting.busy += 1;
                return Some(job);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that can panic runs while the lock is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one job after another, until the pool is closed.
    fn serve(&self) {
        let mut world: Option<Box<dyn World>> = None;
        let mut was_busy = false;
        while let Some(job) = self.next(was_busy) {
            was_busy = true;
            let usable = world.take().filter(|world| world.is_usable());
            match usable.map_or_else(|| self.source.open(), Ok) {
                Ok(mut opened) => {
                    job(Ok(opened.as_mut()));
                    world = Some(opened);
                }
                Err(error) => job(Err(error)),
            }
        }
    }
}
