//! Connections that know which of the pool's questions to answer: the switches between one policy and another.

use std::collections::HashSet;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use pool_core::{Dropped, Manager, Recycle};
use pool_tcp::{Liveness, TcpConnection, TcpManager};
use tokio::io::AsyncReadExt;

use crate::server::Ends;
use crate::tally::Tally;

/// `pool-tcp`'s manager, which answers the pool's probe and its watcher only where the policy has them.
#[derive(Clone, Debug)]
pub(crate) struct LabManager {
    pub(crate) tcp: TcpManager,
    pub(crate) probe: bool,
    pub(crate) watch: bool,
    /// Whether a connection counts as made only once the server has greeted.
    pub(crate) greeted: bool,
    pub(crate) tally: Arc<Tally>,
    /// The local ports of every connection dialled, by which the sampler knows them.
    pub(crate) ports: Arc<Mutex<HashSet<u16>>>,
}

/// A connection and its two ends.
#[derive(Debug)]
pub(crate) struct LabConnection {
    pub(crate) stream: TcpConnection,
    pub(crate) ends: Ends,
}

impl Manager for LabManager {
    type Connection = LabConnection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<LabConnection> {
        self.tally.dials.fetch_add(1, Relaxed);
        let mut stream = self.tcp.connect().await.map_err(io::Error::other)?;
        let ends = Ends::of_client(stream.get_ref().socket());
        self.ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(ends.client_port());
        if self.greeted {
            stream.read_u8().await?;
        }
        Ok(LabConnection { stream, ends })
    }

    fn is_dropped(&self, connection: &mut LabConnection) -> bool {
        if !self.probe {
            return false;
        }
        self.tally.probes.fetch_add(1, Relaxed);
        self.tcp.is_dropped(&mut connection.stream)
    }

    fn poll_dropped(&self, connection: &mut LabConnection, cx: &mut Context<'_>) -> Poll<Dropped> {
        if !self.watch {
            return Poll::Pending;
        }
        self.tally.watch_polls.fetch_add(1, Relaxed);
        self.tcp.poll_dropped(&mut connection.stream, cx)
    }

    fn recycle(&self, connection: &mut LabConnection) -> Recycle {
        // The rivals do not look at what comes home.
        match self.watch {
            true => self.tcp.recycle(&mut connection.stream),
            false => Recycle::Keep,
        }
    }
}

impl LabConnection {
    /// Whether the kernel already knows that the peer has gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.stream.get_ref().liveness() == Liveness::Dropped
    }
}

impl Deref for LabConnection {
    type Target = TcpConnection;

    fn deref(&self) -> &TcpConnection {
        &self.stream
    }
}

impl DerefMut for LabConnection {
    fn deref_mut(&mut self) -> &mut TcpConnection {
        &mut self.stream
    }
}
