//! Joins what a configuration file says with what was typed: the file's values are read as if they stood on the
//! command line before it, so there is one definition of every option.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::ops::Range;

use clap::parser::ValueSource;
use clap::{CommandFactory as _, Parser as _};
use toml::{Spanned, Value};

use super::globs::{did_you_mean, nearest, problem};
use super::{Args, CheckArgs, Command};
use crate::clause::Clause;
use crate::config::file::{ExpectTable, TargetTable};
use crate::config::{Config, ConfigError};
use crate::expectation::{Expectation, KernelBound, When};
use crate::plan::glob_matches;

/// A server to check, as file and command line together say it.
#[derive(Debug)]
pub struct Configured {
    /// Its name in the file; `None` for one that was typed, or the reference.
    pub name: Option<String>,
    /// As if all had been typed.
    pub args: CheckArgs,
    /// What is known of it.
    pub expect: Vec<Expectation>,
}

/// The servers that are meant: those of the file, unless a command was typed.
///
/// # Errors
/// If the file says what no option takes, names what does not exist, or what was typed names no server of it.
pub fn configured(
    words: &[OsString],
    config: &Config,
    catalogue: &[&Clause],
) -> Result<Vec<Configured>, Box<dyn std::error::Error>> {
    let joined = Joined { config, words };
    let typed = joined.typed()?;
    let expect = expectations(config, catalogue)?;
    let of = |target: Option<&str>| -> Vec<Expectation> {
        let meant = |it: &&(Option<String>, Expectation)| it.0.is_none() || it.0.as_deref() == target;
        expect.iter().filter(meant).map(|(_, it)| it.clone()).collect()
    };
    let targets = &config.file.target;
    if !typed.command.is_empty() || targets.is_empty() {
        // What is known of the file's servers says nothing of another one.
        let expect = if targets.is_empty() { of(None) } else { Vec::new() };
        return Ok(vec![Configured { name: None, args: joined.with(None)?, expect }]);
    }
    let names: BTreeSet<&str> = targets.iter().map(|target| target.name.get_ref().as_str()).collect();
    for name in &typed.target {
        if !names.contains(name.as_str()) {
            let known: Vec<&str> = names.iter().copied().collect();
            return Err(format!("--target {name}: no such target; there are {}", known.join(", ")).into());
        }
    }
    targets
        .iter()
        .filter(|target| typed.target.is_empty() || typed.target.contains(target.name.get_ref()))
        .map(|target| {
            let name = target.name.get_ref();
            Ok(Configured {
                name: Some(name.clone()),
                args: joined.with(Some(target))?,
                expect: of(Some(name)),
            })
        })
        .collect()
}

struct Joined<'a> {
    config: &'a Config,
    words: &'a [OsString],
}

impl Joined<'_> {
    fn typed(&self) -> Result<CheckArgs, String> {
        check_args(self.words.iter().cloned())
    }

    /// What was typed, with what the file says of all servers and of this one where nothing was typed.
    fn with(&self, target: Option<&TargetTable>) -> Result<CheckArgs, Box<dyn std::error::Error>> {
        let matches = Args::command().try_get_matches_from(self.words).map_err(|error| said(&error))?;
        let check = matches.subcommand_matches("check").ok_or("not a check")?;
        let is_typed = |option: &str| {
            let id = option.replace('-', "_");
            check.value_source(&id) == Some(ValueSource::CommandLine)
        };
        let detail_typed = is_typed("quiet") || is_typed("verbose");
        let at = self.words.iter().position(|word| word == "check").map_or(self.words.len(), |at| at + 1);
        let mut words: Vec<OsString> = self.words[..at].to_vec();
        let of_target = target.map(TargetTable::options).unwrap_or_default();
        for (option, value) in self.config.file.check.options() {
            let of_target = of_target.iter().any(|(said, _)| *said == option);
            let of_detail = detail_typed && matches!(option, "quiet" | "verbose");
            if !is_typed(option) && !of_target && !of_detail {
                words.extend(self.option(option, value)?.into_iter().map(OsString::from));
            }
        }
        for (option, value) in of_target {
            if !is_typed(option) {
                words.extend(self.option(option, value)?.into_iter().map(OsString::from));
            }
        }
        if let Some(target) = target {
            words.extend(self.of_target(target, is_typed("cwd"))?.into_iter().map(OsString::from));
        }
        words.extend(self.words[at..].iter().cloned());
        let mut args = check_args(words)?;
        if let Some(target) = target {
            // Behind `--` clap would take it for one that was typed.
            args.command.clone_from(target.command.get_ref());
        }
        Ok(args)
    }

    /// The words for what is no option of its own name.
    fn of_target(&self, target: &TargetTable, cwd_typed: bool) -> Result<Vec<String>, ConfigError> {
        let mut words: Vec<String> = Vec::new();
        for (name, value) in &target.env {
            words.push(format!("--env={name}={value}"));
            valid(words.last()).map_err(|problem| self.config.problem(target.name.span(), problem))?;
        }
        if target.command.get_ref().first().is_none_or(String::is_empty) {
            return Err(self.config.problem(target.command.span(), "there is no program in it"));
        }
        let here = std::env::current_dir().and_then(|path| path.canonicalize()).unwrap_or_default();
        if let Some(cwd) = target.cwd.as_ref().filter(|_| !cwd_typed) {
            words.push(format!("--cwd={}", self.config.folder().join(cwd.get_ref()).display()));
            valid(words.last()).map_err(|problem| self.config.problem(cwd.span(), problem))?;
        } else if !cwd_typed && here != self.config.folder() {
            words.push(format!("--cwd={}", self.config.folder().display()));
        }
        Ok(words)
    }

    /// The words for an option, each of which clap takes.
    fn option(&self, option: &str, value: &Spanned<Value>) -> Result<Vec<String>, ConfigError> {
        let wrong = |problem: String| self.config.problem(value.span(), problem);
        let each: Vec<&Value> = match value.get_ref() {
            Value::Array(each) if matches!(option, "only" | "skip" | "report") => each.iter().collect(),
            Value::Boolean(false) if matches!(option, "strict" | "quiet" | "verbose") => Vec::new(),
            value => vec![value],
        };
        let mut words = Vec::new();
        for value in each {
            let word = match value {
                Value::Boolean(true) if matches!(option, "strict" | "quiet" | "verbose") => {
                    format!("--{option}")
                }
                Value::String(text) => format!("--{option}={}", self.below_folder(option, text)),
                Value::Integer(number) => format!("--{option}={number}"),
                Value::Float(number) => format!("--{option}={number}"),
                Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
                    return Err(wrong(format!("`{option}` takes no {}", value.type_str())));
                }
            };
            valid(Some(&word)).map_err(wrong)?;
            words.push(word);
        }
        Ok(words)
    }

    /// Paths start in the folder of the file.
    fn below_folder(&self, option: &str, text: &str) -> String {
        let path = |path: &str| self.config.folder().join(path).display().to_string();
        match (option, text.split_once('=')) {
            ("keep", _) => path(text),
            ("report", Some((format, file))) if !file.is_empty() => format!("{format}={}", path(file)),
            _ => text.to_owned(),
        }
    }
}

