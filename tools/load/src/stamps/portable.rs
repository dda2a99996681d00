//! Where there are no timestamps: nothing can be enabled, and so nothing else is ever called.

use std::io;

use mio::net::TcpStream;

use super::Wall;

/// Always fails.
pub fn enable<S>(_socket: &S) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Sends nothing.
pub fn send<S>(_socket: &S, _bytes: &[u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Receives nothing.
pub fn receive(_socket: &TcpStream, _buffer: &mut [u8]) -> io::Result<(usize, Option<Wall>)> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nothing.
pub fn take_departure<S>(_socket: &S) -> Option<Wall> {
    None
}

/// Nothing.
pub fn arrival(_control: &[u8]) -> Option<Wall> {
    None
}
