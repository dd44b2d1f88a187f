//! Shared connections: a layer on top of the pool, for connections that carry several users at once.
//!
//! An open connection is one that the layer has checked out and holds for as long as somebody has a lease on it. With
//! the last lease the connection goes home, and is as idle as any other: watched, reaped and counted by the pool. The
//! pool knows nothing of leases, and the layer nothing of sockets.

mod builder;
mod capacity;
mod layer;
mod lease;
mod leased;
mod opening;
mod pool;
mod share;
mod spread;
mod state;
mod status;

pub(crate) use self::layer::Layer;
pub(crate) use self::state::Limits;

pub use self::builder::SharedPoolBuilder;
pub use self::capacity::Capacity;
pub use self::lease::Lease;
pub use self::leased::Leased;
pub use self::pool::SharedPool;
pub use self::share::Share;
pub use self::spread::Spread;
pub use self::status::SharedStatus;
