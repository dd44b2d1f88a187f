//! Does a manager keep its promises? Tried against a real server, with everything that goes wrong in most of them.
//!
//! A [`Subject`] is a way to make a manager, a [`Server`] it dials, and, if you like, an action that uses a connection
//! once. [`Subject::check`] tries each [`Rule`] with a manager and a runtime of its own, and the [`Report`] says which
//! are kept, which are broken, by which method, and what to do about it.
//!
//! # Examples
//!
//! The manager of the [front page](crate), which pools bare [`TcpStream`](std::net::TcpStream)s:
//!
//! ```
//! # use std::io::ErrorKind;
//! # use std::task::{Context, Poll, ready};
//! # use pool_core::{Dropped, Manager};
//! # use tokio::net::TcpStream;
//! # struct Echo(std::net::SocketAddr);
//! # impl Manager for Echo {
//! #     type Connection = TcpStream;
//! #     type Error = std::io::Error;
//! #     async fn connect(&self) -> std::io::Result<TcpStream> {
//! #         TcpStream::connect(self.0).await
//! #     }
//! #     fn is_dropped(&self, stream: &mut TcpStream) -> bool {
//! #         !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
//! #     }
//! #     fn poll_dropped(&self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<Dropped> {
//! #         loop {
//! #             if ready!(stream.poll_read_ready(cx)).is_err() || self.is_dropped(stream) {
//! #                 return Poll::Ready(Dropped::Closed);
//! #             }
//! #         }
//! #     }
//! # }
//! use pool_core::testkit::TcpServer;
//! use pool_core::testkit::conformance::{Rule, Subject};
//! use std::io::{Read, Write};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let server = TcpServer::start(|mut socket| loop {
//!     let mut byte = [0];
//!     socket.read_exact(&mut byte)?;
//!     socket.write_all(&byte)?;
//! })?;
//! let address = server.address();
//! let report = Subject::new(move || Echo(address), server)
//!     .use_once(async |stream| {
//!         stream.write_all(b"?").await?;
//!         let mut answer = [0];
//!         stream.read_exact(&mut answer).await.map(drop)
//!     })
//!     .check()
//!     .await;
//!
//! // It is good at everything but one thing: it cannot tell that somebody left before he had read his answer.
//! let broken: Vec<_> = report.broken().map(|(rule, fault)| (rule, fault.method())).collect();
//! assert_eq!(broken, [(Rule::AbandonedIsNotKept, "recycle")]);
//! # Ok(()) }
//! ```
//!
//! In a test of yours, `report.assert()` panics with the table if a rule is broken.
//!
//! # How it looks
//!
//! Everything happens in real time. What must happen is waited for, up to [`Subject::limit`], and not a moment longer:
//! so a good manager is checked in a second or two on any machine, and only a broken one takes its time. The manager
//! lives on a thread of the check's own, with a current-thread runtime. Where a rule says that something holds without
//! help from any task, that thread is stopped until the server has seen it.
//!
//! It cannot see everything. It tries each rule a few times and not for days, knows the server's side only by what
//! [`Server::open`] counts, and takes the word of your `use_once` for it that an answer is right.

mod checks;
mod observed;
mod report;
mod rule;
mod run;
mod server;
mod subject;
mod trial;

pub use self::report::{Fault, Report, Verdict};
pub use self::rule::Rule;
pub use self::server::Server;
pub use self::subject::Subject;
