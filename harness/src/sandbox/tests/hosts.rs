//! Hosts that refuse a rung, made by hand: which rungs are left, and what the operator is told.

use std::env;
use std::process::{Command, Stdio};

use crate::sandbox::probe;

const PROBE: &str = "SOCKSPEC_TEST_PROBE";
/// Root who has to make a further user namespace: he has no capability but the one that it takes to map id 0.
const POWERLESS: &str = "exec setpriv --bounding-set=-all,+setfcap --inh-caps=-all";

/// Not a test, but what the tests start in place of `sockspec doctor`: prints the rungs, one a line.
fn be_the_doctor() {
    if env::var_os(PROBE).is_none() || env::var_os("SOCKSPEC_WORKER").is_some() {
        return;
    }
    let host = probe().unwrap();
    let lines: Vec<String> =
        host.rungs.iter().map(|rung| format!("{:?}: {rung}\n", rung.isolation)).collect();
    nix::unistd::write(std::io::stdout(), lines.concat().as_bytes()).unwrap();
    crate::sys::worker::exit(0);
}

crate::sys::before_main!(be_the_doctor);

/// The lines for full, no-proc and loopback, on a host that the script makes; `None` where no host can be made here.
fn host(script: &str) -> Option<[String; 3]> {
    let out = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &format!("{script} \"$0\"")])
        .arg(env::current_exe().unwrap())
        .env(PROBE, "1")
        .stderr(Stdio::inherit())
        .output()
        .ok()?;
    let lines: Vec<String> = String::from_utf8(out.stdout).unwrap().lines().map(ToOwned::to_owned).collect();
    if lines.is_empty() && probe().unwrap().rungs[0].outcome.is_err() {
        eprintln!("skipped: no user namespace can be made here");
        return None;
    }
    Some(lines.try_into().expect("three rungs"))
}

#[test]
fn root_of_a_user_namespace_has_every_rung() {
    let Some(lines) = host("exec") else { return };
    assert_eq!(lines, ["Full: works", "NoProc: works", "Loopback: works"]);
    let Some(lines) = host(POWERLESS) else { return };
    assert_eq!(lines, ["Full: works", "NoProc: works", "Loopback: works"]);
}

#[test]
fn a_host_without_user_namespaces_has_the_loopback_rung() {
    let Some([full, no_proc, loopback]) =
        host(&format!("echo 0 > /proc/sys/user/max_user_namespaces; {POWERLESS}"))
    else {
        return;
    };
    assert!(full.contains("make namespaces: No space left on device"), "{full}");
    assert!(full.contains("sysctl -w user.max_user_namespaces=10000"), "{full}");
    assert_eq!(full.replace("Full", "NoProc"), no_proc);
    assert_eq!(loopback, "Loopback: works");
}

#[test]
fn root_without_any_capability_is_told_which_he_needs() {
    let Some([full, ..]) = host("exec setpriv --bounding-set=-all --inh-caps=-all") else { return };
    assert!(full.contains("write uid_map of the enactor") && full.contains("--cap-add SETFCAP"), "{full}");
}

#[test]
fn the_limit_that_is_zero_is_named() {
    let Some([full, ..]) = host("echo 0 > /proc/sys/user/max_net_namespaces; exec") else { return };
    assert!(full.contains("sysctl -w user.max_net_namespaces=10000"), "{full}");
}

#[test]
fn a_host_with_a_covered_proc_has_the_no_proc_rung() {
    let Some(lines) = host(&format!("mount --bind /dev/null /proc/version; {POWERLESS}")) else { return };
    let [full, no_proc, loopback] = lines;
    assert!(full.contains("mount proc on /proc: Operation not permitted"), "{full}");
    assert!(full.contains("--security-opt systempaths=unconfined"), "{full}");
    assert_eq!((no_proc.as_str(), loopback.as_str()), ("NoProc: works", "Loopback: works"));
}
