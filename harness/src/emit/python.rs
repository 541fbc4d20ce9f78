//! The program in Python 3, with its standard library alone.

use std::fmt::Write as _;

use crate::emit::checks::Check;
use crate::emit::library::Library;
use crate::emit::story::{Bytes, Deed, LITERAL_MAX, Part, Story, elsewhere};
use crate::emit::text::{self, Block, Passage};
use crate::emit::tries;
use crate::scenario::{Act, Class, Client, Condition, Cut, Facet, Payload, Sig, Who};

/// Modules of the standard library that a helper may use.
const MODULES: [&str; 16] = [
    "contextlib",
    "ctypes",
    "errno",
    "itertools",
    "os",
    "random",
    "select",
    "shutil",
    "signal",
    "socket",
    "struct",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
];

/// The client that comes at the end.
const LATE: &str = "late";

/// The text of the program.
pub(super) fn program(story: &Story<'_>) -> String {
    let body = body(story);
    let constants = constants(story);
    let called = format!("{body}\nBug() Client() NotLaunched() launch() kill_all()");
    let mut library = Library::of(include_str!("helpers.py"), "#: ");
    if !story.has(Check::Service) {
        library.replace("wrong", "remark");
    }
    let helpers = library.called(&called).join("\n\n\n");
    let clients = clients(story, &helpers);
    let main = main(story);
    // Made before the constants, which name it.
    let port = library.called(&constants).join("\n\n\n");
    let port = if port.is_empty() { port } else { format!("\n{port}\n\n\n") };
    let mask = if helpers.contains("MASK") { "MASK = (1 << 64) - 1\n" } else { "" };
    let rest = format!("{port}{constants}{mask}\n\n{body}\n\n{helpers}\n\n\n{clients}{main}");
    let imports: String = MODULES
        .iter()
        .filter(|module| uses(&rest, module))
        .map(|module| format!("import {module}\n"))
        .collect();
    let heading = text_of_docstring(&story.heading("Python 3.9 alone").join("\n"));
    let tries = tries::python(story);
    format!("#!/usr/bin/env python3\n\"\"\"{heading}\n\"\"\"\n\n{imports}\n{tries}{rest}")
}

/// Whether the module is named in the code: followed by a dot and a name.
fn uses(text: &str, module: &str) -> bool {
    text.match_indices(module).any(|(at, _)| {
        let mut after = text[at + module.len()..].chars();
        let before = text[..at].chars().next_back();
        after.next() == Some('.')
            && after.next().is_some_and(char::is_alphabetic)
            && !before.is_some_and(|c| c.is_alphanumeric() || "_.".contains(c))
    })
}

fn text_of_docstring(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "'")
}

fn constants(story: &Story<'_>) -> String {
    let target = &story.case.target;
    let mut text = target.fixed_port.map_or("PORT = free_port()\n".into(), |port| format!("PORT = {port}\n"));
    let mut set = |name: &str, value: String| {
        let _ = writeln!(text, "{name} = {value}");
    };
    set("HOST", string(&story.host()));
    if story.wants_dir() {
        set("DIR", "tempfile.mkdtemp()".into());
    }
    let words: Vec<_> = story.arguments().iter().map(|parts| filled(parts)).collect();
    set("COMMAND", format!("[{}]", words.join(", ")));
    let variables = story.environment();
    let variables: Vec<_> =
        variables.iter().map(|(name, value)| format!("{}: {}", string(name), filled(value))).collect();
    set("ENVIRONMENT", format!("{{{}}}", variables.join(", ")));
    set("CWD", target.cwd.as_ref().map_or("None".into(), |cwd| string(&cwd.to_string_lossy())));
    set("PATIENCE", "6.0  # seconds after which what must happen counts as missing".into());
    let reply = if story.has(Check::Service) { "PATIENCE" } else { "1.5" };
    set("REPLY", format!("{reply}  # seconds for which a client waits for the next byte"));
    set("LISTEN", "\"0A\"  # state of a socket in /proc/net/tcp".into());
    text
}

