//! What the service asks of the kernel, asked through mio's registry. Does I/O.

use std::io;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use super::UDP;
use crate::batch::Socket;
use crate::service::Kernel;
use crate::sockets::{self, StreamOptions};

/// What the kernel is asked about a connection. Urgent data must be told apart, because a read stops at it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const STREAM_INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const STREAM_INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// The listening socket.
#[derive(Debug)]
pub struct Listening {
    pub(super) socket: TcpListener,
    /// What a connection may lack that is older than this server: see [`sockets::Sockets::passed`].
    pub(super) passed: Option<StreamOptions>,
}

impl Kernel for Registry {
    type Datagrams = Socket;
    type Listener = Listening;
    type Stream = TcpStream;

    fn someone_waits(&self, listener: &Listening) -> bool {
        sockets::someone_waits(&listener.socket)
    }

    fn accept(&self, listener: &Listening) -> io::Result<TcpStream> {
        let (stream, _peer) = listener.socket.accept()?;
        if let Some(options) = listener.passed {
            // A connection that cannot have them any more has broken, as its first drive will show.
            let _ = options.set(&SockRef::from(&stream));
        }
        Ok(stream)
    }

    fn watch(&self, stream: &mut TcpStream, token: Token) -> io::Result<()> {
        self.register(stream, token, STREAM_INTEREST)
    }

    fn watch_room(&self, socket: &mut Socket, wanted: bool) -> io::Result<()> {
        let interest = if wanted { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.reregister(socket.socket_mut(), UDP, interest)
    }

    // Deregistered by hand: the poll watches what lies behind a descriptor, and a passed socket lives on when its
    // descriptor here is closed. Its events would keep this loop awake.

    fn close_datagrams(&self, mut socket: Socket) {
        let _ = self.deregister(socket.socket_mut());
    }

    fn close_listener(&self, mut listener: Listening) {
        let _ = self.deregister(&mut listener.socket);
    }
}
