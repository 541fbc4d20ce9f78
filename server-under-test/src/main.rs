//! `forking-echo`: the reference server as a command. Exit 0: stopped; 1: cannot serve; 2: arguments not understood.

use server_under_test::{Options, Request, serve};
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    let (code, text) = match Options::parse(args) {
        Ok(Request::Serve(options)) => {
            serve(&options).map_or_else(|e| (1, e.to_string()), |()| (0, String::new()))
        }
        Ok(Request::Print(text)) => (0, text),
        Err(text) => (2, format!("{text}; see forking-echo --help")),
    };
    // Nobody reads it? Then nobody misses it.
    let _ = match code {
        0 => io::stdout().write_all(text.as_bytes()),
        _ => writeln!(io::stderr(), "forking-echo: {text}"),
    };
    ExitCode::from(code)
}
