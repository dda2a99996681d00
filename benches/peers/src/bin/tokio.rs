//! The service on tokio's current-thread runtime: one task for UDP, one task per connection.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime;

/// Bytes read from a connection at a time; every connection has its own buffer, as tasks usually do.
const READ_SIZE: usize = 8 * 1024;

fn main() -> ExitCode {
    peers::run(|address| runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(address)))
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let socket = UdpSocket::bind(address).await?;
    tokio::spawn(answer_datagrams(socket));
    peers::announce(env!("CARGO_BIN_NAME"), address)?;

    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(answer_stream(stream));
            }
            Err(error) => {
                eprintln!("cannot accept a connection: {error}");
                tokio::time::sleep(peers::ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer_datagrams(socket: UdpSocket) {
    let mut buffer = vec![0; peers::DATAGRAM_ROOM];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, client)) => {
                let datagram = &mut buffer[..length];
                datagram.make_ascii_uppercase();
                // UDP may lose a reply anywhere on its way; one that cannot leave is no worse.
                let _ = socket.send_to(datagram, client).await;
            }
            Err(error) => eprintln!("cannot receive a datagram: {error}"),
        }
    }
}

/// Serves one connection until the client has finished sending. An error ends this connection and no other.
async fn answer_stream(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let text = &mut buffer[..length];
        text.make_ascii_uppercase();
        stream.write_all(text).await?;
    }
}
