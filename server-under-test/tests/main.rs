//! The `forking-echo` command, seen from outside: what it says, what it sends back, what it leaves behind.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a condition may take to come true on a busy machine; no test waits that long in vain.
const DEADLINE: Duration = Duration::from_secs(30);

/// A server on a port of the kernel's choice; killed with all its children on drop.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn launch(args: &[&str]) -> Self {
        Self::launch_logging_to(Stdio::null(), args)
    }

    fn launch_logging_to(stderr: Stdio, args: &[&str]) -> Self {
        let mut command = command(&["--port", "0"]); // A later --port overrides it.
        let mut process = command.args(args).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on ").expect(&line).parse().unwrap();
        Self { process, address }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    fn children(&self) -> Vec<Pid> {
        let pid = self.process.id();
        let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        listed.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
    }

    fn wait_for_children(&self, count: usize) {
        let start = Instant::now();
        while self.children().len() != count {
            assert!(start.elapsed() < DEADLINE, "{count} children expected: {:?}", self.children());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Signals it, and returns its exit code and how long it took to exit.
    fn stop(&mut self, signal: Signal) -> (Option<i32>, Duration) {
        let start = Instant::now();
        kill(self.pid(), signal).unwrap();
        (self.process.wait().unwrap().code(), start.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(Some(_))) {
            return; // Its children ended before it; their pids may be other processes' by now.
        }
        let _ = kill(self.pid(), Signal::SIGSTOP); // So that it can neither fork nor reap while we look.
        for child in self.children() {
            let _ = kill(child, Signal::SIGKILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forking-echo"));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// Sends, half-closes, and reads until the end.
fn visit(mut client: TcpStream, payload: &[u8]) -> Vec<u8> {
    let mut reader = client.try_clone().unwrap();
    let echoed = std::thread::spawn(move || {
        let mut echoed = Vec::new();
        reader.read_to_end(&mut echoed).unwrap();
        echoed
    });
    client.write_all(payload).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    echoed.join().unwrap()
}

/// Sends a byte and waits for it: after that a child serves this client.
fn greet(mut client: &TcpStream) {
    let mut byte = [0];
    client.write_all(b"x").unwrap();
    client.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

#[test]
fn eight_mebibytes_come_back_whole_over_ipv4_and_ipv6() {
    let payload: Vec<u8> = (0..8_u32 << 20).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for addr in ["127.0.0.1", "::1"] {
        let server = Server::launch(&["--addr", addr]);
        assert_eq!(server.address.ip(), addr.parse::<IpAddr>().unwrap());
        assert!(visit(server.connect(), &payload) == payload, "not the same over {addr}");
    }
}

#[test]
fn fifty_children_killed_at_once_are_all_reaped() {
    let server = Server::launch(&[]);
    let clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    clients.iter().for_each(greet);
    kill(server.pid(), Signal::SIGSTOP).unwrap();
    for (child, signal) in
        server.children().into_iter().zip([Signal::SIGKILL, Signal::SIGTERM].iter().cycle())
    {
        kill(child, *signal).unwrap();
    }
    kill(server.pid(), Signal::SIGCONT).unwrap();
    server.wait_for_children(0);
    greet(&server.connect());
}

#[test]
fn clients_beyond_the_limit_wait_their_turn() {
    let server = Server::launch(&["--max-children=2"]);
    let (first, second, third) = (server.connect(), server.connect(), server.connect());
    greet(&first);
    greet(&second);
    (&third).write_all(b"x").unwrap();
    server.wait_for_children(2);
    drop(first);
    let mut byte = [0];
    (&third).read_exact(&mut byte).unwrap();
    server.wait_for_children(2);
}

#[test]
fn sigterm_and_sigint_stop_it_within_a_second_even_if_a_child_is_stopped() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::launch(&[]);
        let clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
        clients.iter().for_each(greet);
        let children = server.children();
        kill(children[0], Signal::SIGSTOP).unwrap();
        let (code, took) = server.stop(signal);
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(1), "{signal} took {took:?}");
        assert!(children.iter().all(|child| kill(*child, None).is_err()), "an orphan of {signal}");
        assert!(TcpStream::connect(server.address).is_err());
    }
}

#[test]
fn sigterm_is_not_kept_waiting_by_a_queue_of_clients() {
    let (mut log, stderr) = std::io::pipe().unwrap();
    let mut server = Server::launch_logging_to(stderr.into(), &["--max-children", "100"]);
    kill(server.pid(), Signal::SIGSTOP).unwrap();
    let clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    kill(server.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(server.stop(Signal::SIGCONT).0, Some(0));
    let mut lines = String::new();
    log.read_to_string(&mut lines).unwrap();
    let served = lines.matches(" serves ").count();
    assert!(served < 5, "{served} of {} clients served after SIGTERM", clients.len());
}

#[test]
fn a_log_that_nobody_reads_or_that_is_closed_hurts_no_client() {
    let (unread, stderr) = std::io::pipe().unwrap();
    let mut filler = stderr.try_clone().unwrap();
    nix::fcntl::fcntl(&filler, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    filler.write_all(&[0; 4096]).unwrap();
    let server = Server::launch_logging_to(stderr.into(), &[]);
    greet(&server.connect());
    greet(&server.connect());
    drop((unread, filler));
    greet(&server.connect());
    server.wait_for_children(0);
    greet(&server.connect());
}

#[test]
fn a_port_in_use_is_an_error_that_names_it_and_the_remedy() {
    let server = Server::launch(&[]);
    let port = server.address.port().to_string();
    let refused = run(&["--port", &port]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(message.contains(&format!("127.0.0.1:{port}")) && message.contains("ss -ltnp"), "{message}");
    assert!(refused.stdout.is_empty());
    greet(&server.connect());
}

#[test]
fn a_restart_beside_open_connections_succeeds() {
    let mut server = Server::launch(&[]);
    let client = server.connect();
    greet(&client);
    let children = server.children();
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let again = Server::launch(&["--port", &server.address.port().to_string()]);
    assert_eq!(again.address, server.address);
    greet(&client);
    greet(&again.connect());
    children.into_iter().for_each(|orphan| kill(orphan, Signal::SIGKILL).unwrap());
}

#[test]
fn bad_arguments_are_refused_by_name() {
    for args in [
        &["--port", "65536"][..],
        &["--port=-1"],
        &["--port", "abc"],
        &["--port"],
        &["--addr", "localhost"],
        &["--backlog", "-1"],
        &["--max-children=0"],
        &["--prot", "1"],
        &["7007"],
    ] {
        let refused = run(args);
        let message = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{args:?}");
        assert!(message.contains(args[0].split('=').next().unwrap()), "{message}");
        assert!(refused.stdout.is_empty());
    }
}

#[test]
fn help_names_each_option() {
    let help = run(&["--help"]);
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success());
    assert!(["--addr", "--port", "--backlog", "--max-children"].iter().all(|flag| text.contains(flag)));
    assert!(text.starts_with(concat!("forking-echo ", env!("CARGO_PKG_VERSION"))));
}
