//! What can go wrong in the harness itself. The target's faults are verdicts, never errors.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// The harness failed.
#[derive(Debug, Error)]
pub enum Error {
    /// A system call, file or namespace said no.
    #[error("{doing}")]
    System {
        /// What was attempted, with the name of the object: "read /proc/412/stat".
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A message between the harness's own processes was not what it should be.
    #[error("{doing}: {problem}")]
    Protocol {
        /// What was attempted.
        doing: &'static str,
        /// What was wrong.
        problem: String,
    },
    /// The enactor, pid 1 of the sandbox, ended without an answer.
    #[error("the enactor ended without an answer ({0})")]
    EnactorDied(String),
    /// An enactment outlived `Limits::enactment_max`.
    #[error("the enactment did not end within {0:?}")]
    TooLong(Duration),
    /// The run was interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// A system call's error with what was attempted.
    pub fn system(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { doing: doing.into(), source: source.into() }
    }
}

impl Error {
    /// The error and its sources, in one line.
    #[must_use]
    pub fn in_full(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}

/// Adds to an error what was attempted.
pub trait Attempt<T> {
    /// Says what was attempted: "read /proc/412/stat".
    ///
    /// # Errors
    /// The same as before, as [`Error::System`].
    fn attempt(self, doing: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Attempt<T> for Result<T, E> {
    fn attempt(self, doing: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::system(doing(), source))
    }
}
