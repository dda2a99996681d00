//! Sockets as the server wants them: bound, sized, non-blocking. Does I/O, but only before the loop starts.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, UdpSocket};
use rustix::event::{self, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::config::Config;
use crate::connections::CHUNK_LEN;
use crate::systemd::Passed;

/// How often another port is tried when 0 was asked and the port that TCP got is taken on UDP.
const PORT_TRIES_MAX: usize = 16;

/// The most bytes of one connection that the kernel keeps without having sent them (`TCP_NOTSENT_LOWAT`): one chunk.
///
/// A peer that does not read makes the kernel keep this much and no more, in place of the whole send buffer: 282 KiB
/// in place of 4,112 KiB were measured (`ss -tm`, 20 peers on loopback), while bulk throughput stayed within the noise
/// from 128 KiB to 1 MiB. A fixed send buffer of 64 KiB bounds the same and took a third of the throughput. It also
/// makes a slow reader's progress visible every half chunk, where a large send buffer would hide it beyond any timeout.
pub const NOTSENT_MAX: u32 = CHUNK_LEN as u32;

/// The bound sockets of one loop, each `None` where its protocol is not served.
#[derive(Debug)]
pub struct Sockets {
    /// The UDP socket.
    pub udp: Option<UdpSocket>,
    /// The listening TCP socket.
    pub tcp: Option<TcpListener>,
    /// Where both listen, with the real port.
    pub address: SocketAddr,
    /// Set where they were bound before this server and live on when it has closed them: what waits in their queues is
    /// for whoever has them next. Some of the connections there may be older than what the listener passes on, and each
    /// must be given it when it is accepted.
    pub passed: Option<StreamOptions>,
}

/// What every connection is to have.
#[derive(Debug, Clone, Copy)]
pub struct StreamOptions {
    recv_buffer: Option<usize>,
    send_buffer: Option<usize>,
    stall_timeout: Duration,
}

/// Binds every loop's sockets to one port. Fails with an error that names the protocol and the address.
pub fn bind_all(config: &Config) -> io::Result<Vec<Sockets>> {
    let mut all = vec![bind(config, config.listen)?];
    // The port may only now be known.
    let address = all[0].address;
    for _ in 1..config.workers {
        all.push(bind(config, address)?);
    }
    Ok(all)
}

/// Binds both protocols to one port.
pub fn bind(config: &Config, listen: SocketAddr) -> io::Result<Sockets> {
    refuse_group(listen)?;
    let mut tries = 0;
    loop {
        let mut address = listen;
        let tcp =
            if config.no_tcp { None } else { Some(listener(config, address).map_err(|e| named(&e, "tcp", address))?) };
        if let Some(tcp) = &tcp {
            address.set_port(tcp.local_addr()?.port());
        }
        if config.no_udp {
            return Ok(Sockets { udp: None, tcp, address, passed: None });
        }
        match udp(config, address) {
            Ok(udp) => {
                address.set_port(udp.local_addr()?.port());
                return Ok(Sockets { udp: Some(udp), tcp, address, passed: None });
            }
            // The free port that TCP was given is taken on UDP. Any other will do.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && listen.port() == 0 && tries < PORT_TRIES_MAX => {
                tries += 1;
            }
            Err(error) => return Err(named(&error, "udp", address)),
        }
    }
}

/// Takes over sockets that a service manager has bound. Fails where they are not what one loop with these flags serves.
pub fn adopt(config: &Config, passed: Passed) -> io::Result<Sockets> {
    let refuse = |why: &str| Err(io::Error::other(format!("sockets were passed: {why}")));
    if config.workers > 1 {
        return refuse("one loop serves them, and --workers asks for more");
    }
    // Held open and never read, it would let its peers wait for ever.
    if (config.no_tcp && passed.tcp.is_some()) || (config.no_udp && passed.udp.is_some()) {
        return refuse("one is of the kind that --no-tcp or --no-udp excludes");
    }
    let tcp_address = passed.tcp.as_ref().map(std::net::TcpListener::local_addr).transpose()?;
    let udp_address = passed.udp.as_ref().map(std::net::UdpSocket::local_addr).transpose()?;
    let address = match (tcp_address, udp_address) {
        (Some(tcp), Some(udp)) if tcp != udp => {
            return refuse(&format!("tcp {tcp} and udp {udp} are two addresses, and one is served"));
        }
        (Some(address), _) | (None, Some(address)) => address,
        (None, None) => return refuse("but none was"),
    };
    refuse_group(address)?;
    let options = StreamOptions::of(config);
    if let Some(tcp) = &passed.tcp {
        tcp.set_nonblocking(true)?;
        options.set(&SockRef::from(tcp))?;
    }
    if let Some(udp) = &passed.udp {
        udp.set_nonblocking(true)?;
        size_buffers(&SockRef::from(udp), config.udp_recv_buffer, config.udp_send_buffer)?;
    }
    let (tcp, udp) = (passed.tcp.map(TcpListener::from_std), passed.udp.map(UdpSocket::from_std));
    Ok(Sockets { udp, tcp, address, passed: Some(options) })
}

