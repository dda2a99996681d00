//! Many connections: their limits, the addresses that they come from, and what they cost the server.

use std::net::IpAddr;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::servers::{DatagramServer, RealServer, StreamServer, command, measure, run, upper_case};

#[cfg(unix)]
#[test]
fn too_few_open_files_are_named_before_anything_is_opened() {
    let server = RealServer::start();
    let target = format!("tcp://{}", server.address);
    let limited = |arguments: &[&str]| {
        let script = "ulimit -n 100; exec \"$@\"";
        let program = env!("CARGO_BIN_EXE_shout-load");
        std::process::Command::new("sh").args(["-c", script, "sh", program]).args(arguments).output().unwrap()
    };
    let short = [target.as_str(), "-n", "10", "-w", "0"];
    for (crowd, named) in [
        (&["-c", "51", "--idle", "10"][..], "'51' for '--connections <N>': 61 sockets"),
        (&["-c", "1", "--idle", "60"], "'60' for '--idle <N>': 61 sockets"),
        (&["-c", "1", "--slow-readers", "10", "--half-closers", "50"], "'50' for '--half-closers <N>': 61 sockets"),
        (&["-c", "1", "--slow-readers", "59", "--half-closers", "1"], "'59' for '--slow-readers <N>': 61 sockets"),
    ] {
        let output = limited(&[&short[..], crowd].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
        for part in [named, "100 open files", "leaves 60", "several processes", "merge"] {
            assert!(stderr.contains(part), "{stderr}");
        }
    }
    for more in [&["sweep", target.as_str(), "-c", "61"][..], &["search", target.as_str(), "-c", "61"]] {
        let output = limited(more);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
    }
    assert_eq!(limited(&[&short[..], &["-c", "50", "--idle", "10"]].concat()).status.code(), Some(0), "as it says");
}

#[cfg(target_os = "linux")]
#[test]
fn what_connections_cost_the_server_in_memory_is_measured() {
    let server = RealServer::start();
    let target = format!("tcp://{}", server.address);
    let crowd = ["-c", "100", "--idle", "1900"];
    let (result, code) = measure(&[&[&target, "-n", "200", "-w", "0"], &crowd[..]].concat());
    let (beside, memory) = (result.beside.unwrap(), result.server_memory.unwrap());
    assert_eq!((beside.opened, beside.connect.n, memory.connections, code), (1900, 1900, 2000, 0));
    assert!(beside.opening_ns > 0 && result.connections.opening_ns.unwrap() > 0);
    // A connection of this server fits one line of the cache, and has a place in a few lists.
    assert!((32.0..512.0).contains(&memory.each_bytes), "{memory:?}");
    let screen = String::from_utf8(run(&[&[&target, "-n", "10", "-w", "0"], &crowd[..]].concat()).stdout).unwrap();
    for part in ["opened 100 (", "opened 1,900 more, ", "memory   of the server", "with 2,000 connections"] {
        assert!(screen.contains(part), "{screen}");
    }
}

/// In the test itself: runs it again in a network of its own, as root of that alone, if this is not that run already.
/// Returns whether it is; prints why if there can be none.
#[cfg(target_os = "linux")]
fn is_in_a_network_of_its_own(test: &str) -> bool {
    const INSIDE: &str = "SHOUT_LOAD_TEST_NETWORK";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let attempt = std::process::Command::new("unshare").args(["--user", "--map-root-user", "--net", "true"]).output();
    if !attempt.is_ok_and(|output| output.status.success()) {
        println!("skipped: this system gives a test no network of its own (unshare --net)");
        return false;
    }
    let setup = "ip link set lo up && echo 40000 40099 > /proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", setup, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let [out, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    if error.contains("ip: not found") {
        println!("skipped: there is no ip to set the loopback interface up with");
        return false;
    }
    assert!(output.status.success() && out.contains("1 passed"), "{out}{error}");
    false
}

#[cfg(target_os = "linux")]
#[test]
fn a_network_of_addresses_has_more_ports_than_one_address() {
    // One address has a hundred of them here, and servers and others take some.
    if !is_in_a_network_of_its_own("scale::a_network_of_addresses_has_more_ports_than_one_address") {
        return;
    }
    let server = RealServer::start();
    let spread = ["--source", "127.0.0.0/24"];
    for scheme in ["tcp", "udp"] {
        let target = format!("{scheme}://{}", server.address);
        let load = [target.as_str(), "-n", "1000", "-w", "0", "-c", "350"];
        let output = run(&load);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
        assert!(stderr.contains("no more local ports") && stderr.contains("--source 127.0.0.0/8"), "{stderr}");
        let (run, code) = measure(&[&load[..], &spread].concat());
        assert_eq!((run.counts.replied, code), (1000, 0), "{scheme}");
        let (run, code) = measure(&[&load[..], &spread, &["-t", "3", "--idle", "350"]].concat());
        assert_eq!((run.counts.replied, code), (1000, 0), "{scheme} with companions");
    }
    // Ten times as many as there are ports, one after the other: those of the past are not in the way.
    let target = format!("tcp://{}", server.address);
    let (run, code) = measure(&[&[&target, "-n", "1000", "-w", "0", "--churn", "1"], &spread[..]].concat());
    let churn = run.churn.unwrap();
    assert_eq!((run.counts.replied, churn.failed, code), (1000, 0, 0), "{churn:?}");
}

/// Of a hundred ports, so many serve the one server and at the same time the other.
#[cfg(target_os = "linux")]
const CONNECTIONS: usize = 80;

#[cfg(target_os = "linux")]
#[test]
fn one_port_of_a_source_serves_several_servers() {
    if !is_in_a_network_of_its_own("scale::one_port_of_a_source_serves_several_servers") {
        return;
    }
    let (sender, accepted) = channel();
    let held = StreamServer::start(CONNECTIONS, move |_, stream| {
        sender.send(()).unwrap();
        std::mem::forget(stream);
    });
    let server = RealServer::start();
    let connections = CONNECTIONS.to_string();
    let load = ["-w", "0", "-n", "100", "-c", &connections, "--source", "127.0.0.9"];
    let holding = command(&[&[held.url().as_str()], &load[..]].concat())
        .args(["--timeout", "60s"])
        .stdout(std::process::Stdio::null())
        .spawn();
    let mut holding = holding.unwrap();
    (0..CONNECTIONS).for_each(|_| accepted.recv_timeout(Duration::from_secs(30)).unwrap());
    let (run, code) = measure(&[&[format!("tcp://{}", server.address).as_str()], &load[..]].concat());
    holding.kill().unwrap();
    holding.wait().unwrap();
    assert_eq!((run.counts.replied, code), (100, 0));
}

#[cfg(target_os = "linux")]
#[test]
fn sockets_are_bound_to_the_addresses_of_a_network_in_turn() {
    let seen: Arc<Mutex<Vec<IpAddr>>> = Arc::default();
    let expected: Vec<IpAddr> = ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(|text| text.parse().unwrap()).to_vec();
    let in_order = |seen: &Mutex<Vec<IpAddr>>| {
        let mut addresses = std::mem::take(&mut *seen.lock().unwrap());
        addresses.sort();
        addresses.dedup();
        addresses
    };
    let peers = Arc::clone(&seen);
    let server = StreamServer::start(3, move |number, stream| {
        peers.lock().unwrap().push(stream.peer_addr().unwrap().ip());
        upper_case(number, stream);
    });
    let load = ["-n", "30", "-c", "3", "-w", "0", "--source", "127.0.0.0/29"];
    let (run, code) = measure(&[&[server.url().as_str()], &load[..]].concat());
    assert_eq!((run.counts.replied, code), (30, 0));
    assert_eq!(in_order(&seen), expected);

    let peers = Arc::clone(&seen);
    let server = DatagramServer::start(move |_, bytes, peer| {
        peers.lock().unwrap().push(peer.ip());
        vec![(peer, bytes.to_ascii_uppercase())]
    });
    let (run, code) = measure(&[&[server.url().as_str()], &load[..]].concat());
    assert_eq!((run.counts.replied, code), (30, 0));
    assert_eq!(in_order(&seen), expected);
}

#[test]
fn a_source_of_the_other_family_cannot_be_used() {
    let output = run(&["tcp://127.0.0.1:9", "--source", "::1", "-n", "1"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains("--source ::1/128") && stderr.contains("127.0.0.1:9"), "{stderr}");
}
