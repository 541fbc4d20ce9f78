//! `replay --emit`: a program that shows the case, once it has been seen to do so.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use sockspec::args::fuzz::EmitArg;
use sockspec::case::Case;
use sockspec::emit::{self, Language};
use sockspec::exit_code::ExitCode;
use sockspec::report::destination::Destination;
use tempfile::TempDir;

use crate::commands::{Ended, Failure, send};

/// How often a program is run before it is offered; all at once, for it may have to wait.
const RUNS: usize = 3;
/// How often a program tries that shows the case only now and then.
const TRIES: u32 = 20;

/// Prints the program.
pub(super) fn emit(case: &Case, typed: EmitArg) -> Ended {
    let language = match typed {
        EmitArg::Python => Language::Python,
        EmitArg::C => Language::C,
        EmitArg::Sh => Language::Shell,
    };
    let program = |tries| emit::program(case, language, tries).map_err(Failure::unknown);
    let mut text = program(1)?;
    // On a port of its own a server cannot run beside itself.
    let runs = if case.target.fixed_port.is_some() { 1 } else { RUNS };
    let (mut shown, mut said) = shows(&text, language, runs)?;
    if shown < runs {
        text = program(TRIES)?;
        (shown, said) = shows(&text, language, runs)?;
    }
    if shown < runs {
        return Err(Failure::unknown(format!("the program was run, and does not show the case: {said}")));
    }
    send(&Destination::Stdout, text.as_bytes()).map_err(Failure::usage)?;
    Ok(ExitCode::Conforms.into())
}

/// Runs the program so many times at once. Returns how often it shows the case, and the last line of one that does not.
fn shows(text: &str, language: Language, runs: usize) -> Result<(usize, String), Failure> {
    let dir = TempDir::new().map_err(Failure::unknown)?;
    let (name, runner) = match language {
        Language::Python => ("show.py", "python3"),
        Language::C => ("show.c", "cc"),
        Language::Shell => ("show.sh", "bash"),
    };
    let file = dir.path().join(name);
    std::fs::write(&file, text).map_err(Failure::unknown)?;
    let built = dir.path().join("show");
    if language == Language::C {
        compile(&file, &built)?;
    }
    let start = || {
        let mut command = if language == Language::C { Command::new(&built) } else { Command::new(runner) };
        if language != Language::C {
            command.arg(&file);
        }
        started(&mut command)
    };
    let started: Vec<Child> = (0..runs).map(|_| start()).collect::<Result<_, _>>()?;
    let (mut shown, mut said) = (0, "it said nothing".to_owned());
    for program in started {
        let output = program.wait_with_output().map_err(Failure::unknown)?;
        if output.status.code() == Some(1) {
            shown += 1;
        } else if let Some(last) = last_line(&output) {
            said = last;
        }
    }
    Ok((shown, said))
}

fn compile(file: &Path, built: &Path) -> Result<(), Failure> {
    let mut command = Command::new("cc");
    command.args(["-pthread", "-o"]).arg(built).arg(file);
    let output = started(&mut command)?.wait_with_output().map_err(Failure::unknown)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure::unknown(format!("the program does not compile: {said}")))
}

fn started(command: &mut Command) -> Result<Child, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().display().to_string();
    command.spawn().map_err(|error| Failure::unknown(format!("{program}: {error}")))
}

fn last_line(output: &Output) -> Option<String> {
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().last().map(str::to_owned);
    lines(&output.stderr).or_else(|| lines(&output.stdout))
}
