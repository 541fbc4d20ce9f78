//! Scenarios in words: what is read in a report.

use std::fmt;

use crate::scenario::{Act, Amount, Client, Condition, Endpoint, Facet, Instance, Sig, Step, To, Who};

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("the server") } else { write!(f, "server {}", self.0 + 1) }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Launch(instance, setting) => write!(f, "launch {instance}{setting}"),
            Self::Do(client, act) => write_act(f, *client, act),
            Self::Signal(who, sig) => write!(f, "send {sig} to {who}"),
            Self::Limit(who, resource, Amount::Exactly(n)) => write!(f, "limit {resource} of {who} to {n}"),
            Self::Limit(who, resource, Amount::InUse) => {
                write!(f, "limit {resource} of {who} to those in use")
            }
            Self::Limit(who, resource, Amount::Original) => {
                write!(f, "lift the limit of {resource} of {who}")
            }
            Self::Occupy(endpoint) => write!(f, "let another process listen on the port ({endpoint})"),
            Self::Vacate(endpoint) => write!(f, "let the other process leave the port ({endpoint})"),
            Self::Together(steps) => {
                f.write_str(if steps.len() > 1 { "at once: " } else { "" })?;
                write_joined(f, steps)
            }
            Self::Await(condition) => write!(f, "wait until {condition}"),
            Self::Quiet => f.write_str("wait until nothing moves"),
            Self::Look | Self::Mark => f.write_str("look"),
            Self::Watch(ms, windows) => write!(f, "watch the CPU for {windows} x {ms} ms"),
            Self::Pause(ms) => write!(f, "wait for {ms} ms"),
        }
    }
}

/// Joins steps with commas; a long list is cut in the middle.
fn write_joined(f: &mut fmt::Formatter<'_>, steps: &[Step]) -> fmt::Result {
    const SHOWN: usize = 6;
    for (index, step) in steps.iter().enumerate() {
        if steps.len() > SHOWN + 1 && index == SHOWN - 1 {
            return write!(f, ", ... ({} more), {}", steps.len() - SHOWN, steps[steps.len() - 1]);
        }
        write!(f, "{}{step}", if index == 0 { "" } else { ", " })?;
    }
    Ok(())
}

fn write_act(f: &mut fmt::Formatter<'_>, client: Client, act: &Act) -> fmt::Result {
    match act {
        Act::Connect(To::Target) => write!(f, "connect {client}"),
        Act::Connect(to) => write!(f, "connect {client} to {to}"),
        Act::Dial(_) => write!(f, "begin to connect {client}"),
        Act::Join => write!(f, "{client} waits for its connection"),
        Act::ReceiveBuffer(n) => write!(f, "{client} takes a receive buffer of {n} bytes"),
        Act::SendBuffer(n) => write!(f, "{client} takes a send buffer of {n} bytes"),
        Act::Send(payload) => write!(f, "send {client} {payload}"),
        Act::Exchange(payload) => write!(f, "echo {client} {payload}"),
        Act::PingPong(payload) => write!(f, "echo {client} {payload}, each answered before the next"),
        Act::Urgent(byte) => write!(f, "send {client} the urgent byte {byte:#04x}"),
        Act::Stall { max } => write!(f, "send {client} without reading until stalled (at most {max} bytes)"),
        Act::Read => write!(f, "read {client}"),
        Act::ReadSlowly { bytes, pause_ms, times } => {
            write!(f, "read {client} slowly ({times} x {bytes} bytes, {pause_ms} ms apart)")
        }
        Act::ReadToEnd => write!(f, "read {client} to the end"),
        Act::Linger(ms) => write!(f, "keep {client} for {ms} ms"),
        Act::HalfClose => write!(f, "half-close {client}"),
        Act::Close => write!(f, "close {client}"),
        Act::Reset => write!(f, "reset {client}"),
        Act::Visit(payload) => write!(f, "visit {client} with {payload}"),
    }
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "the target",
            Self::OtherLoopback => "127.0.0.2",
            Self::Ipv6Loopback => "::1",
        })
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Launched(instance) => write!(f, "{instance}"),
            Self::Acceptor(Instance(0)) => f.write_str("the accepting process"),
            Self::Acceptor(instance) => write!(f, "the accepting process of {instance}"),
            Self::Serving(client) => write!(f, "the process that serves {client}"),
            Self::Children(_) => f.write_str("all children"),
            Self::Child(_, n) => write!(f, "child {n}"),
            Self::Tree(instance) => write!(f, "every process of {instance}"),
        }
    }
}

impl fmt::Display for Sig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopping => f.write_str("the stop signal"),
            sig => write!(f, "SIG{}", format!("{sig:?}").to_uppercase()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp4 => "TCP over IPv4",
            Self::Tcp6 => "TCP over IPv6",
            Self::Udp => "UDP",
            Self::Unix => "UNIX",
        })
    }
}

impl fmt::Display for Facet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Processes => "processes",
            Self::Descriptors => "descriptors",
            Self::Connections => "connections",
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening(instance) => write!(f, "{instance} listens"),
            Self::Exited(instance) => write!(f, "{instance} has exited"),
            Self::Gone(instance) => write!(f, "every process of {instance} has gone"),
            Self::PortFree => f.write_str("nothing listens on the port"),
            Self::NoZombie => f.write_str("there is no zombie"),
            Self::Zombies(n) => write!(f, "there are {n} zombies"),
            Self::Back(facet) => write!(f, "there are no more {facet} than before"),
            Self::QueueAtLeast(n) => write!(f, "the accept queue holds {n}"),
            Self::QueueEmpty => f.write_str("the accept queue is empty"),
            Self::ServerOfGone(client) => write!(f, "the process that served {client} has gone"),
            Self::Accepted(client) => write!(f, "{client} is accepted"),
            Self::Stopped(who) => write!(f, "{who} is stopped"),
            Self::Announced(instance) => write!(f, "{instance} announces that it is ready"),
            Self::Still => f.write_str("nothing moves"),
        }
    }
}
