//! Accounts for received bytes: whose they are, and from which position.

use std::collections::BTreeMap;

use crate::client::Stream;
use crate::scenario::Client;
use crate::trace::Span;

/// Searches an act may make for the origin of bytes that do not match; beyond it they are alien.
const SEARCHES_MAX: u32 = 8;
/// Spans an act may record; beyond it the last one grows.
const SPANS_MAX: usize = 32;
/// Bytes that are looked for when something does not match; fewer than `NEEDLE_MIN` say nothing.
const NEEDLE_MAX: usize = 24;
const NEEDLE_MIN: usize = 4;

/// Where bytes on a client's connection come from.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    /// Position in the client's own stream of the byte that is due next.
    due: u64,
    found: Vec<Span>,
    searches: u32,
}

impl Spans {
    /// The runs since the last call.
    pub fn take(&mut self) -> Vec<Span> {
        self.searches = 0;
        std::mem::take(&mut self.found)
    }

    /// Accounts for `bytes` that `client` received. `streams` holds what each client has sent on its last connection.
    pub fn account(&mut self, client: Client, bytes: &[u8], streams: &BTreeMap<Client, Stream>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let own = streams.get(&client).map_or(0, |stream| self.matching(client, stream, rest));
            if own > 0 {
                self.push_own(own);
                rest = &rest[own..];
                continue;
            }
            match self.origin(client, rest, streams) {
                Some((from, at)) if from == client => self.due = at,
                Some((from, at)) => {
                    let n = streams.get(&from).map_or(0, |stream| common(from, stream, at, rest));
                    self.push(Span::Other { client: from, offset: at, len: n as u64 });
                    rest = &rest[n..];
                }
                None => {
                    let first = rest[..rest.len().min(64)].to_vec();
                    self.push(Span::Alien { len: rest.len() as u64, first });
                    return;
                }
            }
        }
    }

    /// How many of `bytes` are what is due next.
    fn matching(&self, client: Client, stream: &Stream, bytes: &[u8]) -> usize {
        common(client, stream, self.due, bytes)
    }

    fn push_own(&mut self, n: usize) {
        let n = n as u64;
        match self.found.last_mut() {
            Some(Span::Own { offset, len }) if *offset + *len == self.due => *len += n,
            _ => self.push(Span::Own { offset: self.due, len: n }),
        }
        self.due += n;
    }

    fn push(&mut self, span: Span) {
        if self.found.len() < SPANS_MAX {
            self.found.push(span);
        }
    }

    /// Finds who sent the beginning of `bytes`, and where: the client itself first (later, then earlier positions),
    /// then the others.
    fn origin(
        &mut self,
        client: Client,
        bytes: &[u8],
        streams: &BTreeMap<Client, Stream>,
    ) -> Option<(Client, u64)> {
        let needle = &bytes[..bytes.len().min(NEEDLE_MAX)];
        if needle.len() < NEEDLE_MIN || self.searches >= SEARCHES_MAX {
            return None;
        }
        self.searches += 1;
        let own = streams.get_key_value(&client);
        let others = streams.iter().filter(|(other, _)| **other != client);
        own.into_iter().chain(others).find_map(|(&who, stream)| {
            let from = if who == client { self.due } else { 0 };
            let at = find(who, stream, needle, from).or_else(|| find(who, stream, needle, 0))?;
            Some((who, at))
        })
    }
}

/// Length of the common run of `bytes` and the stream from position `at` on.
fn common(client: Client, stream: &Stream, at: u64, bytes: &[u8]) -> usize {
    let mut expected = [0; 8192];
    let mut matched = 0;
    while matched < bytes.len() {
        let n = (bytes.len() - matched).min(expected.len());
        let n = stream.read(client.0, at + matched as u64, &mut expected[..n]);
        let part = &bytes[matched..matched + n];
        if n > 0 && expected[..n] == *part {
            matched += n;
            continue;
        }
        return matched + expected[..n].iter().zip(part).take_while(|(a, b)| a == b).count();
    }
    matched
}

/// First position at or after `from`, within some MiB, at which the stream holds `needle`.
fn find(client: Client, stream: &Stream, needle: &[u8], from: u64) -> Option<u64> {
    const WINDOW: usize = 64 << 10;
    const REACH: u64 = 8 << 20;
    let mut buffer = vec![0; WINDOW + needle.len()];
    let mut at = from;
    while at < stream.len().min(from + REACH) {
        let n = stream.read(client.0, at, &mut buffer);
        if let Some(index) = buffer[..n].windows(needle.len()).position(|window| window == needle) {
            return Some(at + index as u64);
        }
        at += WINDOW as u64;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Payload;

    fn sent(client: u32, len: u64) -> (Stream, Vec<u8>) {
        let mut stream = Stream::default();
        stream.begin(Payload::of(len));
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        stream.next(client, &mut bytes);
        stream.advance(len);
        (stream, bytes)
    }

    fn spans(chunks: &[&[u8]], streams: &BTreeMap<Client, Stream>) -> Vec<Span> {
        let mut spans = Spans::default();
        for chunk in chunks {
            spans.account(Client(0), chunk, streams);
        }
        spans.take()
    }

    #[test]
    fn own_bytes_are_one_run_however_they_arrive() {
        let (stream, bytes) = sent(0, 10_000);
        let streams = BTreeMap::from([(Client(0), stream)]);
        let whole = vec![Span::Own { offset: 0, len: 10_000 }];
        assert_eq!(spans(&[&bytes], &streams), whole);
        assert_eq!(spans(&[&bytes[..1], &bytes[1..9000], &bytes[9000..]], &streams), whole);
    }

    #[test]
    fn lost_and_repeated_bytes_are_named_by_position() {
        let (stream, bytes) = sent(0, 1000);
        let streams = BTreeMap::from([(Client(0), stream)]);
        let lost = spans(&[&bytes[..100], &bytes[200..]], &streams);
        assert_eq!(lost, [Span::Own { offset: 0, len: 100 }, Span::Own { offset: 200, len: 800 }]);
        let again = spans(&[&bytes[..100], &bytes[..100]], &streams);
        assert_eq!(again, [Span::Own { offset: 0, len: 100 }, Span::Own { offset: 0, len: 100 }]);
    }

    #[test]
    fn foreign_bytes_are_told_apart() {
        let (own, bytes) = sent(0, 100);
        let (other, others) = sent(1, 100);
        let streams = BTreeMap::from([(Client(0), own), (Client(1), other)]);
        let mixed = spans(&[&bytes[..50], &others[20..60], b"Welcome!\n"], &streams);
        assert_eq!(
            mixed,
            [
                Span::Own { offset: 0, len: 50 },
                Span::Other { client: Client(1), offset: 20, len: 40 },
                Span::Alien { len: 9, first: b"Welcome!\n".to_vec() },
            ]
        );
    }
}
