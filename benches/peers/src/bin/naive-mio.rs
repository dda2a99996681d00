//! The service as mio's own examples suggest it: one thread, one loop, each ready socket taken until `WouldBlock`.
//!
//! It is correct, and it is what one writes first. What it leaves out: no socket's turn is bounded, so one busy client
//! can hold up the others; and connections left waiting by a failed accept stay there until another one arrives.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};

const LISTENER: Token = Token(0);
const DATAGRAMS: Token = Token(1);
const FIRST_CONNECTION: usize = 2;

/// Events taken from one `poll`, as in mio's TCP example.
const EVENT_CAPACITY: usize = 128;

fn main() -> ExitCode {
    peers::run(serve)
}

fn serve(address: SocketAddr) -> io::Result<()> {
    let mut listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    let mut socket = UdpSocket::bind(address)?;

    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    poll.registry().register(&mut socket, DATAGRAMS, Interest::READABLE)?;
    peers::announce(env!("CARGO_BIN_NAME"), address)?;

    let mut events = Events::with_capacity(EVENT_CAPACITY);
    let mut connections = HashMap::new();
    let mut next_token = FIRST_CONNECTION;
    let mut buffer = vec![0; peers::DATAGRAM_ROOM];

    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            match event.token() {
                LISTENER => accept_all(&listener, &poll, &mut connections, &mut next_token)?,
                DATAGRAMS => answer_datagrams(&socket, &mut buffer),
                token => {
                    let Some(connection) = connections.get_mut(&token) else { continue };
                    match connection.drive(&mut buffer) {
                        Ok(Next::Await(interest)) => connection.await_event(&poll, token, interest)?,
                        // Dropping the stream closes it; on an error there is nobody left to answer.
                        Ok(Next::Close) | Err(_) => drop(connections.remove(&token)),
                    }
                }
            }
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    poll: &Poll,
    connections: &mut HashMap<Token, Connection>,
    next_token: &mut usize,
) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    eprintln!("cannot accept a connection: {error}");
                }
                return Ok(());
            }
        };
        let token = Token(*next_token);
        *next_token += 1;
        poll.registry().register(&mut stream, token, Interest::READABLE)?;
        connections.insert(token, Connection { stream, unsent: Vec::new(), awaited: Interest::READABLE });
    }
}

fn answer_datagrams(socket: &UdpSocket, buffer: &mut [u8]) {
    loop {
        match socket.recv_from(buffer) {
            Ok((length, client)) => {
                let datagram = &mut buffer[..length];
                datagram.make_ascii_uppercase();
                // UDP may lose a reply anywhere on its way; one that cannot leave is no worse.
                let _ = socket.send_to(datagram, client);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => eprintln!("cannot receive a datagram: {error}"),
        }
    }
}

/// What the loop does with a connection after it was driven.
enum Next {
    /// Nothing until this readiness is announced.
    Await(Interest),
    /// The client has finished sending and has every byte of its answer.
    Close,
}

struct Connection {
    stream: TcpStream,
    /// Upper-cased bytes that the socket has not taken yet; nothing more is read before it has them all.
    unsent: Vec<u8>,
    /// What the stream is registered for.
    awaited: Interest,
}

impl Connection {
    /// Answers what the client has sent, until the socket has no more to read or takes no more.
    fn drive(&mut self, buffer: &mut [u8]) -> io::Result<Next> {
        loop {
            if !self.send_unsent()? {
                return Ok(Next::Await(Interest::WRITABLE));
            }
            match self.stream.read(buffer) {
                Ok(0) => return Ok(Next::Close),
                Ok(length) => {
                    let text = &mut buffer[..length];
                    text.make_ascii_uppercase();
                    self.unsent.extend_from_slice(text);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Await(Interest::READABLE)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes until everything is sent, or, which is `false`, the socket takes no more.
    fn send_unsent(&mut self) -> io::Result<bool> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn await_event(&mut self, poll: &Poll, token: Token, interest: Interest) -> io::Result<()> {
        if self.awaited != interest {
            poll.registry().reregister(&mut self.stream, token, interest)?;
            self.awaited = interest;
        }
        Ok(())
    }
}
