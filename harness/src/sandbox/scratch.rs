//! A directory on disk for `{dir}`, where no private file system can be mounted.
//!
//! Its name is settled by the process that will remove it, before the process is forked that makes it and may die
//! at any moment.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder};
use std::hash::{BuildHasher, Hasher};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{env, process};

use crate::error::{Attempt, Error};

/// The name of a directory that may exist. Dropping it removes the directory with all that is in it.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Settles a new name.
    pub(super) fn name() -> Self {
        let random = RandomState::new().build_hasher().finish();
        Self { path: env::temp_dir().join(format!("{}{random:016x}", prefix(process::id()))) }
    }

    /// Makes the directory.
    pub(super) fn make(&self) -> Result<PathBuf, Error> {
        DirBuilder::new()
            .mode(0o755)
            .create(&self.path)
            .attempt(|| format!("make the directory {}", self.path.display()))?;
        Ok(self.path.clone())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes what a worker left that could not clean up itself.
pub(super) fn remove_of(worker: u32) {
    let Ok(entries) = fs::read_dir(env::temp_dir()) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix(worker)) {
            remove(&entry.path());
        }
    }
}

fn prefix(worker: u32) -> String {
    format!("sockspec-{worker}-")
}

/// Removes a tree, directories that were made unreadable too. What belongs to another user stays.
fn remove(path: &Path) {
    if fs::symlink_metadata(path).is_ok() && fs::remove_dir_all(path).is_err() {
        open_up(path);
        let _ = fs::remove_dir_all(path);
    }
}

fn open_up(dir: &Path) {
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_tree_is_removed_all_the_same() {
        let scratch = Scratch::name();
        let base = scratch.make().unwrap();
        fs::create_dir_all(base.join("a/b")).unwrap();
        fs::write(base.join("a/b/file"), "x").unwrap();
        fs::set_permissions(base.join("a"), fs::Permissions::from_mode(0o000)).unwrap();
        drop(scratch);
        assert!(!base.exists());
    }
}