/// Whether `check` takes the option; the problem in one line if not.
fn valid(word: Option<&String>) -> Result<(), String> {
    let words = ["sockspec", "check"].into_iter().map(str::to_owned).chain(word.cloned());
    Args::try_parse_from(words).map(drop).map_err(|error| said(&error))
}

fn check_args(words: impl IntoIterator<Item = OsString>) -> Result<CheckArgs, String> {
    let args = Args::try_parse_from(words).map_err(|error| said(&error))?;
    match args.command {
        Command::Check(check) => Ok(*check),
        _ => Err("not a check".to_owned()),
    }
}

/// What clap says is wrong, without its hints on usage.
fn said(error: &clap::Error) -> String {
    let text = error.to_string();
    let problem = text.split("\n\n").next().unwrap_or_default();
    let lines: Vec<&str> = problem.lines().map(str::trim).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

/// The expectations of a file, each with the server of which it is true.
fn expectations(
    config: &Config,
    catalogue: &[&Clause],
) -> Result<Vec<(Option<String>, Expectation)>, ConfigError> {
    let mut names = BTreeSet::new();
    for target in &config.file.target {
        if !names.insert(target.name.get_ref().as_str()) {
            let problem = format!("a second target of the name {}", target.name.get_ref());
            return Err(config.problem(target.name.span(), problem));
        }
    }
    let mut seen: Vec<(Option<String>, Expectation)> = Vec::new();
    for table in &config.file.expect {
        let it = expectation(config, table, catalogue)?;
        let target = table.target.as_ref().map(|target| target.get_ref().clone());
        if let (Some(name), Some(said)) = (&target, &table.target)
            && !names.contains(name.as_str())
        {
            return Err(config.problem(said.span(), format!("there is no target {name}")));
        }
        let twin = seen.iter().find(|(other_target, other)| {
            (other_target, &other.clause, &other.when) == (&target, &it.clause, &it.when)
        });
        if let Some((_, twin)) = twin {
            let problem = format!("{} is expected twice, first at {}", it.clause, twin.place);
            return Err(config.problem(table.clause.span(), problem));
        }
        seen.push((target, it));
    }
    Ok(seen)
}

fn expectation(
    config: &Config,
    table: &ExpectTable,
    catalogue: &[&Clause],
) -> Result<Expectation, ConfigError> {
    let glob = table.clause.get_ref();
    let at = |span: Range<usize>, problem: String| config.problem(span, problem);
    if let Some(problem) = problem(glob) {
        return Err(at(table.clause.span(), format!("{glob}: {problem}")));
    }
    if !catalogue.iter().any(|clause| glob_matches(glob, clause.id)) {
        let hint = did_you_mean(&nearest(glob, catalogue));
        return Err(at(table.clause.span(), format!("{glob}: matches no clause{hint}")));
    }
    if table.reason.get_ref().trim().is_empty() {
        return Err(at(table.reason.span(), "a reason is missing: say why this is accepted".to_owned()));
    }
    let until = table.until.as_ref().map(|until| {
        date(until.get_ref()).ok_or_else(|| at(until.span(), "expected a date such as 2026-12-31".to_owned()))
    });
    let kernel = table.when.kernel.as_ref().map(|kernel| {
        let bounds = kernel.get_ref().split(',').map(KernelBound::parse).collect::<Result<Vec<_>, _>>();
        bounds.map_err(|problem| at(kernel.span(), problem))
    });
    Ok(Expectation {
        clause: glob.clone(),
        status: table.status,
        reason: table.reason.get_ref().clone(),
        issue: table.issue.clone(),
        until: until.transpose()?,
        when: When {
            kernel: kernel.transpose()?.unwrap_or_default(),
            isolation: table.when.isolation,
            profile: table.when.profile,
        },
        place: config.place(table.clause.span()),
    })
}

/// `2026-12-31`, from a date of TOML or a string: one form, which sorts as dates do.
fn date(value: &Value) -> Option<String> {
    let read = match value {
        Value::Datetime(date) => *date,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    let date = read.date.filter(|_| read.time.is_none())?;
    Some(format!("{:04}-{:02}-{:02}", date.year, date.month, date.day))
}
