//! Steps in words, made shorter: what is done several times, or for one client after another, is said once.

/// Longest stretch of steps that is looked for again right after itself.
const STRETCH_MAX: usize = 12;
/// For so many clients in turn a stretch is said once for all of them.
const CLIENTS_MIN: usize = 3;

/// The steps, each stretch that is done for clients in turn, or several times in a row, said once.
pub(super) fn folded(words: &[String]) -> Vec<String> {
    repeats(&turns(words))
}

/// What is done for one client after another, said once.
fn turns(words: &[String]) -> Vec<String> {
    let parsed: Vec<Word> = words.iter().map(|word| Word::parse(word)).collect();
    let times = |at: usize, length: usize| {
        let Some(first) = turn(&parsed[at..at + length]) else { return 1 };
        let chunks = parsed[at..].chunks_exact(length);
        let in_turn = |(chunk, n): &(&[Word], u32)| {
            turn(chunk) == Some(*n)
                && chunk.iter().zip(&parsed[at..]).all(|(word, same)| word.text == same.text)
        };
        chunks.zip(first..).take_while(in_turn).count()
    };
    fold(words, CLIENTS_MIN, times, |at, length, times| {
        let stretch: Vec<&str> = parsed[at..at + length].iter().map(|word| word.text.as_str()).collect();
        let first = turn(&parsed[at..at + length]).unwrap_or(0);
        let last = u64::from(first) + times as u64 - 1;
        let all = stretch.join(" · ");
        if length == 1 {
            format!("for c{first} to c{last}: {all}")
        } else {
            format!("for c{first} to c{last}: ({all})")
        }
    })
}

/// What is done several times in a row, said once.
fn repeats(words: &[String]) -> Vec<String> {
    let times = |at: usize, length: usize| {
        let (stretch, after) = words[at..].split_at(length);
        1 + after.chunks_exact(length).take_while(|chunk| *chunk == stretch).count()
    };
    fold(words, 2, times, |at, length, times| format!("{times} x ({})", words[at..at + length].join(" · ")))
}

/// Says once what is there `least` times or more; `times` tells how often the stretch of that length at that place is
/// there in a row.
fn fold(
    words: &[String],
    least: usize,
    times: impl Fn(usize, usize) -> usize,
    say: impl Fn(usize, usize, usize) -> String,
) -> Vec<String> {
    let mut told = Vec::new();
    let mut at = 0;
    while at < words.len() {
        // The stretch that tells most at once; of several the shortest.
        let longest = STRETCH_MAX.min(words.len() - at);
        let best = (1..=longest)
            .map(|length| (length, times(at, length)))
            .filter(|(_, times)| *times >= least)
            .max_by_key(|(length, times)| (length * times, std::cmp::Reverse(*length)));
        let (length, said) = match best {
            Some((length, times)) => (length * times, say(at, length, times)),
            None => (1, words[at].clone()),
        };
        told.push(said);
        at += length;
    }
    told
}

/// A step with its clients left out.
struct Word {
    /// "c" stands for each of them.
    text: String,
    clients: Vec<u32>,
}

impl Word {
    fn parse(word: &str) -> Self {
        let (mut text, mut clients) = (String::new(), Vec::new());
        for (index, part) in word.split(' ').enumerate() {
            if index > 0 {
                text.push(' ');
            }
            let name = part.trim_end_matches([',', ':', ')']);
            match name.strip_prefix('c').and_then(|number| number.parse().ok()) {
                Some(client) => {
                    clients.push(client);
                    text.push('c');
                    text.push_str(&part[name.len()..]);
                }
                None => text.push_str(part),
            }
        }
        Self { text, clients }
    }
}

/// The one client of whom all of these steps are, if there is one.
fn turn(words: &[Word]) -> Option<u32> {
    let mut clients = words.iter().flat_map(|word| &word.clients);
    let first = clients.next()?;
    clients.all(|client| client == first).then_some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fold(words: &str) -> String {
        folded(&words.split('/').map(str::to_owned).collect::<Vec<_>>()).join("/")
    }

    #[test]
    fn what_is_repeated_is_said_once() {
        assert_eq!(fold("a/b/c"), "a/b/c");
        assert_eq!(fold("a/b/b/b/c"), "a/3 x (b)/c");
        assert_eq!(fold("a/b/a/b/a/c"), "2 x (a · b)/a/c");
        assert_eq!(fold("x/a/a/b/a/a/b/x"), "x/2 x (a · a · b)/x");
    }

    #[test]
    fn what_is_done_for_each_client_is_said_once() {
        assert_eq!(fold("go c0/go c1"), "go c0/go c1");
        assert_eq!(fold("go c0/go c1/go c2/end"), "for c0 to c2: go c/end");
        assert_eq!(
            fold("go c3/echo c3 1/go c4/echo c4 1/go c5/echo c5 1"),
            "for c3 to c5: (go c · echo c 1)"
        );
        assert_eq!(
            fold("go c0/echo c0 1/go c1/echo c1 2/go c2/echo c2 1"),
            "go c0/echo c0 1/go c1/echo c1 2/go c2/echo c2 1"
        );
        assert_eq!(fold("go c0/go c1/go c2/end/go c0/go c1/go c2/end"), "2 x (for c0 to c2: go c · end)");
    }

    #[test]
    fn a_step_of_two_clients_is_nobodys_turn() {
        assert_eq!(
            fold("at once: go c0, end c1/at once: go c1, end c2/at once: go c2, end c3")
                .matches("for")
                .count(),
            0
        );
    }
}
