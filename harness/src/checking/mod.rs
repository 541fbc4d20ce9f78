//! The command `check`: runs every server that is meant, and writes every report that is wanted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anstream::ColorChoice;
use sockspec::args::configured::{Configured, configured};
use sockspec::args::outputs::{Output, ReportFormat};
use sockspec::args::{CheckArgs, CheckOptions, UsageError, When};
use sockspec::case;
use sockspec::config::Config;
use sockspec::error::Error;
use sockspec::exit_code::ExitCode;
use sockspec::outcome::{Cause, Finding, NOT_SELECTED, Report};
use sockspec::report::destination::{self, Destination};
use sockspec::report::ndjson::Stream;
use sockspec::report::progress::ProgressLine;
use sockspec::report::{self, Checked, Detail, Style};
use sockspec::run;

use super::{
    Ended, Failure, catalogue, choice, in_file, isolation_suffices, not_writable, send, stop_on_signals,
    styled, width,
};

mod expectations;

/// A server that is to be checked.
pub(super) struct Wanted {
    /// Its name, where it is one of a file.
    pub(super) name: Option<String>,
    pub(super) decided: CheckOptions,
}

pub(super) fn check(typed: CheckArgs, color: When) -> Ended {
    let config = config(&typed)?;
    let update = typed.update_expectations;
    let wanted = wanted(typed, config.as_ref())?;
    if !update {
        return all(wanted, color);
    }
    match config {
        Some(config) => expectations::update(wanted, &config),
        None => Err(Failure::usage(
            "--update-expectations: there is no sockspec.toml; `sockspec init` writes one",
        )),
    }
}

/// The configuration file that is meant, if there is one.
fn config(typed: &CheckArgs) -> Result<Option<Config>, Failure> {
    match &typed.config {
        _ if typed.no_config => Ok(None),
        Some(file) => Config::load(file).map(Some).map_err(Failure::usage),
        None => {
            let here = std::env::current_dir().map_err(Failure::unknown)?;
            Config::find(&here).map_err(Failure::usage)
        }
    }
}

/// The servers that are meant.
fn wanted(typed: CheckArgs, config: Option<&Config>) -> Result<Vec<Wanted>, Failure> {
    let sockspec = std::env::current_exe().map_err(Failure::unknown)?;
    let catalogue = catalogue();
    let all = match config {
        Some(config) => {
            let words: Vec<_> = std::env::args_os().collect();
            configured(&words, config, &catalogue).map_err(Failure::usage)?
        }
        None if typed.target.is_empty() => vec![Configured { name: None, args: typed, expect: Vec::new() }],
        None => {
            return Err(Failure::usage("--target: there is no sockspec.toml; `sockspec init` writes one"));
        }
    };
    let decide = |Configured { name, args, expect }: Configured| {
        let mut decided = CheckOptions::decide(args, &catalogue, &sockspec)?;
        decided.options.expect = expect;
        Ok(Wanted { name, decided })
    };
    all.into_iter().map(decide).collect::<Result<_, UsageError>>().map_err(Failure::usage)
}

