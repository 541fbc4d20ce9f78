//! How many cases of a campaign are enacted in a second, against the floor; and what more of a scenario costs.

use std::error::Error;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use sockspec::scenario::{Act, Client, Payload, Scenario, Step, To};

use crate::{Bench, Floor, SOCKSPEC, median, middle_and_least, say, verdict};

/// So much of the floor's enactments a second a campaign is to come to, with up to four clients in a case.
const RATE_GOAL: f64 = 0.6;
const CLIENTS: &str = "1..4";
const CASES: u32 = 400;
/// As many times in turns.
const ROUNDS: usize = 5;

/// Prints what a campaign comes to with all CPUs, and what the floor does, with as many at once as it gains from.
pub(crate) fn compare(floor: &Floor) -> Result<(), Box<dyn Error>> {
    let cpus = thread::available_parallelism()?.get();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push((cases_per_second()?, enactments_per_second(floor, 2 * cpus)?));
    }
    let ratio = median(rounds.iter().map(|(ours, floor)| ours / floor));
    let (ours, _) = middle_and_least(rounds.iter().map(|(ours, _)| *ours));
    let (bare, _) = middle_and_least(rounds.iter().map(|(_, floor)| *floor));
    say(&format!(
        "campaign with {CLIENTS} clients on {cpus} CPUs: {ratio:.2} of the floor's rate, median of {ROUNDS} rounds in turns \
         ({})\n  {ours:.0} cases a second; the floor, {} at once: {bare:.0}\n",
        verdict(ratio >= RATE_GOAL, &format!("at least {RATE_GOAL}")),
        2 * cpus,
    ))?;
    Ok(())
}

/// Of a whole command: it also learns what the server is.
fn cases_per_second() -> Result<f64, Box<dyn Error>> {
    let began = Instant::now();
    let cases = CASES.to_string();
    let fuzz = ["fuzz", "-q", "--clients", CLIENTS, "--effort", "quick", "--seed", "1", "--cases", &cases];
    let status = Command::new(SOCKSPEC).args(fuzz).stdout(Stdio::null()).status()?;
    if !status.success() {
        return Err(format!("sockspec fuzz: {status}").into());
    }
    Ok(f64::from(CASES) / began.elapsed().as_secs_f64())
}

fn enactments_per_second(floor: &Floor, at_once: usize) -> Result<f64, Box<dyn Error>> {
    let each = u64::from(CASES) / 2;
    let began = Instant::now();
    thread::scope(|scope| {
        let loops: Vec<_> =
            (0..at_once).map(|_| scope.spawn(|| floor.enact(each).map_err(|e| e.to_string()))).collect();
        for done in loops {
            done.join().map_err(|_| "the floor's thread panicked")??;
        }
        Ok::<(), Box<dyn Error>>(())
    })?;
    Ok(each as f64 * at_once as f64 / began.elapsed().as_secs_f64())
}

/// Something that a scenario can have more of, and the n-th of them: each costs as much as the one before it, or something is
/// wrong.
type More = (&'static str, fn(u32) -> Step);
const MORE: [More; 3] = [
    ("visit by another client", |n| Step::Do(Client(n + 1), Act::Visit(Payload::greeting()))),
    ("exchange by the same client", |_| Step::Do(Client(0), Act::Exchange(Payload::of(64)))),
    ("look", |_| Step::Look),
];
const HOW_MANY: [u32; 4] = [1, 16, 64, 256];
const TIMES: usize = 7;

/// Prints what one more of each costs, in short scenarios and in long ones, in the quickest enactments.
pub(crate) fn tell_more(bench: &mut Bench) -> Result<(), Box<dyn Error>> {
    for (name, step) in MORE {
        let mut quickest = Vec::new();
        for many in HOW_MANY {
            let connect = Step::Do(Client(0), Act::Connect(To::Target));
            let scenario = Scenario::served([connect].into_iter().chain((0..many).map(step)));
            let mut best = Duration::MAX;
            for _ in 0..TIMES {
                best = best.min(bench.enact(&Bench::reference(), &scenario, 1)?);
            }
            quickest.push((many, best));
        }
        say(&format!("one {name} more costs\n"))?;
        for pair in quickest.windows(2) {
            let [(few, cheap), (many, dear)] = pair else { continue };
            let more = dear.saturating_sub(*cheap).as_secs_f64() * 1e6 / f64::from(many - few);
            say(&format!("  from {few:>3} to {many:>3}: {more:.0} us\n"))?;
        }
    }
    Ok(())
}
