//! The program in C, with the C library alone.

use std::fmt::Write as _;

use crate::emit::checks::Check;
use crate::emit::library::Library;
use crate::emit::story::{Bytes, Deed, Part, Story, elsewhere};
use crate::emit::text::{self, Block, Passage};
use crate::emit::tries;
use crate::scenario::{Act, Class, Client, Condition, Cut, Facet, Payload, Who};

const INCLUDES: [&str; 22] = [
    "arpa/inet.h",
    "ctype.h",
    "dirent.h",
    "errno.h",
    "fcntl.h",
    "netinet/in.h",
    "netinet/tcp.h",
    "poll.h",
    "pthread.h",
    "signal.h",
    "stdarg.h",
    "stdint.h",
    "stdio.h",
    "stdlib.h",
    "string.h",
    "sys/prctl.h",
    "sys/socket.h",
    "sys/stat.h",
    "sys/types.h",
    "sys/wait.h",
    "time.h",
    "unistd.h",
];

/// The text of the program.
pub(super) fn program(story: &Story<'_>) -> String {
    let mut library = Library::of(include_str!("helpers.c"), "//: ");
    if !story.has(Check::Service) {
        library.replace("wrong", "remark");
    }
    let (body, threads) = body(story);
    let main = main(story);
    let constants = constants(story);
    let clients = clients(story);
    let called = format!("{body}\n{threads}\n{main}\n{constants}\nbase()");
    let (base, helpers) = {
        let mut called = library.called(&called);
        (called.remove(0), called.join("\n\n"))
    };
    let heading: String = story
        .heading("libc alone: cc -pthread repro.c && ./a.out")
        .iter()
        .map(|line| format!(" * {}\n", line.replace("*/", "* /")).replace(" * \n", " *\n"))
        .collect();
    let includes: String = INCLUDES.iter().map(|name| format!("#include <{name}>\n")).collect();
    format!(
        "/*\n{heading} */\n#define _GNU_SOURCE\n{includes}\n{constants}\n{base}\n\n{clients}\n{helpers}\n\n{threads}{body}\n{main}"
    )
}

fn constants(story: &Story<'_>) -> String {
    let target = &story.case.target;
    let mut text = String::new();
    let mut define = |name: &str, value: String| {
        let _ = writeln!(text, "#define {name} {value}");
    };
    define("HOST", string(&story.host()));
    let words: Vec<_> = story.arguments().iter().map(|parts| filled(parts)).collect();
    define("COMMAND", words.join(", "));
    let set =
        |(name, value): &(String, Vec<Part>)| format!("setenv({}, {}, 1);", string(name), filled(value));
    define("ENVIRONMENT", story.environment().iter().map(set).collect::<Vec<_>>().join(" "));
    let enter = |cwd: &std::path::PathBuf| format!("chdir({})", string(&cwd.to_string_lossy()));
    define("CHDIR", target.cwd.as_ref().map_or("0".into(), enter));
    let remove = "if (fork() == 0) execlp(\"rm\", \"rm\", \"-rf\", dir, (char *)0); else wait(0);";
    define("CLEAN_UP", if story.wants_dir() { remove.into() } else { String::new() });
    define("PATIENCE 6.0", "/* seconds after which what must happen counts as missing */".into());
    let reply = if story.has(Check::Service) { "PATIENCE" } else { "1.5" };
    define("REPLY", format!("{reply} /* seconds for which a client waits for the next byte */"));
    define("LISTENS 0x0A", "/* state of a socket in /proc/net/tcp */".into());
    define("ROOM", format!("{} /* bytes that a client sends, at most */", room(story)));
    define(
        "WAIT(condition)",
        "for (double end = now() + 1.5; !(condition) && now() < end;) nap(0.01)".into(),
    );
    define(
        "MUST(condition, ...)",
        "do { for (double end = now() + PATIENCE; !(condition); nap(0.01)) if (now() > end) bug(__VA_ARGS__); } while (0)"
            .into(),
    );
    if story.wants_dir() {
        text += "static char dir[] = \"/tmp/repro-XXXXXX\";\n";
    }
    text
}

