//! A failing scenario, kept by value at the moment of its discovery: a file that people can read and programs replay.

use serde::{Deserialize, Serialize};

use crate::clause::ClauseId;
use crate::command::TargetCommand;
use crate::scenario::Scenario;
use crate::trace::Isolation;
use crate::verdict::Evidence;

/// The schema of a case file.
pub const SCHEMA: &str = "sockspec.case/1";

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
