//! A case that is held can be looked into, and is gone when that is over.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rstest::rstest;
use sockspec::case::{Case, Found, SCHEMA};
use sockspec::command::TargetCommand;
use sockspec::scenario::{Act, Condition, Facet, Payload, Scenario, Step, To, act};
use sockspec::trace::Isolation;
use sockspec::verdict::{Evidence, Kind};

/// How long the kernel may take to end a sandbox, on a busy machine.
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// One client leaves a zombie behind; a second one comes after the failure has shown.
fn zombie() -> Case {
    let sockspec = env!("CARGO_BIN_EXE_sockspec");
    let command = [sockspec, "serve", "--defect", "never-reaps", "--addr", "{addr}", "--port", "{port}"];
    let client = |n| {
        let greet = Act::Exchange(Payload::greeting());
        [act(n, Act::Connect(To::Target)), act(n, greet), act(n, Act::Close)]
    };
    let mut steps = client(0).to_vec();
    // Right after the close its child still lives.
    steps.extend([Step::Await(Condition::Back(Facet::Connections)), Step::Quiet]);
    steps.push(Step::Await(Condition::NoZombie));
    steps.extend(client(1));
    Case {
        schema: SCHEMA.into(),
        clause: "reap.every-child".into(),
        story: Vec::new(),
        evidence: Evidence { kind: Kind::Missing, expected: String::new(), observed: String::new() },
        rate: (1, 1),
        target: TargetCommand::from_words(command),
        found: Found { version: "0.1.0".into(), kernel: "6".into(), isolation: Isolation::Full, seed: None },
        scenario: Scenario::served(steps),
    }
}

/// How people end what is held.
#[derive(Clone, Copy, Debug)]
enum End {
    Enter,
    NoInput,
    Interrupt,
    Kill,
}

#[rstest]
fn a_case_is_held_where_it_fails_and_gone_afterwards(
    #[values("full", "no-proc", "loopback")] isolation: &str,
    #[values(End::Enter, End::NoInput, End::Interrupt, End::Kill)] end: End,
) {
    let dir = tempfile::tempdir().unwrap();
    let file = zombie().keep(dir.path()).unwrap();
    let (mut run, input, said) = hold(&file, isolation);
    assert!(said.contains("zombie"), "{said}");
    // host pid, pid in the sandbox, state, command
    let rows: Vec<Vec<&str>> = said
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.len() > 3 && words[..2].iter().all(|word| word.parse::<i32>().is_ok()))
        .collect();
    let server = |row: &&Vec<&str>| !row.contains(&"(sockspec:");
    assert_eq!(rows.iter().filter(server).map(|row| row[2]).collect::<Vec<_>>(), ["S", "Z"], "{said}");
    let there = |row: &Vec<&str>| Path::new("/proc").join(row[0]).exists();
    assert!(rows.len() > 2 && rows.iter().all(there), "{said}");
    assert_eq!(said.contains("nsenter"), isolation != "loopback", "{said}");
    match end {
        End::Enter => (&input).write_all(b"\n").unwrap(),
        End::NoInput => drop(input),
        End::Interrupt => {
            kill(Pid::from_raw(i32::try_from(run.id()).unwrap()), Signal::SIGINT).unwrap();
        }
        End::Kill => run.kill().unwrap(),
    }
    let code = run.wait().unwrap().code();
    let began = Instant::now();
    while rows.iter().any(there) {
        let at_once = matches!(end, End::Enter | End::NoInput);
        assert!(!at_once && began.elapsed() < GONE_WITHIN, "left behind: {said}");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(code, if matches!(end, End::Kill) { None } else { Some(1) });
}

/// Holds a case; what it says until it waits.
fn hold(case: &Path, isolation: &str) -> (Child, ChildStdin, String) {
    let mut run = Command::new(env!("CARGO_BIN_EXE_sockspec"))
        .args(["replay", "--hold", "--timeout-scale", "0.2", "--isolation", isolation])
        .arg(case)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (input, output) = (run.stdin.take().unwrap(), run.stdout.take().unwrap());
    let mut said = String::new();
    for line in BufReader::new(output).lines() {
        said += &format!("{}\n", line.unwrap());
        if said.contains("Press Enter") {
            return (run, input, said);
        }
    }
    let status = run.wait().unwrap();
    panic!("it was not held: {status}: {said}");
}
