//! Shows on a terminal how far a run is. Where stderr is no terminal, nothing is shown.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::page::counted;
use crate::outcome::Status;
use crate::run::Progress;

/// Redraws per second, at most.
const REDRAWS: u8 = 15;

/// A line on stderr that is gone when the run is over. It starts no thread: it moves when it is told something.
#[derive(Debug)]
pub struct ProgressLine {
    bar: ProgressBar,
    confirming: usize,
    failed: usize,
}

impl ProgressLine {
    /// Shown if stderr is a terminal.
    #[must_use]
    pub fn shown() -> Self {
        Self::to(ProgressDrawTarget::stderr_with_hz(REDRAWS))
    }

    /// Never shown.
    #[must_use]
    pub fn hidden() -> Self {
        Self::to(ProgressDrawTarget::hidden())
    }

    fn to(target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(None, target).with_style(template("{wide_msg}"));
        bar.set_message("learning what kind of server it is");
        Self { bar, confirming: 0, failed: 0 }
    }

    /// Shows one more thing that has happened.
    pub fn tell(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Planned { scenarios } => {
                self.bar.set_style(template("{bar:24} {pos}/{len} scenarios {elapsed:>4} {wide_msg}"));
                self.bar.set_length(scenarios as u64);
            }
            Progress::Enacted { done, of } => {
                self.bar.set_length(of as u64);
                self.bar.set_position(done as u64);
            }
            Progress::Confirming { clauses } => self.confirming = clauses,
            Progress::Settled(_, status) => {
                self.confirming = self.confirming.saturating_sub(1);
                self.failed += usize::from(status == Status::Fail);
            }
            Progress::Concluded(_) => {}
        }
        self.bar.set_message(self.message());
    }

    /// Takes the line off the screen.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// "1 failed, 2 clauses to confirm".
    fn message(&self) -> String {
        let mut parts = Vec::new();
        if self.failed > 0 {
            parts.push(format!("{} failed", self.failed));
        }
        if self.confirming > 0 {
            parts.push(format!("{} to confirm", counted(self.confirming, "clause")));
        }
        parts.join(", ")
    }
}

fn template(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clause::ClauseId;

    #[test]
    fn the_line_says_what_is_going_on() {
        let mut line = ProgressLine::hidden();
        line.tell(Progress::Planned { scenarios: 9 });
        line.tell(Progress::Enacted { done: 5, of: 9 });
        assert_eq!((line.bar.position(), line.bar.length(), line.message()), (5, Some(9), String::new()));
        line.tell(Progress::Confirming { clauses: 2 });
        assert_eq!(line.message(), "2 clauses to confirm");
        line.tell(Progress::Settled(ClauseId("reap.every-child"), Status::Fail));
        assert_eq!(line.message(), "1 failed, 1 clause to confirm");
        line.clear();
    }
}
