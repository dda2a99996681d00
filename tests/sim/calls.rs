//! The simulated kernel as the service sees it: who is there, what is to be reported, what is closed.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::rc::Rc;

use mio::Token;
use shout::connections::CloseWrite;
use shout::service;

use crate::datagrams::Socket;
use crate::kernel::Kernel;
use crate::stream::Stream;

/// What the server holds of a connection: a stream, or what a wrong design makes of one.
pub trait Handle: Read + Write + CloseWrite + From<Stream> {
    /// The number of the connection.
    fn id(&self) -> usize;
}

/// Makes the system calls.
pub struct Calls<S> {
    kernel: Rc<RefCell<Kernel>>,
    streams: PhantomData<S>,
}

impl<S> Calls<S> {
    pub fn new(kernel: &Rc<RefCell<Kernel>>) -> Calls<S> {
        Calls { kernel: Rc::clone(kernel), streams: PhantomData }
    }
}

impl<S: Handle> service::Kernel for Calls<S> {
    type Datagrams = Socket;
    type Listener = ();
    type Stream = S;

    fn someone_waits(&self, (): &()) -> bool {
        self.kernel.borrow_mut().someone_waits()
    }

    fn accept(&self, (): &()) -> io::Result<S> {
        Kernel::accept(&self.kernel).map(S::from)
    }

    fn watch(&self, stream: &mut S, token: Token) -> io::Result<()> {
        self.kernel.borrow_mut().register(stream.id(), token)
    }

    fn watch_room(&self, _: &mut Socket, wanted: bool) -> io::Result<()> {
        self.kernel.borrow_mut().watch_room(wanted)
    }

    fn close_datagrams(&self, _: Socket) {
        self.kernel.borrow_mut().close_datagrams();
    }

    fn close_listener(&self, (): ()) {
        self.kernel.borrow_mut().close_listener();
    }
}
