//! The admin endpoint: three pages over HTTP for whoever watches the service. It does I/O only through its sockets.
//!
//! | page | says |
//! |---|---|
//! | `/metrics` | every counter and histogram, in `OpenMetrics` or in Prometheus's older text format: [`metrics`] |
//! | `/healthz` | 200: the loop turns |
//! | `/readyz` | 200 while new peers are welcome, 503 once the server is stopping |
//!
//! It lives in the loop beside the service and must never be felt there. So everything is bounded: [`CLIENTS_MAX`]
//! connections, [`http::HEAD_MAX`] bytes of request, one answer each, [`PATIENCE`] from the first byte to the last. Its
//! turn comes after the service's, and what it does in one is a few reads and a page of text for each connection.
//!
//! A scrape of `/metrics`, from its connection to its close, takes 0.2 ms of the loop's processor: ten a second are 0.2 % of
//! it, and that is the most that they can cost of the throughput. `cargo bench -p peers --bench admin` measures it, on a server
//! that does nothing else (202 µs a page, 165 to 212 in nine rounds, on a virtual machine) and under full load (189 µs beside
//! datagrams, 101 beside streams, where the noise is larger than on its own).

use std::io;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use crate::counters::Counters;
use crate::listener::Listener;
use crate::report::Reading;

pub mod client;
pub mod http;
pub mod metrics;

use client::{Client, Next};
use http::{Page, Request, Status};
use metrics::{Facts, Format};

/// The most connections at once. More are told so and closed: a monitor and its spare need one each.
pub const CLIENTS_MAX: usize = 4;

/// How long one connection may take in all. A monitor on the same network takes a thousandth of it.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The smallest of the tokens that are the endpoint's.
pub const TOKEN_MIN: Token = Token(LISTENER.0 - CLIENTS_MAX);

/// The largest of them. The loop's own tokens are larger, and connections count from zero.
const LISTENER: Token = Token(usize::MAX - 16);

/// What the pages show of the moment.
#[derive(Debug, Clone, Copy)]
pub struct State {
    /// What all loops have counted.
    pub reading: Reading,
    /// The server is stopping.
    pub is_draining: bool,
}

/// The endpoint: its listening socket, and who is connected.
pub struct Admin {
    socket: TcpListener,
    listener: Listener,
    clients: [Option<Slot>; CLIENTS_MAX],
    facts: Facts,
}

struct Slot {
    stream: TcpStream,
    client: Client,
    /// The kernel has reported something, or the last drive left something to do.
    ready: bool,
}

impl Admin {
    /// An endpoint on a listening socket, not yet registered.
    pub fn new(socket: TcpListener, facts: Facts) -> Admin {
        Admin { socket, listener: Listener::default(), clients: Default::default(), facts }
    }

    /// Has the loop's poll watch it.
    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        registry.register(&mut self.socket, LISTENER, Interest::READABLE)
    }

    /// Notes what the kernel reported of one of its tokens.
    pub fn note(&mut self, token: Token, readable: bool, writable: bool) {
        if token == LISTENER {
            self.listener.note();
        } else if let Some(Some(slot)) = self.clients.get_mut(token.0 - TOKEN_MIN.0) {
            slot.client.note(readable, writable);
            slot.ready = true;
        }
    }

    /// Whether something was left undone that no event will ask for.
    pub fn has_work(&self) -> bool {
        self.listener.has_work() || self.clients.iter().flatten().any(|slot| slot.ready)
    }

    /// When something is due although nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        let clients = self.clients.iter().flatten().map(|slot| slot.client.deadline());
        clients.chain(self.listener.deadline()).min()
    }

    /// Whether a turn would do anything.
    pub fn is_due(&self, now: Instant) -> bool {
        self.has_work() || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Accepts who waits, and drives everyone who can go on; `state` is asked only for a page that shows it.
    pub fn turn(
        &mut self,
        now: Instant,
        registry: &Registry,
        counters: &mut Counters,
        state: &dyn Fn(&Counters) -> State,
    ) {
        self.accept(now, registry, counters);
        let Admin { clients, facts, .. } = self;
        for place in clients {
            let Some(slot) = place else { continue };
            let ready = std::mem::take(&mut slot.ready);
            let mut next = Next::Wait;
            if ready {
                let mut answer = |request| {
                    counters.admin_answered += 1;
                    answer(request, facts, &|| state(counters))
                };
                next = slot.client.drive(&mut slot.stream, &mut answer);
            }
            // Whoever has more to say in every turn than one drive reads has no longer than the others.
            if next != Next::Close && slot.client.deadline() <= now {
                counters.admin_timed_out += 1;
                slot.client.give_up(&mut slot.stream);
                next = Next::Close;
            }
            match next {
                Next::Wait => {}
                Next::Again => slot.ready = true,
                Next::Close => *place = None,
            }
        }
    }

    fn accept(&mut self, now: Instant, registry: &Registry, counters: &mut Counters) {
        let Admin { socket, listener, clients, .. } = self;
        let accept = || socket.accept().map(|(stream, _peer)| stream);
        // The counters of the service say nothing of those who only watch it.
        let mut not_the_service = Counters::default();
        listener.turn(now, usize::MAX, &mut not_the_service, accept, |mut stream, _| {
            let free = clients.iter_mut().enumerate().find(|(_, place)| place.is_none());
            let Some((index, place)) = free else {
                counters.admin_refused += 1;
                client::refuse(&mut stream);
                return;
            };
            let token = Token(TOKEN_MIN.0 + index);
            if registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_ok() {
                *place = Some(Slot { stream, client: Client::new(now + PATIENCE), ready: false });
            }
        });
    }
}

/// What is answered to a request, or to what was none.
pub fn answer(request: Result<Request, Status>, facts: &Facts, state: &dyn Fn() -> State) -> Vec<u8> {
    let Request { page, is_head } = match request {
        Ok(request) => request,
        Err(status) => return http::refusal(status),
    };
    let text = "text/plain; charset=utf-8";
    let (status, content_type, body) = match page {
        Page::Health => (Status::Ok, text, "ok\n".into()),
        Page::Ready if state().is_draining => (Status::ServiceUnavailable, text, "draining\n".into()),
        Page::Ready => (Status::Ok, text, "ready\n".into()),
        Page::Metrics(format) => (Status::Ok, format.content_type(), metrics::page(facts, &state(), format)),
    };
    http::response(status, content_type, &body, is_head)
}

/// Which format a monitor asks for with its `Accept` header: `OpenMetrics`, unless it only takes the older one.
fn format(accept: &str) -> Format {
    if accept.contains("text/plain") && !accept.contains("application/openmetrics-text") {
        Format::Text
    } else {
        Format::OpenMetrics
    }
}

#[cfg(all(test, unix))]
mod tests;
