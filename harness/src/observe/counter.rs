//! TCP counters of the network namespace.
//!
//! # References
//! proc_net(5); `Documentation/networking/snmp_counter.rst`

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crate::error::{Attempt, Error};
use crate::observe::proc_text::parse_counters;
use crate::trace::Counters;

/// The files of the counters, kept open: each read from the start shows the present state of the namespace in which
/// they were opened.
#[derive(Debug)]
pub(super) struct CounterFiles {
    netstat: File,
    snmp: File,
}

const NETSTAT: &str = "/proc/thread-self/net/netstat";
const SNMP: &str = "/proc/thread-self/net/snmp";

impl CounterFiles {
    /// Opens them in the network namespace of this thread.
    pub(super) fn open() -> Result<Self, Error> {
        Ok(Self {
            netstat: File::open(NETSTAT).attempt(|| format!("open {NETSTAT}"))?,
            snmp: File::open(SNMP).attempt(|| format!("open {SNMP}"))?,
        })
    }

    /// Reads them.
    pub(super) fn read(&self) -> Result<Counters, Error> {
        let mut netstat = [0; 16 << 10];
        let mut snmp = [0; 4 << 10];
        Ok(parse_counters(whole(&self.netstat, &mut netstat, NETSTAT)?, whole(&self.snmp, &mut snmp, SNMP)?))
    }
}

/// Reads a file from its start, as much as there is room for. One read brings it all; a second one would make the
/// kernel add everything up again.
fn whole<'b>(file: &File, buffer: &'b mut [u8], name: &str) -> Result<&'b [u8], Error> {
    let length = file.read_at(buffer, 0).attempt(|| format!("read {name}"))?;
    Ok(&buffer[..length])
}
