//! Real connections, as every pool that is compared is taught them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use pool_core::{Dropped, Manager};
use pool_tcp::{TcpConnection, TcpManager};
use tokio::io::AsyncReadExt;

use crate::contenders::Dialler;

/// Dials a backend, counts how often, and waits for its greeting.
#[derive(Clone, Debug)]
pub(super) struct Dialled {
    tcp: TcpManager,
    dials: Arc<AtomicUsize>,
}

impl Dialled {
    pub(super) fn to(address: SocketAddr) -> Self {
        let tcp = TcpManager::new(&address.to_string());
        Self {
            tcp: tcp.expect("an address is an address"),
            dials: Arc::default(),
        }
    }

    /// Dials begun so far, those that failed included.
    pub(super) fn dials(&self) -> usize {
        self.dials.load(Relaxed)
    }
}

impl Dialler for Dialled {
    type Connection = TcpConnection;

    async fn dial(&self) -> io::Result<TcpConnection> {
        self.dials.fetch_add(1, Relaxed);
        let mut connection = self.tcp.connect().await.map_err(io::Error::other)?;
        connection.read_u8().await?;
        Ok(connection)
    }

    fn is_dropped(&self, connection: &mut TcpConnection) -> bool {
        self.tcp.is_dropped(connection)
    }

    fn poll_dropped(&self, connection: &mut TcpConnection, cx: &mut Context<'_>) -> Poll<Dropped> {
        self.tcp.poll_dropped(connection, cx)
    }
}
