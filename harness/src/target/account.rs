//! The user whom the server is run as.

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgrouplist};

/// A user of this host, with the groups that a login gives him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) groups: Vec<Gid>,
}

impl Account {
    /// Looks up `nobody`, `65534`, `nobody:nogroup` or `65534:65534`. A number need not be in the database if it has a
    /// group with it.
    ///
    /// # Errors
    /// Says who or what is not known.
    pub fn find(said: &str) -> Result<Self, String> {
        let (user, group) = said.split_once(':').map_or((said, None), |(user, group)| (user, Some(group)));
        let failed = |errno: Errno| format!("user {said}: {}", errno.desc());
        let number = user.parse().ok().map(Uid::from_raw);
        let known = number.map_or_else(|| User::from_name(user), User::from_uid).map_err(failed)?;
        let gid = match group {
            None => None,
            Some(group) => match group.parse() {
                Ok(gid) => Some(Gid::from_raw(gid)),
                Err(_) => match Group::from_name(group).map_err(failed)? {
                    Some(known) => Some(known.gid),
                    None => return Err(format!("there is no group {group:?}")),
                },
            },
        };
        match (known, number, gid) {
            (Some(user), _, None) => {
                let name = std::ffi::CString::new(user.name).unwrap_or_default();
                let groups = getgrouplist(&name, user.gid).map_err(failed)?;
                Ok(Self { uid: user.uid, gid: user.gid, groups })
            }
            (Some(User { uid, .. }), _, Some(gid)) | (None, Some(uid), Some(gid)) => {
                Ok(Self { uid, gid, groups: vec![gid] })
            }
            (None, Some(_), None) => {
                Err(format!("user {said} is not known here; give a group too: {said}:GID"))
            }
            (None, None, _) => Err(format!("there is no user {user:?}")),
        }
    }

    /// Whether we are that user already, or root, who can become anybody.
    #[must_use]
    pub fn can_be_had(&self) -> bool {
        self.is_ours() || geteuid().is_root()
    }

    pub(super) fn is_ours(&self) -> bool {
        (self.uid, self.gid) == (geteuid(), getegid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_names_or_numbers() {
        let root = Account::find("root").unwrap();
        assert_eq!((root.uid.as_raw(), root.gid.as_raw()), (0, 0));
        assert!(root.groups.contains(&Gid::from_raw(0)));
        assert_eq!(Account::find("0").unwrap(), root);
        let stranger = Account::find("3999999:3999998").unwrap();
        assert_eq!((stranger.uid.as_raw(), stranger.gid.as_raw()), (3_999_999, 3_999_998));
        assert_eq!(stranger.can_be_had(), geteuid().is_root());
        assert_eq!(Account::find("root:3999998").unwrap().groups, [Gid::from_raw(3_999_998)]);
        for (said, problem) in [
            ("no-such-user", "there is no user \"no-such-user\""),
            ("", "there is no user \"\""),
            ("3999999", "user 3999999 is not known here; give a group too: 3999999:GID"),
            ("root:no-such-group", "there is no group \"no-such-group\""),
        ] {
            assert_eq!(Account::find(said).unwrap_err(), problem);
        }
    }
}
