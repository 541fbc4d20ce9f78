//! What the target writes to stdout and stderr: kept within bounds, and searched for an announcement.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::trace::{self, Kept};

/// Our ends of the target's stdout and stderr, and what came out of them.
#[derive(Debug)]
pub struct Output {
    stdout: Box<Stream>,
    stderr: Box<Stream>,
    /// Whether an announcement has been told: only the first one is.
    told: bool,
    buffer: Vec<u8>,
}

/// What one drain brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// The first line of all that says the server is ready, in the drain that completes it. Check LISTEN rows now.
    pub announced: Option<String>,
    /// Bytes read by this call.
    pub bytes: u64,
    /// Whether the bound of work of one call was met: there may be more to read at once.
    pub more: bool,
}

/// The reading end of a stream.
#[derive(Debug)]
pub(super) enum Reader {
    /// To be read; non-blocking.
    Read(OwnedFd),
    /// Kept open, and never read.
    #[expect(dead_code, reason = "it is held for being open")]
    Held(OwnedFd),
    /// None, or no more.
    Closed,
}

/// Bytes read of one stream in one call.
const DRAINED_MAX: usize = 1 << 20;
/// Bytes of one read(2).
const READ_MAX: usize = 64 << 10;

impl Output {
    /// Keeps `kept_max` bytes of each stream.
    pub(super) fn new(stdout: Reader, stderr: Reader, kept_max: usize) -> Self {
        Self {
            stdout: Box::new(Stream::new(stdout, kept_max)),
            stderr: Box::new(Stream::new(stderr, kept_max)),
            told: false,
            buffer: vec![0; READ_MAX],
        }
    }

    /// Descriptors to poll for input; none when all streams are at their end, or are not to be read.
    pub fn to_poll(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [&self.stdout.reader, &self.stderr.reader].into_iter().filter_map(|reader| match reader {
            Reader::Read(fd) => Some(fd.as_fd()),
            Reader::Held(_) | Reader::Closed => None,
        })
    }

    /// Reads what is there, without waiting, at most a mebibyte of each stream.
    pub fn drain(&mut self) -> Drained {
        let mut drained = Drained::default();
        for stream in [&mut self.stdout, &mut self.stderr] {
            let mut left = DRAINED_MAX;
            while left > 0 {
                let Some(bytes) = stream.read(&mut self.buffer) else { break };
                left = left.saturating_sub(bytes.len());
                drained.bytes += bytes.len() as u64;
                stream.kept.push(bytes);
                if !self.told {
                    drained.announced = drained.announced.or_else(|| stream.lines.announcement(bytes));
                }
            }
            drained.more |= left == 0;
            if matches!(stream.reader, Reader::Closed) && !self.told {
                drained.announced = drained.announced.or_else(|| stream.lines.last());
            }
        }
        if drained.announced.is_some() {
            self.told = true;
        }
        drained
    }

    /// Closes the reading ends (`Stdio::BrokenPipe`), after a last drain: the next write meets EPIPE.
    pub fn break_pipes(&mut self) -> Drained {
        let drained = self.drain();
        self.stdout.reader = Reader::Closed;
        self.stderr.reader = Reader::Closed;
        drained
    }

    /// What has been kept so far.
    #[must_use]
    pub fn kept(&self) -> trace::Output {
        trace::Output { stdout: self.stdout.kept.so_far(), stderr: self.stderr.kept.so_far() }
    }
}

#[derive(Debug)]
struct Stream {
    reader: Reader,
    kept: Ends,
    lines: Lines,
}

impl Stream {
    fn new(reader: Reader, kept_max: usize) -> Self {
        Self { reader, kept: Ends::new(kept_max), lines: Lines::default() }
    }

    /// The next bytes; `None` when there are none now. At the end of the stream the reader is closed.
    fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let Reader::Read(fd) = &self.reader else { return None };
        match rustix::io::read(fd, &mut *buffer) {
            Ok(length @ 1..) => Some(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => None,
            // A pipe has no other errors; whatever it is, nothing more can come.
            Ok(0) | Err(_) => {
                self.reader = Reader::Closed;
                None
            }
        }
    }
}

/// The start and the end of a stream of bytes, each at most half of what may be kept.
#[derive(Debug)]
struct Ends {
    head: Vec<u8>,
    head_max: usize,
    tail: VecDeque<u8>,
    tail_max: usize,
    total: u64,
}

