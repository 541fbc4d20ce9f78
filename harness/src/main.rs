//! The command `sockspec`: parses, decides, runs, prints. Everything else is in the library.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode as Status;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anstream::{AutoStream, ColorChoice};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use sockspec::args::{
    self, Command, DoctorArgs, ExplainArgs, Format, ListArgs, ServeArgs, Served, When, decide,
};
use sockspec::clause::Clause;
use sockspec::exit_code::ExitCode;
use sockspec::report::destination::Destination;
use sockspec::report::{self, WIDTH_DEFAULT};
use sockspec::trace::Isolation;
use sockspec::{doctor, sandbox, spec};

mod checking;
mod commands;
mod setup;

/// Wider terminals than this are not filled: long lines are hard to read.
const WIDTH_MAX: usize = 120;

fn main() -> Status {
    let args = match args::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print(); // Nobody reads it? Then nobody misses it.
            return if error.use_stderr() { ExitCode::Usage } else { ExitCode::Conforms }.into();
        }
    };
    let ended = match args.command {
        // First of all: it needs a process with one thread.
        Command::Serve(serve_args) => serve(&serve_args),
        Command::Check(check_args) => checking::check(*check_args, args.color),
        Command::Fuzz(fuzz_args) => commands::fuzz(&fuzz_args, args.color),
        Command::Replay(replay_args) => commands::replay(&replay_args, args.color),
        Command::Merge(merge_args) => commands::merge(&merge_args),
        Command::List(list_args) => list(&list_args, args.color),
        Command::Explain(explain_args) => explain(&explain_args, args.color),
        Command::Doctor(doctor_args) => examine(&doctor_args, args.color),
        Command::Diff(diff_args) => setup::diff(&diff_args, args.color),
        Command::Init(init_args) => setup::init(&init_args),
        Command::Man(man_args) => setup::man(&man_args),
        Command::Completions { shell } => setup::completions(shell),
    };
    ended.unwrap_or_else(|failure| {
        let _ = writeln!(io::stderr(), "error: {}", chain(failure.error.as_ref()));
        failure.code.into()
    })
}

/// Why a command could not do what it was asked for.
struct Failure {
    code: ExitCode,
    error: Box<dyn Error>,
}

type Ended = Result<Status, Failure>;

impl Failure {
    fn usage(error: impl Into<Box<dyn Error>>) -> Self {
        Self { code: ExitCode::Usage, error: error.into() }
    }

    fn unknown(error: impl Into<Box<dyn Error>>) -> Self {
        Self { code: ExitCode::Unknown, error: error.into() }
    }
}

/// An error and its sources, each said once.
fn chain(error: &dyn Error) -> String {
    let sources = std::iter::successors(error.source(), |&error| error.source());
    sources.fold(error.to_string(), |said, source| format!("{said}: {source}"))
}

fn catalogue() -> Vec<&'static Clause> {
    spec::catalogue().collect()
}

fn not_writable(file: Option<&Path>) -> impl Fn(io::Error) -> Failure {
    let name = file.map_or_else(|| "stdout".to_owned(), |file| file.display().to_string());
    move |error| Failure::usage(format!("write {name}: {error}"))
}

/// Refuses to run where the host allows less than was asked for; says why, and the remedy.
fn isolation_suffices(require: Option<Isolation>, asked: Option<Isolation>) -> Result<(), Failure> {
    if let (Some(required), Some(asked)) = (require, asked)
        && asked < required
    {
        return Err(Failure::unknown("--isolation asks for less than --require; leave one of them out"));
    }
    let Some(wanted) = asked.or(require) else { return Ok(()) };
    let host = sandbox::probe().map_err(Failure::unknown)?;
    match host.rungs.iter().find(|rung| rung.isolation == wanted) {
        Some(sandbox::Rung { outcome: Err(problem), remedy, .. }) => {
            let remedy = remedy.as_deref().unwrap_or("`sockspec doctor` says what this host allows");
            Err(Failure::unknown(format!("this isolation is not possible here: {problem}; {remedy}")))
        }
        _ => Ok(()),
    }
}

/// A flag that is set by the first SIGINT or SIGTERM; the second one ends the process at once.
fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal must find the flag unset.
        flag::register_conditional_shutdown(signal, ExitCode::Interrupted as i32, Arc::clone(&stop))?;
        flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

fn list(typed: &ListArgs, color: When) -> Ended {
    let catalogue = catalogue();
    let clauses = decide::listed(&typed.globs, typed.level.into(), &catalogue).map_err(Failure::usage)?;
    // For grep, a clause is a line.
    let width = if io::stdout().is_terminal() { width() } else { usize::MAX };
    show(color, |out| match typed.format {
        Format::Text => report::list::print(&clauses, width, out),
        Format::Json => report::list::print_json(&clauses, out),
    })
}