/// Refuses an address that many hosts share. The kernel would bind to it, and the server would answer what is sent to all
/// of them, from an address that is nobody's.
///
/// Which addresses are the broadcasts of this host's networks, only the kernel knows: connect(2) refuses them to a socket
/// that has not asked for broadcasts, and not to one that has. It sends nothing. Where even the question is not allowed, it
/// stays open.
fn refuse_group(address: SocketAddr) -> io::Result<()> {
    let is_broadcast = || {
        let probe = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        let connect = || probe.connect(&SocketAddr::new(address.ip(), 9).into());
        let is_refused = connect().is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::ACCESS));
        if is_refused {
            // Whoever may not connect at all is refused for the same reason.
            probe.set_broadcast(true)?;
        }
        Ok::<_, io::Error>(is_refused && connect().is_ok())
    };
    if address.ip().to_canonical().is_multicast() || is_broadcast().unwrap_or(false) {
        let what =
            "is a broadcast or multicast address: name one of this host's own, or 0.0.0.0 or [::] for all of them";
        return Err(io::Error::other(format!("cannot listen on {address}: {} {what}", address.ip())));
    }
    Ok(())
}

fn named(error: &io::Error, protocol: &str, address: SocketAddr) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {protocol} {address}: {error}"))
}

/// A socket of the address's family; `[::]` takes IPv4 in as well, whatever the system's default.
fn socket(config: &Config, address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if let IpAddr::V6(ip) = address.ip() {
        socket.set_only_v6(!ip.is_unspecified() && ip.to_ipv4_mapped().is_none())?;
    }
    // Only where loops share the port on purpose: otherwise a second server would start without a word and take a
    // half of the first one's peers.
    #[cfg(unix)]
    socket.set_reuse_port(config.workers > 1 || config.reuse_port)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn listener(config: &Config, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(config, address, Type::STREAM, Protocol::TCP)?;
    // A restarted server must not wait for connections of the last one to leave TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    StreamOptions::of(config).set(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(config.backlog)?;
    Ok(TcpListener::from_std(socket.into()))
}

impl StreamOptions {
    fn of(config: &Config) -> StreamOptions {
        StreamOptions {
            recv_buffer: config.tcp_recv_buffer,
            send_buffer: config.tcp_send_buffer,
            stall_timeout: config.stall_timeout,
        }
    }

    /// Set on the listener, because connections inherit all of it when they are made; buffers in time for the window
    /// scale, which is settled then: tcp(7). Fails where the kernel has no such option or the connection has gone.
    pub fn set(&self, socket: &Socket) -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        // An urgent byte is a byte of the stream like any other, as RFC 6093, section 6, asks; otherwise it would be
        // missing from the answer.
        socket.set_out_of_band_inline(true)?;
        if let Some(size) = self.recv_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        if let Some(size) = self.send_buffer {
            socket.set_send_buffer_size(size)?;
        }
        notice_silence(socket, self.stall_timeout)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_notsent_lowat(NOTSENT_MAX)?;
        Ok(())
    }
}