/// Bytes that all acts together send, which no stream exceeds, and those of the late client.
fn room(story: &Story<'_>) -> u64 {
    fn of(deed: &Deed) -> u64 {
        match deed {
            Deed::Act(_, _, Some(bytes)) => bytes.payload.len,
            Deed::Together(deeds) => deeds.iter().map(of).sum(),
            _ => 0,
        }
    }
    story.told.iter().map(|told| of(&told.deed)).sum::<u64>() + 64
}

fn clients(story: &Story<'_>) -> String {
    let mut names: Vec<(String, String)> =
        story.case.scenario.clients().iter().map(|c| (c.to_string(), c.to_string())).collect();
    if story.has(Check::Latecomer) {
        names.push(("late".into(), "a late client".into()));
    }
    let mut text = String::new();
    for (name, shown) in &names {
        let _ = writeln!(text, "static struct client {name} = {{.name = \"{shown}\", .fd = -1}};");
    }
    let listed: Vec<_> = names.iter().map(|(name, _)| format!("&{name}")).collect();
    let _ = writeln!(text, "enum {{ CLIENTS = {} }};", names.len());
    if !names.is_empty() {
        let _ = writeln!(
            text,
            "static struct client *const clients[] __attribute__((unused)) = {{{}}};",
            listed.join(", ")
        );
    }
    text
}

fn main(story: &Story<'_>) -> String {
    let port = story.case.target.fixed_port.map_or("free_port()".into(), |port| port.to_string());
    let dir = if story.wants_dir() { "\n    if (!mkdtemp(dir))\n        return 2;" } else { "" };
    let tries = tries::c(story);
    format!(
        "int main(void) {{
{tries}    /* Whatever the server leaves behind becomes ours, so that it can be found. */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    port = {port};{dir}
    launch();
    story();
    puts(\"{}\");
    finish(0);
}}
",
        story.absent()
    )
}

/// What is done, step by step; and the functions that are done at once.
fn body(story: &Story<'_>) -> (String, String) {
    let mut text = String::from("static void story(void) {\n");
    let marked = story.marked();
    for facet in &marked {
        let _ = writeln!(text, "    int {facet}_before = {};", amount(*facet));
    }
    let mut threads = Vec::new();
    let blocks: Vec<Block> = story
        .told
        .iter()
        .map(|told| Block {
            words: told.words.replace("*/", "* /"),
            code: code(story, &told.deed, &marked, &mut threads),
        })
        .filter(|block| !block.code.is_empty())
        .collect();
    for Passage { times, blocks } in text::passages(&blocks) {
        if times > 1 {
            let _ = writeln!(text, "    for (int round = 0; round < {times}; round++) {{");
        }
        text += &text::lines(blocks, if times > 1 { 8 } else { 4 }, "//");
        if times > 1 {
            text += "    }\n";
        }
    }
    let threads: String = threads
        .iter()
        .enumerate()
        .map(|(n, lines)| {
            let inner: String = lines.iter().map(|line| format!("    {line}\n")).collect();
            format!("static void *thread_{n}(void *unused) {{\n{inner}    return unused;\n}}\n\n")
        })
        .collect();
    (text + "}\n", threads)
}

fn amount(facet: Facet) -> &'static str {
    match facet {
        Facet::Processes => "alive()",
        Facet::Descriptors => "descriptors()",
        Facet::Connections => "connections()",
    }
}

