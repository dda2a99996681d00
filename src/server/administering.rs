//! The loop's side of the admin endpoint: who is asked when it has something to do. It does I/O only through [`Admin`].

use std::io;

use super::Server;
use crate::admin::{Admin, State};
use crate::counters::Counters;
use crate::report::Reading;

impl Server {
    /// The same server, which answers on an admin endpoint too. Fails where the kernel has no room to watch it.
    pub fn answering(self, mut admin: Admin) -> io::Result<Server> {
        admin.register(self.poll.registry())?;
        Ok(Server { admin: Some(admin), ..self })
    }

    /// Gives the admin endpoint its turn. It comes last, and what it may cost a turn is bounded.
    pub(super) fn administer(&mut self) {
        let Some(admin) = self.admin.as_mut().filter(|admin| admin.is_due(self.now)) else { return };
        let is_draining = self.stopping.is_some();
        let (connections, unsent) = (self.connections.len(), self.connections.unsent());
        let state = |counters: &Counters| {
            let own = Reading { counters: *counters, connections, unsent };
            State { reading: self.reporter.sum(&own), is_draining }
        };
        admin.turn(self.now, self.poll.registry(), &mut self.counters, &state);
    }

    /// Whether nobody is left for whom this loop answers on the admin endpoint.
    pub(super) fn others_are_done(&self) -> bool {
        self.admin.is_none() || self.reporter.is_last()
    }

    /// What this loop would say of itself now.
    pub(super) fn reading(&self) -> Reading {
        let (connections, unsent) = self.connections();
        Reading { counters: self.counters, connections, unsent }
    }
}
