//! All that one launch of the target may vary.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The circumstances of one launch. The default is the usual one: everything at its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setting {
    /// What `{port}` and `PORT` say instead of the port ("0", "65536", "abc").
    pub port: Option<String>,
    /// What `{backlog}` says instead of the declared backlog.
    pub backlog: Option<u32>,
    /// `net.core.somaxconn` of the network namespace, set before the launch.
    pub somaxconn: Option<u32>,
    /// Maximum of `tcp_rmem` and `tcp_wmem` in bytes, set before the launch: small values stall early.
    pub buffers: Option<u32>,
    /// Descriptors 0, 1 and 2.
    pub stdio: Stdio,
    /// The working directory.
    pub cwd: Cwd,
    /// So many descriptors more are open at exec, from number 3 on.
    pub inherited: u32,
    /// Disposition and mask of SIGCHLD at exec.
    pub sigchld: Disposition,
    /// Disposition of SIGPIPE at exec.
    pub sigpipe: Disposition,
    /// Soft and hard limits at exec.
    pub rlimits: Vec<(Resource, u64)>,
    /// So many children exist before the exec, and exit when the server has been told to listen.
    pub foreign_children: u32,
    /// More of the environment.
    pub env: Vec<(String, String)>,
}

/// Where descriptors 0, 1 and 2 lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stdio {
    /// stdin at /dev/null, stdout and stderr kept.
    #[default]
    Kept,
    /// All three closed.
    Closed,
    /// stdout and stderr are pipes of which the reading ends are closed as soon as the server listens.
    BrokenPipe,
    /// stdout and stderr are pipes that nobody reads, full from the start.
    FullPipe,
}

/// The working directory of the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cwd {
    /// As the user said.
    #[default]
    Given,
    /// A directory that was removed after it was entered.
    Removed,
}

/// State of a signal at exec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// SIG_DFL, not blocked.
    #[default]
    Default,
    /// SIG_IGN.
    Ignored,
    /// SIG_DFL, blocked.
    Blocked,
}

/// Something that getrlimit(2) bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// RLIMIT_NOFILE: the highest descriptor number plus one.
    Descriptors,
    /// Processes and threads of the target: `kernel.pid_max` of the pid namespace, or RLIMIT_NPROC.
    Processes,
    /// RLIMIT_FSIZE, bytes.
    FileSize,
    /// RLIMIT_STACK, bytes.
    Stack,
}

impl Setting {
    /// Whether nothing is varied.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "descriptors",
            Self::Processes => "processes",
            Self::FileSize => "file size",
            Self::Stack => "stack",
        })
    }
}

impl fmt::Display for Setting {
    /// Says what is varied: nothing for the usual setting, else " with ...".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(port) = &self.port {
            parts.push(format!("port {port:?}"));
        }
        if let Some(n) = self.backlog {
            parts.push(format!("backlog {n}"));
        }
        if let Some(n) = self.somaxconn {
            parts.push(format!("somaxconn {n}"));
        }
        if let Some(n) = self.buffers {
            parts.push(format!("TCP buffers of {n} bytes"));
        }
        match self.stdio {
            Stdio::Kept => {}
            Stdio::Closed => parts.push("descriptors 0, 1 and 2 closed".into()),
            Stdio::BrokenPipe => parts.push("stdout and stderr on pipes whose reader has left".into()),
            Stdio::FullPipe => parts.push("stdout and stderr on full pipes".into()),
        }
        if self.cwd == Cwd::Removed {
            parts.push("its working directory removed".into());
        }
        if self.inherited > 0 {
            parts.push(format!("{} inherited descriptors", self.inherited));
        }
        for (name, disposition) in [("SIGCHLD", self.sigchld), ("SIGPIPE", self.sigpipe)] {
            match disposition {
                Disposition::Default => {}
                Disposition::Ignored => parts.push(format!("{name} ignored")),
                Disposition::Blocked => parts.push(format!("{name} blocked")),
            }
        }
        for (resource, value) in &self.rlimits {
            parts.push(format!("a limit of {value} for {resource}"));
        }
        if self.foreign_children > 0 {
            parts.push(format!("{} children that it did not make", self.foreign_children));
        }
        for (key, value) in &self.env {
            parts.push(format!("{key}={value}"));
        }
        if parts.is_empty() { Ok(()) } else { write!(f, " with {}", parts.join(", ")) }
    }
}
