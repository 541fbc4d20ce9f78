//! The program in bash, with tools that every Linux has: ps, awk, head, cmp, find, setsid, timeout.
//!
//! bash can neither half-close nor reset, and does several things at once only badly: such stories it does not tell.

use std::fmt::Write as _;

use crate::emit::NotTold;
use crate::emit::checks::Check;
use crate::emit::library::Library;
use crate::emit::story::{Bytes, Deed, Part, Story, Told, elsewhere};
use crate::emit::text::{self, Block, Passage};
use crate::emit::tries;
use crate::scenario::{Act, Client, Condition, Facet, Sig, Who};

/// Pieces of a payload, at most.
const PIECES_MAX: usize = 16;

/// The text of the program.
pub(super) fn program(story: &Story<'_>) -> Result<String, NotTold> {
    let mut library = Library::of_words(include_str!("helpers.sh"), "#: ");
    if !story.has(Check::Service) {
        library.replace("wrong", "remark");
    }
    let body = body(story)?;
    let launch = launch(story);
    let constants = constants(story);
    let helpers = library.called(&format!("{body}\n{launch}\n base \n")).join("\n\n");
    let port = if story.case.target.fixed_port.is_none() { "free_port" } else { "" };
    let port = library.called(port).join("\n\n");
    let heading: String = story
        .heading("bash, ps, awk, find, cmp alone")
        .iter()
        .map(|line| format!("# {line}").trim_end().to_owned() + "\n")
        .collect();
    let tries = tries::shell(story);
    Ok(format!("#!/usr/bin/env bash\n{heading}\n{tries}{port}\n\n{constants}\n{helpers}\n\n{launch}\n{body}"))
}

fn constants(story: &Story<'_>) -> String {
    let port = story.case.target.fixed_port.map_or("$(free_port)".into(), |port| port.to_string());
    let reply = if story.has(Check::Service) { "6" } else { "1.5" };
    let dir = if story.wants_dir() { "DIR=$(mktemp -d)\n" } else { "" };
    format!(
        "PORT={port}
HOST={}
{dir}PATIENCE=6 # seconds after which what must happen counts as missing
REPLY_WITHIN={reply} # seconds within which a client must have its answer
declare -A FD KILLED # of each client: its descriptor; whether its server was killed
",
        quoted(&story.host())
    )
}