/// Checks all servers, one after another.
fn all(mut wanted: Vec<Wanted>, color: When) -> Ended {
    for Wanted { decided, .. } in &mut wanted {
        let saved = case::kept(Path::new(case::DIR), &decided.command.argv).map_err(Failure::usage)?;
        decided.options.saved = saved.into_iter().map(|case| (case.clause, case.scenario)).collect();
    }
    let Some(first) = wanted.first().map(|first| first.decided.clone()) else {
        return Err(Failure::usage("there is no server to check"));
    };
    let mut sinks = sinks(&first)?;
    if let Some(keep) = first.keep.as_deref() {
        destination::prepare_directory(keep).map_err(not_writable(Some(keep)))?;
    }
    for Wanted { decided, .. } in &wanted {
        isolation_suffices(decided.require, decided.options.isolation)?;
    }
    sinks.iter_mut().try_for_each(Sink::open)?;
    let stop = stop_on_signals().map_err(Failure::unknown)?;
    let mut checked: Vec<Checked> = wanted.iter().map(not_reached).collect();
    // Whoever looks at a file while the run goes on, or after it was killed, must not see that of another run.
    for sink in sinks.iter().filter(|sink| matches!(sink.destination, Destination::Replaced(_))) {
        sink.write(&checked, &first, color)?;
    }
    let (mut failure, mut lost) = (None, None);
    for (index, wanted) in wanted.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (report, error, unwritten) = one(wanted, &mut sinks, &stop);
        checked[index].report = report;
        failure = failure.or(error);
        lost = lost.or(unwritten);
        if let Some(dir) = first.keep.as_deref() {
            let dir = wanted.name.as_deref().map_or(dir.to_owned(), |name| dir.join(name));
            report::keep::keep(&checked[index].report, &dir).map_err(not_writable(Some(&dir)))?;
        }
    }
    finish(&sinks, &checked, &first, color, failure.as_ref())?;
    if let Some(error) = lost {
        return Err(Failure::usage(format!("write the stream of events: {error}")));
    }
    match failure {
        Some(error) => {
            let interrupted = matches!(error, Error::Interrupted);
            let code = if interrupted { ExitCode::Interrupted } else { ExitCode::Unknown };
            Err(Failure { code, error: error.into() })
        }
        None => Ok(ExitCode::of_all(checked.iter().zip(&wanted).map(|(checked, wanted)| {
            ExitCode::of(&checked.report, wanted.decided.strict, wanted.decided.require)
        }))
        .into()),
    }
}

/// Checks one server, and tells the streams of it. An error of the harness leaves a report that says it of each clause.
/// The last value is why a stream could not be written.
fn one(wanted: &Wanted, sinks: &mut [Sink], stop: &AtomicBool) -> (Report, Option<Error>, Option<io::Error>) {
    let decided = &wanted.decided;
    let unjudged = not_reached(wanted).report;
    let quiet = decided.detail == Detail::Quiet;
    let streams_here = sinks.iter().any(|sink| sink.is_stream() && sink.file.is_none());
    let mut line = if quiet || streams_here { ProgressLine::hidden() } else { ProgressLine::shown() };
    let mut lost = None;
    // A reader who has seen enough is no error; a full disk is one, and is told at the end.
    let mut keep = |told: io::Result<()>| match told {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => false,
        Err(error) => {
            lost = Some(error);
            false
        }
        Ok(()) => true,
    };
    let mut streams: Vec<Stream<'_>> = sinks
        .iter_mut()
        .filter_map(|sink| sink.stream.as_mut())
        .map(|out| Stream::new(out, wanted.name.as_deref(), decided.strict, &unjudged))
        .collect();
    streams.retain_mut(|stream| keep(stream.begin()));
    let run = run::check(&decided.command, &decided.options, stop, &mut |progress| {
        line.tell(progress);
        streams.retain_mut(|stream| keep(stream.tell(&progress)));
    });
    line.clear();
    let (report, error) = match run {
        Ok(report) => (report, None),
        Err(error) => {
            let said = error.in_full();
            let broken = run::unjudged(&decided.command, &decided.options, |clause| {
                if decided.options.selects(clause) {
                    Finding::Broken(said.clone())
                } else {
                    Finding::Skipped(Cause::NotSelected, NOT_SELECTED.to_owned())
                }
            });
            (broken, Some(error))
        }
    };
    streams.retain_mut(|stream| keep(stream.end(&report)));
    drop(streams);
    (report, error, lost)
}

/// The report on a server whose turn has not come.
fn not_reached(wanted: &Wanted) -> Checked {
    let options = &wanted.decided.options;
    let report = run::unjudged(&wanted.decided.command, options, |clause| {
        let reason = if options.selects(clause) { "the run ended before it" } else { NOT_SELECTED };
        Finding::Skipped(Cause::NotSelected, reason.to_owned())
    });
    Checked { name: wanted.name.clone(), report }
}

/// One report that is wanted, and its place.
struct Sink {
    format: ReportFormat,
    file: Option<std::path::PathBuf>,
    destination: Destination,
    /// Where events go while they happen.
    stream: Option<Box<dyn Write>>,
}

