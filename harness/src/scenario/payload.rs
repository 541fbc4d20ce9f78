//! Payloads, described instead of stored: a length, a seed and a class give every byte at every position.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What bytes a payload is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Letters, and a newline in every 16th place: what any echo server can take.
    Line,
    /// Any byte.
    Any,
    /// All 256 values in order, over and over.
    Ramp,
    /// Letters and digits without an end of line.
    Text,
    /// Text with CR, LF and CR LF.
    Lines,
    /// NUL bytes among others.
    Nul,
    /// 0xFF (telnet IAC, EOF as a char) among others.
    Ff,
    /// Control characters: 0x03, 0x04, 0x1A, ESC, ...
    Control,
    /// Bytes that are not valid UTF-8.
    InvalidUtf8,
    /// Conversions of printf: %n %s %x, for a server that uses input as a format.
    Format,
    /// Quotes, backticks, semicolons, dollars and backslashes.
    Shell,
    /// Leading and trailing white space.
    Blank,
    /// Bytes that mean something elsewhere, over and over: for messages of one byte each.
    Signs,
    /// Words that are commands elsewhere, each with its end of line [`Class::WORD`] bytes long, over and over.
    Words,
}

impl Class {
    /// Length of a word with its end of line, bytes.
    pub const WORD: u32 = 5;

    /// The classes that any scenario may draw: not signs and words, which want cuts of their own.
    pub const ALL: [Self; 12] = [
        Self::Line,
        Self::Any,
        Self::Ramp,
        Self::Text,
        Self::Lines,
        Self::Nul,
        Self::Ff,
        Self::Control,
        Self::InvalidUtf8,
        Self::Format,
        Self::Shell,
        Self::Blank,
    ];

    /// The bytes that are drawn from, or that come over and over; empty for any byte.
    #[must_use]
    pub fn palette(self) -> &'static [u8] {
        self.drawn_from()
    }

    const fn drawn_from(self) -> &'static [u8] {
        match self {
            Self::Any | Self::Ramp => b"",
            Self::Line | Self::Text => b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-",
            Self::Lines => b"abcdefghijklmnop\r\n\n\r\r\n\n qrstuvwxy",
            Self::Nul => b"\0\0\0\0\0\0\0\0abcdefgh",
            Self::Ff => b"\xff\xff\xff\xff\xfe\xfd\xfb\xf0abcdefgh",
            Self::Control => b"\x01\x02\x03\x04\x04\x07\x08\x0b\x0c\x13\x11\x1a\x1a\x1b\x7fabcdefghijklmnopq",
            Self::InvalidUtf8 => b"\x80\xbf\xc0\xc1\xed\xa0\xf5\xfe\xffabcdefg",
            Self::Format => b"%n%s%x%p%n%s%d%n%99999s%hhn%*d%n",
            Self::Shell => b"`'\";|&$(){}<>\\!*?~#\nab=",
            Self::Blank => b" \t \r\n \x0b\x0cab  ",
            Self::Signs => b"a0\n\r\0\t .1qx-\x03\x04\x1a\x1b\x7f\x80\xff",
            Self::Words => {
                b"word\nquit\nQUIT\nexit\nEXIT\nbye\r\nstop\nSTOP\nhalt\nkill\nhelp\nping\ndone\nend\r\nEOF\r\n"
            }
        }
    }
}

/// For each class, in the order of [`Class::ALL`], the byte that each random one becomes: bytes are made by the million.
static DRAWN: [[u8; 256]; Class::ALL.len()] = {
    let mut drawn = [[0; 256]; Class::ALL.len()];
    let mut class = 0;
    while class < drawn.len() {
        let palette = Class::ALL[class].drawn_from();
        let mut random = 0_usize;
        while random < 256 {
            let [byte, ..] = random.to_le_bytes();
            drawn[class][random] = if palette.is_empty() { byte } else { palette[random % palette.len()] };
            random += 1;
        }
        class += 1;
    }
    drawn
};

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Line => "text",
            Self::Any => "any",
            Self::Ramp => "all 256 values",
            Self::Text => "text",
            Self::Lines => "CR/LF",
            Self::Nul => "NUL",
            Self::Ff => "0xFF",
            Self::Control => "control",
            Self::InvalidUtf8 => "invalid UTF-8",
            Self::Format => "%n",
            Self::Shell => "shell",
            Self::Blank => "blank",
            Self::Signs => "signs",
            Self::Words => "commands",
        })
    }
}

/// How a payload is cut into sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// In sends as large as the socket takes.
    Whole,
    /// In sends of this many bytes.
    Every(u32),
    /// In this many sends at places that the seed decides.
    Pieces(u32),
}

/// A run of bytes that a client sends: described, not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Payload {
    /// Bytes.
    pub len: u64,
    /// Decides the bytes, together with the client and the position in its stream.
    pub seed: u64,
    /// What bytes.
    pub class: Class,
    /// How it is cut into sends.
    pub cut: Cut,
}

impl Payload {
    /// 16 bytes, a line of text: for clauses that are not about bytes.
    #[must_use]
    pub fn greeting() -> Self {
        Self::of(16).class(Class::Line)
    }

