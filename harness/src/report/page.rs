//! A page of text: wraps words, indents what goes on, and keeps control bytes from the terminal.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::time::Duration;

use anstream::adapter::strip_str;
use owo_colors::OwoColorize as _;

/// Column at which the text of a field begins.
const FIELD: usize = 13;

/// Characters of one line of the server's output that are shown.
const LINE_MAX: usize = 240;

/// Where text goes, and how wide it may be.
pub(crate) struct Page<'a> {
    out: &'a mut dyn Write,
    width: usize,
    /// Whether the next line stands below an empty one, or is the first.
    after_gap: bool,
}

impl<'a> Page<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, width: usize) -> Self {
        Self { out, width: width.max(40), after_gap: true }
    }

    /// One line as it is, but that no CI takes it for a command.
    pub(crate) fn line(&mut self, text: impl Display) -> io::Result<()> {
        self.after_gap = false;
        writeln!(self.out, "{}", inert(&text.to_string()))
    }

    /// An empty line, unless there is one, or nothing, above.
    pub(crate) fn gap(&mut self) -> io::Result<()> {
        if self.after_gap {
            return Ok(());
        }
        self.after_gap = true;
        writeln!(self.out)
    }

    /// Wrapped words, every line after `indent` blanks.
    pub(crate) fn paragraph(&mut self, indent: usize, text: &str) -> io::Result<()> {
        self.hanging("", indent, indent, text)
    }

    /// `lead` (a styled text of `lead_width` columns), then wrapped words; further lines after `indent` blanks.
    pub(crate) fn hanging(
        &mut self,
        lead: &str,
        lead_width: usize,
        indent: usize,
        text: &str,
    ) -> io::Result<()> {
        let pad = if lead.is_empty() { lead_width } else { 0 };
        let lines =
            wrap(&clean(text), self.width.saturating_sub(lead_width), self.width.saturating_sub(indent));
        for (index, line) in lines.iter().enumerate() {
            match index {
                0 => self.line(format_args!("{}{lead}{line}", " ".repeat(pad)))?,
                _ => self.line(format_args!("{}{line}", " ".repeat(indent)))?,
            }
        }
        Ok(())
    }

    /// A named field of a finding, its text wrapped.
    pub(crate) fn field(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.hanging(&label(name), FIELD, FIELD, text)
    }

    /// A field that must stay on one line, because it is to be pasted.
    pub(crate) fn field_raw(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.line(format_args!("{}{}", label(name), clean(text)))
    }

    /// A field of several lines, each cut rather than wrapped.
    pub(crate) fn field_lines(&mut self, name: &str, lines: &[String]) -> io::Result<()> {
        for (index, line) in lines.iter().enumerate() {
            let lead = if index == 0 { label(name) } else { " ".repeat(FIELD) };
            self.line(format_args!("{lead}{}", cut(&clean(line)).dimmed()))?;
        }
        Ok(())
    }
}

fn label(name: &str) -> String {
    let padded = format!("  {name:<width$}", width = FIELD - 2);
    padded.dimmed().to_string()
}

/// Lines of at most `first` and then `rest` characters; a longer word has a line of its own. A `·` stays at the end of
/// its line. Never empty.
pub(crate) fn wrap(text: &str, first: usize, rest: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.replace(" · ", "\u{a0}· ").split_ascii_whitespace() {
        let width = if lines.is_empty() { first } else { rest };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word.replace('\u{a0}', " "));
    }
    lines.push(line);
    lines
}

/// The text without anything that moves the cursor, changes the terminal or turns the direction of writing.
pub(crate) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => cleaned.push(' '),
            '\t' => cleaned.push_str("    "),
            c if u32::from(c) < 0x80 && c.is_control() => {
                let _ = write!(cleaned, "\\x{:02x}", u32::from(c));
            }
            c if c.is_control() || turns(c) => {
                let _ = write!(cleaned, "\\u{{{:x}}}", u32::from(c));
            }
            c => cleaned.push(c),
        }
    }
    cleaned
}

/// The line so that GitHub does not obey it: there `::error::text` is a command, blanks before it or not, and
/// `##[error]text` is one anywhere, whoever wrote it. Colours are taken away only later, so they hide neither.
fn inert(line: &str) -> String {
    let shown = strip_str(line).to_string();
    let is_command = shown.trim_start().strip_prefix("::").is_some_and(|command| {
        command.starts_with(|c: char| c.is_ascii_alphabetic()) && command.contains("::")
    });
    let line = line.replace("##[", "#\\x23[");
    if is_command { line.replacen(':', "\\x3a", 1) } else { line }
}

/// Separators of lines, and marks of direction, which would show another text than there is.
fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn cut(line: &str) -> String {
    if line.chars().count() <= LINE_MAX {
        return line.to_owned();
    }
    line.chars().take(LINE_MAX).chain(" ...".chars()).collect()
}

/// `90 ms`, `3.1 s`, `2 min 5 s`.
pub(crate) fn span(duration: Duration) -> String {
    match duration.as_secs() {
        0 if duration.as_millis() < 1000 => format!("{} ms", duration.as_millis()),
        seconds @ 0..60 => format!("{seconds}.{} s", duration.subsec_millis() / 100),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// `1 clause`, `2 clauses`.
pub(crate) fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use anstream::StripStream;

    use super::*;

    #[test]
    fn words_are_wrapped_and_none_is_lost() {
        assert_eq!(wrap("one two three", 7, 7), ["one two", "three"]);
        assert_eq!(wrap("one two three", 3, 9), ["one", "two three"]);
        assert_eq!(wrap("a-very-long-word b", 4, 4), ["a-very-long-word", "b"]);
        assert_eq!(wrap("", 4, 4), [""]);
    }

    #[test]
    fn a_dot_stays_with_the_step_before_it() {
        assert_eq!(wrap("connect c0 · close c0", 14, 14), ["connect c0 ·", "close c0"]);
    }

    #[test]
    fn control_bytes_become_visible() {
        assert_eq!(clean("a\u{1b}[31mred\u{7}\rb\tc"), "a\\x1b[31mred\\x07\\x0db    c");
        assert_eq!(clean("\u{9b}\u{202e}é"), "\\u{9b}\\u{202e}é");
    }

    #[test]
    fn no_line_is_a_command_to_a_ci() {
        assert_eq!(inert("   ::error file=a::b"), "   \\x3a:error file=a::b");
        assert_eq!(inert("::Stop-Commands::x"), "\\x3a:Stop-Commands::x");
        assert_eq!(inert("at ##[error]x"), "at #\\x23[error]x");
        for harmless in ["::1 is connected", "::ffff:10.0.0.1 left", "at ::error::", "## [a]"] {
            assert_eq!(inert(harmless), harmless);
        }
    }

    #[test]
    fn what_a_server_wrote_is_no_command_once_its_colours_are_gone() {
        let mut text = StripStream::new(Vec::new());
        let lines = ["begins".to_owned(), "::error::x".to_owned()];
        Page::new(&mut text, 80).field_lines("stderr", &lines).unwrap();
        let text = String::from_utf8(text.into_inner()).unwrap();
        assert_eq!(text, "  stderr     begins\n             \\x3a:error::x\n");
    }

    #[test]
    fn spans_read_well() {
        let read = |ms| span(Duration::from_millis(ms));
        assert_eq!([read(0), read(90), read(3149), read(125_000)], ["0 ms", "90 ms", "3.1 s", "2 min 5 s"]);
    }
}
