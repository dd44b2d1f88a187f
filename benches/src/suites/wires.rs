//! Connections in memory whose peer hangs up when it is told.

use std::fmt;
use std::io;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use pool_core::Dropped;
use tokio::sync::oneshot;

use crate::clock::now;
use crate::contenders::Dialler;

/// All peers that are still connected.
#[derive(Clone, Debug, Default)]
pub(super) struct Wires(Arc<Mutex<Vec<Arc<Wire>>>>);

/// Between a connection and its peer.
#[derive(Debug, Default)]
struct Wire(Mutex<Ends>);

#[derive(Debug, Default)]
struct Ends {
    is_hung_up: bool,
    waker: Option<Waker>,
    /// Told when the connection is dropped.
    closed: Option<oneshot::Sender<Instant>>,
}

impl Wire {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to one of them.
pub(super) struct Wired(Arc<Wire>);

impl fmt::Debug for Wired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wired").finish_non_exhaustive()
    }
}

impl Drop for Wired {
    fn drop(&mut self) {
        let closed = take(&mut self.0.ends().closed);
        if let Some(closed) = closed {
            // Whoever hung up may have gone meanwhile.
            let _ = closed.send(now());
        }
    }
}

impl Wires {
    /// Has the peer hang up that `random` chooses; when its connection was closed.
    ///
    /// # Cancellation
    ///
    /// It has hung up all the same.
    pub(super) fn hang_up_any(&self, random: u64) -> impl Future<Output = Instant> + use<> {
        let mut wires = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = usize::try_from(random % wires.len() as u64).expect("an index");
        let wire = wires.swap_remove(chosen);
        let (closed, is_closed) = oneshot::channel();
        let waker = {
            let mut ends = wire.ends();
            ends.is_hung_up = true;
            ends.closed = Some(closed);
            take(&mut ends.waker)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        async { is_closed.await.expect("it is told when it is dropped") }
    }
}

impl Dialler for Wires {
    type Connection = Wired;

    async fn dial(&self) -> io::Result<Wired> {
        let wire = Arc::<Wire>::default();
        let mut wires = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wires.push(Arc::clone(&wire));
        Ok(Wired(wire))
    }

    fn is_dropped(&self, connection: &mut Wired) -> bool {
        connection.0.ends().is_hung_up
    }

    fn poll_dropped(&self, connection: &mut Wired, cx: &mut Context<'_>) -> Poll<Dropped> {
        let mut ends = connection.0.ends();
        if ends.is_hung_up {
            return Poll::Ready(Dropped::Closed);
        }
        ends.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