fn code(story: &Story<'_>, deed: &Deed, marked: &[Facet], threads: &mut Vec<Vec<String>>) -> Vec<String> {
    match deed {
        Deed::Act(client, act, bytes) => act_code(*client, *act, *bytes),
        Deed::Signal(who, sig) => vec![format!("send_signal({}, {sig});", whom(*who))],
        Deed::Wait(condition) => vec![wait(*condition)],
        Deed::Owed(check) => owed(story, *check),
        Deed::Quiet => vec!["quiet();".into()],
        Deed::Mark => marked.iter().map(|facet| format!("{facet}_before = {};", amount(*facet))).collect(),
        Deed::Pause(ms) => vec![format!("nap({});", seconds(*ms))],
        Deed::Together(deeds) => {
            let mut names = Vec::new();
            for deed in deeds {
                let lines = code(story, deed, marked, threads);
                // What has been told once is not told again.
                let known = threads.iter().position(|known| *known == lines);
                names.push(format!("thread_{}", known.unwrap_or(threads.len())));
                if known.is_none() {
                    threads.push(lines);
                }
            }
            let (count, names) = (names.len(), names.join(", "));
            vec![format!("together({count}, (void *(*[])(void *)){{{names}}});")]
        }
    }
}

fn act_code(client: Client, act: Act, bytes: Option<Bytes>) -> Vec<String> {
    let c = format!("&{client}");
    let simple = |name: &str| vec![format!("{name}({c});")];
    let host = elsewhere(act).map_or("HOST".into(), string);
    let moves = |name: &str| bytes.map_or_else(Vec::new, |bytes| sends(name, &c, bytes));
    match act {
        Act::Connect(_) => vec![format!("dial({c}, {host});"), format!("join({c});")],
        Act::Dial(_) => vec![format!("dial({c}, {host});")],
        Act::Join => simple("join"),
        Act::ReceiveBuffer(n) => vec![format!("{client}.receive_buffer = {n};")],
        Act::SendBuffer(n) => vec![format!("{client}.send_buffer = {n};")],
        Act::Send(_) | Act::Stall { .. } => moves("send_all"),
        Act::Exchange(_) => moves("exchange"),
        Act::PingPong(_) => moves("ping_pong"),
        Act::Visit(_) => moves("visit"),
        Act::Urgent(byte) => vec![format!("urgent({c}, {byte});")],
        Act::Read => simple("read_back"),
        Act::ReadSlowly { bytes, pause_ms, times } => {
            vec![format!("read_slowly({c}, {bytes}, {}, {times});", seconds(u64::from(pause_ms)))]
        }
        Act::ReadToEnd => simple("read_to_end"),
        Act::Linger(ms) => vec![format!("linger({c}, {});", seconds(u64::from(ms)))],
        Act::HalfClose => simple("half_close"),
        Act::Close => simple("close_client"),
        Act::Reset => simple("reset"),
    }
}

/// A call that sends: bytes, their number, and how they are cut.
fn sends(name: &str, c: &str, bytes: Bytes) -> Vec<String> {
    let (size, sizes) = match bytes.payload.cut {
        Cut::Whole => ("0".into(), "0".into()),
        Cut::Every(n) => (n.to_string(), "0".into()),
        Cut::Pieces(_) => {
            let sizes: Vec<_> = bytes.sizes().iter().map(ToString::to_string).collect();
            ("0".to_owned(), format!("(const size_t[]){{{}}}", sizes.join(", ")))
        }
    };
    let rest = format!("{}, {size}, {sizes});", bytes.payload.len);
    let mut data = data(bytes);
    if let [only] = &data[..] {
        return vec![format!("{name}({c}, {only}, {rest}")];
    }
    data.iter_mut().for_each(|line| line.insert_str(0, "    "));
    data.insert(0, format!("{name}({c},"));
    if let Some(last) = data.last_mut() {
        last.push(',');
    }
    data.push(format!("    {rest}"));
    data
}

/// The bytes: as they are, if they are few.
fn data(bytes: Bytes) -> Vec<String> {
    let Bytes { client, start, payload } = bytes;
    let Payload { len, seed, class, .. } = payload;
    if let Some(literal) = bytes.literal() {
        return text::literals(&literal, b"\"?", "\"", "\"");
    }
    let palette = class.palette();
    let letters = format!("\"{}\", {}", text::escaped(palette, b"\"?"), palette.len());
    let lines = u8::from(class == Class::Line);
    vec![match class {
        Class::Ramp => format!("ramp({client}, {start}, {len})"),
        _ => format!("payload({client}, {start}, {len}, {seed}u, {letters}, {lines})"),
    }]
}

