//! The words of `sockspec.toml`, each value with its place. The JSON Schema is made from these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::{Spanned, Value};

use crate::expectation::Unmet;
use crate::profile::Model;
use crate::trace::Isolation;

/// A value that is read as the option of the same name would be.
pub type Said = Option<Spanned<Value>>;

/// The configuration of sockspec.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct File {
    /// Defaults for the options of `sockspec check`; the command line overrides them.
    pub check: CheckTable,
    /// Servers to check.
    pub target: Vec<TargetTable>,
    /// Clauses that are known not to pass: they fail no run, and are an error as soon as they pass.
    pub expect: Vec<ExpectTable>,
}

/// Defaults for the options of `sockspec check`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct CheckTable {
    /// Globs of the clauses that are tried.
    #[schemars(with = "Vec<String>")]
    pub only: Said,
    /// Globs of clauses that are left out.
    #[schemars(with = "Vec<String>")]
    pub skip: Said,
    /// The weakest level that is tried.
    #[schemars(with = "String", extend("enum" = ["must", "should", "may"]))]
    pub level: Said,
    /// Whether a failed SHOULD fails the run.
    #[schemars(with = "bool")]
    pub strict: Said,
    /// How much is tried for each clause.
    #[schemars(with = "String", extend("enum" = ["quick", "default", "thorough"]))]
    pub effort: Said,
    /// The most clients at once.
    #[schemars(with = "u32", range(min = 1, max = 4096))]
    pub clients: Said,
    /// Decides every generated scenario.
    #[schemars(with = "u64")]
    pub seed: Said,
    /// Servers launched side by side.
    #[schemars(with = "u32", range(min = 1, max = 1024))]
    pub jobs: Said,
    /// Ends the run after so long, such as "2min".
    #[schemars(with = "String")]
    pub time: Said,
    /// Multiplies every deadline.
    #[schemars(with = "f64")]
    pub timeout_scale: Said,
    /// How well the server is isolated from this host.
    #[schemars(with = "String", extend("enum" = ["auto", "full", "no-proc", "loopback"]))]
    pub isolation: Said,
    /// The least isolation with which the verdict counts.
    #[schemars(with = "String", extend("enum" = ["full"]))]
    pub require: Said,
    /// How the report is printed.
    #[schemars(with = "String",
               extend("enum" = ["text", "json", "ndjson", "junit", "github", "sarif", "markdown"]))]
    pub format: Said,
    /// Further reports, each FORMAT=FILE; the file from the folder of this file.
    #[schemars(with = "Vec<String>")]
    pub report: Said,
    /// Where proofs of failures are kept, from the folder of this file.
    #[schemars(with = "String")]
    pub keep: Said,
    /// Failures and the verdict only.
    #[schemars(with = "bool")]
    pub quiet: Said,
    /// Every clause with what was seen.
    #[schemars(with = "bool")]
    pub verbose: Said,
}

/// A server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TargetTable {
    /// Its name in reports and for --target.
    #[schemars(with = "String")]
    pub name: Spanned<String>,
    /// Program and arguments, with {port}, {addr}, {backlog} and {dir} where they are wanted.
    #[schemars(with = "Vec<String>", length(min = 1))]
    pub command: Spanned<Vec<String>>,
    /// Added to its environment, placeholders filled in.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Its working directory, from the folder of this file, which is also the default.
    #[schemars(with = "Option<String>")]
    pub cwd: Option<Spanned<String>>,
    /// The address that {addr} and HOST say.
    #[schemars(with = "Option<String>")]
    pub addr: Said,
    /// What the server does with a connection.
    #[schemars(with = "String", extend("enum" = ["echo"]))]
    #[serde(default)]
    pub service: Said,
    /// What {backlog} says, or the length of the accept queue that is expected.
    #[schemars(with = "Option<u32>", range(min = 0, max = 65535))]
    pub backlog: Said,
    /// The most clients that it is made for: no scenario uses more at once.
    #[schemars(with = "Option<u32>", range(min = 1, max = 4096))]
    pub clients: Said,
    /// The signal by which it is stopped.
    #[schemars(with = "Option<String>")]
    pub stop_signal: Said,
    /// The user whom it is run as, a name or UID:GID.
    #[schemars(with = "Option<String>")]
    pub user: Said,
    /// How long it may take to end after that signal, such as "30s".
    #[schemars(with = "Option<String>")]
    pub stop_within: Said,
    /// How long it may take until it listens, such as "30s".
    #[schemars(with = "Option<String>")]
    pub ready_within: Said,
    /// Multiplies every deadline.
    #[schemars(with = "Option<f64>")]
    pub timeout_scale: Said,
    /// Globs of the clauses that are tried with this server.
    #[schemars(with = "Option<Vec<String>>")]
    pub only: Said,
    /// Globs of clauses that are left out with this server.
    #[schemars(with = "Option<Vec<String>>")]
    pub skip: Said,
}

