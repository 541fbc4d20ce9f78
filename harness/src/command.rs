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
    /// Where the server listens if it takes no `{port}`: the baseline tells. `None`: the sandbox's own port.
    pub fixed_port: Option<u16>,
    /// The signal by which this server is stopped.
    pub stop: Sig,
}

impl TargetCommand {
    /// A command with nothing else said: on 127.0.0.1, stopped by SIGTERM.
    #[must_use]
    pub fn new(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            cwd: None,
            addr: IpAddr::from([127, 0, 0, 1]),
            backlog: None,
            fixed_port: None,
            stop: Sig::Term,
        }
    }

    /// Whether a placeholder occurs in the arguments or the environment.
    #[must_use]
    pub fn takes(&self, placeholder: &str) -> bool {
        self.argv.iter().chain(self.env.values()).any(|word| word.contains(placeholder))
    }
}
