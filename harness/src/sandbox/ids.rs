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

/// What is to be written to the files of a new user namespace: the best first, the next where the kernel refuses one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map {
    uid_maps: Vec<String>,
    /// With whether setgroups(2) stays allowed: who may map no group but his own may not drop one either.
    gid_maps: Vec<(Setgroups, String)>,
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
        .get_or_init(|| (!(geteuid().is_root() && may_make_namespaces())).then(Map::of_this_process))
        .as_ref()
}

impl Map {
    fn of_this_process() -> Self {
        let (uid, gid) = (geteuid(), getegid());
        let mut map = Self {
            uid_maps: vec![format!("{uid} {uid} 1")],
            gid_maps: vec![(Setgroups::Denied, format!("{gid} {gid} 1"))],
        };
        if uid.is_root() {
            map.uid_maps.insert(0, one_to_one("/proc/self/uid_map"));
            map.gid_maps.insert(0, (Setgroups::Allowed, one_to_one("/proc/self/gid_map")));
        }
        map
    }

    /// Gives the new user namespace of this child its ids.
    pub(super) fn write(&self, child: i32) -> Result<(), Error> {
        let write = |name: &str, text: &str| {
            fs::write(format!("/proc/{child}/{name}"), text)
                .attempt(|| format!("write {name} of the enactor"))
        };
        first_that_works(self.uid_maps.iter().map(|map| write("uid_map", map)))?;
        first_that_works(self.gid_maps.iter().map(|(setgroups, map)| {
            if *setgroups == Setgroups::Denied {
                write("setgroups", "deny")?;
            }
            write("gid_map", map)
        }))
    }
}

/// Tries one after another; the outcome of the last that was tried.
fn first_that_works(tries: impl Iterator<Item = Result<(), Error>>) -> Result<(), Error> {
    let mut outcome = Ok(());
    for tried in tries {
        outcome = tried;
        if outcome.is_ok() {
            break;
        }
    }
    outcome
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