/// A clause, or several, that will not pass.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExpectTable {
    /// The id of the clause, or a glob.
    #[schemars(with = "String")]
    pub clause: Spanned<String>,
    /// What is expected of it instead of a pass.
    #[serde(default)]
    #[schemars(with = "String", extend("enum" = ["fail", "inconclusive"]))]
    pub status: Unmet,
    /// Why this is accepted.
    #[schemars(with = "String", length(min = 1))]
    pub reason: Spanned<String>,
    /// Where the mending is tracked.
    pub issue: Option<String>,
    /// The last day on which it is accepted: 2026-12-31.
    #[schemars(with = "Option<String>")]
    pub until: Option<Spanned<Value>>,
    /// Of which server it is true; of all, if it is not said.
    #[schemars(with = "Option<String>")]
    pub target: Option<Spanned<String>>,
    /// Where it is true; elsewhere nothing is expected.
    #[serde(default)]
    pub when: WhenTable,
}

/// Circumstances. What is not said may be anything.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct WhenTable {
    /// Bounds of the kernel's release, such as ">=6.1, <6.14".
    #[schemars(with = "Option<String>")]
    pub kernel: Option<Spanned<String>>,
    /// The rung of the isolation ladder.
    #[schemars(with = "String", extend("enum" = ["full", "no-proc", "loopback"]))]
    pub isolation: Option<Isolation>,
    /// How the server serves several clients, as the report says it: "fork-per-connection".
    #[schemars(with = "Option<String>")]
    pub profile: Option<Model>,
}

impl CheckTable {
    /// What is said, by the name of its option.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, &Spanned<Value>)> {
        said([
            ("only", &self.only),
            ("skip", &self.skip),
            ("level", &self.level),
            ("strict", &self.strict),
            ("effort", &self.effort),
            ("clients", &self.clients),
            ("seed", &self.seed),
            ("jobs", &self.jobs),
            ("time", &self.time),
            ("timeout-scale", &self.timeout_scale),
            ("isolation", &self.isolation),
            ("require", &self.require),
            ("format", &self.format),
            ("report", &self.report),
            ("keep", &self.keep),
            ("quiet", &self.quiet),
            ("verbose", &self.verbose),
        ])
    }
}

impl TargetTable {
    /// What is said, by the name of its option.
    #[must_use]
    pub fn options(&self) -> Vec<(&'static str, &Spanned<Value>)> {
        said([
            ("addr", &self.addr),
            ("service", &self.service),
            ("backlog", &self.backlog),
            ("clients", &self.clients),
            ("stop-signal", &self.stop_signal),
            ("user", &self.user),
            ("stop-within", &self.stop_within),
            ("ready-within", &self.ready_within),
            ("timeout-scale", &self.timeout_scale),
            ("only", &self.only),
            ("skip", &self.skip),
        ])
    }
}

fn said<'a, const N: usize>(all: [(&'static str, &'a Said); N]) -> Vec<(&'static str, &'a Spanned<Value>)> {
    all.into_iter().filter_map(|(option, said)| Some((option, said.as_ref()?))).collect()
}
