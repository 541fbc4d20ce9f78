//! Which rungs of the isolation ladder this host allows, and what would allow the others.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use super::facilities::Sandbox;
use super::worker::{self, Worker};
use super::{Terms, answer, enclose, remedy};
use crate::error::{Attempt, Error};
use crate::scenario::Amount;
use crate::sys::clone::idle_child;
use crate::trace::Isolation;

/// The service of the workers that try rungs.
const SERVICE: &str = "probe";
/// How long one rung may take, on a busy machine.
const TRY_WITHIN: Duration = Duration::from_secs(30);
/// The rungs, the best first; the index is what a request says.
const RUNGS: [Isolation; 3] = [Isolation::Full, Isolation::NoProc, Isolation::Loopback];

/// What this host allows.
#[derive(Clone, Debug)]
pub struct Host {
    /// Every rung, the best first.
    pub rungs: Vec<Rung>,
    /// Whether `Sandbox::limit_processes` works on the best rung.
    pub process_limit: bool,
}

/// One rung of the isolation ladder.
#[derive(Clone, Debug)]
pub struct Rung {
    /// Which.
    pub isolation: Isolation,
    /// How it went when it was tried to its end; what failed.
    pub outcome: Result<(), String>,
    /// What an operator can do about it.
    pub remedy: Option<String>,
}

/// Tries every rung to its end: namespaces, maps, mounts, loopback up, and one connection over it.
///
/// # Errors
/// [`Error::System`] if no worker can be started.
pub fn probe() -> Result<Host, Error> {
    let mut worker = Worker::start(SERVICE)?;
    let mut host = Host { rungs: Vec::new(), process_limit: false };
    for (request, isolation) in (0..).zip(RUNGS) {
        let outcome = worker.request(&[request]);
        let is_first = host.rungs.iter().all(|rung| rung.outcome.is_err());
        if let Ok(found) = &outcome
            && is_first
        {
            host.process_limit = found.as_slice() == LIMITS;
        }
        host.rungs.push(Rung {
            isolation,
            remedy: outcome.as_ref().err().and_then(remedy::of),
            outcome: outcome.map(drop).map_err(|error| error.in_full()),
        });
    }
    Ok(host)
}

/// The rung that was asked for, or else the best that works.
///
/// # Errors
/// [`Error::Protocol`] with what failed and its remedy, if this rung, or none at all, works here.
pub fn best(host: &Host, requested: Option<Isolation>) -> Result<Isolation, Error> {
    let wanted = |rung: &&Rung| requested.is_none_or(|isolation| isolation == rung.isolation);
    if let Some(rung) = host.rungs.iter().filter(wanted).find(|rung| rung.outcome.is_ok()) {
        return Ok(rung.isolation);
    }
    let problems: Vec<String> = host.rungs.iter().filter(wanted).map(ToString::to_string).collect();
    Err(Error::Protocol { doing: "isolate the target", problem: problems.join("; ") })
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.outcome, &self.remedy) {
            (Ok(()), _) => f.write_str("works"),
            (Err(problem), None) => f.write_str(problem),
            (Err(problem), Some(remedy)) => write!(f, "{problem} ({remedy})"),
        }
    }
}

crate::sys::before_main!(|| worker::take_over(SERVICE, try_rung));

/// Answer of a rung on which processes can be limited.
const LIMITS: &[u8] = b"limits";
/// Answer of a rung on which they cannot.
const NO_LIMITS: &[u8] = b"no limits";

/// Tries one rung, in a worker.
fn try_rung(request: &[u8], lifeline: BorrowedFd<'_>) -> Result<Vec<u8>, Error> {
    let rung = request.first().and_then(|&index| RUNGS.get(usize::from(index)));
    let &isolation =
        rung.ok_or(Error::Protocol { doing: "try a rung", problem: "there is no such rung".into() })?;
    let visible: &[PathBuf] = &[];
    let terms =
        Terms { isolation, visible, processes_max: 1000, pids_after: 1, wall_max: TRY_WITHIN, lifeline };
    answer::decode(enclose(&terms, |sandbox| answer::encode(try_sandbox(sandbox)))?)
}

/// Uses what a sandbox is for.
fn try_sandbox(sandbox: &Sandbox) -> Result<Vec<u8>, Error> {
    sandbox.fresh_dir()?;
    sandbox.processes()?;
    converse(sandbox.port()).attempt(|| "connect over the loopback interface".into())?;
    let limits = sandbox.limit_processes(Amount::InUse)? && idle_child().is_err();
    sandbox.limit_processes(Amount::Original)?;
    idle_child().attempt(|| "fork".into())?;
    Ok(if limits { LIMITS } else { NO_LIMITS }.to_vec())
}

/// One connection from this process to itself.
fn converse(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let (mut server, _) = listener.accept()?;
    client.write_all(b"x")?;
    server.read_exact(&mut [0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(isolation: Isolation, works: bool) -> Rung {
        let outcome = if works { Ok(()) } else { Err("make namespaces: EPERM".into()) };
        Rung { isolation, outcome, remedy: (!works).then(|| "run sysctl".into()) }
    }

    #[test]
    fn the_best_rung_that_works_is_taken_unless_another_is_asked_for() {
        let rungs = vec![
            rung(Isolation::Full, false),
            rung(Isolation::NoProc, true),
            rung(Isolation::Loopback, true),
        ];
        let host = Host { rungs, process_limit: false };
        assert_eq!(best(&host, None).unwrap(), Isolation::NoProc);
        assert_eq!(best(&host, Some(Isolation::Loopback)).unwrap(), Isolation::Loopback);
        let refusal = best(&host, Some(Isolation::Full)).unwrap_err().to_string();
        assert!(refusal.contains("EPERM (run sysctl)"), "{refusal}");
    }
}
