//! One look at everything that the target has: processes, descriptors, sockets, counters.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::scenario::Instance;
use crate::trace::Exit;

/// What the observers saw at one moment. Pids are those of the target's pid namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// The target's processes, by pid; zombies are among them, the harness's own processes are not.
    pub processes: Vec<Process>,
    /// TCP sockets of the network namespace, of both ends: LISTEN rows and all others.
    pub sockets: Vec<Socket>,
    /// TcpExt counters of the network namespace.
    pub counters: Counters,
}

/// One process, from `/proc/PID`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Parent's id; 1 is the harness (the process was launched, or is an orphan).
    pub ppid: i32,
    /// The launch that it descends from.
    pub instance: Instance,
    /// Start time in clock ticks since boot: with the pid it names a process for ever.
    pub started: u64,
    /// State letter of `/proc/PID/stat`: R, S, D, T, t, Z, X, I.
    pub state: char,
    /// How it ended, of a zombie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Exit>,
    /// Name of the program, at most 15 bytes.
    pub comm: String,
    /// Path of the executable file, where it can be read.
    pub exe: String,
    /// Threads.
    pub threads: u32,
    /// CPU time in nanoseconds, of all threads, ended ones too.
    pub cpu_ns: u64,
    /// Time spent waiting for a CPU in nanoseconds, of all living threads.
    pub delay_ns: u64,
    /// Address space in KiB (VmSize); 0 in traces of versions that did not look.
    #[serde(default)]
    pub vm_kib: u64,
    /// Resident memory in KiB.
    pub rss_kib: u64,
    /// Effective user id.
    pub uid: u32,
    /// Masks of ignored, caught and blocked signals, bit n-1 for signal n.
    pub ignored: u64,
    /// See `ignored`.
    pub caught: u64,
    /// See `ignored`.
    pub blocked: u64,
    /// Open descriptors, by number; empty for a zombie.
    pub fds: Vec<Fd>,
    /// Whether the kernel showed us the descriptors: a process that changed its user may hide them.
    pub fds_readable: bool,
}

/// One open descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fd {
    /// Number.
    pub number: u32,
    /// What it refers to.
    pub kind: FdKind,
    /// Whether FD_CLOEXEC is set (`flags` of `/proc/PID/fdinfo/N`); `None`: not read, since it doubles the cost of a look.
    pub cloexec: Option<bool>,
}

/// What a descriptor refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FdKind {
    /// A socket, by inode.
    Socket(u64),
    /// A pipe or FIFO, by inode.
    Pipe(u64),
    /// A file, by path.
    File(String),
    /// eventpoll, eventfd, signalfd, timerfd, ...
    Anon(String),
}

/// State of a TCP socket, as in `include/net/tcp_states.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names of RFC 9293 3.3.2")]
pub enum State {
    Established,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynReceived,
}

/// One TCP socket, from sock_diag(7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// State.
    pub state: State,
    /// Local address and port.
    pub local: SocketAddr,
    /// Remote address and port; port 0 for LISTEN.
    pub remote: SocketAddr,
    /// Inode; 0 for sockets that no descriptor refers to (TIME_WAIT, not yet accepted, orphaned).
    pub inode: u64,
    /// Bytes not yet read; for LISTEN the length of the accept queue.
    pub receive_queue: u32,
    /// Bytes not yet acknowledged; for LISTEN the limit of the accept queue.
    pub send_queue: u32,
    /// Whether the keepalive timer is set.
    pub keepalive: bool,
}

/// TcpExt counters of `/proc/net/netstat`, absolute in the network namespace of the enactment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Times the accept queue of a socket overflowed.
    pub listen_overflows: u64,
    /// SYNs to LISTEN sockets dropped.
    pub listen_drops: u64,
    /// Connections reset because the user closed with unread data, or closed early.
    pub abort_on_close: u64,
    /// Connections reset because of unexpected data.
    pub abort_on_data: u64,
    /// Resets sent (Tcp OutRsts of `/proc/net/snmp`).
    pub resets_sent: u64,
}

impl Process {
    /// Whether it has ended and its parent has not waited for it.
    #[must_use]
    pub fn is_zombie(&self) -> bool {
        self.state == 'Z'
    }

    /// Whether one of its descriptors is the socket with this inode.
    #[must_use]
    pub fn holds(&self, inode: u64) -> bool {
        inode != 0 && self.fds.iter().any(|fd| fd.kind == FdKind::Socket(inode))
    }
}

impl Look {
    /// Processes of one launch.
    pub fn of(&self, instance: Instance) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(move |process| process.instance == instance)
    }

    /// The process with this pid.
    #[must_use]
    pub fn process(&self, pid: i32) -> Option<&Process> {
        self.processes.iter().find(|process| process.pid == pid)
    }

    /// Zombies whose parent is a process of the target: the harness reaps orphans itself.
    pub fn zombies(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.is_zombie() && process.ppid != 1)
    }

    /// Sockets in LISTEN on this port that a process of the target holds.
    pub fn listeners(&self, port: u16) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(move |socket| {
            socket.state == State::Listen
                && socket.local.port() == port
                && self.processes.iter().any(|process| process.holds(socket.inode))
        })
    }

    /// All sockets in LISTEN that a process of this instance holds.
    pub fn listening(&self, instance: Instance) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(move |socket| {
            socket.state == State::Listen && self.of(instance).any(|process| process.holds(socket.inode))
        })
    }

    /// The topmost process of the instance that holds a socket in LISTEN: fewest ancestors first, then lowest pid.
    #[must_use]
    pub fn acceptor(&self, instance: Instance) -> Option<&Process> {
        let inodes: Vec<u64> = self.listening(instance).map(|socket| socket.inode).collect();
        self.of(instance)
            .filter(|process| inodes.iter().any(|&inode| process.holds(inode)))
            .min_by_key(|process| (self.depth(process), process.started, process.pid))
    }

    /// Number of ancestors within the target.
    #[must_use]
    pub fn depth(&self, process: &Process) -> usize {
        let mut depth = 0;
        let mut ppid = process.ppid;
        while let Some(parent) = self.process(ppid)
            && depth < self.processes.len()
        {
            depth += 1;
            ppid = parent.ppid;
        }
        depth
    }

    /// Whether `pid` is `ancestor` or descends from it.
    #[must_use]
    pub fn descends(&self, pid: i32, ancestor: i32) -> bool {
        let mut at = pid;
        for _ in 0..=self.processes.len() {
            if at == ancestor {
                return true;
            }
            match self.process(at) {
                Some(process) => at = process.ppid,
                None => return false,
            }
        }
        false
    }

    /// The target's socket for the connection whose client end has this local address.
    #[must_use]
    pub fn peer_of(&self, client: SocketAddr) -> Option<&Socket> {
        self.sockets.iter().find(|socket| socket.state != State::Listen && same(socket.remote, client))
    }

    /// Processes that hold the target's end of the client's connection.
    #[must_use]
    pub fn holders(&self, client: SocketAddr) -> Vec<&Process> {
        let inode = self.peer_of(client).map_or(0, |socket| socket.inode);
        self.processes.iter().filter(|process| process.holds(inode)).collect()
    }
}

/// Whether two addresses are the same, with IPv4-mapped IPv6 addresses taken for what they map.
#[must_use]
pub fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}
