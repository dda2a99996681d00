//! A client, a balancer and three servers, each in a network of its own, with the addresses of `tools/deploy/balance`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::{PATIENCE, Program};
use crate::namespace::{Namespace, PORT};

/// The first server, which the client reaches too if the front forwards.
pub(crate) const FIRST: &str = "10.79.0.11:12000";

/// Where the client finds the balancer.
pub(crate) const FRONT: &str = "10.78.0.2:12000";

/// The configurations.
pub(crate) fn configuration(name: &str) -> String {
    format!("{}/tools/deploy/balance/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The load tool, built as the tests are. Tests of this package have no path to programs of another.
pub(crate) fn load_tool() -> PathBuf {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let mut cargo = Command::new(env!("CARGO"));
    let built = cargo.args(["build", "--locked", "--profile", profile, "-p", "shout-load"]).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    PathBuf::from(crate::common::SERVER).with_file_name("shout-load")
}

pub(crate) struct Network {
    client: Namespace,
    pub(crate) front: Namespace,
    backends: Vec<Namespace>,
    load_tool: PathBuf,
}

impl Network {
    /// `None`, and a line that says why, where there can be none.
    pub(crate) fn new() -> Option<Network> {
        let (client, front) = (Namespace::new()?, Namespace::new()?);
        client.ip(&format!("link add wire type veth peer name clients netns {}", front.name()));
        client.ip("addr add 10.78.0.1/24 dev wire");
        client.ip("link set wire up");
        client.ip("route add default via 10.78.0.2");
        front.ip("addr add 10.78.0.2/24 dev clients");
        front.ip("link set clients up");
        let mut backends = Vec::new();
        for host in 11..=13 {
            let backend = Namespace::new()?;
            backend.ip(&format!("link add wire type veth peer name to{host} netns {}", front.name()));
            backend.ip(&format!("addr add 10.79.0.{host}/24 dev wire"));
            backend.ip("link set wire up");
            front.ip(&format!("addr add 10.79.0.1/32 dev to{host}"));
            front.ip(&format!("link set to{host} up"));
            front.ip(&format!("route add 10.79.0.{host}/32 dev to{host} src 10.79.0.1"));
            backend.ip("route add default via 10.79.0.1");
            backends.push(backend);
        }
        Some(Network { client, front, backends, load_tool: load_tool() })
    }

    /// One server at each place.
    pub(crate) fn servers(&self) -> Vec<Program> {
        self.backends
            .iter()
            .map(|backend| backend.start(&format!("0.0.0.0:{PORT}"), &["--drain-timeout", "2s"]))
            .collect()
    }

    fn tool(&self, arguments: &[&str]) -> Command {
        let mut command = self.client.command(self.load_tool.to_str().unwrap());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Whether what answers at the front keeps the contract: what is wrong, as the load tool says it.
    pub(crate) fn verify(&self, protocol: &str) -> Result<(), String> {
        let output = self.tool(&["verify", &format!("{protocol}://{FRONT}")]).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stdout).into_owned()) }
    }

    /// How many connections the kernel of the front reset because its program closed them with input unread, and how many
    /// the kernels of the servers reset for whatever reason.
    pub(crate) fn resets(&self) -> (u64, u64) {
        let of = |host: &Namespace, counter: &str| -> u64 {
            let output = host.command("nstat").args(["-asz", counter]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let value = text.lines().find_map(|line| line.strip_prefix(counter)?.split_whitespace().next());
            value.unwrap_or_else(|| panic!("no {counter} in {text}")).parse().unwrap()
        };
        let servers = self.backends.iter().map(|backend| of(backend, "TcpOutRsts")).sum();
        (of(&self.front, "TcpExtTCPAbortOnClose"), servers)
    }

    /// A load on the front that runs until [`Load::result`].
    pub(crate) fn load(&self, protocol: &str, arguments: &[&str]) -> Load {
        self.load_at(FRONT, protocol, arguments)
    }

    /// The same on any place.
    pub(crate) fn load_at(&self, place: &str, protocol: &str, arguments: &[&str]) -> Load {
        let target = format!("{protocol}://{place}");
        let child =
            self.tool(&[&[&*target, "--json", "--quiet", "--warmup", "0s"], arguments].concat()).spawn().unwrap();
        Load(child)
    }

    /// Has the front pass on what is not for itself, as nftables wants it.
    pub(crate) fn forward(&self) {
        self.front.inside(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1")).unwrap();
    }

    /// Waits until somebody accepts connections at the front.
    pub(crate) fn wait_for_front(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.client.inside(|| TcpStream::connect(FRONT)).is_err() {
            assert!(Instant::now() < deadline, "nobody listens at the front");
            std::thread::yield_now();
        }
    }
}

/// A run of the load tool.
pub(crate) struct Load(Child);

impl Load {
    /// Ends the run, and waits for the answers that are owed: the record of it.
    pub(crate) fn stop(self) -> Value {
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
        self.result()
    }

    /// Waits for the end of the run: the record of it.
    pub(crate) fn result(mut self) -> Value {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.0.wait().unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A balancer that runs as a program, ended with the test.
pub(crate) struct Balancer {
    child: Child,
    /// Where it keeps its files.
    pub(crate) directory: PathBuf,
}

impl Balancer {
    /// Starts what `command` makes of a directory for its files, in the network of the front. `None`, and a line that says
    /// why, where the program is missing.
    pub(crate) fn start(network: &Network, program: &str, arguments: impl Fn(&str) -> Vec<String>) -> Option<Balancer> {
        if Command::new(program).arg("-v").output().is_err() {
            println!("skipped: there is no {program}");
            return None;
        }
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{program}-{}", network.front.name()));
        fs::create_dir_all(&directory).unwrap();
        let place = directory.to_str().unwrap();
        let mut command = network.front.command(program);
        command.env("RUNTIME_DIRECTORY", place).args(arguments(place));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let balancer = Balancer { child, directory };
        network.wait_for_front();
        Some(balancer)
    }

    /// What `HAProxy` answers to a command on its socket.
    pub(crate) fn ask(&self, command: &str) -> String {
        let mut socket = UnixStream::connect(self.directory.join("haproxy.sock")).unwrap();
        writeln!(socket, "{command}").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    /// How many peers `HAProxy` has on a server.
    pub(crate) fn peers_on(&self, server: &str) -> u64 {
        let table = self.ask("show stat");
        let mut rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let column = rows.next().unwrap().iter().position(|name| *name == "scur").expect("a column of sessions");
        rows.find(|row| row[..2] == ["shout", server]).expect("the server's row")[column].parse().unwrap()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Asked to end, it takes its worker processes along.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
