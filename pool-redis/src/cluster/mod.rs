//! Redis Cluster, on redis-rs's cluster client.
//!
//! Its public `Connect` trait would let it have our streams, and us their probes; but only through a constructor that is
//! hidden from its documentation, so the sockets are its own.

mod connection;
mod line;
mod manager;
mod nodes;
mod permit;
mod redirect;
mod shared;

pub use connection::RedisClusterConnection;
pub use manager::RedisClusterManager;
pub use shared::RedisClusterHandle;
