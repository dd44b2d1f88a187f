//! Ten thousand users who leave in the middle of an answer, and nobody who sees another's.

#![cfg(target_os = "linux")]

mod support;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use redis::AsyncCommands;
use support::pool::{assert_whole, checkout, pool};
use support::{RedisServer, becomes};

const USERS: u64 = 8;
const CONNECTIONS: usize = 3;
const CANCELLED: usize = 10_000;

/// The sizes of the values: what comes at once, what comes in parts, and what fills every buffer.
const SIZES: [usize; 8] = [1, 100, 5_000, 16_384, 40_000, 100_000, 200_000, 400_000];

/// A value that says whose it is with every byte.
fn value(key: usize) -> Vec<u8> {
    vec![b'A' + u8::try_from(key).unwrap(); SIZES[key]]
}

/// Numbers that are the same in each run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Polls so often at most, and then no more. What is polled wakes this task when it has come further.
async fn at_most<F: Future>(polls: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        // Somebody who looks at something else as well, as under `select!`.
        cx.waker().wake_by_ref();
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_at_any_point_leaves_no_answer_to_the_next() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, CONNECTIONS);
    let mut connection = checkout(&pool).await;
    for key in 0..SIZES.len() {
        let () = connection.set(key, value(key)).await.unwrap();
    }
    drop(connection);

    let cancelled = Arc::new(AtomicUsize::new(0));
    let answered = Arc::new(AtomicUsize::new(0));
    let users: Vec<_> = (1..=USERS)
        .map(|seed| {
            let pool = pool.clone();
            let (cancelled, answered) = (cancelled.clone(), answered.clone());
            let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15 >> seed);
            tokio::spawn(async move {
                let values: Vec<_> = (0..SIZES.len()).map(value).collect();
                while cancelled.load(Ordering::Relaxed) < CANCELLED {
                    let key = usize::try_from(numbers.below(SIZES.len() as u64)).unwrap();
                    let mut connection = checkout(&pool).await;
                    let polls = match numbers.below(12) {
                        // Stays to the end.
                        0 => u64::MAX,
                        // Before anything was sent, just after, or anywhere in the answer.
                        power => numbers.below(1 << power) + 1,
                    };
                    match at_most(polls, connection.get::<_, Vec<u8>>(key)).await {
                        Some(got) => {
                            assert!(
                                got.unwrap() == values[key],
                                "the answer to another question"
                            );
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        None => {
                            cancelled.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    // Home, as it is.
                    drop(connection);
                }
            })
        })
        .collect();
    for user in users {
        user.await.unwrap();
    }
    let answered = answered.load(Ordering::Relaxed);
    assert!(answered > CANCELLED / 20, "only {answered} stayed");
    // Each who left cost a connection, and nobody else did.
    let cancelled = u64::try_from(cancelled.load(Ordering::Relaxed)).unwrap();
    becomes(|| pool.metrics().closed(), cancelled).await;
    assert_whole(&server, &pool).await;
}
