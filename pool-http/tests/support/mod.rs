//! What the tests share: a server that does as a script says and counts what it saw, the kernel's own word about sockets,
//! and waiting without guessing how fast the machine is.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(unused_imports, reason = "each test file uses a part")]

pub(crate) mod ask;
pub(crate) mod log;
pub(crate) mod server;
#[cfg(target_os = "linux")]
#[path = "../../../pool-tcp/tests/shared/sockets.rs"]
pub(crate) mod sockets;
#[path = "../../../pool-tcp/tests/shared/wait.rs"]
pub(crate) mod wait;

pub(crate) use self::server::{Heard, OK, Peer, Server};
pub(crate) use self::wait::{LIMIT, arrives, becomes, eventually, in_time};
