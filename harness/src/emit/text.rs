//! Text of programs: comments of bounded width, literals, and loops for what is repeated.

/// Characters of a line of prose.
const WIDTH: usize = 104;
/// Times that something must be repeated to be told as a loop.
const REPEATS_MIN: usize = 3;

/// One step: what it is, and the lines that do it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    pub(super) words: String,
    pub(super) code: Vec<String>,
}

/// Steps that are done so many times, one round after another.
#[derive(Debug, PartialEq)]
pub(super) struct Passage<'a> {
    pub(super) times: usize,
    pub(super) blocks: &'a [Block],
}

/// Finds what is repeated, the shortest rounds first.
pub(super) fn passages(blocks: &[Block]) -> Vec<Passage<'_>> {
    let mut found: Vec<Passage<'_>> = Vec::new();
    let mut plain = 0;
    let mut at = 0;
    while at < blocks.len() {
        let repeated = (1..=(blocks.len() - at) / REPEATS_MIN).find_map(|period| {
            let round = &blocks[at..at + period];
            let times = blocks[at..].chunks(period).take_while(|chunk| *chunk == round).count();
            (times >= REPEATS_MIN).then_some((round, times))
        });
        if let Some((round, times)) = repeated {
            if plain < at {
                found.push(Passage { times: 1, blocks: &blocks[plain..at] });
            }
            found.push(Passage { times, blocks: round });
            at += round.len() * times;
            plain = at;
        } else {
            at += 1;
        }
    }
    if plain < blocks.len() {
        found.push(Passage { times: 1, blocks: &blocks[plain..] });
    }
    found
}

/// The lines of the blocks, each with its words as a comment before it.
pub(super) fn lines(blocks: &[Block], indent: usize, comment: &str) -> String {
    let mut text = String::new();
    let margin = " ".repeat(indent);
    for block in blocks {
        for line in wrapped(&block.words, WIDTH - indent) {
            text += &format!("{margin}{comment} {line}\n");
        }
        for line in &block.code {
            text += &format!("{margin}{line}\n");
        }
    }
    text
}

/// Prose in lines of bounded width, without control characters.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut lines = vec![String::new()];
    for word in clean.split_whitespace() {
        let line = lines.last_mut().map(|line| line.chars().count() + word.chars().count());
        match lines.last_mut() {
            Some(last) if last.is_empty() => *last = word.to_owned(),
            Some(last) if line.is_some_and(|length| length < width) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Prose in lines of the usual width.
pub(super) fn prose(text: &str) -> Vec<String> {
    wrapped(text, WIDTH)
}

/// How a language writes bytes that cannot stand for themselves: `\ooo` in octal is known to all three.
pub(super) fn escaped(bytes: &[u8], special: &[u8]) -> String {
    let mut text = String::new();
    for &byte in bytes {
        match byte {
            b'\n' => text += "\\n",
            b'\\' => text += "\\\\",
            b' '..=b'~' if !special.contains(&byte) => text.push(char::from(byte)),
            _ => text += &format!("\\{byte:03o}"),
        }
    }
    text
}

/// Bytes as string literals of bounded width, one after another: each is put between `open` and `close`.
pub(super) fn literals(bytes: &[u8], special: &[u8], open: &str, close: &str) -> Vec<String> {
    let mut found: Vec<String> = vec![String::new()];
    for byte in bytes.iter().map(|byte| escaped(&[*byte], special)) {
        match found.last_mut() {
            Some(last) if last.len() + byte.len() <= WIDTH - 24 => *last += &byte,
            _ => found.push(byte),
        }
    }
    found.into_iter().map(|piece| format!("{open}{piece}{close}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(words: &str) -> Vec<Block> {
        words.chars().map(|c| Block { words: c.into(), code: Vec::new() }).collect()
    }

    #[test]
    fn what_is_repeated_is_told_once() {
        let all = blocks("xabcabcabcyzz");
        let told: Vec<_> = passages(&all).iter().map(|p| (p.times, p.blocks.len())).collect();
        assert_eq!(told, [(1, 1), (3, 3), (1, 3)]);
        assert_eq!(passages(&blocks("aaaa")), [Passage { times: 4, blocks: &blocks("a") }]);
    }

    #[test]
    fn every_byte_can_be_written() {
        assert_eq!(escaped(b"a\n\"\\\0\xff", b"\""), "a\\n\\042\\\\\\000\\377");
        assert_eq!(literals(&[b'a'; 100], b"", "<", ">").len(), 2);
    }

    #[test]
    fn prose_has_a_width() {
        assert_eq!(wrapped("a bc\nd", 4), ["a bc", "d"]);
    }
}
