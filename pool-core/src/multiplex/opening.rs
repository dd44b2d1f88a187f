//! One connection being opened: a checkout that no caller owns, so that none can cancel it for the others.

use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::checkout::CheckoutOwned;
use crate::error::{CheckoutError, ConnectError, ConnectFailure};
use crate::manager::Manager;
use crate::multiplex::Share;
use crate::multiplex::layer::{Layer, Owed};
use crate::pooled::OwnedPooled;
use crate::reason::CloseReason;
use crate::shared::caught;

type Outcome<M> = Result<OwnedPooled<M>, CheckoutError<<M as Manager>::Error>>;

/// An opening that the state counts. Dropped before it is over, it tells whoever waits that there will be none.
pub(super) struct Opening<M: Share> {
    layer: Arc<Layer<M>>,
    over: bool,
}

impl<M: Share> Opening<M> {
    /// Looks at the pool once, on the spot: an idle connection needs no task. For anything else one waits, on the
    /// pool's runtime.
    pub(super) fn begin(layer: &Arc<Layer<M>>) -> Owed<M> {
        let opening = Self {
            layer: Arc::clone(layer),
            over: false,
        };
        let runtime = &layer.pool.runtime;
        let mut checkout = Box::pin(
            CheckoutOwned::new(Arc::clone(&layer.pool), Location::caller()).without_timeout(),
        );
        let mut cx = Context::from_waker(Waker::noop());
        // The caller's executor may not be tokio's, and on a thread that ends there is no entering: the task looks then.
        let looked = caught(|| {
            let _entered = runtime.enter();
            poll(checkout.as_mut(), &mut cx)
        });
        match looked.unwrap_or(Poll::Pending) {
            Poll::Ready(outcome) => opening.end(outcome),
            Poll::Pending => {
                let (goes_on, effects) =
                    layer.change(|state, now, effects| state.pends(now, effects));
                match goes_on {
                    true => drop(runtime.spawn(opening.wait(checkout))),
                    false => opening.unwanted(),
                }
                effects
            }
        }
    }

    async fn wait(self, mut checkout: Pin<Box<CheckoutOwned<M>>>) {
        let layer = Arc::clone(&self.layer);
        let outcome = loop {
            // Made before the look: whatever happens after it calls.
            let mut surplus = pin!(layer.surplus.notified());
            let mut changed = pin!(layer.pool.changed.notified());
            // A pool that was resumed has room where nobody knocks.
            layer.update(|state, now, effects| state.look_again(now, effects));
            if layer.lock().end_surplus() {
                // A dial that was started for it goes on, and its connection lies idle.
                return self.unwanted();
            }
            let outcome = poll_fn(|cx| match poll(checkout.as_mut(), cx) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending => {
                    // Both are asked, so that both call.
                    let called = [surplus.as_mut().poll(cx), changed.as_mut().poll(cx)];
                    match called.contains(&Poll::Ready(())) {
                        true => Poll::Ready(None),
                        false => Poll::Pending,
                    }
                }
            });
            if let Some(outcome) = outcome.await {
                break outcome;
            }
        };
        let effects = self.end(outcome);
        layer.perform(effects);
    }

    /// The state has counted it out.
    fn unwanted(mut self) {
        self.over = true;
    }

    fn end(self, outcome: Outcome<M>) -> Owed<M> {
        let guard = match outcome {
            Ok(guard) => guard,
            Err(error) => return self.failed(error),
        };
        let layer = Arc::clone(&self.layer);
        let Some(capacity) = caught(|| layer.pool.manager.capacity(&guard).clone()) else {
            let _ = caught(|| OwnedPooled::give_up(guard, CloseReason::Discarded));
            return self.failed(panicked("it was asked what a connection carries"));
        };
        self.unwanted();
        layer.opened(guard, capacity)
    }

    fn failed(mut self, error: CheckoutError<M::Error>) -> Owed<M> {
        self.over = true;
        self.layer
            .change(|state, now, effects| state.failed(error, now, effects))
            .1
    }
}

impl<M: Share> Drop for Opening<M> {
    fn drop(&mut self) {
        if !self.over {
            // Its task is dropped only with the runtime, and with that the pool ends.
            self.layer.update(|state, now, effects| {
                state.failed(CheckoutError::Closed, now, effects);
            });
        }
    }
}

/// Polls the checkout; a manager that panics meanwhile is what the callers are told.
fn poll<M: Share>(checkout: Pin<&mut CheckoutOwned<M>>, cx: &mut Context<'_>) -> Poll<Outcome<M>> {
    caught(|| checkout.poll(cx))
        .unwrap_or_else(|| Poll::Ready(Err(panicked("it was asked about a connection"))))
}

fn panicked<E>(message: &str) -> CheckoutError<E> {
    CheckoutError::Connect(ConnectFailure {
        error: Arc::new(ConnectError::Panicked(message.to_owned())),
        age: Duration::ZERO,
    })
}
