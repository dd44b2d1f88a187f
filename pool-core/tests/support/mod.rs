//! What the tests share beside the kit: [`pool_core::testkit`].

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses the part it needs"
)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[allow(unused_imports, reason = "each test file uses the part it needs")]
pub use pool_core::testkit::{Gate, Peer, Scripted, ScriptedError, Socket, settle};
use pool_core::{Builder, Pool};

/// The panics that the tests ask for say so nowhere but in their outcome.
pub fn silence_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>();
            if !text.is_some_and(|text| text.starts_with("as told")) {
                usual(info);
            }
        }));
    });
}

pub const SECOND: Duration = Duration::from_secs(1);

/// A pool of connections that do as they are told.
pub fn builder() -> Builder<Scripted> {
    Pool::builder(Scripted::new())
}

/// One look at a future, whose waker nobody hears.
pub fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// So many idle connections; the one with the highest number came home last.
pub async fn fill(pool: &Pool<Scripted>, wanted: usize) {
    let mut guards = Vec::new();
    for _ in 0..wanted {
        guards.push(pool.checkout().await.unwrap());
    }
    guards.sort_by_key(|guard| guard.number());
    guards.into_iter().for_each(drop);
}
