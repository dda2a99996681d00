//! The service with std alone: blocking sockets, one thread for UDP, one thread per connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::thread;

/// Bytes read from a connection at a time: what std's own `BufReader` and `io::copy` take.
const READ_SIZE: usize = 8 * 1024;

fn main() -> ExitCode {
    peers::run(serve)
}

fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let socket = UdpSocket::bind(address)?;
    thread::Builder::new().spawn(move || answer_datagrams(&socket))?;
    peers::announce(env!("CARGO_BIN_NAME"), address)?;

    loop {
        // A new connection costs a descriptor and a thread; the machine may be out of either for a while.
        let started =
            listener.accept().and_then(|(stream, _)| thread::Builder::new().spawn(move || answer_stream(stream)));
        if let Err(error) = started {
            eprintln!("cannot take a connection: {error}");
            thread::sleep(peers::ACCEPT_PAUSE);
        }
    }
}

fn answer_datagrams(socket: &UdpSocket) {
    let mut buffer = vec![0; peers::DATAGRAM_ROOM];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((length, client)) => {
                let datagram = &mut buffer[..length];
                datagram.make_ascii_uppercase();
                // UDP may lose a reply anywhere on its way; one that cannot leave is no worse.
                let _ = socket.send_to(datagram, client);
            }
            Err(error) => eprintln!("cannot receive a datagram: {error}"),
        }
    }
}

/// Serves one connection until the client has finished sending. An error ends this connection and no other.
fn answer_stream(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let length = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let text = &mut buffer[..length];
        text.make_ascii_uppercase();
        stream.write_all(text)?;
    }
}
