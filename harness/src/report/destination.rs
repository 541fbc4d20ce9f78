//! Where a report goes: stdout, or a file that holds all of it or nothing.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::Builder;

/// A place that can be written, as was seen before the run.
#[derive(Debug, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A regular file, there or not: it is replaced at once by one that is whole.
    Replaced(PathBuf),
    /// A device, a pipe, or a file in a directory that takes no new ones: it is written in place.
    InPlace(PathBuf),
}

impl Destination {
    /// Sees whether it can be written. Nothing is created, and nothing in it is changed.
    ///
    /// # Errors
    /// If it cannot.
    pub fn probe(file: Option<&Path>) -> io::Result<Self> {
        let Some(file) = file else { return Ok(Self::Stdout) };
        match fs::metadata(file) {
            Ok(meta) if meta.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(meta) if meta.is_file() => {
                OpenOptions::new().write(true).open(file)?;
                let file = file.canonicalize()?; // A link stays a link.
                Ok(if takes_files(&file).is_ok() { Self::Replaced(file) } else { Self::InPlace(file) })
            }
            // A pipe cannot be opened before somebody reads it, so it is not tried.
            Ok(_) => Ok(Self::InPlace(file.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                takes_files(file)?;
                Ok(Self::Replaced(file.to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the whole text.
    ///
    /// # Errors
    /// If it cannot be written; a file that was there is then as it was, but for one that is written in place.
    pub fn write(&self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text)?;
                stdout.flush()
            }
            Self::InPlace(path) => OpenOptions::new().write(true).truncate(true).open(path)?.write_all(text),
            Self::Replaced(path) => {
                let mode = fs::metadata(path).ok().map(|meta| meta.permissions());
                // The umask takes its part from the mode of a new file, as for any other.
                let mut file = Builder::new()
                    .prefix(".sockspec-")
                    .permissions(Permissions::from_mode(0o666))
                    .tempfile_in(directory_of(path))?;
                file.write_all(text)?;
                if let Some(mode) = mode {
                    file.as_file().set_permissions(mode)?;
                }
                file.persist(path)?;
                Ok(())
            }
        }
    }
}

/// Makes the directory if need be, and sees whether it takes files.
///
/// # Errors
/// If it cannot be made, or takes none.
pub fn prepare_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    tempfile::tempfile_in(path).map(drop)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a file without a name, which is gone when it is closed, however this process ends.
fn takes_files(path: &Path) -> io::Result<()> {
    tempfile::tempfile_in(directory_of(path)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_or_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        let destination = Destination::probe(Some(&path)).unwrap();
        assert!(!path.exists(), "a probe leaves nothing behind");
        destination.write(b"first, and longer").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        Destination::probe(Some(&path)).unwrap().write(b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_a_link_and_a_device_a_device() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        Destination::probe(Some(&link)).unwrap().write(b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        let null = Path::new("/dev/null");
        assert_eq!(Destination::probe(Some(null)).unwrap(), Destination::InPlace(null.to_owned()));
    }

    #[test]
    fn what_cannot_be_written_is_known_beforehand() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Destination::probe(Some(dir.path())).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        let missing = dir.path().join("no/such/report");
        assert_eq!(Destination::probe(Some(&missing)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
