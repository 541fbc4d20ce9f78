//! How to launch the server under test.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::clause::Clause;
use crate::scenario::Sig;

/// The variable by which a program that was started again knows that it is to be the server; it says where to listen,
/// and which call of `TargetCommand::in_process` is meant.
pub(crate) const IN_PROCESS: &str = "SOCKSPEC_IN_PROCESS";

/// Clauses beside the family `start` that are about how the listening socket was opened.
const ABOUT_THE_LISTENER: [&str; 4] = [
    "listen.queue-holds-backlog",
    "listen.backlog-not-tiny",
    "stop.restart-at-once",
    "stop.restart-beside-open-connections",
];

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
    /// Whom it is run as: a name, or UID:GID; as we are where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl TargetCommand {
    /// This program, without arguments: on 127.0.0.1, stopped by SIGTERM.
    #[must_use]
    pub fn new(program: impl Into<String>) -> Self {
        Self::from_words([program])
    }

    /// A program and its arguments.
    #[must_use]
    pub fn from_words(argv: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            cwd: None,
            addr: IpAddr::from([127, 0, 0, 1]),
            backlog: None,
            fixed_port: None,
            stop: Sig::Term,
            user: None,
        }
    }

    /// One argument more; `{port}`, `{addr}`, `{backlog}` and `{dir}` in it are filled in.
    #[must_use]
    pub fn arg(self, word: impl Into<String>) -> Self {
        self.args([word])
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.argv.extend(words.into_iter().map(Into::into));
        self
    }

    /// A variable of the environment more, with the same placeholders in its value.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// The working directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// What `{addr}` and `HOST` say.
    #[must_use]
    pub fn addr(mut self, addr: IpAddr) -> Self {
        self.addr = addr;
        self
    }

    /// What `{backlog}` says, or what is expected where the command does not take it.
    #[must_use]
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = Some(backlog);
        self
    }

    /// The signal by which this server is stopped.
    #[must_use]
    pub fn stopped_by(mut self, signal: Sig) -> Self {
        self.stop = signal;
        self
    }

    /// The user whom it is run as: a name, or UID:GID. Only root can become somebody else.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Whether a placeholder occurs in the arguments or the environment.
    #[must_use]
    pub fn takes(&self, placeholder: &str) -> bool {
        self.argv.iter().chain(self.env.values()).any(|word| word.contains(placeholder))
    }

    /// Whether the server is a function of this program (`TargetCommand::in_process`).
    #[must_use]
    pub fn is_in_process(&self) -> bool {
        self.env.contains_key(IN_PROCESS)
    }

    /// Why a clause is not about this server, if it is not: a function that is given its listening socket has not
    /// opened it.
    #[must_use]
    pub fn exempt(&self, clause: &Clause) -> Option<&'static str> {
        let about_the_listener = clause.id.family() == "start" || ABOUT_THE_LISTENER.contains(&clause.id.0);
        (self.is_in_process() && about_the_listener)
            .then_some("the listening socket was opened by sockspec, and the server was given it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;

    #[test]
    fn a_function_is_not_asked_how_its_socket_was_opened() {
        let command = TargetCommand::new("./srv").args(["--port", "{port}"]).env("A", "{backlog}");
        assert_eq!(command.argv, ["./srv", "--port", "{port}"]);
        assert!(command.takes("{backlog}") && !command.takes("{addr}"));
        let exempt = |command: &TargetCommand| {
            let clauses = spec::catalogue().filter(|clause| command.exempt(clause).is_some());
            clauses.filter(|clause| clause.id.family() != "start").count()
        };
        assert_eq!(exempt(&command), 0);
        assert_eq!(exempt(&command.env(IN_PROCESS, "")), ABOUT_THE_LISTENER.len());
    }
}
