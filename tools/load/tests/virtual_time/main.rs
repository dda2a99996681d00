//! The engine under a virtual clock, against a simulated server: what it measures is known beforehand. No I/O.

mod accounts;
mod arrivals;
mod capacity;
mod churn;
mod confidence;
mod differences;
mod faults;
mod goals;
mod interference;
mod late;
mod memory;
mod omission;
mod ramps;
mod simulator;
mod sizes;
mod threads;
mod until;

use proptest::prelude::*;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use shout_load::clock::{Nanos, SECOND};
use shout_load::engine::{Demand, Engine, LaneGroup, Stage, Transport};
use shout_load::lab::datagrams::Datagrams;
use shout_load::lab::faults::{Faults, Stall};
use shout_load::late::Late;
use shout_load::outbox::{Outbox, Room};
use shout_load::payload::{Content, Payload, Sizes};
use shout_load::recorder::{Counts, Recorder};
use shout_load::schedule::{Arrivals, Process, Profile, Segment};

use simulator::{
    MICROSECOND, MILLISECOND, engine, milliseconds, open, recorder, simulate, simulate_lanes, so_many, stalled,
    stalling_server, three_seconds,
};
