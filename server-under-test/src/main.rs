//! `forking-echo`: the reference server as a command. Exit 0: stopped; 1: cannot serve; 2: arguments not understood.

use server_under_test::{HELP, Options, serve};
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "--version") {
        let _ = write!(io::stdout(), "forking-echo {}\n\n{HELP}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let (code, message) = match Options::parse(args).map(|options| serve(&options)) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => (1, error.to_string()),
        Err(message) => (2, message + "; see forking-echo --help"),
    };
    let _ = writeln!(io::stderr(), "forking-echo: {message}");
    ExitCode::from(code)
}
