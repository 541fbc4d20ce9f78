//! One act of a client under way: it is advanced whenever its socket is ready, until it is over or out of time.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::client::connection::{CHUNK, Moved};
use crate::client::{Connection, Stream, Wants};
use crate::limits::Limits;
use crate::scenario::{Act, Client, Cut, Payload};
use crate::trace::{Acted, Ending, Fate};

/// Chunks that one client moves before the next one has its turn.
const TURN: u32 = 16;
/// The server's own time without progress after which sending counts as stalled.
const STALLED_AFTER: Duration = Duration::from_millis(250);

/// An act under way.
#[derive(Debug)]
pub struct Task {
    client: Client,
    act: Act,
    phase: Phase,
    began: Instant,
    /// The server's own time at the beginning.
    from: Duration,
    /// The same at the last progress.
    progress: Duration,
    longest: Duration,
    fate: Option<Fate>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Connecting,
    /// Sending what is left of the payload, or reading what is owed, or both.
    Moving,
    /// Nothing is read before the instant.
    Pausing {
        until: Instant,
        times: u32,
    },
    /// Reading until end of file.
    Ending,
    /// Staying until the instant.
    Lingering(Instant),
}

/// What an act may need besides its own connection.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// What every client has sent on its last connection.
    pub streams: &'a mut BTreeMap<Client, Stream>,
    /// The server's own time since the enactment began.
    pub own: Duration,
    /// The bounds.
    pub limits: &'a Limits,
    /// Room for one chunk.
    pub buffer: &'a mut [u8],
}

impl Task {
    /// Starts an act. `address` says where a connect goes.
    pub fn start(
        connection: &mut Connection,
        act: Act,
        address: SocketAddr,
        around: &mut Surroundings<'_>,
    ) -> Self {
        let mut task = Self {
            client: connection.client,
            act,
            phase: Phase::Moving,
            began: Instant::now(),
            from: around.own,
            progress: around.own,
            longest: Duration::ZERO,
            fate: None,
        };
        task.begin(connection, address, around);
        task
    }

    fn begin(&mut self, connection: &mut Connection, address: SocketAddr, around: &mut Surroundings<'_>) {
        let stream = around.streams.entry(self.client).or_default();
        match self.act {
            Act::ReceiveBuffer(n) => connection.receive_buffer = Some(n),
            Act::SendBuffer(n) => connection.send_buffer = Some(n),
            Act::Connect(_) | Act::Dial(_) | Act::Visit(_) => {
                *stream = Stream::default();
                self.phase = Phase::Connecting;
                match connection.dial(address) {
                    Err(error) => self.fate = Some(refused(&error)),
                    Ok(false) if matches!(self.act, Act::Dial(_)) => self.fate = Some(Fate::Pending),
                    Ok(_) => {}
                }
                if let Act::Visit(payload) = self.act {
                    stream.begin(payload);
                }
                return;
            }
            _ if connection.socket.is_none() => self.fate = Some(Fate::Unconnected),
            Act::Send(payload) | Act::Exchange(payload) | Act::PingPong(payload) => stream.begin(payload),
            Act::Stall { max } => stream.begin(Payload::of(max)),
            Act::Urgent(byte) => {
                self.fate = Some(if connection.urgent(byte).is_ok() { Fate::Done } else { Fate::Ended });
            }
            Act::ReadSlowly { times, .. } => self.phase = Phase::Pausing { until: self.began, times },
            Act::ReadToEnd => self.phase = Phase::Ending,
            Act::Linger(ms) => {
                self.phase = Phase::Lingering(self.began + Duration::from_millis(u64::from(ms)))
            }
            Act::HalfClose => {
                connection.half_close();
                self.fate = Some(Fate::Done);
            }
            Act::Close | Act::Reset => {
                connection.close(self.act == Act::Reset);
                self.fate = Some(Fate::Done);
            }
            Act::Join | Act::Read => {}
        }
        if matches!(self.act, Act::ReceiveBuffer(_) | Act::SendBuffer(_)) {
            self.fate = Some(Fate::Done);
        } else if self.fate.is_none() && !connection.established {
            self.phase = Phase::Connecting;
        }
    }

