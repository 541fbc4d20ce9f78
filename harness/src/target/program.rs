//! Which file a command names: as execvp(3) finds it, but with reasons.
//!
//! # References
//! exec(3), path_resolution(7)

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Finds the program. A name with a slash is relative to `cwd`; another one is looked up in `path`.
///
/// # Errors
/// What a user is told: "./srv: not found".
pub(super) fn find(name: &OsStr, cwd: &Path, path: Option<&OsStr>) -> Result<PathBuf, String> {
    let shown = name.to_string_lossy();
    if name.is_empty() {
        return Err("the command is empty".to_owned());
    }
    if name.as_encoded_bytes().contains(&b'/') {
        let file = cwd.join(name);
        return match problem(&file) {
            None => Ok(file),
            Some(Problem::Missing) => Err(format!("{shown}: not found")),
            Some(Problem::Directory) => Err(format!("{shown}: is a directory")),
            Some(Problem::NotExecutable) => {
                Err(format!("{shown}: permission denied (not executable; chmod +x {shown})"))
            }
        };
    }
    let mut refused = None;
    for dir in env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))) {
        let file = cwd.join(dir).join(name);
        match problem(&file) {
            None => return Ok(file),
            Some(Problem::NotExecutable) => refused = refused.or(Some(file)),
            Some(Problem::Missing | Problem::Directory) => {}
        }
    }
    Err(match refused {
        Some(file) => format!("{shown}: permission denied ({} is not executable)", file.display()),
        None if cwd.join(name).is_file() => format!("{shown}: not found in PATH (did you mean ./{shown}?)"),
        None => format!("{shown}: not found in PATH"),
    })
}

/// Where glibc looks when there is no PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

#[derive(Debug, PartialEq, Eq)]
enum Problem {
    Missing,
    Directory,
    NotExecutable,
}

/// What keeps us from executing the file.
fn problem(file: &Path) -> Option<Problem> {
    match fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Some(Problem::NotExecutable),
        Err(_) => Some(Problem::Missing),
        Ok(metadata) if metadata.is_dir() => Some(Problem::Directory),
        Ok(_) => {
            accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS).is_err().then_some(Problem::NotExecutable)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A directory with an executable `srv`, a text `notes`, a directory `sub`; and `sub/srv`, not executable.
    fn place() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        for (name, mode) in [("srv", 0o755), ("notes", 0o644), ("sub/srv", 0o644)] {
            fs::write(dir.path().join(name), "").unwrap();
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        dir
    }

    #[test]
    fn a_name_with_a_slash_is_relative_to_the_working_directory() {
        let dir = place();
        let check = |name: &str, expected: Result<&str, &str>| {
            let found = find(OsStr::new(name), dir.path(), Some(OsStr::new("/nowhere")));
            assert_eq!(found, expected.map(|file| dir.path().join(file)).map_err(str::to_owned), "{name}");
        };
        check("./srv", Ok("./srv"));
        check("sub/../srv", Ok("sub/../srv"));
        check("./none", Err("./none: not found"));
        check("./sub", Err("./sub: is a directory"));
        check("./notes", Err("./notes: permission denied (not executable; chmod +x ./notes)"));
        check("", Err("the command is empty"));
    }

    #[test]
    fn a_name_without_a_slash_is_looked_up_in_path() {
        let dir = place();
        let check = |name: &str, path: &str, expected: Result<&str, String>| {
            let found = find(OsStr::new(name), dir.path(), Some(OsStr::new(path)));
            assert_eq!(found, expected.map(|file| dir.path().join(file)), "{name} in {path}");
        };
        let sub = dir.path().join("sub");
        check("srv", &format!("/nowhere:{}:{}", sub.display(), dir.path().display()), Ok("srv"));
        check("srv", "sub:", Ok("srv"));
        let refused = format!("srv: permission denied ({}/srv is not executable)", sub.display());
        check("srv", "sub", Err(refused));
        check("srv", "/nowhere", Err("srv: not found in PATH (did you mean ./srv?)".to_owned()));
        check("none", "/nowhere", Err("none: not found in PATH".to_owned()));
    }
}
