//! A guard of a stream is a stream: it can be given to whatever reads and writes by value.
//!
//! ```
//! use pool_core::{Manager, Pool};
//! use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream};
//!
//! struct Pipes;
//!
//! impl Manager for Pipes {
//!     type Connection = DuplexStream;
//!     type Error = std::io::Error;
//!
//!     async fn connect(&self) -> std::io::Result<DuplexStream> {
//!         let (ours, mut theirs) = tokio::io::duplex(64);
//!         tokio::io::AsyncWriteExt::write_all(&mut theirs, b"hello\n").await?;
//!         Ok(ours)
//!     }
//!
//!     fn is_dropped(&self, _: &mut DuplexStream) -> bool {
//!         false
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::builder(Pipes).build()?;
//! let mut lines = BufReader::new(pool.checkout_owned().await?).lines();
//! assert_eq!(lines.next_line().await?.as_deref(), Some("hello"));
//! # Ok(()) }
//! ```

use std::io;
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::manager::Manager;
use crate::pooled::{OwnedPooled, Pooled};

impl<M: Manager> AsyncRead for Pooled<'_, M>
where
    M::Connection: AsyncRead + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        stream(self).poll_read(cx, buffer)
    }
}

impl<M: Manager> AsyncRead for OwnedPooled<M>
where
    M::Connection: AsyncRead + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        stream(self).poll_read(cx, buffer)
    }
}

impl<M: Manager> AsyncWrite for Pooled<'_, M>
where
    M::Connection: AsyncWrite + Unpin,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        stream(self).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        stream(self).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        (**self).is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        stream(self).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        stream(self).poll_shutdown(cx)
    }
}

impl<M: Manager> AsyncWrite for OwnedPooled<M>
where
    M::Connection: AsyncWrite + Unpin,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        stream(self).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        stream(self).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        (**self).is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        stream(self).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        stream(self).poll_shutdown(cx)
    }
}

fn stream<G>(guard: Pin<&mut G>) -> Pin<&mut G::Target>
where
    G: DerefMut + Unpin,
    G::Target: Unpin,
{
    Pin::new(&mut **Pin::into_inner(guard))
}
