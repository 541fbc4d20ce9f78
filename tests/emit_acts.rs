//! Acts and waits that few cases need, told by programs: each shows a defect, and lets the reference pass.

use std::net::{IpAddr, Ipv6Addr};

use rstest::rstest;
use sockspec::emit::{Language, program};
use sockspec::scenario::{Act, Client, Condition, Instance, Payload, Sig, Step, To, Who, act};

use super::emit::{CONNECT, Known, ZOMBIE, case, greet, run, serve};

const TREE: Who = Who::Tree(Instance(0));
const STOP: Step = Step::Signal(TREE, Sig::Stop);
const CONT: Step = Step::Signal(TREE, Sig::Cont);

const DIALLED: Known = Known {
    clause: "reap.every-child",
    defect: "never-reaps",
    steps: || {
        let mut steps = vec![STOP, Step::Await(Condition::Stopped(TREE))];
        steps.extend([0, 1].map(|client| act(client, Act::Dial(To::Target))));
        steps.extend([Step::Await(Condition::QueueAtLeast(2)), CONT]);
        steps.extend([act(0, Act::Join), act(1, Act::Join), Step::Await(Condition::QueueEmpty)]);
        steps.extend([greet(0), Step::Await(Condition::Accepted(Client(1))), greet(1)]);
        steps.extend([act(0, Act::Close), act(1, Act::Close), Step::Await(Condition::NoZombie)]);
        steps
    },
};

const READ_SLOWLY: Known = Known {
    clause: "echo.exact",
    defect: "sends-stale-tail",
    steps: || {
        let slowly = Act::ReadSlowly { bytes: 512, pause_ms: 1, times: 3 };
        let sent = [Act::Exchange(Payload::of(40)), Act::Send(Payload::of(3)), slowly, Act::Close];
        [CONNECT].into_iter().chain(sent).map(|what| act(0, what)).collect()
    },
};

const STALLED: Known = Known {
    clause: "accept.idle-client-delays-nobody",
    defect: "blocks-on-stuck-client",
    steps: || {
        let stalls = [Act::ReceiveBuffer(4096), Act::SendBuffer(4096), CONNECT, Act::Stall { max: 32 << 20 }];
        let mut steps: Vec<Step> = stalls.map(|what| act(0, what)).to_vec();
        steps.extend([act(1, CONNECT), greet(1), act(1, Act::Close), act(0, Act::Reset)]);
        steps
    },
};

const LINGERED: Known = Known {
    clause: "echo.exact",
    defect: "closes-after-pause",
    steps: || vec![act(0, CONNECT), greet(0), act(0, Act::Linger(120)), greet(0), act(0, Act::Close)],
};

const URGENT: Known = Known {
    clause: "echo.exact",
    defect: "closes-on-urgent-data",
    steps: || {
        vec![act(0, CONNECT), greet(0), act(0, Act::Urgent(b'!')), Step::Quiet, greet(0), act(0, Act::Close)]
    },
};

#[rstest]
#[case(DIALLED)]
#[case(READ_SLOWLY)]
#[case(STALLED)]
#[case(LINGERED)]
#[case(URGENT)]
fn rare_acts_are_told(#[case] known: Known, #[values(Language::Python, Language::C)] language: Language) {
    for (defect, code) in [(Some(known.defect), 1), (None, 0)] {
        let text = program(&case(known, serve(defect)), language, 1).unwrap();
        let (output, left) = run(&text, language);
        assert_eq!(output.status.code(), Some(code), "{output:?}\n{text}");
        assert_eq!(left, [0; 0], "{text}");
    }
}

#[rstest]
fn over_ipv6(#[values(Language::Python, Language::C)] language: Language) {
    for (defect, code) in [(Some(ZOMBIE.defect), 1), (None, 0)] {
        let mut case = case(ZOMBIE, serve(defect));
        case.target.addr = IpAddr::from(Ipv6Addr::LOCALHOST);
        let text = program(&case, language, 1).unwrap();
        let (output, left) = run(&text, language);
        assert_eq!(output.status.code(), Some(code), "{output:?}\n{text}");
        assert_eq!(left, [0; 0], "{text}");
    }
}

/// The server runs in a directory of its own, which is empty, and gone afterwards; it does not end at SIGTERM.
#[rstest]
fn in_a_directory_of_its_own(#[values(Language::Python, Language::C, Language::Shell)] language: Language) {
    let kept = tempfile::NamedTempFile::new().unwrap();
    let script = format!(
        "trap '' TERM; [ -z \"$(ls -A {{dir}})\" ] && touch {{dir}}/used && echo {{dir}} > {} && exec \"$@\"",
        kept.path().display()
    );
    let mut words: Vec<String> = ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
    words.extend(serve(Some("ignores-sigterm")));
    let text = program(&case(ZOMBIE, words), language, 1).unwrap();
    let (output, left) = run(&text, language);
    assert_eq!(output.status.code(), Some(0), "{output:?}\n{text}");
    assert_eq!(left, [0; 0], "{text}");
    let dir = std::fs::read_to_string(kept.path()).unwrap();
    assert!(!dir.trim().is_empty() && !std::path::Path::new(dir.trim()).exists(), "{dir}");
}
