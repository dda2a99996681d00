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
        let is_draining = self.service.is_stopping();
        let (connections, unsent) = (self.service.connections().len(), self.service.connections().unsent());
        let state = |counters: &Counters| {
            let own = Reading { counters: *counters, connections, unsent };
            State { reading: self.reporter.sum(&own), is_draining }
        };
        admin.turn(self.now, self.poll.registry(), &mut self.counters, &state);
    }

    /// Whether other loops serve on, and this one answers for them on the admin endpoint. It does so no longer than its
    /// own peers might have taken.
    pub(super) fn waits_for_others(&self) -> bool {
        self.admin.is_some() && !self.reporter.is_last() && !self.service.is_out_of_time(self.now)
    }

    /// What this loop would say of itself now.
    pub(super) fn reading(&self) -> Reading {
        let (connections, unsent) = self.connections();
        Reading { counters: self.counters, connections, unsent }
    }
}
