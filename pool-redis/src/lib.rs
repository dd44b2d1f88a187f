//! Redis connections for [`pool_core`], by redis-rs: no round trip at checkout, and nothing of one user is left for the
//! next.
//!
//! # What is kept, and what is not
//!
//! What a user leaves behind is known from the commands that passed.
//!
//! | he left | so the connection |
//! |---|---|
//! | nothing: nearly always | is kept, at no cost |
//! | another database (`SELECT`), watched keys, an open `MULTI` | is set right on its way home, in one round trip |
//! | a command that was cancelled or timed out, an answer nobody read, an I/O error | is closed |
//! | a subscription, `MONITOR`, `CLIENT REPLY`, `TRACKING`, `SETNAME` .., `AUTH`, `HELLO`, `RESET`, `QUIT` | is closed |
//! | `READONLY` was answered: the server was demoted | is closed, and so are all that are older |
//!
//! Modules may keep state on a connection that this crate knows nothing of; for them there is
//! [`RedisManager::strict`].

mod blame;
mod blocking;
mod bounded;
mod check;
mod connection;
mod dial;
mod driver;
mod error;
mod fate;
mod handshake;
mod limit;
mod manager;
mod name;
mod pool;
mod pooled;
mod shared;
#[cfg(feature = "tls")]
mod tls;
mod traces;
mod transaction;

pub use check::ping;
pub use connection::RedisConnection;
pub use error::{RedisConfigError, RedisConnectError};
pub use fate::{Fate, fate};
pub use limit::Limited;
pub use manager::RedisManager;
pub use pool::{RedisCheckout, RedisPool};
pub use pooled::PooledConnection;
/// The library whose commands, pipelines and scripts work on the connections.
pub use redis;
pub use shared::{RedisLease, RedisSharedPool, SharedConnection};
