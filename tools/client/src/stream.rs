//! Talks over TCP: a whole stream both ways at once, or line by line. Blocks; a second thread does the sending.
//!
//! Sending and receiving never wait for each other. The server reads nothing from a client that takes no answers, so a
//! client that first sent everything would stop for ever as soon as the buffers between them were full.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::server::Server;
use crate::show::Output;
use crate::stop::Stop;
use crate::terminal;

/// What one read takes, in bytes: large enough that system calls cost little beside copying.
const CHUNK: usize = 256 * 1024;

/// How long the input may still take to end after the server has closed.
///
/// A server may close right after its last answer, just before the sending thread reads the end of the input. After
/// this long the input is taken to go on, and the server to have closed too early.
const INPUT_MAY_END: Duration = Duration::from_secs(1);

/// Streams stdin through the server to stdout, with a half-close at the end of the input.
pub(crate) fn relay(server: &Server, output: &mut Output) -> Result<(), Stop> {
    let socket = connect(server).map_err(Stop::Failed)?;
    exchange(server, socket, io::stdin(), output)
}

/// Sends one text, prints all that comes back, and ends the line.
pub(crate) fn ask_once(server: &Server, text: Vec<u8>, output: &mut Output) -> Result<(), Stop> {
    let socket = connect_with_timeouts(server).map_err(Stop::Failed)?;
    exchange(server, socket, io::Cursor::new(text), output)?;
    output.line(Vec::new())
}

/// A conversation at the prompt: each line has one line as its answer, for upper case keeps the ends of lines.
pub(crate) fn converse(server: &Server, output: &mut Output) -> Result<(), Stop> {
    // A server that is not there is said before the first line is typed.
    let mut connection = Some(BufReader::new(connect_with_timeouts(server).map_err(Stop::Failed)?));
    terminal::converse(&server.target, output, |line| ask(server, &mut connection, line))
}

/// Connects to the first address that takes the connection.
fn connect(server: &Server) -> Result<TcpStream, String> {
    let mut reason = String::new();
    for address in &server.addresses {
        match TcpStream::connect_timeout(address, server.timeout) {
            Ok(socket) => {
                // Input that trickles in small pieces must not wait for the acknowledgement of the piece before.
                socket.set_nodelay(true).map_err(|error| server.explain(&error))?;
                return Ok(socket);
            }
            Err(error) => reason = server.explain(&error),
        }
    }
    Err(reason)
}

fn connect_with_timeouts(server: &Server) -> Result<TcpStream, String> {
    let socket = connect(server)?;
    socket
        .set_read_timeout(Some(server.timeout))
        .and_then(|()| socket.set_write_timeout(Some(server.timeout)))
        .map_err(|error| server.explain(&error))?;
    Ok(socket)
}

/// How much was sent, in bytes, and how many of them were not ASCII.
#[derive(Clone, Copy, Default)]
struct Amount {
    bytes: u64,
    beyond_ascii: u64,
}

impl Amount {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.beyond_ascii += bytes.iter().filter(|byte| !byte.is_ascii()).count() as u64;
    }

    /// The length of the shortest answer that a server may give. Whether it upper-cases ASCII alone or all of Unicode, what
    /// is ASCII keeps its length; of the rest at least half is left (`ı`, 2 bytes, becomes `I`).
    fn shortest_answer(self) -> u64 {
        self.bytes - self.beyond_ascii / 2
    }
}

/// How the sending thread ended.
enum Sent {
    /// All of the input, and then the half-close. So much.
    All(Amount),
    /// The input could not be read; what was read before is sent.
    Unreadable(io::Error),
    /// The server takes no more.
    Refused(io::Error),
}

/// Sends all of `input` and prints all that comes back, until the server closes.
///
/// The sending thread is not joined: it may be blocked in a read of stdin that nobody will ever satisfy, and the end of
/// the process takes it along.
fn exchange(
    server: &Server,
    socket: TcpStream,
    input: impl Read + Send + 'static,
    output: &mut Output,
) -> Result<(), Stop> {
    let target = &server.target;
    let failed = |error: io::Error| Stop::Failed(server.explain(&error));
    let (report, sent) = mpsc::channel();
    let writing = socket.try_clone().map_err(failed)?;
    thread::Builder::new()
        .name("sender".into())
        // When this fails the receiver is gone, and the program is ending.
        .spawn(move || report.send(send(input, &writing)))
        .map_err(failed)?;

    let received = receive(server, socket, output)?;
    match sent.recv_timeout(INPUT_MAY_END) {
        Ok(Sent::All(sent)) if sent.bytes > 0 && received == 0 => {
            Err(Stop::Failed(format!("{target} closed the connection without an answer")))
        }
        // A server that dies ends its streams as politely as one that is done.
        Ok(Sent::All(sent)) if received < sent.shortest_answer() => {
            let part = format!("{received} bytes came for {} sent", sent.bytes);
            Err(Stop::Failed(format!("{target} closed the connection within its answer: {part}")))
        }
        Ok(Sent::All(_)) => Ok(()),
        Ok(Sent::Unreadable(error)) => Err(Stop::Failed(format!("cannot read stdin: {error}"))),
        Ok(Sent::Refused(error)) if error.kind() == io::ErrorKind::ConnectionReset => Err(failed(error)),
        Ok(Sent::Refused(_)) | Err(_) => {
            Err(Stop::Failed(format!("{target} closed the connection before the input was at its end")))
        }
    }
}

