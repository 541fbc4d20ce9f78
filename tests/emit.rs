//! Programs that were written for a case show it: exit 1 against the defect, 0 against the reference, nothing left.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rstest::rstest;
use sockspec::case::{Case, Found, SCHEMA};
use sockspec::command::TargetCommand;
use sockspec::emit::{Language, program};
use sockspec::scenario::{
    Act, Class, Client, Condition, Cut, Facet, Instance, Payload, Scenario, Sig, Step, To, Who, act,
};
use sockspec::trace::Isolation;
use sockspec::verdict::{Evidence, Kind};

/// A story that a program can tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) clause: &'static str,
    pub(super) defect: &'static str,
    pub(super) steps: fn() -> Vec<Step>,
}

pub(super) const CONNECT: Act = Act::Connect(To::Target);

pub(super) fn greet(client: u32) -> Step {
    act(client, Act::Exchange(Payload::greeting()))
}

pub(super) fn life(client: u32) -> [Step; 3] {
    [act(client, CONNECT), greet(client), act(client, Act::Close)]
}

const LOST_BYTES: Known = Known {
    clause: "echo.large",
    defect: "loses-bytes-past-64-kib",
    steps: || {
        let payload = Payload::of(65_541).class(Class::Line).cut(Cut::Every(9_000));
        vec![act(0, CONNECT), greet(0), act(0, Act::Exchange(payload)), act(0, Act::Close)]
    },
};

const FULL_BUFFER: Known = Known {
    clause: "echo.sizes",
    defect: "holds-full-buffer",
    steps: || vec![act(0, CONNECT), act(0, Act::Exchange(Payload::of(4096))), act(0, Act::Close)],
};

const NUL_RUN: Known = Known {
    clause: "echo.binary",
    defect: "skips-nul-runs",
    steps: || {
        let payload = Payload::of(190).class(Class::Nul).cut(Cut::Pieces(3));
        vec![act(0, CONNECT), act(0, Act::Exchange(payload)), act(0, Act::Close)]
    },
};

pub(super) const ZOMBIE: Known = Known {
    clause: "reap.every-child",
    defect: "never-reaps",
    steps: || {
        let mut steps = life(0).to_vec();
        steps.push(Step::Await(Condition::NoZombie));
        steps
    },
};

const LEAK: Known = Known {
    clause: "fd.no-growth",
    defect: "leaks-one-descriptor-per-client",
    steps: || {
        let mut steps = life(0).to_vec();
        steps.push(Step::Mark);
        steps.extend((0..10).flat_map(|_| life(1)));
        steps.push(Step::Await(Condition::Back(Facet::Descriptors)));
        steps
    },
};

const CLOSE_WAIT: Known = Known {
    clause: "close.no-close-wait",
    defect: "forgets-empty-client",
    steps: || vec![act(0, CONNECT), act(0, Act::Close), Step::Await(Condition::Back(Facet::Connections))],
};

const KEPT_PROCESSES: Known = Known {
    clause: "fork.survives-churn",
    defect: "child-never-exits",
    steps: || (0..4).flat_map(life).collect(),
};

const KILLED_CHILD: Known = Known {
    clause: "fork.sibling-survives",
    defect: "kills-siblings-of-killed-child",
    steps: || {
        let come = |client| [act(client, CONNECT), greet(client)];
        let mut steps: Vec<Step> = (0..2).flat_map(come).collect();
        steps.extend([Step::Signal(Who::Serving(Client(1)), Sig::Kill), Step::Quiet, greet(0), greet(1)]);
        steps.extend([0, 1].map(|client| act(client, Act::Close)));
        steps
    },
};

const KILLED_PARENT: Known = Known {
    clause: "fork.survives-churn",
    defect: "ends-with-killed-child",
    steps: || {
        let mut steps = vec![Step::Together(vec![act(0, CONNECT), act(1, CONNECT)]), greet(0), greet(1)];
        steps.extend([Step::Signal(Who::Child(Instance(0), 5), Sig::Kill), Step::Quiet]);
        steps
    },
};

