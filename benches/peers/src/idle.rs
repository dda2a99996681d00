//! Connections that are open and say nothing. Does I/O: opens them, and resets them in the end.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long the server may take to answer a new connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections that the server has accepted and answered, and that stay silent from then on.
#[derive(Debug)]
pub struct Idle {
    streams: Vec<TcpStream>,
}

impl Idle {
    /// Opens `count` connections, one after the other, unless a signal comes.
    pub fn open(address: SocketAddr, count: usize, signal: &AtomicUsize) -> io::Result<Idle> {
        let mut idle = Idle { streams: Vec::with_capacity(count) };
        while idle.streams.len() < count && signal.load(Ordering::Relaxed) == 0 {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            // Until it has answered, the connection may still wait to be accepted, where it costs the server nothing.
            stream.write_all(b"i")?;
            stream.read_exact(&mut [0])?;
            idle.streams.push(stream);
        }
        Ok(idle)
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        for stream in &self.streams {
            // A reset leaves nothing behind; thousands of ports in TIME-WAIT would be missing in the next measurement.
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_connections_have_been_answered_and_end_with_a_reset() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let accept = || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut [0]).unwrap();
                stream.write_all(b"I").unwrap();
                stream
            };
            let mut streams = [accept(), accept()];
            streams.each_mut().map(|stream| stream.read(&mut [0]).unwrap_err().kind())
        });
        let idle = Idle::open(address, 2, &AtomicUsize::new(0)).unwrap();
        assert_eq!(idle.streams.len(), 2);
        drop(idle);
        assert_eq!(server.join().unwrap(), [io::ErrorKind::ConnectionReset; 2]);
    }

    #[test]
    fn a_signal_ends_the_opening_of_idle_connections() {
        let nobody = "127.0.0.1:1".parse().unwrap();
        assert!(Idle::open(nobody, 5, &AtomicUsize::new(15)).unwrap().streams.is_empty());
    }
}