/// Copies the input to the socket; then the half-close, which tells the server that this was all.
fn send(mut input: impl Read, mut socket: &TcpStream) -> Sent {
    let mut buffer = vec![0; CHUNK];
    let mut sent = Amount::default();
    let end = loop {
        match input.read(&mut buffer) {
            Ok(0) => break Sent::All(sent),
            Ok(length) => match socket.write_all(&buffer[..length]) {
                Ok(()) => sent.add(&buffer[..length]),
                Err(error) => return Sent::Refused(error),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Sent::Unreadable(error),
        }
    };
    match socket.shutdown(Shutdown::Write) {
        Ok(()) => end,
        Err(error) => Sent::Refused(error),
    }
}

/// Prints what comes until the server closes. Returns how many bytes came.
fn receive(server: &Server, mut socket: TcpStream, output: &mut Output) -> Result<u64, Stop> {
    let mut buffer = vec![0; CHUNK];
    let mut received = 0;
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                output.piece(&buffer[..length])?;
                received += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Stop::Failed(server.explain(&error))),
        }
    }
    output.end()?;
    Ok(received)
}

/// Why a line that was typed has no answer.
enum Unanswered {
    /// The connection was over before the first byte of the answer.
    Closed,
    /// Anything else, as a sentence.
    Failed(String),
}

/// Sends a line and returns its answer, without the end of the line; or a sentence that says why there is none.
///
/// The connection is kept for the next line. If the server has closed it in the meantime (an idle timeout, a restart,
/// or a server that answers once for each connection), the line is sent again on a new one. After any failure it is
/// dropped, so that a late answer cannot be taken for the next line's.
fn ask(server: &Server, connection: &mut Option<BufReader<TcpStream>>, line: &[u8]) -> Result<Vec<u8>, String> {
    let text = [line, b"\n"].concat();
    let mut kept = connection.take();
    // Two passes at most: the second has no kept connection.
    loop {
        let reused = kept.is_some();
        let mut open = match kept.take() {
            Some(open) => open,
            None => BufReader::new(connect_with_timeouts(server)?),
        };
        match answer(server, &mut open, &text) {
            Ok(answer) => {
                *connection = Some(open);
                return Ok(answer);
            }
            Err(Unanswered::Closed) if reused => {}
            Err(Unanswered::Closed) => {
                return Err(format!("{} closed the connection without an answer", server.target));
            }
            Err(Unanswered::Failed(why)) => return Err(why),
        }
    }
}

/// Sends `text`, which ends its last line, and reads as many lines as it has.
fn answer(server: &Server, connection: &mut BufReader<TcpStream>, text: &[u8]) -> Result<Vec<u8>, Unanswered> {
    let socket = connection.get_ref().try_clone().map_err(|error| Unanswered::Failed(server.explain(&error)))?;
    thread::scope(|scope| {
        // What goes wrong here shows in the reading as well: as an end, a reset or a timeout.
        scope.spawn(|| (&socket).write_all(text));
        let answer = read_lines(server, connection, text);
        if answer.is_err() {
            // The sender may be blocked on a server that reads nothing.
            let _ = socket.shutdown(Shutdown::Both);
        }
        answer
    })
}

