//! A connection pool that never loses a slot, never hands out a dead connection it could have known to be dead, and never
//! leaves a socket in CLOSE_WAIT.
//!
//! A pool keeps connections idle so that the next user need not dial. While one idles, its peer may close it; then the
//! kernel holds the socket in CLOSE_WAIT until this side closes too, and the next user may be handed a corpse. This pool
//! watches every idle connection with the reactor that already watches its socket, closes it within milliseconds of its
//! peer, and looks once more, without a round trip, before it hands one out.
//!
//! # Examples
//!
//! Anything can be pooled for which somebody writes a [`Manager`]; `pool-tcp` has one for TCP, Unix sockets and TLS.
//!
//! ```
//! use std::io::ErrorKind;
//! use std::task::{Context, Poll, ready};
//! use pool_core::{Dropped, Manager, Pool};
//! use tokio::net::TcpStream;
//!
//! struct Echo(std::net::SocketAddr);
//!
//! impl Manager for Echo {
//!     type Connection = TcpStream;
//!     type Error = std::io::Error;
//!
//!     async fn connect(&self) -> std::io::Result<TcpStream> {
//!         TcpStream::connect(self.0).await
//!     }
//!
//!     // Before each checkout. Nothing to read and no end means alive; bytes nobody asked for are as bad as an end.
//!     fn is_dropped(&self, stream: &mut TcpStream) -> bool {
//!         !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
//!     }
//!
//!     // While it is idle: whoever closes then is noticed at once. Without this method, when the connection is next used.
//!     fn poll_dropped(&self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<Dropped> {
//!         loop {
//!             if ready!(stream.poll_read_ready(cx)).is_err() || self.is_dropped(stream) {
//!                 return Poll::Ready(Dropped::Closed);
//!             }
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let pool = Pool::builder(Echo(server.local_addr()?)).max_size(4).build()?;
//!
//! let first = pool.checkout().await?.local_addr()?;
//! // The guard went home at the end of that line, so the same connection serves again.
//! let second = pool.checkout().await?.local_addr()?;
//! assert_eq!(first, second);
//! # Ok(()) }
//! ```
//!
//! # The life of a checkout
//!
//! 1. [`Pool::checkout`] takes an idle connection, in the [`Order`] that was chosen, and asks
//!    [`Manager::is_dropped`]. One that was dropped is closed and the next one taken.
//! 2. If none is idle, the caller queues, and the pool starts a dial if one more is wanted. He gets what comes first: a
//!    connection that comes home or one that was dialled.
//! 3. The guard derefs to the connection. Dropping it asks [`Manager::recycle`] and gives the connection to the caller who
//!    has waited longest, else to the idle set, where it is watched.
//!
//! # Map
//!
//! - [`Manager`]: what an adapter implements. [`Pool`], [`Builder`], [`Config`]: what a user holds and sets.
//! - [`Checkout`], [`CheckoutOwned`], [`CheckoutMany`], [`WarmUp`]: the futures. [`Pooled`], [`OwnedPooled`]: the guards.
//! - [`KeyedPool`], [`KeyedBuilder`], [`OnFull`]: a pool for every key, such as a host, under one total.
//! - [`Check`], [`HealthCheck`] and the hooks of the [`Builder`]: who may refuse a connection.
//! - [`Observer`], [`Event`]: who may watch; [`observers`]: those that come with the pool.
//! - [`Status`], [`Metrics`], [`CheckoutError`]: what the pool tells.
//! - [`SharedPool`], [`Share`], [`Capacity`]: connections that carry several users at once.
//! - [`manual`]: the design, the reasons of the defaults, how to write a manager.
//! - `testkit`, with the feature of this name: for tests of applications and of managers.

mod builder;
mod checkout;
mod checks;
mod clock;
mod config;
#[doc(hidden)]
pub mod doc;
mod error;
mod event;
mod health;
mod hooks;
mod io;
mod keyed;
mod leaks;
mod lease;
mod manager;
pub mod manual;
mod many;
mod multiplex;
pub mod observers;
mod operate;
mod pool;
mod pooled;
mod reason;
mod shared;
mod state;
mod status;
mod tasks;
#[cfg(feature = "testkit")]
pub mod testkit;
mod total;
mod try_checkout;
mod warm_up;
mod watch;

pub use async_trait::async_trait;

pub use self::builder::Builder;
pub use self::checkout::{Checkout, CheckoutOwned};
pub use self::config::{Config, ConfigError, OnConnectError, Order};
pub use self::error::{
    BuildError, CheckoutError, CheckoutTimeout, ConnectError, ConnectFailure, TryCheckoutError,
    Undrained,
};
pub use self::event::{Event, Observer, Outcome};
pub use self::health::{Check, HealthCheck, Unhealthy};
pub use self::keyed::{
    KeyedBuilder, KeyedCheckout, KeyedCheckoutOwned, KeyedLease, KeyedPool, KeyedStatus,
};
pub use self::manager::{Dropped, Manager, Recycle};
pub use self::many::CheckoutMany;
pub use self::multiplex::{
    Capacity, Lease, Leased, Share, SharedPool, SharedPoolBuilder, SharedStatus, Spread,
};
pub use self::pool::Pool;
pub use self::pooled::{ConnectionInfo, OwnedPooled, Pooled};
pub use self::reason::CloseReason;
pub use self::status::{KeyedTotal, Metrics, Status};
pub use self::total::OnFull;
pub use self::warm_up::{Progress, WarmUp};
