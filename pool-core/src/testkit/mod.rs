//! For tests: a server and a manager that fail as they are told, and a check whether a manager keeps its promises.
//!
//! Needs the feature `testkit`, which belongs under `[dev-dependencies]`:
//!
//! ```toml
//! [dev-dependencies]
//! pool-core = { version = "0.1", features = ["testkit"] }
//! ```
//!
//! # Does my application bear with a pool in trouble?
//!
//! Give it a pool of [`Scripted`] connections and hold the other side, the [`Peer`], in your hand: refuse its dials, hang
//! up, stop answering, and look what your users would see. Pause tokio's clock, and half a minute takes no time.
//!
//! ```
//! use std::time::Duration;
//! use pool_core::testkit::Scripted;
//! use pool_core::{CheckoutError, Manager, Pool};
//!
//! /// The application, which wants any connection that can greet.
//! async fn page<M: Manager<Connection: Greet>>(pool: &Pool<M>) -> String {
//!     match pool.checkout().timeout(Duration::from_secs(2)).await {
//!         Ok(connection) => connection.greet(),
//!         Err(CheckoutError::Timeout(_)) => "busy, try again".to_owned(),
//!         Err(error) => format!("out of order: {error}"),
//!     }
//! }
//!
//! trait Greet {
//!     fn greet(&self) -> String;
//! }
//!
//! impl Greet for pool_core::testkit::Socket {
//!     fn greet(&self) -> String {
//!         format!("hello from {}", self.number())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::builder(Scripted::new()).max_size(2).build()?;
//! let peer = pool.manager().peer().clone();
//! assert_eq!(page(&pool).await, "hello from 1");
//!
//! // The server restarts, and takes its time.
//! peer.hang_up_all();
//! peer.pause();
//! assert_eq!(page(&pool).await, "busy, try again");
//! peer.resume();
//! assert_eq!(page(&pool).await, "hello from 2");
//! assert!(peer.most_open() <= 2);
//! # Ok(()) }
//! ```
//!
//! # Does my manager keep its promises?
//!
//! The [`conformance`] check tries it against a real server and names the rule it breaks, the method at fault and the
//! remedy.

pub mod conformance;
mod gate;
mod peer;
mod scripted;
mod socket;
mod tcp_server;

pub use self::gate::{Gate, ScriptedError};
pub use self::peer::Peer;
pub use self::scripted::Scripted;
pub use self::socket::Socket;
pub use self::tcp_server::TcpServer;

/// Lets every task of a current-thread runtime run until none has anything to do.
///
/// # Cancellation
///
/// Nothing is lost.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let task = tokio::spawn(async {});
/// pool_core::testkit::settle().await;
/// assert!(task.is_finished());
/// # }
/// ```
pub async fn settle() {
    // Far more turns than any chain of wakes in here has links.
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