const LOST_AT_END: Known = Known {
    clause: "close.half-close-is-honoured",
    defect: "drops-pending-at-eof",
    steps: || {
        vec![
            act(0, Act::ReceiveBuffer(4096)),
            act(0, CONNECT),
            act(0, Act::Send(Payload::of(5_000_000).class(Class::Line))),
            act(0, Act::HalfClose),
            Step::Watch(100, 1),
            act(0, Act::ReadToEnd),
            act(0, Act::Close),
        ]
    },
};

const NO_END: Known = Known {
    clause: "close.eof-reaches-client",
    defect: "never-closes-after-eof",
    steps: || vec![Step::Together((0..2).map(|c| act(c, Act::Visit(Payload::greeting()))).collect())],
};

const STOPPED_CHILD: Known = Known {
    clause: "fork.stopped-child-isolated",
    defect: "waits-for-stopped-child",
    steps: || {
        let serving = Who::Serving(Client(0));
        let mut steps = vec![act(0, CONNECT), greet(0), Step::Signal(serving, Sig::Stop)];
        steps.extend([Step::Await(Condition::Stopped(serving)), act(1, CONNECT), greet(1)]);
        steps.extend([Step::Signal(serving, Sig::Cont), greet(0), act(0, Act::Reset), act(1, Act::Close)]);
        steps
    },
};

/// Those that a shell can tell.
const TOLD_IN_SHELL: [&str; 6] = [
    "skips-nul-runs",
    "never-reaps",
    "leaks-one-descriptor-per-client",
    "kills-siblings-of-killed-child",
    "forgets-empty-client",
    "child-never-exits",
];

#[rstest]
#[case(LOST_BYTES)]
#[case(FULL_BUFFER)]
#[case(NUL_RUN)]
#[case(ZOMBIE)]
#[case(LEAK)]
#[case(KILLED_CHILD)]
#[case(KILLED_PARENT)]
#[case(LOST_AT_END)]
#[case(NO_END)]
#[case(STOPPED_CHILD)]
#[case(CLOSE_WAIT)]
#[case(KEPT_PROCESSES)]
fn a_program_tells_the_defect_from_the_reference(
    #[case] known: Known,
    #[values(Language::Python, Language::C, Language::Shell)] language: Language,
) {
    let told = |defect: Option<&str>| program(&case(known, serve(defect)), language, 1);
    let bug = match told(Some(known.defect)) {
        Ok(bug) => bug,
        Err(reason) => {
            // bash knows no half-close, no reset, no large payloads, and no way to tell whose child was killed.
            assert_eq!(language, Language::Shell, "{reason}");
            assert!(!TOLD_IN_SHELL.contains(&known.defect), "{reason}");
            return;
        }
    };
    let (output, left) = run(&bug, language);
    assert_eq!(output.status.code(), Some(1), "{output:?}\n{bug}");
    assert_eq!(left, [0; 0], "{bug}");
    let (output, left) = run(&told(None).unwrap(), language);
    assert_eq!(output.status.code(), Some(0), "{output:?}\n{bug}");
    assert_eq!(left, [0; 0], "{bug}");
}

#[rstest]
fn without_a_server_there_is_nothing_to_judge(
    #[values(Language::Python, Language::C, Language::Shell)] language: Language,
) {
    for command in ["/no/such/server", "true"] {
        let text = program(&case(ZOMBIE, vec![command.to_owned()]), language, 1).unwrap();
        let (output, left) = run(&text, language);
        assert_eq!(output.status.code(), Some(2), "{output:?}\n{text}");
        assert_eq!(left, [0; 0]);
    }
}

/// An echo server that keeps what it reads.
const KEEPER: &str = "import socket, sys
listener = socket.socket()
listener.bind((sys.argv[1], int(sys.argv[2])))
listener.listen()
while True:
    client, _ = listener.accept()
    with client, open(sys.argv[3], 'ab') as kept:
        while data := client.recv(65536):
            kept.write(data)
            kept.flush()
            client.sendall(data)
