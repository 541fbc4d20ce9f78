//! In which forms a report is wanted, and where each goes.

use std::path::PathBuf;

use clap::ValueEnum;

/// The form of a report of `check`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document.
    Json,
    /// For programs, while it happens: one JSON event a line.
    Ndjson,
    /// JUnit XML, which most CI systems show.
    Junit,
    /// Annotations of a GitHub workflow.
    Github,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Markdown, for the summary of a job.
    Markdown,
}

/// One report that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its form.
    pub format: ReportFormat,
    /// Where to; `None` is stdout.
    pub file: Option<PathBuf>,
}

/// Reads `FORMAT=FILE`.
pub(super) fn output(word: &str) -> Result<Output, String> {
    let expected = "expected FORMAT=FILE, such as junit=out.xml";
    let (format, file) = word.split_once('=').ok_or(expected)?;
    let format = ReportFormat::from_str(format, true).map_err(|_| {
        let all = ReportFormat::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<String> = all.map(|value| value.get_name().to_owned()).collect();
        format!("{format}: no such format; there are {}", names.join(", "))
    })?;
    match file {
        "" => Err(expected.to_owned()),
        "-" => Err("stdout is what --format is for".to_owned()),
        file => Ok(Output { format, file: Some(file.into()) }),
    }
}

/// All reports that are wanted; that of `--format` comes first.
///
/// # Errors
/// If two of them go to one file.
pub(super) fn outputs(first: Output, further: Vec<Output>) -> Result<Vec<Output>, String> {
    let mut all = vec![first];
    for output in further {
        if let Some(file) = &output.file
            && all.iter().any(|other| other.file.as_ref() == Some(file))
        {
            return Err(format!("--report {}: two reports cannot go to one file", file.display()));
        }
        all.push(output);
    }
    Ok(all)
}
