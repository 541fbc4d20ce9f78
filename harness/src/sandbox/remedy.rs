//! What an operator can do where a host refuses a rung of the ladder: the exact command, where it can be known.
//!
//! # References
//! user_namespaces(7), namespaces(7) /proc/sys/user, clone(2) ERRORS

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::geteuid;

use crate::error::Error;

/// What would make this error go away; `None` where nothing is known.
pub(super) fn of(error: &Error) -> Option<String> {
    let Error::System { doing, source } = error else { return None };
    let errno = Errno::from_raw(source.raw_os_error()?);
    Facts::read().remedy(doing, errno)
}

/// What the host says about itself.
#[derive(Clone, Debug, Default)]
struct Facts {
    root: bool,
    /// In a container of Docker or Podman.
    container: bool,
    /// A filter of system calls is in force for us.
    seccomp: bool,
    /// kernel.apparmor_restrict_unprivileged_userns, of Ubuntu.
    apparmor_restricts: bool,
    /// kernel.unprivileged_userns_clone is 0, of Debian.
    debian_forbids: bool,
    /// Those of user.max_*_namespaces that are 0.
    zero_limits: Vec<String>,
    /// Something is mounted on a part of /proc.
    proc_is_covered: bool,
}

impl Facts {
    fn read() -> Self {
        let sysctl =
            |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let limits = ["user", "net", "pid", "mnt", "ipc"].map(|kind| format!("max_{kind}_namespaces"));
        Self {
            root: geteuid().is_root(),
            container: Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists(),
            seccomp: status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2')),
            apparmor_restricts: sysctl("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1",
            debian_forbids: sysctl("/proc/sys/kernel/unprivileged_userns_clone") == "0",
            zero_limits: limits
                .into_iter()
                .filter(|name| sysctl(&format!("/proc/sys/user/{name}")) == "0")
                .collect(),
            proc_is_covered: mounts
                .lines()
                .any(|line| line.split(' ').nth(4).is_some_and(|at| at.starts_with("/proc/"))),
        }
    }

    fn remedy(&self, doing: &str, errno: Errno) -> Option<String> {
        let refused = matches!(errno, Errno::EPERM | Errno::EACCES);
        if matches!(errno, Errno::ENOSPC | Errno::EUSERS) {
            return Some(self.raise_limits());
        }
        if errno == Errno::EINVAL && doing == "make namespaces" {
            return Some(
                "use a kernel with CONFIG_USER_NS, CONFIG_NET_NS, CONFIG_PID_NS and CONFIG_IPC_NS".into(),
            );
        }
        if refused && !self.root && self.debian_forbids {
            return Some("run: sysctl -w kernel.unprivileged_userns_clone=1".into());
        }
        if refused && !self.root && self.apparmor_restricts {
            return Some(
                "AppArmor restricts user namespaces; run: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, \
                 or give this program a profile with \"userns,\""
                    .into(),
            );
        }
        if doing == "mount proc on /proc" && errno == Errno::EPERM && self.proc_is_covered {
            return Some(
                "part of /proc is covered, so the kernel refuses a fresh one; start the container with \
                 --security-opt systempaths=unconfined"
                    .into(),
            );
        }
        if refused && (doing.starts_with("mount") || doing.starts_with("make the mounts")) {
            return Some(
                "start the container with --security-opt apparmor=unconfined --cap-add SYS_ADMIN".into(),
            );
        }
        if refused && doing.starts_with("write") && self.root {
            return Some(
                "root without CAP_SETUID, CAP_SETGID and CAP_SETFCAP cannot map its ids; start the container with \
                 --cap-add SETUID --cap-add SETGID --cap-add SETFCAP, or run as another user"
                    .into(),
            );
        }
        (errno == Errno::EPERM && (self.container || self.seccomp)).then(|| {
            "a filter of system calls refuses it; start the container with --security-opt seccomp=unconfined, or \
             with --cap-add SYS_ADMIN --cap-add NET_ADMIN"
                .into()
        })
    }

    fn raise_limits(&self) -> String {
        if self.zero_limits.is_empty() {
            return "too many namespaces exist, or too deeply nested ones: end some, or raise user.max_*_namespaces"
                .into();
        }
        let commands: Vec<String> =
            self.zero_limits.iter().map(|name| format!("sysctl -w user.{name}=10000")).collect();
        format!("run: {}", commands.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(facts: &Facts, doing: &str, errno: Errno) -> String {
        facts.remedy(doing, errno).unwrap_or_default()
    }

    #[test]
    fn each_known_refusal_has_its_own_remedy() {
        let plain = Facts::default();
        let with = |change: fn(&mut Facts)| {
            let mut facts = plain.clone();
            change(&mut facts);
            facts
        };
        let ubuntu = with(|facts| facts.apparmor_restricts = true);
        assert!(
            remedy(&ubuntu, "bring the loopback interface up", Errno::EPERM).contains("apparmor_restrict")
        );
        let debian = with(|facts| facts.debian_forbids = true);
        assert!(remedy(&debian, "make namespaces", Errno::EPERM).contains("unprivileged_userns_clone=1"));
        let zero = with(|facts| facts.zero_limits = vec!["max_user_namespaces".into()]);
        assert_eq!(
            remedy(&zero, "make namespaces", Errno::ENOSPC),
            "run: sysctl -w user.max_user_namespaces=10000"
        );
        let docker = with(|facts| (facts.container, facts.seccomp, facts.root) = (true, true, true));
        assert!(remedy(&docker, "make namespaces", Errno::EPERM).contains("seccomp=unconfined"));
        let covered = with(|facts| facts.proc_is_covered = true);
        assert!(remedy(&covered, "mount proc on /proc", Errno::EPERM).contains("systempaths=unconfined"));
        assert_eq!(remedy(&plain, "make namespaces", Errno::EPERM), "");
    }
}