    /// `len` bytes of any value, sent whole.
    #[must_use]
    pub fn of(len: u64) -> Self {
        Self { len, seed: 0, class: Class::Any, cut: Cut::Whole }
    }

    /// The same payload of another class.
    #[must_use]
    pub fn class(self, class: Class) -> Self {
        Self { class, ..self }
    }

    /// The same payload in other cuts.
    #[must_use]
    pub fn cut(self, cut: Cut) -> Self {
        Self { cut, ..self }
    }

    /// Length of the send that starts at `at`, in bytes; at least 1 while `at < len`.
    #[must_use]
    pub fn piece(&self, at: u64) -> u64 {
        let left = self.len.saturating_sub(at);
        match self.cut {
            Cut::Whole => left,
            Cut::Every(n) => left.min(u64::from(n.max(1))),
            Cut::Pieces(n) => {
                let mean = (self.len / u64::from(n.max(1))).max(1);
                left.min(1 + mix(self.seed ^ at.wrapping_mul(0x9E37)) % (2 * mean))
            }
        }
    }

    /// Writes into `buffer` the bytes that `client` sends of this payload from `at` on, where the payload begins at
    /// position `start` of the client's stream.
    pub fn fill(&self, client: u32, start: u64, at: u64, buffer: &mut [u8]) {
        let key = mix(self.seed.wrapping_add(u64::from(client) << 32) ^ 0x736f_636b);
        let mut position = start + at;
        let mut rest = buffer;
        while !rest.is_empty() {
            let word = self.word(key, client, position / 8);
            let from = usize::from(position.to_le_bytes()[0] % 8);
            let (now, later) = rest.split_at_mut(rest.len().min(8 - from));
            now.copy_from_slice(&word[from..from + now.len()]);
            position += now.len() as u64;
            rest = later;
        }
    }

    /// The eight bytes from position `8 * index` of the stream on.
    fn word(&self, key: u64, client: u32, index: u64) -> [u8; 8] {
        if self.class == Class::Ramp {
            let first = (8 * index).wrapping_add(u64::from(client) * 17).to_le_bytes()[0];
            return [0, 1, 2, 3, 4, 5, 6, 7].map(|more| first.wrapping_add(more));
        }
        if matches!(self.class, Class::Signs | Class::Words) {
            let all = self.class.palette();
            let at = |more: u64| usize::try_from((8 * index + more) % all.len() as u64).unwrap_or_default();
            return [0, 1, 2, 3, 4, 5, 6, 7].map(|more| all[at(more)]);
        }
        let drawn = &DRAWN[self.class as usize];
        let mut word = mix(key ^ index).to_le_bytes().map(|byte| drawn[usize::from(byte)]);
        if self.class == Class::Line && index % 2 == 1 {
            word[7] = b'\n';
        }
        word
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len {
            1 => f.write_str("1 byte")?,
            n => write!(f, "{n} bytes")?,
        }
        if !matches!(self.class, Class::Any | Class::Line) {
            write!(f, " ({})", self.class)?;
        }
        match self.cut {
            Cut::Whole => Ok(()),
            Cut::Every(1) => f.write_str(" one by one"),
            Cut::Every(n) => write!(f, " in sends of {n}"),
            Cut::Pieces(n) => write!(f, " in about {n} pieces"),
        }
    }
}

/// A bijection of 64-bit words that spreads every input bit over all output bits (the finalizer of SplitMix64).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_do_not_depend_on_how_they_are_asked_for() {
        for class in Class::ALL.into_iter().chain([Class::Signs, Class::Words]) {
            let payload = Payload { len: 1000, seed: 7, class, cut: Cut::Whole };
            let mut whole = [0; 1000];
            payload.fill(3, 11, 0, &mut whole);
            for at in [0, 1, 7, 8, 9, 500, 993] {
                let mut part = [0; 7];
                payload.fill(3, 11, at, &mut part);
                assert_eq!(part, whole[usize::try_from(at).unwrap()..][..7], "{class} at {at}");
            }
        }
    }

    #[test]
    fn a_word_is_a_message() {
        let words = Class::Words.palette();
        assert!(words.chunks(Class::WORD as usize).all(|word| word.len() == 5 && word.ends_with(b"\n")));
        let mut sent = [0; 7];
        Payload::of(7).class(Class::Words).fill(3, 0, words.len() as u64, &mut sent);
        assert_eq!(&sent, b"word\nqu");
    }

    #[test]
    fn clients_send_different_bytes() {
        let (mut a, mut b) = ([0; 64], [0; 64]);
        for class in Class::ALL {
            Payload::of(64).class(class).fill(0, 0, 0, &mut a);
            Payload::of(64).class(class).fill(1, 0, 0, &mut b);
            assert_ne!(a, b, "{class}");
        }
    }

    #[test]
    fn pieces_cover_the_payload() {
        for cut in [Cut::Whole, Cut::Every(3), Cut::Pieces(5)] {
            let payload = Payload::of(100).cut(cut);
            let mut at = 0;
            while at < payload.len {
                at += payload.piece(at);
            }
            assert_eq!(at, 100, "{cut:?}");
        }
    }
}
