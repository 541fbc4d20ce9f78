//! How much is enacted at once.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::limits::Limits;
use crate::run::pool::Pool;
use crate::run::tests::scripted::Stage;
use crate::scenario::Scenario;
use crate::trace::build::Build;
use crate::world::World;

/// Jobs under way, and how many ever were at once.
type AtOnce = Arc<(Mutex<(usize, usize)>, Condvar)>;

/// Does `jobs` jobs, each of which lasts until so many have been under way at once, or so long. Returns how many were.
fn at_once(pool: &Pool<'_>, jobs: usize, wanted: usize, within: Duration) -> usize {
    let at_once = AtOnce::default();
    let job = || {
        let at_once = Arc::clone(&at_once);
        move |_: &mut dyn World| {
            let (count, changed) = &*at_once;
            let mut count = count.lock().unwrap();
            count.0 += 1;
            count.1 = count.1.max(count.0);
            changed.notify_all();
            let (mut count, _) = changed.wait_timeout_while(count, within, |count| count.1 < wanted).unwrap();
            count.0 -= 1;
            Ok(())
        }
    };
    let done = pool.each((0..jobs).map(|_| job()), |_, result| result.is_ok());
    assert!(done);
    at_once.0.lock().unwrap().1
}

#[test]
fn a_pool_does_as_much_at_once_as_was_said() {
    let stage = Stage(|_: &Scenario, _: &Limits| Ok(Build::served().trace()));
    let stop = AtomicBool::new(false);
    let (soon, in_time) = (Duration::from_millis(2), Duration::from_secs(20));
    Pool::with(&stage, &stop, 2..=2, |pool| {
        assert_eq!(at_once(pool, 20, 2, in_time), 2);
        assert!(at_once(pool, 20, 3, soon) <= 2);
    });
    Pool::with(&stage, &stop, 6..=8, |pool| {
        assert!(at_once(pool, 20, 6, in_time) >= 6);
        assert!(at_once(pool, 40, 9, soon) <= 8);
    });
}
