//! What redis-rs lets us know of its connections to the nodes: that one was lost, and that it has given all of them up.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use pool_core::Capacity;
use redis::aio::AsyncPushSender;
use redis::{PushInfo, PushKind};

/// The connections of one user of the cluster; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Nodes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    capacity: Capacity,
}

#[derive(Debug, Default)]
struct State {
    is_one_lost: bool,
    are_given_up: bool,
    /// Of whoever waits for either.
    waker: Option<Waker>,
}

/// What redis-rs tells of each push; dropped with the task that holds all connections.
pub(crate) struct Listener(Nodes);

impl Nodes {
    /// None is lost so far. Tells `capacity` when one is.
    pub(crate) fn new(capacity: Capacity) -> (Self, Listener) {
        let nodes = Self(Arc::new(Shared {
            state: Mutex::default(),
            capacity,
        }));
        (nodes.clone(), Listener(nodes))
    }

    pub(crate) fn is_one_lost(&self) -> bool {
        self.lock().is_one_lost
    }

    /// Ready when one is lost.
    pub(crate) fn poll_lost(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx, |state| state.is_one_lost)
    }

    /// Ends when redis-rs has let go of all of them.
    pub(crate) async fn given_up(&self) {
        poll_fn(|cx| self.poll(cx, |state| state.are_given_up)).await;
    }

    pub(crate) fn capacity(&self) -> &Capacity {
        &self.0.capacity
    }

    fn poll(&self, cx: &mut Context<'_>, is_so: impl FnOnce(&State) -> bool) -> Poll<()> {
        let mut state = self.lock();
        if is_so(&state) {
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        self.0.capacity.drain();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncPushSender for Listener {
    fn send(&self, info: PushInfo) -> Result<(), redis::aio::SendError> {
        if info.kind == PushKind::Disconnection {
            self.0.tell(|state| state.is_one_lost = true);
        }
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.tell(|state| {
            state.is_one_lost = true;
            state.are_given_up = true;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;

    fn push(kind: PushKind) -> PushInfo {
        PushInfo { kind, data: vec![] }
    }

    #[test]
    fn a_lost_node_is_told_and_other_pushes_mean_nothing() {
        let (nodes, listener) = Nodes::new(Capacity::new(1));
        let mut cx = Context::from_waker(Waker::noop());
        listener.send(push(PushKind::Invalidate)).unwrap();
        assert!(nodes.poll_lost(&mut cx).is_pending());
        assert_eq!(nodes.capacity().now(), 1);
        listener.send(push(PushKind::Disconnection)).unwrap();
        assert!(nodes.poll_lost(&mut cx).is_ready());
        assert!(nodes.is_one_lost());
        assert!(nodes.capacity().is_draining());
    }

    #[test]
    fn the_end_of_redis_rs_task_is_told() {
        let (nodes, listener) = Nodes::new(Capacity::new(1));
        let mut given_up = pin!(nodes.given_up());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(given_up.as_mut().poll(&mut cx).is_pending());
        drop(listener);
        assert!(given_up.poll(&mut cx).is_ready());
        assert!(nodes.is_one_lost());
    }
}
