//! What is told and what is not; whether the programs work is shown by `tests/emit.rs`, which runs them.

use super::*;
use crate::case::{Found, SCHEMA};
use crate::command::TargetCommand;
use crate::scenario::{
    Act, Class, Condition, Facet, Instance, Payload, Resource, Scenario, Setting, Step, To,
};
use crate::scenario::{Amount, Sig, Who, act};
use crate::trace::Isolation;
use crate::verdict::{Evidence, Kind};

const ALL: [Language; 3] = [Language::Python, Language::C, Language::Shell];
const CONNECT: Act = Act::Connect(To::Target);

fn case(clause: &str, scenario: Scenario) -> Case {
    Case {
        schema: SCHEMA.into(),
        clause: clause.into(),
        story: Vec::new(),
        evidence: Evidence { kind: Kind::Seen, expected: "this".into(), observed: "that".into() },
        rate: (1, 1),
        target: TargetCommand::from_words(["./it's", "--listen={addr}:{port}", "{backlog}%{other}"]),
        found: Found { version: "1".into(), kernel: "6".into(), isolation: Isolation::Full, seed: None },
        scenario,
    }
}

fn told(clause: &str, steps: &[Step], language: Language) -> String {
    program(&case(clause, Scenario::served(steps.to_vec())), language, 1).unwrap()
}

fn reason(clause: &str, scenario: Scenario, language: Language) -> String {
    program(&case(clause, scenario), language, 1).unwrap_err().0
}

#[test]
fn placeholders_are_filled() {
    let steps = [act(0, CONNECT), act(0, Act::Close)];
    let python = told("echo.exact", &steps, Language::Python);
    assert!(
        python.contains(r#"COMMAND = ["./it's", f"--listen=127.0.0.1:{PORT}", "128%{other}"]"#),
        "{python}"
    );
    let c = told("echo.exact", &steps, Language::C);
    assert!(
        c.contains(r#"#define COMMAND "./it's", text("--listen=127.0.0.1:%d", port), "128%{other}""#),
        "{c}"
    );
    let shell = told("echo.exact", &steps, Language::Shell);
    assert!(shell.contains(r#"'./it'\''s' --listen=127.0.0.1:"$PORT" '128%{other}'"#), "{shell}");
}

#[test]
fn each_step_has_its_words_and_what_is_repeated_is_a_loop() {
    let life = [act(0, CONNECT), act(0, Act::Exchange(Payload::greeting())), act(0, Act::Close)];
    let mut steps = Vec::from([Step::Mark]);
    steps.extend(std::iter::repeat_n(life, 20).flatten());
    steps.push(Step::Await(Condition::Back(Facet::Descriptors)));
    for language in ALL {
        let text = told("fd.no-growth", &steps, language);
        assert_eq!(
            text.matches("connect c0\n").count(),
            if language == Language::Shell { 2 } else { 1 },
            "{text}"
        );
        assert!(text.contains("echo c0 16 bytes"), "{text}");
        assert!(text.contains("up to 9."), "{text}");
    }
}

#[test]
fn only_the_helpers_that_are_needed_are_there() {
    let steps = [act(0, CONNECT), act(0, Act::Exchange(Payload::greeting())), act(0, Act::Close)];
    for language in ALL {
        let text = told("echo.exact", &steps, language);
        for unneeded in ["zombies", "send_signal", "mix(", "together", "late"] {
            let calls = format!("{unneeded}(");
            assert!(!text.contains(&calls), "{unneeded}\n{text}");
        }
    }
}

#[test]
fn what_needs_the_sandbox_is_not_told() {
    let setting = Setting { somaxconn: Some(4), ..Setting::default() };
    let steps = || [act(0, CONNECT)];
    for language in ALL {
        let words = reason("echo.exact", Scenario::launched(setting.clone(), steps()), language);
        assert!(words.contains("somaxconn 4"), "{words}");
        let limit = Step::Limit(Who::Launched(Instance(0)), Resource::Descriptors, Amount::InUse);
        let words = reason("echo.exact", Scenario::served([limit]), language);
        assert!(words.contains("limit descriptors"), "{words}");
        let words = reason("start.idle-does-not-spin", Scenario::served(steps()), language);
        assert!(words.contains("start.idle-does-not-spin"), "{words}");
        let kill = Step::Signal(Who::Launched(Instance(0)), Sig::Kill);
        let words = reason("close.survives-idle-reset", Scenario::served([kill]), language);
        assert!(words.contains("ends the server"), "{words}");
    }
}

#[test]
fn the_shell_says_what_it_cannot_do() {
    let large = Act::Exchange(Payload::of(4097).class(Class::Line));
    for (step, words) in
        [(Act::HalfClose, "half-close c0"), (Act::Reset, "reset c0"), (large, "echo c0 4097 bytes")]
    {
        let scenario = Scenario::served([act(0, CONNECT), act(0, step)]);
        let reason = reason("close.eof-reaches-client", scenario, Language::Shell);
        assert!(reason.contains(words), "{reason}");
    }
}
