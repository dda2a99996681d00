//! Questions that take more than one run: how much a server can take, and how slow it gets on the way there.
//!
//! [`trial`], [`judge`] and [`capacity`] are pure: a search is a state machine that says which rate to try next and is
//! told what came of it, so that tests drive it with simulated servers whose capacity is known by a formula. So are
//! [`curve`], [`difference`] and [`result`].

pub mod capacity;
pub mod compare;
pub mod curve;
pub mod difference;
pub mod judge;
pub mod result;
pub mod search;
mod setup;
mod side;
pub mod sweep;
mod table;
pub mod trial;
