//! The commands that check nothing: `init`, `diff`, `man`, `completions`.

use std::fs::OpenOptions;
use std::io::{self, Write as _};

use clap::CommandFactory as _;
use sockspec::args::{Args, DiffArgs, Format, InitArgs, ManArgs, When};
use sockspec::config::{self, starter};
use sockspec::exit_code::ExitCode;
use sockspec::report::destination::Destination;
use sockspec::report::diff::{self, Snapshot};

use super::{Ended, Failure, not_writable, send, show, width};

pub(super) fn init(typed: &InitArgs) -> Ended {
    if typed.schema {
        return show(When::Never, |out| writeln!(out, "{:#}", config::schema()));
    }
    let here = std::env::current_dir().map_err(Failure::unknown)?;
    let file = here.join(config::NAME);
    let text = starter::text(&starter::Guess::of(&here));
    let mut created = OpenOptions::new().write(true).create_new(true).open(&file).map_err(|error| {
        Failure::usage(match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{} is there already; edit it, or remove it first", config::NAME)
            }
            _ => format!("write {}: {error}", config::NAME),
        })
    })?;
    created.write_all(text.as_bytes()).map_err(not_writable(Some(&file)))?;
    show(When::Never, |out| {
        writeln!(out, "wrote {}; look at its [[target]], then `sockspec check`", config::NAME)
    })
}

pub(super) fn diff(typed: &DiffArgs, color: When) -> Ended {
    let read = |file: &std::path::Path| {
        let named = |problem: String| Failure::usage(format!("{}: {problem}", file.display()));
        let text = std::fs::read(file).map_err(|error| named(error.to_string()))?;
        Snapshot::read(&text).map_err(named)
    };
    let changed = diff::compare(&read(&typed.old)?, &read(&typed.new)?);
    show(color, |out| match typed.format {
        Format::Text => diff::print(&changed, width(), out),
        Format::Json => diff::print_json(&changed, out),
    })?;
    let code = if diff::regressed(&changed) { ExitCode::DoesNotConform } else { ExitCode::Conforms };
    Ok(code.into())
}

/// Prints a manual page, from the definitions that `--help` is printed from.
pub(super) fn man(typed: &ManArgs) -> Ended {
    let mut sockspec = Args::command();
    sockspec.build();
    let page = match &typed.command {
        None => clap_mangen::Man::new(sockspec),
        Some(name) => {
            let known: Vec<String> = sockspec.get_subcommands().map(|it| it.get_name().to_owned()).collect();
            let Some(command) = sockspec.find_subcommand(name) else {
                let hint = known.join(", ");
                return Err(Failure::usage(format!("{name}: no such command; there are {hint}")));
            };
            clap_mangen::Man::new(command.clone()).title(format!("sockspec-{name}"))
        }
    };
    let mut text = Vec::new();
    page.render(&mut text).map_err(Failure::unknown)?;
    send(&Destination::Stdout, &text).map_err(not_writable(None))?;
    Ok(ExitCode::Conforms.into())
}

pub(super) fn completions(shell: clap_complete::Shell) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "sockspec", &mut script);
    send(&Destination::Stdout, &script).map_err(not_writable(None))?;
    Ok(ExitCode::Conforms.into())
}
