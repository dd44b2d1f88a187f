//! TCP, Unix-domain and TLS connections for [`pool_core`], with a probe that sees a peer's FIN without a round trip.
//!
//! A pooled connection idles until somebody needs it, and while it idles its peer may close it. [`TcpManager`] knows
//! at once: the reactor that already watches the socket says when to look, one `poll(2)` says what there is. A
//! connection that its peer has closed, or that has bytes on it nobody asked for, leaves the pool within milliseconds,
//! and is never handed out.
//!
//! ```
//! use pool_core::Pool;
//! use pool_tcp::TcpManager;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::TcpListener;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! # let listener = TcpListener::bind("127.0.0.1:0").await?;
//! # let address = listener.local_addr()?.to_string();
//! # tokio::spawn(async move {
//! #     let (mut peer, _) = listener.accept().await.unwrap();
//! #     let (mut read, mut write) = peer.split();
//! #     let _ = tokio::io::copy(&mut read, &mut write).await;
//! # });
//! let pool = Pool::builder(TcpManager::new(&address)?).max_size(4).build()?;
//!
//! let mut connection = pool.checkout().await?;
//! connection.write_all(b"ping").await?;
//! let mut answer = [0; 4];
//! connection.read_exact(&mut answer).await?;
//! assert_eq!(&answer, b"ping");
//!
//! drop(connection);
//! assert_eq!(pool.status().idle, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # What is kept, and what is not
//!
//! A [`Connection`] is kept unless a read or a write failed, its user read the end of the stream or shut it down, a read
//! or a write was given up while it waited, nothing was read after the last write ([`TcpManager::one_way`] turns that
//! off), or the peer sent more than was read. So a request that is cancelled costs its connection. That is all a byte
//! stream can tell: a user that leaves between two reads of one response must discard the connection himself.
//!
//! # The parts
//!
//! | | |
//! |---|---|
//! | [`TcpManager`], [`UnixManager`], [`TlsManager`](TcpManager#method.tls) | what a pool is built on |
//! | [`Connection`] | what comes out of it: [`TcpConnection`], [`UnixConnection`], `TlsConnection` |
//! | [`PoolStream`] | the socket inside, for adapters of other protocols |
//! | [`SocketProbe`] | watches a stream that a driver took by value |
//! | [`Driver`], [`AnyProbe`] | the task of such a driver, and the probe with it |
//! | [`Liveness`], [`OnReadable`] | what the kernel says, and what it means |
//!
//! TLS needs the feature `tls`.
//!
//! # Platforms
//!
//! On Linux, Android, FreeBSD and illumos `poll(2)` tells the end of a connection from bytes. Elsewhere the probe peeks:
//! a FIN behind unread bytes is noticed only once the reactor has heard of it.

mod bell;
mod connection;
mod dial;
mod driver;
mod error;
mod probe;
#[cfg(feature = "tls")]
mod roots;
mod stream;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
#[cfg(unix)]
mod unix;

pub use connection::Connection;
pub use driver::{AnyProbe, Driver};
#[cfg(unix)]
pub use error::UnixError;
pub use error::{AddressError, TcpError};
pub use probe::{Liveness, OnReadable, SocketProbe};
#[cfg(feature = "tls")]
pub use roots::{NoRoots, trusting_the_system};
pub use stream::{PoolStream, Socket};
pub use tcp::{Keepalive, TcpConnection, TcpManager};
#[cfg(feature = "tls")]
pub use tls::{TlsConnection, TlsManager};
/// The TLS library whose configuration [`TcpManager::tls`] takes.
#[cfg(feature = "tls")]
pub use tokio_rustls::rustls;
#[cfg(unix)]
pub use unix::{UnixConnection, UnixManager};

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