fn sinks(decided: &CheckOptions) -> Result<Vec<Sink>, Failure> {
    let sink = |Output { format, file }: &Output| {
        let destination = Destination::probe(file.as_deref()).map_err(not_writable(file.as_deref()))?;
        Ok(Sink { format: *format, file: file.clone(), destination, stream: None })
    };
    decided.outputs.iter().map(sink).collect()
}

impl Sink {
    fn is_stream(&self) -> bool {
        self.format == ReportFormat::Ndjson
    }

    /// Opens the place of a stream: what is in it is lost.
    fn open(&mut self) -> Result<(), Failure> {
        if self.is_stream() {
            let open = || -> io::Result<Box<dyn Write>> {
                Ok(match &self.destination {
                    Destination::Stdout => Box::new(io::stdout()),
                    Destination::Replaced(path) => Box::new(File::create(path)?),
                    Destination::InPlace(path) => Box::new(OpenOptions::new().write(true).open(path)?),
                })
            };
            self.stream = Some(open().map_err(not_writable(self.file.as_deref()))?);
        }
        Ok(())
    }

    /// Writes the whole report; a stream has told it already.
    fn write(&self, checked: &[Checked], first: &CheckOptions, color: When) -> Result<(), Failure> {
        if self.is_stream() {
            return Ok(());
        }
        let strict = first.strict;
        let style = Style { detail: first.detail, width: width(), strict };
        let (colours, plain) = (
            if self.destination == Destination::Stdout { choice(color) } else { in_file(color) },
            // It has none, and what looks like one is the server's.
            ColorChoice::AlwaysAnsi,
        );
        let printed = match (self.format, checked) {
            (ReportFormat::Text, [one]) => {
                styled(|out| report::text::print(&one.report, &style, out), colours)
            }
            (ReportFormat::Text, all) => styled(|out| several(all, &style, out), colours),
            (ReportFormat::Json, [Checked { name: None, report }]) => {
                styled(|out| report::json::print(report, strict, out), plain)
            }
            (ReportFormat::Json, all) => styled(|out| report::json::print_all(all, strict, out), plain),
            (ReportFormat::Ndjson, _) => Ok(Vec::new()),
            (ReportFormat::Junit, all) => styled(|out| report::junit::print(all, strict, out), plain),
            (ReportFormat::Github, all) => styled(|out| report::github::print(all, strict, out), plain),
            (ReportFormat::Sarif, all) => styled(|out| report::sarif::print(all, strict, out), plain),
            (ReportFormat::Markdown, all) => styled(|out| report::markdown::print(all, strict, out), plain),
        };
        printed.and_then(|text| send(&self.destination, &text)).map_err(not_writable(self.file.as_deref()))
    }
}

/// Each server in turn, then all side by side.
fn several(all: &[Checked], style: &Style, out: &mut dyn Write) -> io::Result<()> {
    for checked in all.iter().filter(|_| style.detail != Detail::Quiet) {
        writeln!(out, "== {}\n", checked.name.as_deref().unwrap_or("server"))?;
        let detail = if style.detail == Detail::Verbose { Detail::Verbose } else { Detail::Quiet };
        report::text::print(&checked.report, &Style { detail, ..*style }, out)?;
        writeln!(out)?;
    }
    report::matrix::print(all, style.strict, style.width, out)?;
    writeln!(out, "{}", report::matrix::together(all, style.strict))
}

fn finish(
    sinks: &[Sink],
    checked: &[Checked],
    first: &CheckOptions,
    color: When,
    failure: Option<&Error>,
) -> Result<(), Failure> {
    for sink in sinks {
        // People are told of an error of the harness by its message.
        if failure.is_none() || sink.format != ReportFormat::Text {
            sink.write(checked, first, color)?;
        }
    }
    if let Some(Sink { file: Some(_), .. }) = sinks.first()
        && first.detail != Detail::Quiet
        && failure.is_none()
    {
        let verdict = match checked {
            [one] => report::text::verdict(&one.report, first.strict),
            all => report::matrix::together(all, first.strict),
        };
        let _ = writeln!(io::stderr(), "{verdict}");
    }
    let on_github = std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
    if on_github && sinks.iter().all(|sink| sink.format != ReportFormat::Github) {
        report::github::print(checked, first.strict, &mut io::stderr()).map_err(not_writable(None))?;
    }
    Ok(())
}
