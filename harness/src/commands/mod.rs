//! The commands `fuzz`, `replay` and `merge`.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use sockspec::args::fuzz::FuzzFormat;
use sockspec::args::{FuzzArgs, MergeArgs, ReplayArgs, When, campaign};
use sockspec::case::{self, Case, SavedTrace, TRACE_SCHEMA};
use sockspec::exit_code::ExitCode;
use sockspec::plan::Options;
use sockspec::report::fuzz::{self as report, Document};
use sockspec::run;
use sockspec::run::fuzz::replay::{self, Replayed};
use sockspec::run::fuzz::{Campaign, Event, Tally};
use sockspec::verdict::Verdict;

mod emitted;
mod hold;

use super::{Ended, Failure, catalogue, choice, send, show, stop_on_signals, styled, width};
use sockspec::report::destination::Destination;

/// How often a program that reads events hears of progress.
const TELL_EVERY: Duration = Duration::from_secs(1);

pub(super) fn fuzz(typed: &FuzzArgs, color: When) -> Ended {
    let sockspec = std::env::current_exe().map_err(Failure::unknown)?;
    let (command, mut campaign) =
        campaign::campaign(typed, &catalogue(), &sockspec).map_err(Failure::usage)?;
    campaign.saved = case::kept(&typed.cases_dir, &command.argv).map_err(Failure::usage)?;
    let stop = stop_on_signals().map_err(Failure::unknown)?;
    let mut teller = Teller::new(typed, &campaign);
    let ran = run::campaign(&command, &campaign, &stop, &mut |event| teller.tell(&event));
    teller.bar.finish_and_clear();
    let result = ran.map_err(Failure::unknown)?;
    let not_kept = |error| Failure::usage(format!("write {}: {error}", typed.cases_dir.display()));
    if let Some(error) = teller.error {
        return Err(not_kept(error));
    }
    for (case, trace) in &result.found {
        let saved = SavedTrace { schema: TRACE_SCHEMA.to_owned(), case: case.clone(), trace: trace.clone() };
        saved.keep(&typed.cases_dir).map_err(not_kept)?;
    }
    let kept: Vec<String> = result
        .found
        .iter()
        .map(|(case, _)| typed.cases_dir.join(format!("{}.json", case.id())).display().to_string())
        .collect();
    match typed.format {
        FuzzFormat::Text => {
            let text = styled(
                |out| report::print(&campaign, &result, &kept, typed.quiet, width(), out),
                choice(color),
            );
            text.and_then(|text| send(&Destination::Stdout, &text)).map_err(Failure::usage)?;
        }
        FuzzFormat::Json => line(&Document::of(&campaign, &result), true)?,
        FuzzFormat::Ndjson => {
            line(&json!({"event": "ended", "report": Document::of(&campaign, &result)}), false)?;
        }
    }
    Ok(if result.interrupted {
        ExitCode::Interrupted
    } else if !result.found.is_empty() {
        ExitCode::DoesNotConform
    } else if result.not_serving.is_some() || result.tally.cases == 0 {
        ExitCode::Unknown
    } else {
        ExitCode::Conforms
    }
    .into())
}

fn line(document: &impl serde::Serialize, pretty: bool) -> Result<(), Failure> {
    let text = if pretty { serde_json::to_vec_pretty(document) } else { serde_json::to_vec(document) };
    let mut text = text.map_err(Failure::unknown)?;
    text.push(b'\n');
    send(&Destination::Stdout, &text).map_err(Failure::usage)
}

/// Tells what happens: on a terminal, or to a program; and keeps cases when they are found.
struct Teller<'a> {
    typed: &'a FuzzArgs,
    bar: ProgressBar,
    began: Instant,
    told: Instant,
    time: Option<Duration>,
    oracles: usize,
    /// The file of the failure that is being made smaller.
    unshrunk: Option<std::path::PathBuf>,
    error: Option<io::Error>,
}

impl<'a> Teller<'a> {
    fn new(typed: &'a FuzzArgs, campaign: &Campaign) -> Self {
        let shown = !typed.quiet && typed.format == FuzzFormat::Text && io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr_with_hz(4) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(campaign.cases, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        let now = Instant::now();
        let time = campaign.options.time;
        Self { typed, bar, began: now, told: now, time, oracles: 0, unshrunk: None, error: None }
    }

    fn tell(&mut self, event: &Event<'_>) {
        match event {
            Event::Began { profile, oracles } => {
                self.oracles = *oracles;
                self.event(&json!({"event": "began", "profile": profile, "clauses": oracles}));
            }
            Event::Enacted(tally) => self.enacted(tally),
            Event::Failed(case) => {
                self.bar.set_message(format!("{} fails: looking for the smallest scenario", case.clause));
                self.unshrunk = self.keep(case);
                self.event(&json!({"event": "failed", "case": case}));
            }
            Event::Settled(case) => {
                let unshrunk = self.unshrunk.take();
                let kept = case.and_then(|case| self.keep(case));
                if let Some(unshrunk) = unshrunk.filter(|file| kept.as_ref() != Some(file)) {
                    // The smaller one stands for it; or it did not come again.
                    let _ = std::fs::remove_file(unshrunk);
                }
                self.event(&json!({"event": "settled", "case": case}));
            }
        }
    }

    fn keep(&mut self, case: &Case) -> Option<std::path::PathBuf> {
        case.keep(&self.typed.cases_dir).map_err(|error| self.error = Some(error)).ok()
    }

    fn enacted(&mut self, tally: &Tally) {
        self.bar.set_position(tally.cases);
        let elapsed = self.began.elapsed();
        let rate = tally.cases * 1000 / u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let judged = tally.passes.iter().filter(|(_, times)| *times > 0).count();
        let rarest = tally.conditions.iter().min_by_key(|(_, times)| *times);
        let rarest = rarest.map(|(name, times)| format!(" · rarest: {name}, {times}")).unwrap_or_default();
        let left = self.time.map(|time| format!(" · {} s left", time.saturating_sub(elapsed).as_secs()));
        self.bar.set_message(format!(
            "{} cases, {rate} a second · {judged} of {} clauses exercised{rarest}{}",
            tally.cases,
            self.oracles,
            left.unwrap_or_default()
        ));
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            self.event(&json!({
                "event": "progress", "cases": tally.cases, "cases_per_second": rate, "broken": tally.broken,
                "clauses_exercised": judged, "conditions": tally.conditions,
            }));
        }
    }

