//! The beginning of a run: which address, whether there are enough files, and all connections opened. Does I/O.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::{Failure, Part, Progress};
use crate::clock::Clock;
use crate::companions::Companions;
use crate::engine::{Totals, Transport};
use crate::generator::Wish;
use crate::host::{self, Cpu};
use crate::observer::{FEWEST_FOR_MEMORY, Footprint, Memory};
use crate::payload::Payload;
use crate::plan::{Crowd, Plan};
use crate::sockets::{has_no_port, retried};
use crate::team::Team;

/// Files that a run opens besides its sockets: polls, timers, standard streams, `/proc`, and some to spare.
const OTHER_FILES: u64 = 40;

/// Probes for the one address of several that answers. Few, because each silent one costs [`PROBE_WAIT`].
const PROBES: u64 = 2;
const PROBE_WAIT: Duration = Duration::from_millis(300);

/// Everything that a run has open.
pub(super) struct Opened {
    pub(super) team: Team,
    pub(super) companions: Option<Companions>,
    /// What the connections took of the memory of a server on this machine.
    pub(super) memory: Option<Memory>,
}

/// Opens every connection of the plan, and relays how that goes. `server` is the server's process, if it is on this
/// machine.
pub(super) fn open(
    plan: &Plan,
    address: SocketAddr,
    server: Option<u32>,
    cpus: &[Cpu],
    watch: &mut dyn FnMut(&Progress) -> Wish,
) -> Result<Opened, Failure> {
    let streams: usize =
        plan.transports().iter().filter(|(transport, ..)| !transport.is_datagrams()).map(|part| part.1).sum();
    let of = streams + plan.crowd.companions();
    if let Some(source) = plan.crowd.source.filter(|source| source.addr().is_ipv4() != address.is_ipv4()) {
        return Err(Failure(format!("--source {source} and the target's address {address} are of two families")));
    }
    let clock = Clock::start();
    let mut footprint = Footprint::start(server.filter(|_| of >= FEWEST_FOR_MEMORY));
    let mut tell = |open| {
        footprint.look(open, of);
        let (elapsed, totals) = (clock.now(), Totals::default());
        watch(&Progress { part: Part::Opening { open, of }, elapsed, totals, latest: None, look: None })
            == Wish::Continue
    };
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::Interrupted => Failure("interrupted while connections were opened: nothing was measured".into()),
        _ => Failure(format!("cannot reach {}: {}", plan.target, reason(plan, &error))),
    };
    let team = Team::open(plan, address, cpus, &mut tell).map_err(failed)?;
    let dialler = plan.crowd.dialler(address);
    let companions = Companions::start(&plan.crowd, &dialler, &mut |open| tell(streams + open)).map_err(failed)?;
    Ok(Opened { team, companions, memory: footprint.end(of) })
}

/// Why a socket cannot be had, with what would help against what the words of the kernel do not explain.
fn reason(plan: &Plan, error: &io::Error) -> String {
    match plan.crowd.source {
        _ if !has_no_port(error) => error.to_string(),
        None => format!(
            "{error}: one address has no more local ports (net.ipv4.ip_local_port_range); spread the sockets over \
             several, such as --source 127.0.0.0/8 on loopback"
        ),
        Some(source) => format!(
            "{error}: --source {source} has no more local ports (net.ipv4.ip_local_port_range), or is not of this machine"
        ),
    }
}

/// Raises the limit on open files as far as it goes, and says plainly where it does not allow so many sockets.
pub fn enough_files(plan: &Plan) -> Result<(), String> {
    host::raise_open_file_limit();
    let Some(limit) = host::open_file_limit() else { return Ok(()) };
    let most = limit.saturating_sub(OTHER_FILES) as usize;
    let (lanes, companions) = (plan.lanes(), plan.crowd.companions());
    if lanes + companions <= most {
        return Ok(());
    }
    let transports = plan.transports().len();
    let each = lanes / transports;
    let (value, flag) = match (each, &plan.crowd) {
        _ if lanes > companions => (each, "connections"),
        (_, Crowd { idle, .. }) if 2 * idle >= companions => (*idle, "idle"),
        (_, Crowd { slow_readers, half_closers, .. }) if slow_readers > half_closers => (*slow_readers, "slow-readers"),
        (_, Crowd { half_closers, .. }) => (*half_closers, "half-closers"),
    };
    Err(format!(
        "invalid value '{value}' for '--{flag} <N>': {} sockets in all are too many, because this process may have {limit} \
         open files (ulimit -Hn), which leaves {most} for sockets; for more, run several processes at once, and add their \
         results up with shout-load merge",
        lanes + companions
    ))
}

/// The processes that serve the transports of the plan; none where those of one of them cannot be told.
pub(super) fn servers(plan: &Plan, address: SocketAddr) -> Vec<u32> {
    let each: Vec<Vec<u32>> =
        plan.transports().iter().map(|(transport, ..)| host::listeners(address, *transport)).collect();
    if each.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let mut all = each.concat();
    all.sort_unstable();
    all.dedup();
    all
}

/// The address of the target to use. A name may have several, and the server may listen on one of them only.
pub(super) fn choose_address(plan: &Plan) -> io::Result<SocketAddr> {
    let addresses = plan.target.addresses()?;
    if let [only] = addresses[..] {
        return Ok(only);
    }
    let has_tcp = plan.transports().iter().any(|(transport, ..)| *transport == Transport::Tcp);
    let answers = |address: &&SocketAddr| {
        if has_tcp {
            std::net::TcpStream::connect_timeout(address, plan.tcp_timeout.max(Duration::from_millis(1))).is_ok()
        } else {
            answers_datagrams(**address).unwrap_or(false)
        }
    };
    // With no answer from any, the first one: the run will say what is wrong with it.
    Ok(*addresses.iter().find(answers).unwrap_or(&addresses[0]))
}

/// Whether a probe gets any answer.
fn answers_datagrams(address: SocketAddr) -> io::Result<bool> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(PROBE_WAIT))?;
    let payload = Payload::new(crate::payload::NUMBERED_MINIMUM, 0);
    for sequence in 0..PROBES {
        let mut probe = Vec::new();
        payload.append(crate::payload::Identity { lane: 0, sequence }, &mut probe);
        socket.send(&probe)?;
        match retried(|| socket.recv(&mut [0; 64])) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(false),
            Err(_) => {}
        }
    }
    Ok(false)
}
