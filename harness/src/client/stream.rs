//! What a client has sent on its connection, described: any part of it can be made again.

use crate::scenario::Payload;

/// The bytes that a client has sent, as a list of payloads.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    segments: Vec<Segment>,
    len: u64,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    start: u64,
    len: u64,
    payload: Payload,
}

impl Stream {
    /// Bytes sent so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has been sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Begins to send a payload. Until [`Stream::advance`] says so none of it counts as sent.
    pub fn begin(&mut self, payload: Payload) {
        self.segments.push(Segment { start: self.len, len: 0, payload });
    }

    /// Bytes of the current payload that are sent.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.len)
    }

    /// Counts `n` more bytes of the current payload as sent.
    pub fn advance(&mut self, n: u64) {
        self.len += n;
        if let Some(segment) = self.segments.last_mut() {
            segment.len += n;
        }
    }

    /// Writes the next bytes of the current payload to `buffer`.
    pub fn next(&self, client: u32, buffer: &mut [u8]) {
        if let Some(segment) = self.segments.last() {
            segment.payload.fill(client, segment.start, segment.len, buffer);
        }
    }

    /// Writes to `buffer` the bytes from position `at` on; returns how many there are.
    pub fn read(&self, client: u32, at: u64, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        let first = self.segments.partition_point(|segment| segment.start + segment.len <= at);
        for segment in &self.segments[first..] {
            let from = (at + filled as u64).saturating_sub(segment.start);
            let left = usize::try_from(segment.len - from.min(segment.len)).unwrap_or(usize::MAX);
            let n = left.min(buffer.len() - filled);
            segment.payload.fill(client, segment.start, from, &mut buffer[filled..filled + n]);
            filled += n;
            if filled == buffer.len() {
                break;
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_can_be_read_again_across_payloads() {
        let mut stream = Stream::default();
        let mut sent = Vec::new();
        for len in [10, 0, 300, 1] {
            stream.begin(Payload::of(len));
            let mut buffer = vec![0; usize::try_from(len).unwrap()];
            stream.next(4, &mut buffer);
            sent.extend(buffer);
            stream.advance(len);
        }
        for at in [0, 5, 9, 10, 11, 309, 310, 311] {
            let mut buffer = vec![0; 400];
            let n = stream.read(4, at as u64, &mut buffer);
            assert_eq!(buffer[..n], sent[at..], "from {at}");
        }
    }
}
