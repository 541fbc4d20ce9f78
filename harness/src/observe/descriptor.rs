//! Descriptors of a process: where the links of `/proc/PID/fd` lead.
//!
//! # References
//! proc_pid_fd(5), proc_pid_fdinfo(5)

use crate::error::Error;
use crate::observe::proc_dir::{Found, ProcDir};
use crate::observe::process::Depth;
use crate::trace::{Fd, FdKind};

/// The descriptors of the process, or of one of its tasks (`base` is `"."` or `"task/TID"`), by number.
pub(super) fn read(dir: &ProcDir, base: &str, depth: Depth) -> Result<Found<Vec<Fd>>, Error> {
    let (links, numbers) = match dir.list(&format!("{base}/fd"))? {
        Found::Here(list) => list,
        Found::Gone => return Ok(Found::Gone),
        Found::Hidden => return Ok(Found::Hidden),
    };
    let mut fds = Vec::with_capacity(numbers.len());
    for number in numbers {
        match links.link(&number.to_string())? {
            Found::Here(link) => {
                let cloexec = if depth == Depth::Thorough { is_cloexec(dir, base, number)? } else { None };
                fds.push(Fd { number, kind: kind(link), cloexec });
            }
            Found::Gone => {}
            Found::Hidden => return Ok(Found::Hidden),
        }
    }
    Ok(Found::Here(fds))
}

/// What a link of `/proc/PID/fd` says.
fn kind(link: String) -> FdKind {
    if let Some(inode) = inode(&link, "socket:[") {
        FdKind::Socket(inode)
    } else if let Some(inode) = inode(&link, "pipe:[") {
        FdKind::Pipe(inode)
    } else if let Some(name) = link.strip_prefix("anon_inode:") {
        FdKind::Anon(name.trim_matches(['[', ']']).to_owned())
    } else if link.starts_with('/') {
        FdKind::File(link)
    } else {
        FdKind::Anon(link)
    }
}

fn inode(link: &str, prefix: &str) -> Option<u64> {
    link.strip_prefix(prefix)?.strip_suffix(']')?.parse().ok()
}

/// Whether FD_CLOEXEC is set, where it can be read.
fn is_cloexec(dir: &ProcDir, base: &str, number: u32) -> Result<Option<bool>, Error> {
    let mut buffer = [0; 512];
    let info = dir.read(&format!("{base}/fdinfo/{number}"), &mut buffer)?.here();
    Ok(info.and_then(flags).map(|flags| flags & O_CLOEXEC != 0))
}

/// As the kernel numbers it in `fdinfo`, on every architecture but alpha, parisc and sparc.
const O_CLOEXEC: u32 = 0o2_000_000;

/// The line `flags:` of an fdinfo file, in octal.
fn flags(info: &[u8]) -> Option<u32> {
    let line = info.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"flags:"))?;
    u32::from_str_radix(std::str::from_utf8(line).ok()?.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_say_what_a_descriptor_refers_to() {
        fn check(link: &str, expected: FdKind) {
            assert_eq!(kind(link.to_owned()), expected, "{link}");
        }
        check("socket:[12345]", FdKind::Socket(12345));
        check("pipe:[7]", FdKind::Pipe(7));
        check("/dev/null", FdKind::File("/dev/null".to_owned()));
        check("/tmp/log (deleted)", FdKind::File("/tmp/log (deleted)".to_owned()));
        check("anon_inode:[eventpoll]", FdKind::Anon("eventpoll".to_owned()));
        check("anon_inode:inotify", FdKind::Anon("inotify".to_owned()));
        check("net:[4026531840]", FdKind::Anon("net:[4026531840]".to_owned()));
        check("socket:[x]", FdKind::Anon("socket:[x]".to_owned()));
        check("", FdKind::Anon(String::new()));
    }

    #[test]
    fn the_flags_of_fdinfo_are_octal() {
        assert_eq!(flags(b"pos:\t0\nflags:\t02000002\nmnt_id:\t9\n"), Some(0o2_000_002));
        assert_eq!(flags(b"pos:\t0\n"), None);
        assert_eq!(flags(b"flags:\t9\n"), None);
    }
}