    /// Whose act it is.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client
    }

    /// Whether the act is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.fate.is_some()
    }

    /// What the act waits for now.
    #[must_use]
    pub fn wants(&self, connection: &Connection, streams: &BTreeMap<Client, Stream>) -> Wants {
        let sending = !connection.deaf && self.sendable(connection, streams) > 0;
        match self.phase {
            _ if self.is_over() => Wants::default(),
            Phase::Connecting => Wants { write: true, ..Wants::default() },
            Phase::Moving => Wants { write: sending, read: self.reads(), wake: None },
            Phase::Pausing { until, .. } => Wants { wake: Some(until), ..Wants::default() },
            Phase::Ending => Wants { read: true, ..Wants::default() },
            Phase::Lingering(until) => Wants { read: true, wake: Some(until), ..Wants::default() },
        }
    }

    /// Does what can be done without waiting, and ends the act when it is done or out of time.
    pub fn advance(&mut self, connection: &mut Connection, around: &mut Surroundings<'_>) {
        for _ in 0..TURN {
            if self.is_over() || !self.advance_once(connection, around) {
                break;
            }
            self.longest = self.longest.max(around.own.saturating_sub(self.progress));
            self.progress = around.own;
        }
        if !self.is_over() {
            self.give_up(connection, around);
        }
    }

    /// Makes one move; returns whether there was any progress.
    fn advance_once(&mut self, connection: &mut Connection, around: &mut Surroundings<'_>) -> bool {
        match self.phase {
            Phase::Connecting => self.advance_handshake(connection),
            Phase::Moving => self.advance_transfer(connection, around),
            Phase::Pausing { until, times } => self.advance_slowly(connection, around, until, times),
            Phase::Ending => {
                let moved = receive(connection, around, CHUNK);
                if moved == Moved::Ended {
                    if matches!(self.act, Act::Visit(_)) {
                        connection.close(false);
                    }
                    self.fate = Some(Fate::Done);
                }
                matches!(moved, Moved::Bytes(_))
            }
            Phase::Lingering(until) => {
                let moved = receive(connection, around, CHUNK);
                if moved == Moved::Ended {
                    self.fate = Some(Fate::Ended);
                } else if Instant::now() >= until {
                    self.fate = Some(Fate::Done);
                }
                matches!(moved, Moved::Bytes(_))
            }
        }
    }

    fn advance_handshake(&mut self, connection: &mut Connection) -> bool {
        match connection.handshake() {
            Ok(true) if matches!(self.act, Act::Connect(_) | Act::Dial(_) | Act::Join) => {
                self.fate = Some(Fate::Done);
            }
            Ok(true) => {
                self.phase = match self.act {
                    Act::ReadToEnd => Phase::Ending,
                    Act::Linger(ms) => {
                        Phase::Lingering(Instant::now() + Duration::from_millis(u64::from(ms)))
                    }
                    _ => Phase::Moving,
                };
            }
            Ok(false) => return false,
            Err(error) => self.fate = Some(refused(&error)),
        }
        true
    }

    fn advance_transfer(&mut self, connection: &mut Connection, around: &mut Surroundings<'_>) -> bool {
        let mut progress = false;
        let n = self.sendable(connection, around.streams).min(CHUNK as u64);
        if n > 0 && !connection.deaf {
            progress |= self.send(connection, around, usize::try_from(n).unwrap_or(CHUNK));
        }
        if self.reads() {
            let owed = sent(self.client, around.streams).saturating_sub(connection.received);
            if owed > 0 || connection.deaf {
                let room = usize::try_from(owed.max(1)).map_or(CHUNK, |owed| owed.min(CHUNK));
                progress |= matches!(receive(connection, around, room), Moved::Bytes(_));
            }
        }
        self.finish_transfer(connection, around);
        progress
    }

    /// Ends the transfer, or goes on to the next part of a visit, if all is sent and all that is owed is back.
    fn finish_transfer(&mut self, connection: &mut Connection, around: &mut Surroundings<'_>) {
        let sent_all = self.unsent(around.streams) == 0;
        let back = connection.received >= sent(self.client, around.streams);
        let lost = connection.ending.is_some() || (connection.deaf && !self.reads());
        if sent_all && (back || !self.reads()) {
            if matches!(self.act, Act::Visit(_)) {
                connection.half_close();
                self.phase = Phase::Ending;
            } else {
                self.fate = Some(Fate::Done);
            }
        } else if lost {
            if matches!(self.act, Act::Visit(_)) {
                connection.close(false);
            }
            self.fate = Some(Fate::Ended);
        }
    }

    fn advance_slowly(
        &mut self,
        connection: &mut Connection,
        around: &mut Surroundings<'_>,
        until: Instant,
        times: u32,
    ) -> bool {
        let Act::ReadSlowly { bytes, pause_ms, .. } = self.act else { return false };
        if times == 0 {
            self.phase = Phase::Moving;
            return true;
        }
        if Instant::now() < until {
            return false;
        }
        let room = usize::try_from(bytes).map_or(CHUNK, |bytes| bytes.clamp(1, CHUNK));
        let moved = receive(connection, around, room);
        let until = Instant::now() + Duration::from_millis(u64::from(pause_ms));
        self.phase = Phase::Pausing { until, times: times - 1 };
        self.finish_transfer(connection, around);
        matches!(moved, Moved::Bytes(_))
    }

    /// Sends up to `n` bytes of the current payload; returns whether any were taken.
    fn send(&mut self, connection: &mut Connection, around: &mut Surroundings<'_>, n: usize) -> bool {
        let stream = around.streams.entry(self.client).or_default();
        stream.next(self.client.0, &mut around.buffer[..n]);
        match connection.write(&around.buffer[..n]) {
            Moved::Bytes(n) => {
                stream.advance(n as u64);
                n > 0
            }
            Moved::Blocked | Moved::Ended => false,
        }
    }

    fn reads(&self) -> bool {
        !matches!(self.act, Act::Send(_) | Act::Stall { .. })
    }

    /// Bytes of the payload that are not sent yet.
    fn unsent(&self, streams: &BTreeMap<Client, Stream>) -> u64 {
        let begun = streams.get(&self.client).map_or(0, Stream::begun);
        self.payload().map_or(0, |payload| payload.len.saturating_sub(begun))
    }

    /// Bytes that may be sent in one call now: up to the next cut, nothing while an answer is awaited.
    fn sendable(&self, connection: &Connection, streams: &BTreeMap<Client, Stream>) -> u64 {
        let Some(payload) = self.payload() else { return 0 };
        let begun = streams.get(&self.client).map_or(0, Stream::begun);
        let waits = matches!(self.act, Act::PingPong(_)) && connection.received < sent(self.client, streams);
        if waits || begun >= payload.len { 0 } else { payload.piece(begun) }
    }

    fn payload(&self) -> Option<Payload> {
        match self.act {
            Act::Send(payload) | Act::Exchange(payload) | Act::Visit(payload) => Some(payload),
            Act::PingPong(payload) if payload.cut == Cut::Whole => Some(payload.cut(Cut::Every(1))),
            Act::PingPong(payload) => Some(payload),
            Act::Stall { max } => Some(Payload::of(max)),
            Act::Connect(_)
            | Act::Dial(_)
            | Act::Join
            | Act::ReceiveBuffer(_)
            | Act::SendBuffer(_)
            | Act::Urgent(_)
            | Act::Read
            | Act::ReadSlowly { .. }
            | Act::ReadToEnd
            | Act::Linger(_)
            | Act::HalfClose
            | Act::Close
            | Act::Reset => None,
        }
    }

    /// Ends the act if its deadline has passed.
    fn give_up(&mut self, connection: &mut Connection, around: &Surroundings<'_>) {
        let idle = around.own.saturating_sub(self.progress);
        let limits = around.limits;
        let (within, fate) = match (self.phase, self.act) {
            (Phase::Pausing { .. } | Phase::Lingering(_), _) => return,
            (Phase::Connecting, Act::Connect(_) | Act::Visit(_)) => (limits.connect_within, Fate::Missed),
            (Phase::Connecting, _) => (limits.drain_within, Fate::Missed),
            (_, Act::Send(_) | Act::Stall { .. }) => (STALLED_AFTER, Fate::Stalled),
            _ => (limits.reply_within, Fate::Missed),
        };
        // A server that swallows a little now and then never lets the client stall.
        if matches!(self.act, Act::Stall { .. })
            && around.own.saturating_sub(self.from) >= limits.drain_within
        {
            self.fate = Some(Fate::Done);
        }
        if idle >= within {
            self.longest = self.longest.max(idle);
            if matches!(self.act, Act::Visit(_)) {
                connection.close(false);
            }
            self.fate = Some(fate);
        }
    }

    /// What became of the act.
    pub fn finish(self, connection: &mut Connection, streams: &BTreeMap<Client, Stream>) -> Acted {
        Acted {
            client: self.client,
            act: self.act,
            fate: self.fate.unwrap_or(Fate::Missed),
            local: connection.local,
            sent: sent(self.client, streams),
            received: connection.received,
            spans: connection.spans.take(),
            ending: connection.ending.or((connection.deaf).then_some(Ending::Reset)),
            took_us: micros(self.began.elapsed()),
            longest_us: micros(self.longest),
        }
    }
}

/// Reads up to `room` bytes and accounts for them.
fn receive(connection: &mut Connection, around: &mut Surroundings<'_>, room: usize) -> Moved {
    let moved = connection.read(&mut around.buffer[..room]);
    if let Moved::Bytes(n) = moved {
        connection.spans.account(connection.client, &around.buffer[..n], around.streams);
    }
    moved
}

fn sent(client: Client, streams: &BTreeMap<Client, Stream>) -> u64 {
    streams.get(&client).map_or(0, Stream::len)
}

fn refused(error: &io::Error) -> Fate {
    let name =
        error.raw_os_error().map_or_else(|| error.to_string(), |n| format!("{:?}", Errno::from_raw(n)));
    Fate::Refused(name)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
