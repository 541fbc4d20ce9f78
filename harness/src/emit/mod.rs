//! Programs that show a case without sockspec: standalone, short, in the scenario's words.
//!
//! A program launches the server, enacts the steps, and exits 1 if the bug is there, 0 if not, 2 if there is no server to
//! judge. It holds only those of our helpers (`helpers.py`, `helpers.c`, `helpers.sh`) that its scenario needs.

use thiserror::Error;

use crate::case::Case;

mod c;
mod checks;
mod library;
mod python;
mod shell;
mod story;
mod text;
mod tries;

/// Language of a reproducer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Python 3 and its standard library.
    Python,
    /// C and its library.
    C,
    /// bash, ps, awk and the like.
    Shell,
}

/// Why there is no program: the language has no words for a step, or what the clause is about cannot be seen by such a
/// program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct NotTold(pub String);

/// The text of a standalone program that shows the case. It tries so many times, each in a process of its own, before
/// it says that the bug is not there: more than once for a bug that shows only now and then.
///
/// # Errors
/// [`NotTold`], with the step or the clause that cannot be told.
pub fn program(case: &Case, language: Language, tries: u32) -> Result<String, NotTold> {
    let story = story::Story { tries, ..story::Story::of(case)? };
    match language {
        Language::Python => Ok(python::program(&story)),
        Language::C => Ok(c::program(&story)),
        Language::Shell => shell::program(&story),
    }
}

#[cfg(test)]
mod tests;
