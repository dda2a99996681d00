//! Questions that take more than one run: how much a server can take, and how slow it gets on the way there.
//!
//! A search is a state machine ([`capacity`]) that says which rate to try next and is told what came of it. What a trial at
//! that rate is, and whether it holds, say [`trial`], [`judge`] and [`goal`]; [`aim`] brings the two together. All of them
//! are pure, so that tests drive them with simulated servers whose capacity is known by a formula. So are [`curve`],
//! [`difference`] and [`result`].

pub mod aim;
mod blocks;
pub mod capacity;
pub mod compare;
pub mod curve;
pub mod difference;
pub mod goal;
pub mod judge;
mod limit;
pub mod result;
pub mod search;
mod setup;
mod side;
pub mod sweep;
pub mod trial;

/// The schemas of what the three commands save.
#[cfg(test)]
pub(crate) fn schemas() -> [crate::report::document::schema::Published; 3] {
    use crate::report::document::schema::Published;
    [
        Published::of::<search::Saved>("search.schema.json", "A search of shout-load"),
        Published::of::<sweep::Saved>("sweep.schema.json", "A sweep of shout-load"),
        Published::of::<result::Saved>("compare.schema.json", "A comparison of shout-load"),
    ]
}
