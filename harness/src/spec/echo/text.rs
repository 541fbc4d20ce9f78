//! Classes of bytes: all are data, none is a command, an end or a format.

use std::fmt::Write as _;

use proptest::strategy::BoxedStrategy;

use crate::clause::{Clause, ClauseId, Level, Need};
use crate::profile::{Model, Profile};
use crate::scenario::generate::fixed;
use crate::scenario::{Act, Class, Client, Cut, Instance, Payload, Scenario, To, act};
use crate::trace::aftermath::left_working;
use crate::trace::query::{bytes, count, judge, witness};
use crate::trace::{Acted, Exit, Fate, Kept, Span, Trace};
use crate::verdict::Verdict;

/// Every value of a byte is data.
pub(super) static BINARY: Clause = Clause {
    id: ClauseId("echo.binary"),
    level: Level::Must,
    requirement: "The server echoes every value of a byte unchanged: NUL, CR, LF, 0xFF, and what is no valid \
                  UTF-8.",
    why: "strlen ends at NUL, text modes translate line ends, decoders replace what they do not know, 0xFF \
          read into a char is EOF, and in some languages \"0\" is as good as nothing. Data that is not text loses its meaning with one such byte.",
    citations: &["RFC 862", "POSIX.1-2024 recv"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: every_class,
    check: binary,
};

/// Text that looks like a command is text.
pub(super) static HOSTILE_TEXT: Clause = Clause {
    id: ClauseId("echo.hostile-text"),
    level: Level::Must,
    requirement: "The server echoes format directives, shell metacharacters, words like \"quit\" and very long \
                  lines like any other text.",
    why: "printf(buffer) lets a client write to memory with %n; a line buffer of 1024 bytes without a check \
          lets it overwrite the stack; a service without commands that ends at \"quit\" loses what follows. The \
          cure is never to use input as a format or a command, and to bound every copy.",
    citations: &["RFC 862", "POSIX.1-2024 fprintf", "CWE-134", "CWE-120"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: every_class,
    check: hostile_text,
};

/// Control characters of clients do not reach the log.
pub(super) static LOG_CLEAN: Clause = Clause {
    id: ClauseId("echo.log-clean"),
    level: Level::Should,
    requirement: "The server does not copy control characters of its clients into its log.",
    why: "Escape sequences in a log act on the terminal of whoever reads it, and a line end forges a line. \
          The cure is to escape what comes from clients, or not to log it.",
    citations: &["CWE-117", "CWE-150"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: every_class,
    check: log_clean,
};

/// No payload ends the server.
pub(super) static NO_CRASH: Clause = Clause {
    id: ClauseId("echo.no-crash"),
    level: Level::Must,
    requirement: "The server does not crash, whatever its clients send.",
    why: "A crash is an outage that a client can call up at will, and often the visible end of a bug that \
          could do worse.",
    citations: &["RFC 862", "signal(7)", "CWE-119"],
    needs: &[Need::Echo, Need::Lasting],
    scenarios: every_class,
    check: no_crash,
};

/// Bytes of each payload, and of the one with line ends, which has to hold CR LF CR LF.
const LEN: u64 = 3000;
const LINES_LEN: u64 = 40_000;
/// Decides the bytes: with this one the payloads hold what a test below asks of them.
const SEED: u64 = 6;

/// Classes that a careless server takes for more than bytes.
const TEXTS: [Class; 4] = [Class::Text, Class::Format, Class::Shell, Class::Words];

fn payload(class: Class) -> Payload {
    let len = if class == Class::Lines { LINES_LEN } else { LEN };
    Payload { len, seed: SEED, class, ..Payload::of(len) }
}

/// A client with each class of bytes, and one more. Those with text go on as they please: the end is not their point.
fn every_class(_: &Profile) -> BoxedStrategy<Scenario> {
    let lives = (0..).zip(Class::ALL).flat_map(|(client, class)| {
        if TEXTS.contains(&class) {
            vec![
                act(client, Act::Connect(To::Target)),
                act(client, Act::Exchange(payload(class))),
                act(client, Act::Close),
            ]
        } else {
            vec![act(client, Act::Visit(payload(class)))]
        }
    });
    // Each sign, and each command, is a message of its own.
    let alone = [(12, Class::Signs, 1), (13, Class::Words, Class::WORD)].into_iter().flat_map(
        |(client, class, each)| {
            let all = Payload::of(class.palette().len() as u64).class(class).cut(Cut::Every(each));
            [act(client, Act::Connect(To::Target)), act(client, Act::PingPong(all)), act(client, Act::Close)]
        },
    );
    fixed(lives.chain(alone).chain([act(20, Act::Visit(Payload::greeting()))]))
}

fn class_of(acted: &Acted) -> Option<Class> {
    match acted.act {
        Act::Visit(payload) | Act::Exchange(payload) | Act::PingPong(payload) => Some(payload.class),
        _ => None,
    }
}

/// The client's own bytes that came back in this act.
pub(super) fn own(acted: &Acted) -> u64 {
    let len = |span: &Span| if let Span::Own { len, .. } = span { *len } else { 0 };
    acted.spans.iter().map(len).sum()
}

/// Ends the check unless each client that sent bytes of these classes got them back.
fn of_classes(scenario: &Scenario, trace: &Trace, classes: &[Class]) -> Result<String, Verdict> {
    trace.ready(Instance(0))?;
    left_working(scenario)?;
    let mut echoed = 0;
    let mut clients = 0;
    for client in scenario.clients() {
        let is_meant = |acted: &Acted| class_of(acted).is_some_and(|class| classes.contains(&class));
        // To whom not even the first small message is answered, what the message was is not the point.
        let is_deaf = |acted: &Acted| {
            matches!(acted.act, Act::PingPong(_)) && acted.received == 0 && acted.fate == Fate::Missed
        };
        if trace.acts(client).any(|acted| is_meant(acted) && !is_deaf(acted)) {
            trace.served(client).map_err(|verdict| match (verdict, last_message(trace, client)) {
                (Verdict::Fail(mut evidence), Some(message)) => {
                    let _ = write!(evidence.observed, "; the last message was {message}");
                    Verdict::Fail(evidence)
                }
                (verdict, _) => verdict,
            })?;
            clients += 1;
            echoed += trace.acts(client).map(own).sum::<u64>();
        }
    }
    witness(echoed > 0, "no such bytes were sent")?;
    Ok(format!("{} of {} came back", bytes(echoed), count(clients, "client")))
}

/// What a client that waits for each answer had sent last.
fn last_message(trace: &Trace, client: Client) -> Option<String> {
    let acted = trace.acts(client).find(|acted| matches!(acted.act, Act::PingPong(_)))?;
    let Act::PingPong(payload) = acted.act else { return None };
    let at = acted.sent.checked_sub(1)?;
    let each = match payload.cut {
        Cut::Every(each) => u64::from(each.max(1)),
        Cut::Whole => 1,
        Cut::Pieces(_) => return None,
    };
    let begin = at - at % each;
    let mut message = vec![0; usize::try_from(acted.sent - begin).ok()?];
    payload.fill(client.0, 0, begin, &mut message);
    Some(format!("\"{}\"", message.escape_ascii()))
}

fn binary(scenario: &Scenario, trace: &Trace) -> Verdict {
    use Class::{Any, Blank, Control, Ff, InvalidUtf8, Lines, Nul, Ramp, Signs};
    judge(|| of_classes(scenario, trace, &[Any, Ramp, Lines, Nul, Ff, Control, InvalidUtf8, Blank, Signs]))
}

fn hostile_text(scenario: &Scenario, trace: &Trace) -> Verdict {
    judge(|| of_classes(scenario, trace, &TEXTS))
}

fn no_crash(scenario: &Scenario, trace: &Trace) -> Verdict {
    /// SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV: signals that a program brings upon itself.
    const CRASHES: [i32; 5] = [4, 6, 7, 8, 11];
    judge(|| {
        trace.ready(Instance(0))?;
        left_working(scenario)?;
        let sent = trace.all_acts().filter(|acted| class_of(acted).is_some() && acted.sent > 0).count();
        witness(sent > 0, "no client sent anything")?;
        let expected = format!("the server lives after {}", count(sent, "payload"));
        if let Some((_, exit @ Exit::Signal(number))) = trace.exit(Instance(0))
            && CRASHES.contains(&number)
        {
            return Err(Verdict::seen(expected, format!("the server {exit}")));
        }
        if trace.last_look().is_some() {
            trace.lives(Instance(0), &expected)?;
        }
        died_with_bytes_unanswered(trace)?;
        Ok(format!("{} of all classes, no crash", count(sent, "payload")))
    })
}

/// Ends the check if a connection was cut off in the middle of one payload although others got theirs back: so it looks
/// from outside when the process of one client crashes.
fn died_with_bytes_unanswered(trace: &Trace) -> Result<(), Verdict> {
    // An end after one byte or one word is an answer to it, and no crash.
    let is_long = |acted: &Acted| class_of(acted).is_some() && !matches!(acted.act, Act::PingPong(_));
    let is_cut_off = |acted: &&Acted| is_long(acted) && acted.ending.is_some() && acted.received < acted.sent;
    let profile = trace.circumstances.profile.as_ref();
    if !profile.is_some_and(|profile| profile.forks || profile.model == Model::Prefork) {
        return Ok(());
    }
    let cut_off: Vec<_> = trace.all_acts().filter(is_cut_off).collect();
    let served = trace.all_acts().filter(|acted| acted.sent > 0 && acted.received == acted.sent).count();
    match cut_off.first() {
        Some(acted) if served > 0 => Err(Verdict::seen(
            format!("{} is served to the end, as {} were", acted.client, count(served, "other")),
            format!(
                "the connection ended after {} of {}, as when its process crashes",
                acted.received,
                bytes(acted.sent)
            ),
        )),
        _ => Ok(()),
    }
}

fn log_clean(_: &Scenario, trace: &Trace) -> Verdict {
    judge(|| {
        trace.ready(Instance(0))?;
        let sent = trace.all_acts().any(|acted| class_of(acted) == Some(Class::Control) && acted.sent > 0);
        witness(sent, "no client sent control characters")?;
        let kept = trace.output.iter().flat_map(|output| [&output.stdout, &output.stderr]);
        for stream in kept {
            if let Some((at, byte)) = control(stream) {
                return Err(Verdict::seen(
                    "what clients send is escaped in the log, or left out",
                    format!("byte {byte:#04x} at position {at} of its output"),
                ));
            }
        }
        let total: u64 = trace.output.iter().map(|output| output.stdout.total + output.stderr.total).sum();
        Ok(format!("{} of log, no control character", bytes(total)))
    })
}

/// The first control character that a log would not hold by itself: colours (ESC [) and tabs are its own.
fn control(kept: &Kept) -> Option<(usize, u8)> {
    [&kept.head, &kept.tail].into_iter().find_map(|part| {
        let is_foreign = |(at, byte): &(usize, &u8)| match byte {
            0x1b => part.get(at + 1).is_some_and(|next| !b"[]()\\=>".contains(next)),
            b'\t' | b'\n' | b'\r' | 0x00 => false,
            other => **other < 0x20 || **other == 0x7f,
        };
        part.iter().enumerate().find(is_foreign).map(|(at, byte)| (at, *byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::build::Build;

    fn made(class: Class) -> Vec<u8> {
        let payload = payload(class);
        let client = Class::ALL.iter().position(|other| *other == class).unwrap();
        let mut buffer = vec![0; usize::try_from(payload.len).unwrap()];
        payload.fill(u32::try_from(client).unwrap(), 0, 0, &mut buffer);
        buffer
    }

    fn holds(class: Class, wanted: &[u8]) -> bool {
        made(class).windows(wanted.len()).any(|window| window == wanted)
    }

    #[test]
    fn the_payloads_hold_what_they_are_for() {
        assert!(holds(Class::Lines, b"\r\n\r\n"));
        assert!(holds(Class::Lines, b"\n\n"));
        assert!(holds(Class::Nul, &[0; 8]));
        assert!(holds(Class::Ff, b"\xff\xff\xff"));
        assert!(holds(Class::Format, b"%n"));
        assert!(holds(Class::Format, b"%s"));
        assert!(holds(Class::Control, b"\x1b"));
        assert!(holds(Class::Control, b"\x04"));
        assert!(!made(Class::Text).contains(&b'\n'));
        assert!((0..=255_u8).all(|byte| made(Class::Ramp).contains(&byte)));
    }

    #[test]
    fn a_message_that_ends_the_conversation_is_told() {
        let words = Payload::of(80).class(Class::Words).cut(Cut::Every(Class::WORD));
        let talk = Act::PingPong(words);
        let trace = Build::served().acted(0, talk, |acted| (acted.sent, acted.received) = (10, 5)).trace();
        assert_eq!(last_message(&trace, Client(0)).as_deref(), Some(r#""quit\n""#));
        assert_eq!(last_message(&Build::served().visited(0).trace(), Client(0)), None);
    }

    #[test]
    fn colours_are_the_logs_own_and_bells_are_not() {
        let logged = |text: &str| {
            let control = Act::Visit(payload(Class::Control));
            log_clean(&Scenario::default(), &Build::served().done(0, control).stderr(text).trace())
        };
        assert!(matches!(logged("\x1b[32mINFO\x1b[0m\ta client\r\n"), Verdict::Pass(_)));
        assert!(matches!(logged("got \x07\x1bq"), Verdict::Fail(_)));
    }

    #[test]
    fn a_process_that_is_killed_by_its_input_crashes() {
        let visit = Act::Visit(payload(Class::Format));
        let trace = Build::served().done(0, visit).exited(0, Exit::Signal(11)).trace();
        assert!(matches!(no_crash(&Scenario::served([act(0, visit)]), &trace), Verdict::Fail(_)));
    }
}
