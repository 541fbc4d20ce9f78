//! Finds the program of a command as execvp(3) would, before anything runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Why a command cannot be run; names the thing and the remedy.
///
/// A program with a `/` in its name is looked for from `cwd`, where it will be started; any other in PATH: that of
/// `env`, where it says so. One with a placeholder in its name cannot be looked for yet.
///
/// # Errors
/// If there is no such program, or it cannot be executed.
pub fn look_for(program: &str, cwd: Option<&Path>, env: &BTreeMap<String, String>) -> Result<(), String> {
    if program.contains('{') {
        return Ok(());
    }
    if program.contains('/') {
        let path = cwd.map_or_else(|| PathBuf::from(program), |cwd| cwd.join(program));
        return match obstacle(&path) {
            None => Ok(()),
            Some(Obstacle::Missing) => Err(missing(program, cwd)),
            Some(obstacle) => Err(obstacle.said_of(program)),
        };
    }
    let paths = match env.get("PATH") {
        Some(path) => path.into(),
        None => std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into()),
    };
    let mut seen = None;
    for directory in std::env::split_paths(&paths) {
        let path = cwd.unwrap_or(Path::new("")).join(directory).join(program);
        match obstacle(&path) {
            None => return Ok(()),
            Some(Obstacle::Missing) => {}
            Some(obstacle) => seen = seen.or_else(|| Some(obstacle.said_of(&path.to_string_lossy()))),
        }
    }
    Err(seen.unwrap_or_else(|| {
        if Path::new(program).is_file() {
            format!("{program}: not found in PATH; for the one in this directory write ./{program}")
        } else {
            format!("{program}: not found in PATH; give its path, or install it")
        }
    }))
}

fn missing(program: &str, cwd: Option<&Path>) -> String {
    match cwd {
        Some(cwd) if Path::new(program).exists() => {
            let cwd = cwd.display();
            format!("{program}: not found from --cwd {cwd}, where it is started; give its full path")
        }
        Some(cwd) => format!("{program}: not found from --cwd {}", cwd.display()),
        None => format!("{program}: not found; check the path"),
    }
}

/// What stands between a path and its execution.
enum Obstacle {
    Missing,
    Directory,
    NotExecutable,
}

impl Obstacle {
    fn said_of(&self, program: &str) -> String {
        match self {
            Self::Missing => format!("{program}: not found"),
            Self::Directory => format!("{program}: is a directory; give a program in it"),
            Self::NotExecutable => format!("{program}: not executable; chmod +x {program}"),
        }
    }
}

fn obstacle(path: &Path) -> Option<Obstacle> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Some(Obstacle::NotExecutable),
        Err(_) => Some(Obstacle::Missing),
        Ok(meta) if meta.is_dir() => Some(Obstacle::Directory),
        Ok(_) => {
            let allowed = accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS);
            allowed.is_err().then_some(Obstacle::NotExecutable)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(program: &str) -> String {
        look_for(program, None, &BTreeMap::new()).err().unwrap_or_default()
    }

    #[test]
    fn each_obstacle_has_its_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("srv");
        fs::write(&file, "#!/bin/sh\n").unwrap();
        let (file, here) = (file.to_str().unwrap(), dir.path().to_str().unwrap());
        assert_eq!(answer(file), format!("{file}: not executable; chmod +x {file}"));
        assert_eq!(answer(here), format!("{here}: is a directory; give a program in it"));
        assert_eq!(answer("./no-such"), "./no-such: not found; check the path");
        assert_eq!(
            answer("no-such-program"),
            "no-such-program: not found in PATH; give its path, or install it"
        );
    }

    #[test]
    fn what_can_be_run_is_left_in_peace() {
        assert_eq!(answer("sh"), "");
        assert_eq!(answer("/bin/sh"), "");
        assert_eq!(answer("{dir}/srv"), "");
    }

    #[test]
    fn a_relative_path_starts_from_the_working_directory_of_the_server() {
        let bin = Path::new("/bin");
        assert!(look_for("./sh", Some(bin), &BTreeMap::new()).is_ok());
        let answer = look_for("./no-such", Some(bin), &BTreeMap::new()).unwrap_err();
        assert_eq!(answer, "./no-such: not found from --cwd /bin");
    }

    #[test]
    fn the_path_of_the_servers_environment_is_searched() {
        let env = BTreeMap::from([("PATH".to_owned(), "/nowhere".to_owned())]);
        assert!(look_for("sh", None, &env).is_err());
    }
}
