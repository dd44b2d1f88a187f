//! What the tests share: real servers of their own, an oracle that is not the pool's own word, and waiting without
//! guessing how fast the machine is.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(unused_imports, reason = "each test file uses a part")]

pub(crate) mod client_list;
pub(crate) mod cluster;
pub(crate) mod line;
pub(crate) mod pool;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod sentinel;
pub(crate) mod server;
#[cfg(target_os = "linux")]
#[path = "../../../pool-tcp/tests/shared/sockets.rs"]
pub(crate) mod sockets;
pub(crate) mod tls;
#[path = "../../../pool-tcp/tests/shared/wait.rs"]
pub(crate) mod wait;

pub(crate) use self::line::Reply;
pub(crate) use self::server::{RedisServer, Setup};
pub(crate) use self::wait::{LIMIT, arrives, becomes, eventually, in_time};
