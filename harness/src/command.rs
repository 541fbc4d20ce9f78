//! How to launch the server under test.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::scenario::Sig;

/// How to launch the server under test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetCommand {
    /// Program and arguments, with `{port}`, `{addr}`, `{backlog}` and `{dir}` still in them.
    pub argv: Vec<String>,
    /// More of the environment, with the same placeholders.
    pub env: BTreeMap<String, String>,
    /// Working directory; the harness's own where it is not said.
    pub cwd: Option<PathBuf>,
    /// What `{addr}` and `HOST` say.
    pub addr: IpAddr,
    /// What `{backlog}` says, or what is expected where the command does not take it.
    pub backlog: Option<u32>,
    /// The signal by which this server is stopped.
    pub stop: Sig,
}
