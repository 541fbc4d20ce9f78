//! `sockspec.toml`: servers to check, defaults of options, and what is known to fail.
//!
//! It is read here, with the place of every value; what the values mean as options is decided in `args`.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub mod file;
pub mod starter;
pub mod update;

mod unknown;

pub use file::File;

/// The name of the file, looked for from the current folder upward.
pub const NAME: &str = "sockspec.toml";

/// A configuration file, read.
#[derive(Debug)]
pub struct Config {
    /// Where it is.
    pub path: PathBuf,
    /// All of it, as it was written.
    pub text: String,
    /// What it says.
    pub file: File,
}

/// Something in a configuration file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// File, line and column.
    place: String,
    problem: String,
    /// The line itself, with its number; empty where the whole file is meant.
    line: String,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)?;
        if self.line.is_empty() { Ok(()) } else { write!(f, "\n{}", self.line) }
    }
}

impl Config {
    /// Reads the nearest file, from this folder upward; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or says something that means nothing.
    pub fn find(from: &Path) -> Result<Option<Self>, ConfigError> {
        let found = from.ancestors().map(|folder| folder.join(NAME)).find(|path| path.is_file());
        found.map(|path| Self::load(&path)).transpose()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or says something that means nothing.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let of_file =
            |problem: String| ConfigError { place: path.display().to_string(), problem, line: String::new() };
        let text = std::fs::read_to_string(path).map_err(|error| of_file(error.to_string()))?;
        match toml::from_str(&text) {
            Ok(file) => {
                let path = path.canonicalize().map_err(|error| of_file(error.to_string()))?;
                Ok(Self { path, text, file })
            }
            Err(error) => {
                let problem = unknown::explained(error.message());
                Err(match error.span() {
                    Some(span) => located(path, &text, span, problem),
                    None => of_file(problem),
                })
            }
        }
    }

    /// The folder of the file: paths in it start there.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// A problem with what stands there.
    #[must_use]
    pub fn problem(&self, span: Range<usize>, problem: impl Into<String>) -> ConfigError {
        located(&self.path, &self.text, span, problem.into())
    }

    /// `sockspec.toml:12`.
    #[must_use]
    pub fn place(&self, span: Range<usize>) -> String {
        let (line, _) = position(&self.text, span.start);
        format!("{}:{line}", shown(&self.path))
    }
}

/// The JSON Schema of the file, from its types.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}

fn located(path: &Path, text: &str, span: Range<usize>, problem: String) -> ConfigError {
    let (line, column) = position(text, span.start);
    let itself = text.lines().nth(line - 1).unwrap_or_default();
    ConfigError {
        place: format!("{}:{line}:{column}", shown(path)),
        problem,
        line: format!("  {line} | {}", itself.trim_end()),
    }
}

/// The path from the current folder, where it is below that.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// Line and column, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn problem(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        std::fs::write(&path, text).unwrap();
        let said = Config::load(&path).unwrap_err().to_string();
        said.replace(&format!("{}/", dir.path().display()), "")
    }

    #[rstest]
    #[case::unknown_key(
        "[check]\neffrt = 'quick'\n",
        "sockspec.toml:2:1: unknown key `effrt`; did you mean `effort`?\n  2 | effrt = 'quick'"
    )]
    #[case::unknown_table(
        "[[targets]]\n",
        "sockspec.toml:1:3: unknown key `targets`; did you mean `target`?\n  1 | [[targets]]"
    )]
    #[case::unlike_all(
        "xyzzy = 1\n",
        "sockspec.toml:1:1: unknown key `xyzzy`; known are `check`, `target`, `expect`\n  1 | xyzzy = 1"
    )]
    #[case::unknown_status(
        "[[expect]]\nclause = 'echo.exact'\nstatus = 'fails'\nreason = 'r'\n",
        "sockspec.toml:3:10: unknown value `fails`; did you mean `fail`?\n  3 | status = 'fails'"
    )]
    fn a_mistake_is_shown_where_it_stands(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(problem(text), expected);
    }

    #[rstest]
    #[case("[check\n", "sockspec.toml:1:")]
    #[case("[[target]]\nname = 'a'\n", "missing field `command`")]
    #[case("[[target]]\nname = 1\ncommand = ['a']\n", "sockspec.toml:2:8: ")]
    #[case("[[target]]\nname = 'a'\ncommand = './srv'\n", "sockspec.toml:3:11: ")]
    #[case("[[target]]\nname = 'a'\ncommand = './srv'\n", "expected an array, such as [\"a\", \"b\"]")]
    fn what_is_no_toml_or_of_another_type_is_told(#[case] text: &str, #[case] part: &str) {
        assert!(problem(text).contains(part), "{}", problem(text));
    }

    #[test]
    fn the_nearest_file_upward_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(dir.path().join(NAME), "").unwrap();
        let config = Config::find(&deep).unwrap().unwrap();
        assert_eq!(config.folder(), dir.path().canonicalize().unwrap());
    }

    #[test]
    fn the_schema_names_every_key_and_takes_the_starters() {
        let schema = schema();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for text in [
            starter::text(&starter::Guess::nothing()),
            "[[expect]]\nclause = 'a'\nreason = 'r'\nwhen = { isolation = 'no-proc' }".to_owned(),
        ] {
            let value: toml::Value = toml::from_str(&text).unwrap();
            let problems: Vec<String> = validator
                .iter_errors(&serde_json::to_value(value).unwrap())
                .map(|error| error.to_string())
                .collect();
            assert_eq!(problems, [""; 0], "{text}");
        }
        assert!(!validator.is_valid(&serde_json::json!({"check": {"effrt": "quick"}})));
        assert!(!validator.is_valid(&serde_json::json!({"check": {"effort": "quik"}})));
    }
}
