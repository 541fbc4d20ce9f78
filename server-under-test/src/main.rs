//! `forking-echo`: the reference server as a command. Exit 0: stopped; 1: cannot serve; 2: cannot read its arguments.

use server_under_test::{HELP, Options, Request, serve};
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    match Options::parse(args) {
        Ok(Request::Serve(options)) => match serve(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(1, &error.to_string()),
        },
        Ok(Request::Help) => say(HELP),
        Ok(Request::Version) => say(concat!("forking-echo ", env!("CARGO_PKG_VERSION"), "\n")),
        Err(message) => complain(2, &format!("{message}; see forking-echo --help")),
    }
}

fn say(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes()); // Nobody reads it? Then nobody misses it.
    ExitCode::SUCCESS
}

fn complain(code: u8, message: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "forking-echo: {message}");
    ExitCode::from(code)
}
