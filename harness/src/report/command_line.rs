//! Writes commands so that they can be pasted into a shell.

use crate::clause::ClauseId;
use crate::command::TargetCommand;
use crate::outcome::Report;
use crate::plan::Options;
use crate::profile::Effort;
use crate::report::text::isolation;
use crate::scenario::Sig;

/// Arguments with which this program is the reference server.
pub const REFERENCE_ARGS: [&str; 7] =
    ["serve", "--addr", "{addr}", "--port", "{port}", "--backlog", "{backlog}"];

/// Whether the command is the built-in reference server: this program, with the arguments of [`REFERENCE_ARGS`].
#[must_use]
pub fn is_reference(command: &TargetCommand) -> bool {
    command.argv.get(1..).is_some_and(|args| args == REFERENCE_ARGS)
        && command.argv[0].rsplit('/').next().is_some_and(|name| name.starts_with("sockspec"))
}

/// The command as a person would type it.
#[must_use]
pub fn command(command: &TargetCommand) -> String {
    command.argv.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

/// The command that enacts one clause again, with the scenarios of this run.
#[must_use]
pub fn again(report: &Report, id: ClauseId) -> String {
    let mut words = vec![format!("sockspec check --only {id} --seed {}", report.seed)];
    words.extend(report.options.iter().cloned());
    if !is_reference(&report.target) {
        words.push(format!("-- {}", command(&report.target)));
    }
    words.join(" ")
}

/// Options of `sockspec check` that differ from the defaults, and change what a clause sees. The seed and the clause are
/// said anyway.
#[must_use]
pub fn repeat(target: &TargetCommand, options: &Options) -> Vec<String> {
    let defaults = Options::default();
    let mut said = Vec::new();
    let mut say = |option: &str, value: &str| said.push(format!("{option} {}", quote(value)));
    if options.effort != Effort::Default {
        say("--effort", if options.effort == Effort::Quick { "quick" } else { "thorough" });
    }
    if (options.clients, options.crowd) != (defaults.clients, defaults.crowd) {
        say("--clients", &options.clients.to_string());
    }
    if let Some(backlog) = target.backlog {
        say("--backlog", &backlog.to_string());
    }
    if target.addr != std::net::IpAddr::from([127, 0, 0, 1]) {
        say("--addr", &target.addr.to_string());
    }
    for (name, value) in &target.env {
        say("--env", &format!("{name}={value}"));
    }
    if let Some(cwd) = &target.cwd {
        say("--cwd", &cwd.to_string_lossy());
    }
    if target.stop != Sig::Term {
        say("--stop-signal", &target.stop.to_string());
    }
    if let Some(user) = &target.user {
        say("--user", user);
    }
    if (options.timeout_scale - defaults.timeout_scale).abs() > f64::EPSILON {
        say("--timeout-scale", &options.timeout_scale.to_string());
    }
    if let Some(rung) = options.isolation {
        say("--isolation", isolation(rung));
    }
    said
}

/// The word as a shell takes it: as it is where that is safe, else in quotes, on one line in any case.
#[must_use]
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:=@%+,{}".contains(c);
    let expands = word.contains('{') && (word.contains(',') || word.contains(".."));
    if !word.is_empty() && word.chars().all(plain) && !expands {
        return word.to_owned();
    }
    if !word.chars().any(char::is_control) {
        return format!("'{}'", word.replace('\'', r"'\''"));
    }
    let mut quoted = String::from("$'");
    for c in word.chars() {
        match c {
            '\'' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    quoted.push_str(&format!("\\{byte:03o}"));
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rstest::rstest;

    use super::*;
    use crate::report::sample;

    #[rstest]
    #[case("./srv", "./srv")]
    #[case("{port}", "{port}")]
    #[case("--port={port}", "--port={port}")]
    #[case("", "''")]
    #[case("two words", "'two words'")]
    #[case("it's", r"'it'\''s'")]
    #[case("$HOME", "'$HOME'")]
    #[case("{a,b}", "'{a,b}'")]
    #[case("~", "'~'")]
    #[case("a\nb\u{1}", r"$'a\nb\001'")]
    fn words_are_quoted_where_a_shell_would_change_them(#[case] word: &str, #[case] expected: &str) {
        assert_eq!(quote(word), expected);
    }

    #[test]
    fn a_shell_gives_back_what_was_quoted() {
        for word in ["a b", "it's", "\\", "*", "!x", "a\\'b\n\u{7f}", "{1..3}", "\u{85}", "-n", "# no"] {
            let script = format!("printf %s. {}", quote(word));
            let Ok(output) = Command::new("bash").args(["-c", &script]).output() else {
                return; // No bash here: the table above must do.
            };
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{word}."));
        }
    }

    #[test]
    fn the_built_in_reference_is_not_repeated() {
        let mut report = sample::report(Vec::new());
        report.options = vec!["--clients 40".to_owned()];
        let id = ClauseId("reap.every-child");
        assert_eq!(
            again(&report, id),
            "sockspec check --only reap.every-child --seed 1 --clients 40 -- ./srv {port}"
        );
        let program = ["bin/sockspec"].into_iter().chain(REFERENCE_ARGS);
        report.target.argv = program.map(str::to_owned).collect();
        assert_eq!(again(&report, id), "sockspec check --only reap.every-child --seed 1 --clients 40");
    }
}