fn read_lines(server: &Server, connection: &mut BufReader<TcpStream>, text: &[u8]) -> Result<Vec<u8>, Unanswered> {
    /// Upper-casing UTF-8 makes it at most this many times as long (U+0390, 2 bytes, becomes three characters, 6 bytes).
    const LARGEST_GROWTH: usize = 3;
    let lines = text.split_inclusive(|byte| *byte == b'\n').count();
    let mut answer = Vec::new();
    let mut limited = connection.take((text.len() * LARGEST_GROWTH) as u64);
    for _line in 0..lines {
        match limited.read_until(b'\n', &mut answer) {
            Ok(_) if answer.ends_with(b"\n") => {}
            Ok(_) if limited.limit() == 0 => {
                return Err(Unanswered::Failed(format!("{} answers more than was asked", server.target)));
            }
            Ok(_) if answer.is_empty() => return Err(Unanswered::Closed),
            Ok(_) => {
                return Err(Unanswered::Failed(format!("{} closed the connection within an answer", server.target)));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && answer.is_empty() => {
                return Err(Unanswered::Closed);
            }
            Err(error) => return Err(Unanswered::Failed(server.explain(&error))),
        }
    }
    answer.pop();
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retried::retried;
    use std::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Serves one connection after the other; `serve` has its number, from 0.
    fn serve(mut serve: impl FnMut(usize, TcpStream) + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for (number, connection) in listener.incoming().enumerate() {
                let connection = connection.unwrap();
                connection.set_read_timeout(Some(PATIENCE)).unwrap();
                serve(number, connection);
            }
        });
        Server { target: "tcp://test".parse().unwrap(), addresses: vec![address], timeout: PATIENCE, retries: 0 }
    }

    #[test]
    fn no_answer_is_shorter_than_the_shortest() {
        for character in '\0'..=char::MAX {
            let mut amount = Amount::default();
            // However the input is cut, as reads do.
            character.to_string().as_bytes().chunks(1).for_each(|byte| amount.add(byte));
            for answer in [character.to_string().to_ascii_uppercase(), character.to_uppercase().collect()] {
                assert!(answer.len() as u64 >= amount.shortest_answer(), "{character:?} became {answer:?}");
            }
        }
        let mut amount = Amount::default();
        amount.add(b"plain");
        assert_eq!((amount.bytes, amount.shortest_answer()), (5, 5));
    }

    fn shout(connection: &TcpStream, bytes: usize) {
        let mut connection = connection;
        let mut buffer = vec![0; 64 * 1024];
        let mut left = bytes;
        while left > 0 {
            let part = buffer.len().min(left);
            let length = retried(|| connection.read(&mut buffer[..part])).unwrap();
            if length == 0 {
                return;
            }
            connection.write_all(&buffer[..length].to_ascii_uppercase()).unwrap();
            left -= length;
        }
    }

    /// The addresses of a name are tried in turn.
    #[test]
    fn a_refused_address_gives_way_to_the_next() {
        let mut server = serve(|_, connection| shout(&connection, usize::MAX));
        // A port that is in use, by a socket that does not listen.
        let refusing = TcpStream::connect(server.addresses[0]).unwrap();
        server.addresses.insert(0, refusing.local_addr().unwrap());
        refusing.shutdown(Shutdown::Write).unwrap(); // lets the server take the next connection
        assert_eq!(ask(&server, &mut None, b"x"), Ok(b"X".to_vec()));
    }

    #[test]
    fn lines_share_a_connection() {
        let server = serve(|_, connection| shout(&connection, usize::MAX));
        let mut connection = None;
        for (line, expected) in [("one", "ONE"), ("", ""), ("two\nlines", "TWO\nLINES"), ("last", "LAST")] {
            assert_eq!(ask(&server, &mut connection, line.as_bytes()), Ok(expected.as_bytes().to_vec()));
            assert!(connection.is_some(), "the connection is kept");
        }
    }

    /// Longer than all buffers between client and server: sent whole before the first read, it would stop for ever.
    #[test]
    fn a_line_may_be_longer_than_the_buffers() {
        let server = serve(|_, connection| shout(&connection, usize::MAX));
        let line = vec![b'x'; 32 << 20];
        assert!(ask(&server, &mut None, &line) == Ok(line.to_ascii_uppercase()));
    }

    #[test]
    fn a_server_that_closes_after_each_answer_is_connected_again() {
        let server = serve(|_, connection| shout(&connection, b"one\n".len()));
        let mut connection = None;
        for (line, expected) in [("one", "ONE"), ("two", "TWO"), ("six", "SIX")] {
            assert_eq!(ask(&server, &mut connection, line.as_bytes()), Ok(expected.as_bytes().to_vec()));
        }
    }

    #[test]
    fn a_late_answer_is_not_the_next_line_s() {
        let mut late = None;
        let mut server = serve(move |number, connection| {
            if number == 0 {
                late = Some(connection);
            } else {
                late.take().unwrap().write_all(b"ONE\n").unwrap();
                shout(&connection, b"two\n".len());
            }
        });
        let mut connection = None;
        server.timeout = Duration::from_millis(50);
        assert_eq!(ask(&server, &mut connection, b"one"), Err("no answer from tcp://test:12000 within 50ms".into()));
        server.timeout = PATIENCE;
        assert_eq!(ask(&server, &mut connection, b"two"), Ok(b"TWO".to_vec()));
    }

    #[test]
    fn answers_that_cannot_be_right_are_refused() {
        for (answer, why) in [
            (&b""[..], "closed the connection without an answer"),
            (b"ONE", "closed the connection within an answer"),
            (b"ONE TWO THREE FOUR", "answers more than was asked"),
        ] {
            let server = serve(move |_, mut connection| {
                connection.read_exact(&mut [0; 4]).unwrap();
                connection.write_all(answer).unwrap();
            });
            let mut connection = None;
            assert_eq!(ask(&server, &mut connection, b"one"), Err(format!("tcp://test:12000 {why}")));
            assert!(connection.is_none(), "a connection out of step is dropped");
        }
    }
}
