//! Keeps what proves each failure: a directory for each failed clause, with scenario, trace and stderr.

use std::fs;
use std::io;
use std::path::Path;

use crate::outcome::{Report, Status};

/// Writes `DIR/ID/scenario.json`, `trace.json` and `stderr` for each failed clause; what an earlier run left there is
/// replaced. A failure without a scenario (the server never served) has its stderr only.
///
/// # Errors
/// As the file system.
pub fn keep(report: &Report, dir: &Path) -> io::Result<()> {
    for outcome in report.outcomes.iter().filter(|outcome| outcome.finding.status() == Status::Fail) {
        let place = dir.join(outcome.clause.id.0);
        fs::create_dir_all(&place)?;
        let Some(counterexample) = &outcome.counterexample else {
            fs::write(place.join("stderr"), report.stderr.join("\n"))?;
            continue;
        };
        let failure = &counterexample.failure;
        fs::write(place.join("scenario.json"), serde_json::to_vec_pretty(&failure.scenario)?)?;
        fs::write(place.join("trace.json"), serde_json::to_vec_pretty(&failure.trace)?)?;
        let stderr = failure.trace.output.iter().map(|output| output.stderr.text());
        fs::write(place.join("stderr"), stderr.collect::<String>())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use crate::scenario::Scenario;
    use crate::trace::Trace;

    #[test]
    fn what_is_kept_can_be_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let report = sample::report(vec![sample::passed(), sample::failed(), sample::warned()]);
        keep(&report, dir.path()).unwrap();
        let place = dir.path().join("reap.every-child");
        let failure = &report.outcomes[1].counterexample.as_ref().unwrap().failure;
        let scenario: Scenario =
            serde_json::from_slice(&fs::read(place.join("scenario.json")).unwrap()).unwrap();
        let trace: Trace = serde_json::from_slice(&fs::read(place.join("trace.json")).unwrap()).unwrap();
        assert_eq!((&scenario, &trace), (&failure.scenario, &failure.trace));
        assert!(fs::read_to_string(place.join("stderr")).unwrap().starts_with("listening on"));
        assert!(dir.path().join("listen.value/stderr").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