impl Ends {
    fn new(kept_max: usize) -> Self {
        let head_max = kept_max / 2;
        Self { head: Vec::new(), head_max, tail: VecDeque::new(), tail_max: kept_max - head_max, total: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (first, rest) = bytes.split_at(bytes.len().min(self.head_max - self.head.len()));
        self.head.extend_from_slice(first);
        let rest = &rest[rest.len().saturating_sub(self.tail_max)..];
        let surplus = (self.tail.len() + rest.len()).saturating_sub(self.tail_max);
        self.tail.drain(..surplus);
        self.tail.extend(rest);
    }

    fn so_far(&self) -> Kept {
        let (mut head, mut tail) = (self.head.clone(), Vec::from(self.tail.clone()));
        if (head.len() + tail.len()) as u64 == self.total {
            head.append(&mut tail);
        }
        Kept { head, tail, total: self.total }
    }
}

/// Searches lines for one that says the server is ready.
#[derive(Debug, Default)]
struct Lines {
    /// The line that has no end yet.
    partial: Vec<u8>,
    searched: usize,
}

/// Bytes of a stream that are searched: a server that has not said it by then has other things to say.
const SEARCHED_MAX: usize = 1 << 20;
/// Bytes of a line that are looked at.
const LINE_MAX: usize = 4 << 10;

impl Lines {
    /// The first line that these bytes complete and that announces.
    fn announcement(&mut self, bytes: &[u8]) -> Option<String> {
        let bytes = &bytes[..bytes.len().min(SEARCHED_MAX.saturating_sub(self.searched))];
        self.searched += bytes.len();
        let mut found = None;
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let room = LINE_MAX.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") && found.is_none() {
                found = self.last();
            }
        }
        found
    }

    /// The line so far, if it announces: the stream is at its end. It is forgotten.
    fn last(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.partial);
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        announces(&line).then_some(line)
    }
}

/// Whether a line has the word "listening", "ready" or "accepting"; "already in use" has not.
fn announces(line: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric())
        .any(|word| ["listening", "ready", "accepting"].iter().any(|said| word.eq_ignore_ascii_case(said)))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_head_and_the_tail_are_kept_however_the_bytes_come() {
        let all: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for (kept_max, cut) in [(10, 1), (10, 3), (10, 1000), (11, 7), (1, 5), (0, 5), (64, 64), (999, 10)] {
            let mut ends = Ends::new(kept_max);
            for bytes in all.chunks(cut) {
                ends.push(bytes);
            }
            let kept = ends.so_far();
            let half = kept_max / 2;
            assert_eq!(kept.head, all[..half], "{kept_max} {cut}");
            assert_eq!(kept.tail, all[1000 - (kept_max - half)..], "{kept_max} {cut}");
            assert_eq!(kept.total, 1000);
        }
    }

    #[test]
    fn what_fits_is_kept_in_one_piece() {
        let mut ends = Ends::new(10);
        for bytes in [&b"abcd"[..], b"ef", b"ghij"] {
            ends.push(bytes);
        }
        assert_eq!(ends.so_far(), Kept { head: b"abcdefghij".to_vec(), tail: Vec::new(), total: 10 });
        ends.push(b"k");
        assert_eq!(ends.so_far(), Kept { head: b"abcde".to_vec(), tail: b"ghijk".to_vec(), total: 11 });
    }

    #[test]
    fn an_announcement_is_a_word_of_a_whole_line() {
        fn check(pieces: &[&str], expected: Option<&str>) {
            let mut lines = Lines::default();
            let found = pieces.iter().find_map(|piece| lines.announcement(piece.as_bytes()));
            assert_eq!(found.as_deref(), expected, "{pieces:?}");
        }
        check(&["server LISTENING on 8080\n"], Some("server LISTENING on 8080"));
        check(&["starting\nrea", "dy.\n", "ready\n"], Some("ready."));
        check(&["Now Accepting connections\r\n"], Some("Now Accepting connections"));
        check(&["bind: Address already in use\n"], None);
        check(&["listening"], None);
        check(&["", "\n\n"], None);
    }

    #[test]
    fn only_the_start_of_a_long_line_and_of_a_long_stream_is_searched() {
        let mut lines = Lines::default();
        assert_eq!(lines.announcement(&[b'x'; 2 * LINE_MAX]), None);
        assert_eq!(lines.announcement(b" ready\nready\n"), Some("ready".to_owned()));
        for _ in 0..=SEARCHED_MAX / READ_MAX {
            assert_eq!(lines.announcement(&[b'\n'; READ_MAX]), None);
        }
        assert_eq!(lines.announcement(b"ready\n"), None);
    }

    #[test]
    fn a_drain_reads_what_is_there_tells_once_and_sees_the_end() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let mut output = Output::new(Reader::Read(reader.into()), Reader::Closed, 100);
        assert_eq!(output.drain(), Drained::default());
        assert_eq!(output.to_poll().count(), 1);
        writer.write_all(b"a\nready\nlistening\n").unwrap();
        let drained = output.drain();
        assert_eq!((drained.announced.as_deref(), drained.bytes), (Some("ready"), 18));
        writer.write_all(b"accepting").unwrap();
        drop(writer);
        assert_eq!(output.drain(), Drained { announced: None, bytes: 9, more: false });
        assert_eq!(output.to_poll().count(), 0);
        assert_eq!(output.kept().stdout.text(), "a\nready\nlistening\naccepting");
    }

    #[test]
    fn a_last_line_without_an_end_announces_when_the_stream_ends() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        let mut output = Output::new(Reader::Closed, Reader::Read(reader.into()), 100);
        writer.write_all(b"ready").unwrap();
        assert_eq!(output.drain().announced, None);
        drop(writer);
        assert_eq!(output.drain().announced.as_deref(), Some("ready"));
    }
}
