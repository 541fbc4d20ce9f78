//! Which user namespace a sandbox needs, and what is mapped in it.
//!
//! An ordinary user is mapped to himself. A root that may make namespaces makes no user namespace, so that servers
//! which drop privileges work. A root that may not (in a container) maps all ids that it has, one to one.
//!
//! # References
//! user_namespaces(7), capabilities(7)

use std::fs;
use std::sync::OnceLock;

use nix::unistd::{getegid, geteuid};

use crate::error::{Attempt, Error};

/// What is to be written to the files of a new user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map {
    /// The best first; the next is tried if the kernel refuses one.
    choices: Vec<Choice>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Choice {
    setgroups: Setgroups,
    uid_map: String,
    gid_map: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setgroups {
    Allowed,
    Denied,
}

/// The map that is needed; `None` if no user namespace is. It is the same throughout the life of a process.
pub(super) fn map_needed() -> Option<&'static Map> {
    static NEEDED: OnceLock<Option<Map>> = OnceLock::new();
    NEEDED
        .get_or_init(|| {
            let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
            if uid == 0 && may_make_namespaces() {
                return None;
            }
            let itself = Choice {
                setgroups: Setgroups::Denied,
                uid_map: format!("{uid} {uid} 1"),
                gid_map: format!("{gid} {gid} 1"),
            };
            let all = || Choice {
                setgroups: Setgroups::Allowed,
                uid_map: one_to_one("/proc/self/uid_map"),
                gid_map: one_to_one("/proc/self/gid_map"),
            };
            Some(Map { choices: if uid == 0 { vec![all(), itself] } else { vec![itself] } })
        })
        .as_ref()
}

impl Map {
    /// Gives the new user namespace of this child its ids.
    pub(super) fn write(&self, child: i32) -> Result<(), Error> {
        let mut outcome = Ok(());
        for choice in &self.choices {
            outcome = choice.write(child);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

impl Choice {
    fn write(&self, child: i32) -> Result<(), Error> {
        let write = |name: &str, text: &str| {
            fs::write(format!("/proc/{child}/{name}"), text)
                .attempt(|| format!("write {name} of the enactor"))
        };
        if self.setgroups == Setgroups::Denied {
            write("setgroups", "deny")?;
        }
        // A user map that was written cannot be written again, so it comes last.
        write("gid_map", &self.gid_map)?;
        write("uid_map", &self.uid_map)
    }
}

/// All ids of our own user namespace, mapped one to one.
fn one_to_one(own_map: &str) -> String {
    let own = fs::read_to_string(own_map).unwrap_or_default();
    own.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (inside, _, count) = (fields.next()?, fields.next()?, fields.next()?);
            Some(format!("{inside} {inside} {count}\n"))
        })
        .collect()
}

/// Whether CAP_SYS_ADMIN and CAP_NET_ADMIN are in the effective set.
fn may_make_namespaces() -> bool {
    const CAP_NET_ADMIN: u64 = 1 << 12;
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|caps| caps & CAP_NET_ADMIN != 0 && caps & CAP_SYS_ADMIN != 0)
}