    fn event(&mut self, event: &serde_json::Value) {
        if self.typed.format == FuzzFormat::Ndjson {
            // A reader who has gone is told of nothing more; the end of the run reports what else is wrong.
            let _ = writeln!(io::stdout(), "{event}");
        }
    }
}

pub(super) fn replay(typed: &ReplayArgs, color: When) -> Ended {
    if let Some(file) = &typed.judge {
        return judge(&SavedTrace::load(file).map_err(Failure::usage)?, color);
    }
    let meant = typed.case.as_deref().unwrap_or_default();
    let case = case::find(meant, &typed.cases_dir).map_err(Failure::usage)?;
    let target = campaign::replayed(typed, &case).map_err(Failure::usage)?;
    if let Some(language) = typed.emit {
        return emitted::emit(&Case { target, ..case }, language);
    }
    let options = Options {
        timeout_scale: typed.timeout_scale,
        isolation: typed.isolation.rung(),
        ..Options::default()
    };
    let stop = stop_on_signals().map_err(Failure::unknown)?;
    let replayed = if typed.hold {
        run::hold(&target, &case, &options, &stop, &mut |held| hold::show(held, &stop, color))
    } else {
        run::replay(&target, &case, &options, &stop)
    };
    let replayed = replayed.map_err(|error| {
        let interrupted = matches!(error, sockspec::error::Error::Interrupted);
        Failure {
            code: if interrupted { ExitCode::Interrupted } else { ExitCode::Unknown },
            error: error.into(),
        }
    })?;
    answer(&case, replayed, color)
}

fn answer(case: &Case, replayed: Replayed, color: When) -> Ended {
    use owo_colors::OwoColorize as _;
    let (code, word, said) = match replayed {
        Replayed::Failed { evidence, after } => (
            ExitCode::DoesNotConform,
            "FAILED".red().bold().to_string(),
            format!("expected {}; observed {} (enactment {after})", evidence.expected, evidence.observed),
        ),
        Replayed::Fixed { seen, times } => (
            ExitCode::Conforms,
            "FIXED".green().bold().to_string(),
            format!("{seen} (each of {times} enactments)"),
        ),
        Replayed::Unknown(reason) => (ExitCode::Unknown, "ERROR".yellow().bold().to_string(), reason),
    };
    show(color, |out| writeln!(out, "{word} {}: {said}", case.clause))?;
    Ok(code.into())
}

/// Judges a trace that was saved.
fn judge(saved: &SavedTrace, color: When) -> Ended {
    let SavedTrace { case, trace, .. } = saved;
    let replayed = match replay::judge(&case.clause, &case.scenario, trace).map_err(Failure::unknown)? {
        Verdict::Fail(evidence) => Replayed::Failed { evidence, after: 1 },
        Verdict::Pass(seen) => Replayed::Fixed { seen, times: 1 },
        Verdict::Inconclusive(doubt) | Verdict::NotApplicable(doubt) => Replayed::Unknown(doubt),
    };
    answer(case, replayed, color)
}

pub(super) fn merge(typed: &MergeArgs) -> Ended {
    let mut documents = Vec::new();
    for file in &typed.files {
        let named = |problem: String| Failure::usage(format!("{}: {problem}", file.display()));
        let text = std::fs::read(file).map_err(|error| named(error.to_string()))?;
        let document: Document = serde_json::from_slice(&text)
            .map_err(|error| named(format!("no report of `sockspec fuzz --format json`: {error}")))?;
        if document.schema != report::SCHEMA {
            return Err(named(format!(
                "schema {:?}; this program reads {:?}",
                document.schema,
                report::SCHEMA
            )));
        }
        documents.push((file.display().to_string(), document));
    }
    let joined = report::join(&documents).map_err(Failure::usage)?;
    line(&joined, true)?;
    Ok(if joined.found.is_empty() { ExitCode::Conforms } else { ExitCode::DoesNotConform }.into())
}