";

#[rstest]
fn the_bytes_are_those_of_the_scenario(#[values(Language::Python, Language::C)] language: Language) {
    const PAYLOADS: fn() -> Vec<Payload> = || {
        let of = |class| Payload { seed: 7, ..Payload::of(333).class(class) };
        let mut payloads = vec![Payload::greeting(), Payload::of(3)];
        payloads.extend(Class::ALL.map(of));
        payloads.extend([of(Class::Any).cut(Cut::Pieces(5)), of(Class::Ramp).cut(Cut::Every(100))]);
        payloads
    };
    let known = Known {
        clause: "echo.exact",
        defect: "",
        steps: || {
            let mut steps = vec![act(3, CONNECT)];
            steps.extend(PAYLOADS().into_iter().map(|payload| act(3, Act::Exchange(payload))));
            steps
        },
    };
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let words = ["python3", "-c", KEEPER, "{addr}", "{port}"].map(str::to_owned);
    let argv = words.into_iter().chain([kept.to_string_lossy().into_owned()]).collect();
    let text = program(&case(known, argv), language, 1).unwrap();
    let (output, left) = run(&text, language);
    assert_eq!(output.status.code(), Some(0), "{output:?}\n{text}");
    assert_eq!(left, [0; 0]);
    let mut expected = Vec::new();
    for payload in PAYLOADS() {
        let start = expected.len();
        expected.resize(start + usize::try_from(payload.len).unwrap(), 0);
        payload.fill(3, start as u64, 0, &mut expected[start..]);
    }
    assert!(fs::read(kept).unwrap() == expected, "{text}");
}

pub(super) fn serve(defect: Option<&str>) -> Vec<String> {
    let mut words = vec![env!("CARGO_BIN_EXE_sockspec"), "serve", "--addr={addr}", "--port", "{port}"];
    words.extend(defect.iter().flat_map(|defect| ["--defect", defect]));
    words.into_iter().map(str::to_owned).collect()
}

pub(super) fn case(known: Known, argv: Vec<String>) -> Case {
    let observed = "a \"strange\" thing \\ */ 100 %".into();
    Case {
        schema: SCHEMA.into(),
        clause: known.clause.into(),
        story: Vec::new(),
        evidence: Evidence { kind: Kind::Seen, expected: "what is right".into(), observed },
        rate: (3, 3),
        target: TargetCommand {
            env: BTreeMap::from([("X".into(), "a{port}".into())]),
            ..TargetCommand::from_words(argv)
        },
        found: Found {
            version: "0.1.0".into(),
            kernel: "6".into(),
            isolation: Isolation::Full,
            seed: Some((1, 2)),
        },
        scenario: Scenario::served((known.steps)()),
    }
}

/// Runs the program; says which processes of its are left.
pub(super) fn run(text: &str, language: Language) -> (Output, Vec<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| -> PathBuf { folder.path().join(name) };
    let mark = folder.path().to_string_lossy().into_owned();
    let mut command = match language {
        Language::Python => with_file("python3", &file("repro.py"), text),
        Language::Shell => with_file("bash", &file("repro.sh"), text),
        Language::C => {
            let mut compiler = with_file("cc", &file("repro.c"), text);
            let output =
                compiler.args(["-Wall", "-Wextra", "-Werror", "-o"]).arg(file("repro")).output().unwrap();
            assert!(output.status.success(), "{output:?}\n{text}");
            Command::new(file("repro"))
        }
    };
    let output = command.env("SOCKSPEC_TEST_MARK", &mark).output().unwrap();
    (output, marked(&mark))
}

fn with_file(program: &str, file: &Path, text: &str) -> Command {
    fs::write(file, text).unwrap();
    let mut command = Command::new(program);
    command.arg(file);
    command
}

/// Processes whose environment has the mark.
fn marked(mark: &str) -> Vec<i32> {
    let wanted = format!("SOCKSPEC_TEST_MARK={mark}");
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    })
    .collect()
}