fn launch(story: &Story<'_>) -> String {
    let variables = story.environment();
    let variables: Vec<_> =
        variables.iter().map(|(name, value)| format!("{}={}", quoted(name), filled(value))).collect();
    let command: Vec<_> = story.arguments().iter().map(|parts| filled(parts)).collect();
    let enter = story.case.target.cwd.as_ref();
    let enter = enter.map_or(String::new(), |cwd| format!("cd {} && ", quoted(&cwd.to_string_lossy())));
    let remove = if story.wants_dir() { "\n    rm -rf \"$DIR\"" } else { "" };
    format!(
        "# Launches the server in a session of its own, and waits until it listens: a trial connect would be a client.
finish() {{
    while [ -n \"$(pids)\" ]; do kill -KILL $(pids) 2>/dev/null; done{remove}
}}
trap finish EXIT
({enter}exec setsid env REPRO=$$ {} {}) </dev/null >/dev/null &
SERVER=$!
disown
for _ in {{1..2000}}; do
    [ -n \"$(acceptor)\" ] && break
    kill -0 \"$SERVER\" 2>/dev/null || [ -n \"$(pids)\" ] || break
    sleep 0.02
done
[ -n \"$(acceptor)\" ] || {{ echo \"There is no server to judge: nothing listens on port $PORT\"; exit 2; }}
pids | grep -qx \"$SERVER\" || DAEMON=yes
trap '' PIPE
",
        variables.join(" "),
        command.join(" ")
    )
}

/// What is done, step by step.
fn body(story: &Story<'_>) -> Result<String, NotTold> {
    let mut text = String::new();
    let marked = story.marked();
    for line in marks(&marked) {
        let _ = writeln!(text, "{line}");
    }
    let mut blocks = Vec::new();
    for Told { words, deed } in &story.told {
        let no_words = || NotTold(format!("\"{words}\" cannot be done in bash"));
        let code = code(story, deed, &marked).ok_or_else(no_words)?;
        blocks.push(Block { words: words.clone(), code });
    }
    blocks.retain(|block| !block.code.is_empty());
    for Passage { times, blocks } in text::passages(&blocks) {
        if times > 1 {
            let _ = writeln!(text, "for _ in {{1..{times}}}; do");
        }
        text += &text::lines(blocks, if times > 1 { 4 } else { 0 }, "#");
        if times > 1 {
            text += "done\n";
        }
    }
    let _ = writeln!(text, "echo \"{}\"", story.absent());
    Ok(text)
}

fn marks(marked: &[Facet]) -> Vec<String> {
    marked.iter().map(|facet| format!("{facet}_before={}", amount(*facet))).collect()
}

fn amount(facet: Facet) -> &'static str {
    match facet {
        Facet::Processes => "$(pids | wc -l)",
        Facet::Descriptors => "$(descriptors)",
        Facet::Connections => "$(connections)",
    }
}

/// The lines for a deed; `None` if bash has none.
fn code(story: &Story<'_>, deed: &Deed, marked: &[Facet]) -> Option<Vec<String>> {
    Some(match deed {
        Deed::Act(client, act, bytes) => return act_code(story, *client, *act, *bytes),
        Deed::Signal(who, sig) => return signal(story, *who, *sig),
        Deed::Wait(condition) => vec![wait(*condition)?],
        Deed::Owed(check) => owed(story, *check),
        Deed::Quiet => vec!["quiet".into()],
        Deed::Mark => marks(marked),
        Deed::Pause(ms) => vec![format!("sleep {}", seconds(*ms))],
        Deed::Together(deeds) => {
            // What waits for nothing may as well be done in a row.
            let waits_not = |deed: &Deed| {
                matches!(deed, Deed::Signal(..) | Deed::Act(_, Act::Connect(_) | Act::Close, _))
            };
            if !deeds.iter().all(waits_not) {
                return None;
            }
            let lines: Option<Vec<_>> = deeds.iter().map(|deed| code(story, deed, marked)).collect();
            lines?.into_iter().flatten().collect()
        }
    })
}

fn act_code(story: &Story<'_>, client: Client, act: Act, bytes: Option<Bytes>) -> Option<Vec<String>> {
    let host = elsewhere(act).map_or(String::new(), |host| format!(" {host}"));
    Some(match act {
        Act::Connect(_) => vec![format!("connect {client}{host}")],
        Act::Exchange(_) => vec![exchange(client, bytes?)?],
        Act::PingPong(_) => one_by_one(client, bytes?)?,
        Act::Close => vec![format!("leave {client}")],
        // A visit ends with a half-close, which bash does not know.
        Act::Visit(_) if !story.case.clause.starts_with("close.") => {
            vec![format!("connect {client}"), exchange(client, bytes?)?, format!("leave {client}")]
        }
        _ => return None,
    })
}

/// The pieces of what is sent, each quoted.
fn pieces(bytes: Bytes) -> Option<Vec<(u64, String)>> {
    let literal = bytes.literal()?;
    let mut rest = &literal[..];
    let mut found = Vec::new();
    for size in bytes.sizes() {
        let (piece, more) = rest.split_at(usize::try_from(size).ok()?.min(rest.len()));
        found.push((size, format!("'{}'", text::escaped(piece, b"'%"))));
        rest = more;
    }
    (found.len() <= PIECES_MAX).then_some(found)
}

fn exchange(client: Client, bytes: Bytes) -> Option<String> {
    let pieces: Vec<_> = pieces(bytes)?.into_iter().map(|(_, piece)| piece).collect();
    Some(format!("exchange {client} {} {}", bytes.payload.len, pieces.join(" ")))
}

fn one_by_one(client: Client, bytes: Bytes) -> Option<Vec<String>> {
    let each = |(size, piece): (u64, String)| format!("exchange {client} {size} {piece}");
    Some(pieces(bytes)?.into_iter().map(each).collect())
}

fn signal(story: &Story<'_>, who: Who, sig: Sig) -> Option<Vec<String>> {
    let harmless = matches!(sig, Sig::Chld | Sig::Winch | Sig::Urg);
    let stops = matches!(sig, Sig::Stop | Sig::Cont);
    let send = format!("kill -{} {} 2>/dev/null", sig.to_string().trim_start_matches("SIG"), whom(who));
    match who {
        _ if harmless || !story.has(Check::Service) => Some(vec![send]),
        // Who is owed nothing any more must be known, and nothing may come late.
        Who::Serving(client) if !stops => Some(vec![format!("KILLED[{client}]=yes"), send]),
        _ => None,
    }
}

fn whom(who: Who) -> String {
    match who {
        Who::Launched(_) => "$(launched)".into(),
        Who::Acceptor(_) => "$(acceptor)".into(),
        Who::Serving(client) => format!("$(serving {client})"),
        Who::Children(_) => "$(children)".into(),
        Who::Child(_, n) => format!("$(child {n})"),
        Who::Tree(_) => "$(pids)".into(),
    }
}

fn wait(condition: Condition) -> Option<String> {
    let what = match condition {
        Condition::NoZombie => "[ -z \"$(zombies)\" ]".into(),
        Condition::Zombies(n) => format!("(($(zombies | wc -l) >= {n}))"),
        Condition::Back(facet) => format!("(({} <= {facet}_before))", amount(facet)),
        Condition::ServerOfGone(client) => format!("[ -z \"$(serving {client})\" ]"),
        Condition::Accepted(client) => format!("[ -n \"$(serving {client})\" ]"),
        Condition::Stopped(who) => format!("stopped {}", whom(who)),
        Condition::Exited(_) => "! pids | grep -qx \"$SERVER\"".into(),
        Condition::Gone(_) => "[ -z \"$(pids)\" ]".into(),
        Condition::PortFree => "[ -z \"$(acceptor)\" ]".into(),
        Condition::QueueAtLeast(_)
        | Condition::QueueEmpty
        | Condition::Listening(_)
        | Condition::Announced(_)
        | Condition::Still => return None,
    };
    Some(format!("wait_until '{what}'"))
}

/// The lines that look for it.
fn owed(story: &Story<'_>, check: Check) -> Vec<String> {
    let no_more = |facet: Facet, plural: &str| {
        let now = amount(facet);
        let slack = story.slack(check);
        let mut lines = vec!["quiet".into()];
        if slack > 0 {
            lines.push(format!("# (A few more than before are no leak: up to {slack}.)"));
        }
        lines.push(format!("must '(({now} <= {facet}_before + {slack}))' \"more {plural} than before\""));
        lines
    };
    match check {
        Check::Service => Vec::new(),
        Check::Lives => {
            let lives =
                "{ [ -n \"${DAEMON:-}\" ] || pids | grep -qx \"$SERVER\"; } && [ -n \"$(acceptor)\" ]";
            vec![format!("must '{lives}' \"the server has ended, or listens no more\"")]
        }
        Check::Reaped => vec![
            "quiet # children may be about to end".into(),
            "must '[ -z \"$(zombies)\" ]' \"zombies that nobody waits for\"".into(),
        ],
        Check::Processes => no_more(Facet::Processes, "processes"),
        Check::Descriptors => no_more(Facet::Descriptors, "descriptors"),
        Check::Connections => no_more(Facet::Connections, "connections"),
        Check::Latecomer => vec!["late_client".into()],
    }
}

fn filled(parts: &[Part]) -> String {
    let one = |part: &Part| match part {
        Part::Text(text) => quoted(text),
        Part::Port => "\"$PORT\"".into(),
        Part::Dir => "\"$DIR\"".into(),
    };
    parts.iter().map(one).collect()
}

/// In single quotes, where anything in it could mean something.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a pause are few")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