/// Has the kernel break a connection whose peer has not answered for `limit`, or not taken what it is owed.
///
/// The loop sees only what the kernel refuses. What the kernel took and the peer did not, and a peer that vanished
/// without a word while nothing was owed, only the kernel can see: the first by `TCP_USER_TIMEOUT`, the second by
/// keepalive, whose first probe goes out after half the limit and the others a tenth of it apart. So five of them get
/// lost before a peer counts as gone. A user timeout ends the probing whatever number is allowed: tcp(7).
fn notice_silence(socket: &Socket, limit: Duration) -> io::Result<()> {
    // Linux counts probes in seconds, up to 32,767, and the timeout in milliseconds, in an `int`; zero is no timeout.
    const PROBE_MIN: Duration = Duration::from_secs(1);
    const PROBE_MAX: Duration = Duration::from_secs(32_767);
    let probes = TcpKeepalive::new().with_time((limit / 2).clamp(PROBE_MIN, PROBE_MAX));
    #[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
    let probes = probes.with_interval((limit / 10).clamp(PROBE_MIN, PROBE_MAX));
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(limit.clamp(Duration::from_millis(1), Duration::from_millis(i32::MAX as u64))))?;
    Ok(())
}

fn udp(config: &Config, address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(config, address, Type::DGRAM, Protocol::UDP)?;
    size_buffers(&socket, config.udp_recv_buffer, config.udp_send_buffer)?;
    socket.bind(&address.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// Asks for buffers beyond the system's limit, which takes `CAP_NET_ADMIN`, or else for as much as the limit allows.
fn size_buffers(socket: &Socket, receive: usize, send: usize) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt;
        if sockopt::set_socket_recv_buffer_size_force(socket, receive).is_ok() {
            return sockopt::set_socket_send_buffer_size_force(socket, send).map_err(Into::into);
        }
    }
    socket.set_recv_buffer_size(receive)?;
    socket.set_send_buffer_size(send)
}

/// Whether a connection waits to be accepted; asks the kernel without taking it.
pub fn someone_waits(listener: &TcpListener) -> bool {
    let mut asked = [PollFd::new(listener, PollFlags::IN)];
    // An error leaves the question open, and then somebody may.
    event::poll(&mut asked, Some(&Timespec::default())).map_or(true, |waiting| waiting > 0)
}

/// Binds the admin endpoint. Fails with an error that names it and the address.
///
/// Never shared: two servers behind one address would each show half of the truth.
pub fn bind_admin(address: SocketAddr) -> io::Result<TcpListener> {
    /// Far more than may be served at once; the others are told so.
    const BACKLOG: i32 = 16;
    let bind = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from_std(socket.into()))
    };
    bind().map_err(|error| named(&error, "admin", address))
}

/// A buffer of a socket: what was asked for and what the kernel granted, in bytes of payload.
#[derive(Debug, Clone)]
pub struct Buffer {
    /// `udp` or `tcp`.
    pub protocol: &'static str,
    /// `receive` or `send`.
    pub direction: &'static str,
    /// What the flags ask for; without them it is the kernel's own.
    pub asked: Option<usize>,
    /// What there is.
    pub granted: usize,
}

impl fmt::Display for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Buffer { protocol, direction, asked, granted } = self;
        write!(f, "{protocol} {direction} {granted}")?;
        match asked {
            None => write!(f, " (the kernel's own)"),
            Some(asked) if asked == granted => Ok(()),
            Some(asked) => write!(f, " of {asked} asked"),
        }
    }
}

/// Which buffers were asked for and which the kernel granted.
pub fn buffers(sockets: &Sockets, config: &Config) -> io::Result<Vec<Buffer>> {
    let mut buffers = Vec::new();
    let mut push = |protocol, direction, asked, reported: usize| {
        // Linux reports twice what it grants, the other half being for its own book-keeping: socket(7).
        let granted = if cfg!(target_os = "linux") { reported / 2 } else { reported };
        buffers.push(Buffer { protocol, direction, asked, granted });
    };
    if let Some(udp) = &sockets.udp {
        let granted = SockRef::from(udp);
        push("udp", "receive", Some(config.udp_recv_buffer), granted.recv_buffer_size()?);
        push("udp", "send", Some(config.udp_send_buffer), granted.send_buffer_size()?);
    }
    if let Some(tcp) = &sockets.tcp {
        let granted = SockRef::from(tcp);
        push("tcp", "receive", config.tcp_recv_buffer, granted.recv_buffer_size()?);
        push("tcp", "send", config.tcp_send_buffer, granted.send_buffer_size()?);
    }
    Ok(buffers)
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
