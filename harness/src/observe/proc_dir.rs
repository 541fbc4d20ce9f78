//! Files of one directory below /proc, of a process that may vanish at any moment.

use std::cell::RefCell;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat};
use rustix::io::Errno;

use crate::error::{Attempt, Error};

/// An open `/proc/PID`: all that is read through it is of the same process, even when its pid is used again.
#[derive(Debug)]
pub(super) struct ProcDir {
    fd: OwnedFd,
    path: PathBuf,
    /// Files that are read again and again, by name.
    open: RefCell<Vec<(&'static str, OwnedFd)>>,
}

/// What became of an attempt to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<T> {
    /// It was there.
    Here(T),
    /// The process, or this part of it, is gone: normal at any moment.
    Gone,
    /// It is there, and not for us: the process has another user, or is not dumpable.
    Hidden,
}

impl<T> Found<T> {
    /// What was there, if it was.
    pub(super) fn here(self) -> Option<T> {
        match self {
            Self::Here(value) => Some(value),
            Self::Gone | Self::Hidden => None,
        }
    }
}

impl ProcDir {
    /// Opens the directory.
    pub(super) fn open(path: &Path) -> Result<Found<Self>, Error> {
        Self::open_at(CWD, path, path, OFlags::PATH)
    }

    /// Opens a directory in this one, and lists the numbers that are names in it (`fd`, `task`), ascending.
    pub(super) fn list(&self, name: &str) -> Result<Found<(Self, Vec<u32>)>, Error> {
        let dir =
            match Self::open_at(self.fd.as_fd(), Path::new(name), &self.path.join(name), OFlags::RDONLY)? {
                Found::Here(dir) => dir,
                Found::Gone => return Ok(Found::Gone),
                Found::Hidden => return Ok(Found::Hidden),
            };
        Ok(match dir.numbers()? {
            Found::Here(numbers) => Found::Here((dir, numbers)),
            Found::Gone => Found::Gone,
            Found::Hidden => Found::Hidden,
        })
    }

    fn open_at(from: BorrowedFd<'_>, name: &Path, path: &Path, how: OFlags) -> Result<Found<Self>, Error> {
        let flags = how | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(match found(openat(from, name, flags, Mode::empty()), || format!("open {}", path.display()))? {
            Found::Here(fd) => Found::Here(Self { fd, path: path.to_owned(), open: RefCell::default() }),
            Found::Gone => Found::Gone,
            Found::Hidden => Found::Hidden,
        })
    }

    /// As [`Self::read`], and keeps the file open for the next time: then it is read from its start, as it is then.
    pub(super) fn read_again<'b>(
        &self,
        name: &'static str,
        buffer: &'b mut [u8],
    ) -> Result<Found<&'b [u8]>, Error> {
        let doing = || format!("read {}/{name}", self.path.display());
        let mut open = self.open.borrow_mut();
        let at = match open.iter().position(|(known, _)| *known == name) {
            Some(at) => at,
            None => match found(self.open_file(name), doing)? {
                Found::Here(fd) => {
                    open.push((name, fd));
                    open.len() - 1
                }
                Found::Gone => return Ok(Found::Gone),
                Found::Hidden => return Ok(Found::Hidden),
            },
        };
        Ok(match found(rustix::io::pread(&open[at].1, &mut *buffer, 0), doing)? {
            Found::Here(length) => Found::Here(&buffer[..length]),
            Found::Gone => Found::Gone,
            Found::Hidden => Found::Hidden,
        })
    }

    fn open_file(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        openat(&self.fd, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }

    /// Reads a file into the buffer, as much as there is room for.
    pub(super) fn read<'b>(&self, name: &str, buffer: &'b mut [u8]) -> Result<Found<&'b [u8]>, Error> {
        let doing = || format!("read {}/{name}", self.path.display());
        let fd = match found(self.open_file(name), doing)? {
            Found::Here(fd) => fd,
            Found::Gone => return Ok(Found::Gone),
            Found::Hidden => return Ok(Found::Hidden),
        };
        // One read brings all that there is room for: /proc makes the text when it is asked.
        Ok(match found(rustix::io::read(&fd, &mut *buffer), doing)? {
            Found::Here(length) => Found::Here(&buffer[..length]),
            Found::Gone => Found::Gone,
            Found::Hidden => Found::Hidden,
        })
    }

    /// Reads a symbolic link.
    pub(super) fn link(&self, name: &str) -> Result<Found<String>, Error> {
        let target = found(readlinkat(&self.fd, name, Vec::with_capacity(128)), || {
            format!("read the link {}/{name}", self.path.display())
        })?;
        Ok(match target {
            Found::Here(target) => Found::Here(String::from_utf8_lossy(target.to_bytes()).into_owned()),
            Found::Gone => Found::Gone,
            Found::Hidden => Found::Hidden,
        })
    }

    fn numbers(&self) -> Result<Found<Vec<u32>>, Error> {
        let doing = || format!("list {}", self.path.display());
        let mut buffer = Vec::with_capacity(4 << 10);
        let mut entries = RawDir::new(&self.fd, buffer.spare_capacity_mut());
        let mut numbers = Vec::new();
        while let Some(entry) = entries.next() {
            match found(entry, doing)? {
                Found::Here(entry) => numbers.extend(number(entry.file_name())),
                Found::Gone => return Ok(Found::Gone),
                Found::Hidden => return Ok(Found::Hidden),
            }
        }
        numbers.sort_unstable();
        Ok(Found::Here(numbers))
    }
}

/// A name as a number; `.` and `..` are none.
fn number(name: &CStr) -> Option<u32> {
    name.to_str().ok()?.parse().ok()
}

/// Tells a process that is gone, or that hides, from an error.
///
/// ENOENT: the name is gone. ESRCH: the file was open, the process is gone. EINVAL and EIO come from `/proc/PID/exe`
/// and `environ` of a process that has just lost its memory map.
fn found<T>(result: rustix::io::Result<T>, doing: impl FnOnce() -> String) -> Result<Found<T>, Error> {
    match result {
        Ok(value) => Ok(Found::Here(value)),
        Err(Errno::NOENT | Errno::SRCH | Errno::INVAL | Errno::IO) => Ok(Found::Gone),
        Err(Errno::ACCESS | Errno::PERM) => Ok(Found::Hidden),
        Err(errno) => Err(errno).attempt(doing),
    }
}
