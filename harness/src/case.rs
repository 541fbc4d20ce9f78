//! A failing scenario, kept by value at the moment of its discovery: a file that people can read and programs replay.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clause::ClauseId;
use crate::command::TargetCommand;
use crate::scenario::Scenario;
use crate::trace::{Isolation, Trace};
use crate::verdict::Evidence;

/// The schema of a case file.
pub const SCHEMA: &str = "sockspec.case/1";

/// Where cases are kept, from the current directory.
pub const DIR: &str = ".sockspec/cases";

/// A failing scenario and the circumstances in which it was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// [`SCHEMA`].
    pub schema: String,
    /// The clause that it breaks.
    pub clause: String,
    /// The scenario in words, for readers of the file: it is not read back.
    #[serde(default)]
    pub story: Vec<String>,
    /// What was expected and seen.
    pub evidence: Evidence,
    /// How often it failed when it was enacted: failures of enactments.
    pub rate: (u32, u32),
    /// The server.
    pub target: TargetCommand,
    /// Where it comes from.
    pub found: Found,
    /// The scenario.
    pub scenario: Scenario,
}

/// Where a case comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Version of sockspec.
    pub version: String,
    /// Release of the kernel.
    pub kernel: String,
    /// The rung of the isolation ladder.
    pub isolation: Isolation,
    /// Seed and number of the generated scenario; `None` for one of `check`.
    pub seed: Option<(u64, u64)>,
}

impl Case {
    /// A short name, from the clause and the scenario alone: the same failure found twice has one name.
    #[must_use]
    pub fn id(&self) -> String {
        // FNV-1a: stable over versions, unlike the hashes of std.
        let text = serde_json::to_string(&self.scenario).unwrap_or_default();
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{}-{:06x}", self.clause, hash & 0xff_ffff)
    }

    /// The clause, if this version knows it.
    #[must_use]
    pub fn clause_id(&self) -> Option<ClauseId> {
        crate::spec::catalogue().map(|clause| clause.id).find(|id| id.0 == self.clause)
    }
}

/// The schema of a saved trace.
pub const TRACE_SCHEMA: &str = "sockspec.trace/1";

/// What was seen when a case failed: it can be judged again on any machine, without the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedTrace {
    /// [`TRACE_SCHEMA`].
    pub schema: String,
    /// The case.
    pub case: Case,
    /// What was seen.
    pub trace: Trace,
}

impl SavedTrace {
    /// Writes it to `DIR/ID.trace`.
    ///
    /// # Errors
    /// As the file system.
    pub fn keep(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join(format!("{}.trace", self.case.id())), serde_json::to_vec(self)?)
    }

    /// Reads one.
    ///
    /// # Errors
    /// If it cannot be read, or holds something else.
    pub fn load(file: &Path) -> Result<Self, CaseError> {
        let text = fs::read(file).map_err(|error| CaseError::Read(file.to_owned(), error))?;
        let saved: Self =
            serde_json::from_slice(&text).map_err(|error| CaseError::Format(file.to_owned(), error))?;
        if saved.schema != TRACE_SCHEMA {
            return Err(CaseError::Schema(file.to_owned(), saved.schema));
        }
        Ok(saved)
    }
}

/// Why a case cannot be read.
#[derive(Debug, Error)]
pub enum CaseError {
    /// The file system.
    #[error("read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// Neither a case nor a saved trace.
    #[error("{0} holds something else than was asked for")]
    Format(PathBuf, #[source] serde_json::Error),
    /// Of another schema.
    #[error("{0} has the schema {1:?}; this program reads {SCHEMA:?} and {TRACE_SCHEMA:?}")]
    Schema(PathBuf, String),
    /// Neither a file nor a name.
    #[error("{0}: no such file, and no case of this name in {1}")]
    NoCase(String, PathBuf),
}

/// Reads a case file.
///
/// # Errors
/// If it cannot be read, or holds something else.
pub fn load(file: &Path) -> Result<Case, CaseError> {
    let text = fs::read(file).map_err(|error| CaseError::Read(file.to_owned(), error))?;
    let case: Case =
        serde_json::from_slice(&text).map_err(|error| CaseError::Format(file.to_owned(), error))?;
    if case.schema != SCHEMA {
        return Err(CaseError::Schema(file.to_owned(), case.schema));
    }
    Ok(case)
}

/// The case that is meant: a file, or a name in `dir`.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn find(meant: &str, dir: &Path) -> Result<Case, CaseError> {
    let named = dir.join(format!("{meant}.json"));
    let file = [PathBuf::from(meant), named].into_iter().find(|file| file.is_file());
    load(&file.ok_or_else(|| CaseError::NoCase(meant.to_owned(), dir.to_owned()))?)
}

/// The cases in a directory that were kept for this command, in the order of their names; none where there is no such
/// directory.
///
/// # Errors
/// If the directory or a case in it cannot be read.
pub fn kept(dir: &Path, argv: &[String]) -> Result<Vec<Case>, CaseError> {
    let unreadable = |error| CaseError::Read(dir.to_owned(), error);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry.map_err(unreadable)?.path());
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        cases.push(load(&file)?);
    }
    cases.retain(|case| case.target.argv == argv);
    Ok(cases)
}

impl Case {
    /// Writes the case to `DIR/ID.json`, all of it or nothing, and returns the name of the file. The directory is made
    /// if need be.
    ///
    /// # Errors
    /// As the file system.
    pub fn keep(&self, dir: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(dir)?;
        let file = dir.join(format!("{}.json", self.id()));
        let mut whole = tempfile::NamedTempFile::new_in(dir)?;
        whole.write_all(&serde_json::to_vec_pretty(self)?)?;
        whole.write_all(b"\n")?;
        whole.persist(&file).map_err(|error| error.error)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Act, To, act};
    use crate::verdict::Kind;

    fn case() -> Case {
        let evidence = Evidence { kind: Kind::Seen, expected: "a".into(), observed: "b".into() };
        let scenario = Scenario::served([act(0, Act::Connect(To::Target))]);
        Case {
            schema: SCHEMA.into(),
            clause: "echo.exact".into(),
            story: scenario.in_words(),
            evidence,
            rate: (3, 3),
            target: TargetCommand::from_words(["./srv", "{port}"]),
            found: Found {
                version: "0".into(),
                kernel: "6".into(),
                isolation: Isolation::Full,
                seed: Some((1, 7)),
            },
            scenario,
        }
    }

    #[test]
    fn a_case_that_was_kept_is_found_by_file_by_name_and_by_command() {
        let dir = tempfile::tempdir().unwrap();
        let (case, place) = (case(), dir.path().join("deep/cases"));
        let file = case.keep(&place).unwrap();
        assert_eq!(load(&file).unwrap(), case);
        assert_eq!(find(&case.id(), &place).unwrap(), case);
        assert_eq!(find(file.to_str().unwrap(), Path::new("nowhere")).unwrap(), case);
        assert_eq!(kept(&place, &case.target.argv).unwrap().len(), 1);
        assert_eq!(kept(&place, &["other".to_owned()]).unwrap().len(), 0);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_case_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.json");
        assert!(matches!(find("x", Path::new("nowhere")), Err(CaseError::NoCase(..))));
        fs::write(&file, "{}").unwrap();
        assert!(matches!(load(&file), Err(CaseError::Format(..))));
        let other = Case { schema: "sockspec.case/9".into(), ..case() };
        fs::write(&file, serde_json::to_vec(&other).unwrap()).unwrap();
        assert!(matches!(load(&file), Err(CaseError::Schema(..))));
        assert_eq!(kept(Path::new("nowhere"), &[]).unwrap().len(), 0);
    }
}