fn whom(who: Who) -> String {
    match who {
        Who::Launched(_) => "one(launched())".into(),
        Who::Acceptor(_) => "one(acceptor())".into(),
        Who::Serving(client) => format!("one(serving(&{client}))"),
        Who::Children(_) => "children()".into(),
        Who::Child(_, n) => format!("one(child({n}))"),
        Who::Tree(_) => "living()".into(),
    }
}

fn wait(condition: Condition) -> String {
    let what = match condition {
        Condition::NoZombie => "zombies() == 0".into(),
        Condition::Zombies(n) => format!("zombies() >= {n}"),
        Condition::Back(facet) => format!("{} <= {facet}_before", amount(facet)),
        Condition::QueueAtLeast(n) => format!("queued() >= {n}"),
        Condition::QueueEmpty => "queued() == 0".into(),
        Condition::ServerOfGone(client) => format!("!serving(&{client})"),
        Condition::Accepted(client) => format!("serving(&{client})"),
        Condition::Stopped(who) => format!("stopped({})", whom(who)),
        Condition::Exited(_) => "alive() >= 0 && ended".into(),
        Condition::PortFree => "!acceptor()".into(),
        Condition::Gone(_) | Condition::Listening(_) | Condition::Announced(_) | Condition::Still => {
            "alive() == 0".into()
        }
    };
    format!("WAIT({what});")
}

/// The lines that look for it.
fn owed(story: &Story<'_>, check: Check) -> Vec<String> {
    let no_more = |facet: Facet, plural: &str| {
        let now = amount(facet);
        let slack = story.slack(check);
        let mut lines = vec!["quiet();".into()];
        if slack > 0 {
            lines.push(format!("// (A few more than before are no leak: up to {slack}.)"));
        }
        lines.push(format!("MUST({now} <= {facet}_before + {slack},"));
        lines.push(format!("     \"%d {plural}, %d before\", {now}, {facet}_before);"));
        lines
    };
    match check {
        Check::Service => Vec::new(),
        Check::Lives => vec![
            "MUST(alive() && (daemonized || !ended) && acceptor(), \"the server has ended, or listens no more\");"
                .into(),
        ],
        Check::Reaped => vec![
            "quiet(); // children may be about to end".into(),
            "MUST(zombies() == 0, \"%d zombies that nobody waits for\", zombies());".into(),
        ],
        Check::Processes => no_more(Facet::Processes, "processes are left"),
        Check::Descriptors => no_more(Facet::Descriptors, "descriptors"),
        Check::Connections => no_more(Facet::Connections, "connections"),
        Check::Latecomer => vec![
            "for (int i = 0; i < CLIENTS; i++)".into(),
            "    close_client(clients[i]);".into(),
            "dial(&late, HOST);".into(),
            "join(&late);".into(),
            "exchange(&late, \"Is anybody there?\\n\", 18, 0, 0);".into(),
            "MUST(late.fd >= 0 && late.got == 18, \"a late client is not served\");".into(),
        ],
    }
}

fn filled(parts: &[Part]) -> String {
    if let [Part::Text(text)] = parts {
        return string(text);
    }
    let mut format = String::new();
    let mut values = String::new();
    for part in parts {
        match part {
            Part::Text(text) => format += &quoted(text).replace('%', "%%"),
            Part::Port => {
                format += "%d";
                values += ", port";
            }
            Part::Dir => {
                format += "%s";
                values += ", dir";
            }
        }
    }
    format!("text(\"{format}\"{values})")
}

fn string(text: &str) -> String {
    format!("\"{}\"", quoted(text))
}

fn quoted(text: &str) -> String {
    text::escaped(text.as_bytes(), b"\"?")
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a pause are few")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
