//! Redis connections for [`pool_core`], by redis-rs: no round trip at checkout, and nothing of one user is left for the
//! next.
//!
//! ```no_run
//! use pool_core::Pool;
//! use pool_redis::{RedisManager, RedisPool};
//! use redis::AsyncCommands;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let manager = RedisManager::new("redis://localhost")?;
//! let pool = RedisPool::new(Pool::builder(manager).max_size(16).build()?);
//!
//! let mut connection = pool.checkout().await?;
//! let () = connection.set("greeting", "hello").await?;
//! let greeting: String = connection.get("greeting").await?;
//! assert_eq!(greeting, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! A guard is a connection of redis-rs: commands, pipelines, scripts and scans work on it unchanged. Whether an idle
//! connection is still open the kernel is asked, which takes a quarter of a microsecond where a `PING` takes a round trip;
//! and one that the server closes leaves the pool when it does. What bb8-redis and deadpool-redis call the same things is
//! in [`manual::coming_from`].
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
//! | `READONLY` was answered: the server was demoted | is closed, and so are all others made so far |
//!
//! Modules may keep state on a connection that this crate knows nothing of; for them there is
//! [`RedisManager::strict`].
//!
//! # The parts
//!
//! | | |
//! |---|---|
//! | [`RedisManager`] | what a pool is built on: where, who, and how long |
//! | [`Sentinels`] | where, if sentinels are to be asked: the master as it moves, or its replicas |
//! | [`RedisPool`], [`PooledConnection`] | connections one user at a time: transactions, blocking commands, anything |
//! | [`RedisSharedPool`], [`SharedConnection`] | connections many users at a time, for those who need none of their own |
//! | [`ping`] | a round trip as a health check, by policy |
//! | [`fate`] | whether a command that failed may have run |
//!
//! Nothing is ever sent twice. A command has a limit ([`RedisManager::command_timeout`], [`RedisConnection::limit`]), and
//! errors say whether it may have run.
//!
//! # Features
//!
//! - `tls`: `rediss://`, by rustls.
//! - `cluster`: Redis Cluster, `RedisClusterManager`.
//!
//! The commands of modules and the like are features of [`redis`] itself: turn them on in a dependency of your own on it,
//! of the same version.

mod blame;
mod blocking;
mod bounded;
mod check;
#[cfg(feature = "cluster")]
mod cluster;
mod connection;
mod dial;
mod driver;
mod end;
mod era;
mod error;
mod fate;
mod handshake;
mod limit;
mod manager;
pub mod manual;
mod name;
mod opening;
mod pool;
mod pooled;
mod sentinel;
mod shared;
mod traces;
mod transaction;

pub use check::ping;
#[cfg(feature = "cluster")]
pub use cluster::{RedisClusterConnection, RedisClusterHandle, RedisClusterManager};
pub use connection::RedisConnection;
pub use error::{RedisConfigError, RedisConnectError};
pub use fate::{Fate, fate};
pub use limit::Limited;
pub use manager::RedisManager;
pub use pool::{RedisCheckout, RedisPool};
pub use pooled::PooledConnection;
/// The library whose commands, pipelines and scripts work on the connections.
pub use redis;
pub use sentinel::Sentinels;
pub use shared::{RedisLease, RedisSharedPool, SharedConnection};