/// The clients, and the list of them if the helpers ask for it.
fn clients(story: &Story<'_>, helpers: &str) -> String {
    let mut names: Vec<String> = story.case.scenario.clients().iter().map(ToString::to_string).collect();
    let mut text: String = names.iter().map(|name| format!("{name} = Client(\"{name}\")\n")).collect();
    if story.has(Check::Latecomer) {
        names.push(LATE.into());
        let _ = writeln!(text, "{LATE} = Client(\"a late client\")");
    }
    if helpers.contains("CLIENTS") || story.has(Check::Latecomer) {
        let _ = writeln!(text, "CLIENTS = [{}]", names.join(", "));
    }
    text + "\n\n"
}

fn main(story: &Story<'_>) -> String {
    let remove = if story.wants_dir() { "\n        shutil.rmtree(DIR, ignore_errors=True)" } else { "" };
    format!(
        "def main():
    # Whatever the server leaves behind becomes ours, so that it can be found (PR_SET_CHILD_SUBREAPER).
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    try:
        launch()
        story()
    except Bug as bug:
        print(\"The bug is there:\", bug)
        return 1
    except NotLaunched as reason:
        print(\"There is no server to judge:\", reason)
        return 2
    finally:
        kill_all(){remove}
    print(\"{}\")
    return 0


sys.exit(main())
",
        story.absent()
    )
}

/// What is done, step by step.
fn body(story: &Story<'_>) -> String {
    let mut text = String::from("def story():\n");
    let marked = story.marked();
    for line in marks(&marked) {
        let _ = writeln!(text, "    {line}");
    }
    let blocks: Vec<Block> = story
        .told
        .iter()
        .map(|told| Block { words: told.words.clone(), code: code(story, &told.deed, &marked) })
        .filter(|block| !block.code.is_empty())
        .collect();
    for Passage { times, blocks } in text::passages(&blocks) {
        if times > 1 {
            let _ = writeln!(text, "    for _ in range({times}):");
        }
        text += &text::lines(blocks, if times > 1 { 8 } else { 4 }, "#");
    }
    if blocks.is_empty() {
        text += "    pass\n";
    }
    text
}

fn marks(marked: &[Facet]) -> Vec<String> {
    marked.iter().map(|facet| format!("{facet}_before = {}", amount(*facet))).collect()
}

fn amount(facet: Facet) -> &'static str {
    match facet {
        Facet::Processes => "len(living())",
        Facet::Descriptors => "descriptors()",
        Facet::Connections => "connections()",
    }
}

fn code(story: &Story<'_>, deed: &Deed, marked: &[Facet]) -> Vec<String> {
    match deed {
        Deed::Act(client, act, bytes) => act_code(*client, *act, *bytes),
        Deed::Signal(who, sig) => vec![format!("send_signal({}, {})", whom(*who), signal_name(*sig))],
        Deed::Wait(condition) => vec![wait(*condition)],
        Deed::Owed(check) => owed(story, *check),
        Deed::Quiet => vec!["quiet()".into()],
        Deed::Mark => marks(marked),
        Deed::Pause(ms) => vec![format!("time.sleep({})", seconds(*ms))],
        Deed::Together(deeds) => {
            let mut lines = vec!["together(".to_owned()];
            for mut code in deeds.iter().map(|deed| code(story, deed, marked)) {
                if let Some(first) = code.first_mut() {
                    first.insert_str(0, "lambda: ");
                }
                if let Some(last) = code.last_mut() {
                    last.push(',');
                }
                lines.extend(code.into_iter().map(|line| format!("    {line}")));
            }
            lines.push(")".into());
            lines
        }
    }
}

fn act_code(client: Client, act: Act, bytes: Option<Bytes>) -> Vec<String> {
    let c = client.to_string();
    let simple = |name: &str| vec![format!("{name}({c})")];
    let host = elsewhere(act).map_or(String::new(), |host| format!(", {}", string(host)));
    let moves = |name: &str, rest: &str| {
        let pieces = bytes.map_or(vec!["[]".into()], pieces);
        call(&format!("{name}({c}, "), &pieces, &format!("{rest})"))
    };
    match act {
        Act::Connect(_) => vec![format!("connect({c}{host})")],
        Act::Dial(_) => vec![format!("dial({c}{host})")],
        Act::Join => simple("join"),
        Act::ReceiveBuffer(n) => vec![format!("{c}.options.append((socket.SO_RCVBUF, {n}))")],
        Act::SendBuffer(n) => vec![format!("{c}.options.append((socket.SO_SNDBUF, {n}))")],
        Act::Send(_) | Act::Stall { .. } => moves("transfer", ", reads=False"),
        Act::Exchange(_) => moves("transfer", ""),
        Act::PingPong(_) => moves("transfer", ", each=True"),
        Act::Visit(_) => moves("visit", ""),
        Act::Urgent(byte) => vec![format!("urgent({c}, {byte})")],
        Act::Read => simple("transfer"),
        Act::ReadSlowly { bytes, pause_ms, times } => {
            vec![format!("read_slowly({c}, {bytes}, {}, {times})", seconds(u64::from(pause_ms)))]
        }
        Act::ReadToEnd => simple("read_to_end"),
        Act::Linger(ms) => vec![format!("linger({c}, {})", seconds(u64::from(ms)))],
        Act::HalfClose => simple("half_close"),
        Act::Close => simple("close"),
        Act::Reset => simple("reset"),
    }
}

/// A call whose middle may take several lines.
fn call(open: &str, middle: &[String], close: &str) -> Vec<String> {
    if let [only] = middle {
        return vec![format!("{open}{only}{close}")];
    }
    let mut lines = vec![open.trim_end().to_owned()];
    lines.extend(middle.iter().map(|line| format!("    {line}")));
    lines.push(close.trim_start_matches(", ").to_owned());
    lines
}

/// The list of what is sent, each with a call of its own.
fn pieces(bytes: Bytes) -> Vec<String> {
    let data = data(bytes);
    let around = |open: String, close: &str| -> Vec<String> {
        let last = data.len() - 1;
        let line = |(index, line): (usize, &String)| match (index == 0, index == last) {
            (true, true) => format!("{open}{line}{close}"),
            (true, false) => format!("{open}{line}"),
            (false, true) => format!("{line}{close}"),
            (false, false) => line.clone(),
        };
        let mut lines: Vec<String> = data.iter().enumerate().map(line).collect();
        if lines.len() > 1
            && let Some(end) = lines.last_mut()
        {
            end.push(',');
        }
        lines
    };
    match bytes.payload.cut {
        Cut::Whole => around("[".into(), "]"),
        Cut::Every(n) => around(format!("every({n}, "), ")"),
        Cut::Pieces(_) => around(format!("cut({:?}, ", bytes.sizes()), ")"),
    }
}

/// The bytes: as they are, if they are few.
fn data(bytes: Bytes) -> Vec<String> {
    let Bytes { client, start, payload } = bytes;
    let Payload { len, seed, class, .. } = payload;
    if let Some(literal) = bytes.literal() {
        return text::literals(&literal, b"\"", "b\"", "\"");
    }
    debug_assert!(len > LITERAL_MAX);
    let palette = text::escaped(class.palette(), b"\"");
    vec![match class {
        Class::Ramp => format!("ramp({client}, {start}, {len})"),
        Class::Any => format!("payload({client}, {start}, {len}, {seed})"),
        Class::Line => format!("payload({client}, {start}, {len}, {seed}, b\"{palette}\", lines=True)"),
        _ => format!("payload({client}, {start}, {len}, {seed}, b\"{palette}\")"),
    }]
}

fn whom(who: Who) -> String {
    match who {
        Who::Launched(_) => "launched()".into(),
        Who::Acceptor(_) => "acceptor()".into(),
        Who::Serving(client) => format!("serving({client})"),
        Who::Children(_) => "children()".into(),
        Who::Child(_, n) => format!("child({n})"),
        Who::Tree(_) => "living()".into(),
    }
}

fn signal_name(sig: Sig) -> String {
    format!("signal.{sig}")
}

fn wait(condition: Condition) -> String {
    let what = match condition {
        Condition::NoZombie => "not zombies()".into(),
        Condition::Zombies(n) => format!("len(zombies()) >= {n}"),
        Condition::Back(facet) => format!("{} <= {facet}_before", amount(facet)),
        Condition::QueueAtLeast(n) => format!("queued() >= {n}"),
        Condition::QueueEmpty => "not queued()".into(),
        Condition::ServerOfGone(client) | Condition::Accepted(client) => {
            let not = if matches!(condition, Condition::Accepted(_)) { "" } else { "not " };
            format!("{not}serving({client})")
        }
        Condition::Stopped(who) => format!("stopped({})", whom(who)),
        Condition::Exited(_) => "server.poll() is not None".into(),
        Condition::PortFree => "not acceptor()".into(),
        Condition::Gone(_) | Condition::Listening(_) | Condition::Announced(_) | Condition::Still => {
            "not living()".into()
        }
    };
    format!("wait(lambda: {what})")
}

/// The lines that look for it.
fn owed(story: &Story<'_>, check: Check) -> Vec<String> {
    let no_more = |facet: Facet, plural: &str| {
        let now = amount(facet);
        let slack = story.slack(check);
        let more = if slack == 0 { String::new() } else { format!(" + {slack}") };
        let mut lines = vec!["quiet()".into()];
        if slack > 0 {
            lines.push(format!("# (A few more than before are no leak: up to {slack}.)"));
        }
        lines.push(format!("must(lambda: {now} <= {facet}_before{more},"));
        lines.push(format!("     lambda: f\"{{{now}}} {plural}, {{{facet}_before}} before\")"));
        lines
    };
    match check {
        Check::Service => Vec::new(),
        Check::Lives => {
            vec!["must(lambda: lives(), lambda: \"the server has ended, or listens no more\")".into()]
        }
        Check::Reaped => vec![
            "quiet()  # children may be about to end".into(),
            "must(lambda: not zombies(), lambda: f\"zombies that nobody waits for: {zombies()}\")".into(),
        ],
        Check::Processes => no_more(Facet::Processes, "processes are left"),
        Check::Descriptors => no_more(Facet::Descriptors, "descriptors"),
        Check::Connections => no_more(Facet::Connections, "connections"),
        Check::Latecomer => vec![
            "for c in CLIENTS:".into(),
            "    close(c)".into(),
            format!("connect({LATE})"),
            format!("transfer({LATE}, [b\"Is anybody there?\\n\"])"),
            format!(
                "must(lambda: {LATE}.socket and {LATE}.got == 18, lambda: \"a late client is not served\")"
            ),
        ],
    }
}

fn filled(parts: &[Part]) -> String {
    match parts {
        [Part::Text(text)] => string(text),
        [Part::Port] => "str(PORT)".into(),
        [Part::Dir] => "DIR".into(),
        _ => {
            let inner: String = parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) => quoted(text).replace('{', "{{").replace('}', "}}"),
                    Part::Port => "{PORT}".into(),
                    Part::Dir => "{DIR}".into(),
                })
                .collect();
            format!("f\"{inner}\"")
        }
    }
}

fn string(text: &str) -> String {
    format!("\"{}\"", quoted(text))
}

fn quoted(text: &str) -> String {
    let one = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\x{:02x}", u32::from(c)),
        c => c.to_string(),
    };
    text.chars().map(one).collect()
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a pause are few")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