fn explain(typed: &ExplainArgs, color: When) -> Ended {
    let clause = decide::clause(&typed.clause, &catalogue()).map_err(Failure::usage)?;
    let shown_by: Vec<&str> = faulty_echo::defects()
        .iter()
        .filter(|defect| defect.fails.contains(&clause.id.0))
        .map(|defect| defect.name)
        .collect();
    show(color, |out| report::explain::print(clause, &shown_by, width(), out))
}

fn examine(typed: &DoctorArgs, color: When) -> Ended {
    let examination = doctor::examine().map_err(Failure::unknown)?;
    let shown = show(color, |out| match typed.format {
        Format::Text => report::doctor::print(&examination, width(), out),
        Format::Json => report::doctor::print_json(&examination, out),
    })?;
    match typed.require {
        Some(args::Require::Full) if examination.best() != Some(Isolation::Full) => {
            Ok(ExitCode::Unknown.into())
        }
        _ => Ok(shown),
    }
}

/// Serves until stopped. Exit 0: stopped; 1: cannot serve; 2: arguments not understood.
fn serve(typed: &ServeArgs) -> Ended {
    let (addr, backlog, max_children) =
        (typed.addr, i32::from(typed.backlog), typed.max_children.get().into());
    let port = |defect| {
        faulty_echo::parse_port(defect, &typed.port)
            .map_err(|error| Failure::usage(format!("--port: {error}")))
    };
    let served = match typed.served() {
        Served::Reference => {
            let port = port(None)?;
            server_under_test::serve(&server_under_test::Options { addr, port, backlog, max_children })
        }
        Served::Defect(name) => {
            let defect = faulty_echo::find(&name).ok_or_else(|| {
                Failure::usage(format!(
                    "--defect {name}: no such defect; `sockspec serve --defect list` prints all"
                ))
            })?;
            let port = port(Some(defect))?;
            faulty_echo::serve(defect, &faulty_echo::Options { addr, port, backlog, max_children })
        }
        Served::Design(name) => {
            if !good_echo::designs().iter().any(|design| design.name == name) {
                let hint = "`sockspec serve --design list` prints all";
                return Err(Failure::usage(format!("--design {name}: no such design; {hint}")));
            }
            let port = port(None)?;
            good_echo::serve(&name, &good_echo::Options { addr, port, backlog, max_children })
        }
        Served::Defects => {
            return names(
                faulty_echo::defects()
                    .iter()
                    .map(|defect| (defect.name, defect.shape.name(), defect.summary)),
            );
        }
        Served::Designs => {
            return names(good_echo::designs().iter().map(|design| (design.name, "", design.summary)));
        }
    };
    match served {
        Ok(()) => Ok(Status::SUCCESS),
        Err(error) => {
            let _ = writeln!(io::stderr(), "sockspec serve: {error}");
            Ok(Status::FAILURE)
        }
    }
}

/// A table of servers: name, shape, what it does.
fn names<'a>(rows: impl Iterator<Item = (&'a str, &'a str, &'a str)>) -> Ended {
    show(When::Never, |out| {
        for (name, shape, summary) in rows {
            let shape = if shape.is_empty() { String::new() } else { format!("{shape:<11}") };
            writeln!(out, "{name:<36} {shape}{summary}")?;
        }
        Ok(())
    })
}

/// Prints on stdout.
fn show(color: When, print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Ended {
    let shown = styled(print, choice(color)).and_then(|text| send(&Destination::Stdout, &text));
    shown.map_err(not_writable(None))?;
    Ok(ExitCode::Conforms.into())
}

/// What is printed, with its colours or without.
fn styled(print: impl FnOnce(&mut dyn Write) -> io::Result<()>, choice: ColorChoice) -> io::Result<Vec<u8>> {
    let mut out = AutoStream::new(Vec::new(), choice);
    print(&mut out)?;
    Ok(out.into_inner())
}

/// Writes to the destination. A reader who has seen enough (`| head`) is no error.
fn send(destination: &Destination, text: &[u8]) -> io::Result<()> {
    match destination.write(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Whether stdout gets colours.
fn choice(color: When) -> ColorChoice {
    match color {
        When::Always => ColorChoice::AlwaysAnsi,
        When::Never => ColorChoice::Never,
        When::Auto => AutoStream::choice(&io::stdout()),
    }
}

/// Whether a file gets colours.
fn in_file(color: When) -> ColorChoice {
    if color == When::Always { ColorChoice::AlwaysAnsi } else { ColorChoice::Never }
}

fn width() -> usize {
    terminal_size::terminal_size_of(io::stdout())
        .map_or(WIDTH_DEFAULT, |(terminal_size::Width(width), _)| usize::from(width).min(WIDTH_MAX))
}
