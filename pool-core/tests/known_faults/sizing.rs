//! Sizing: too many connections, too few, or too many dials to get there.

use pool_core::{Order, Pool, Pooled};

use crate::MILLISECOND;
use crate::support::{Gate, SECOND, Scripted, builder, fill, poll, settle};

#[tokio::test(start_paused = true)]
async fn twenty_checkouts_in_turn_make_one_dial() {
    let pool = builder().max_size(8).build().unwrap();
    for _ in 0..20 {
        drop(pool.checkout().await.unwrap());
        settle().await;
    }
    assert_eq!(pool.manager().peer().dialled(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_callers_never_open_a_second_connection_where_one_is_allowed() {
    let pool = builder().max_size(1).build().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let pool = pool.clone();
        tasks.spawn(async move {
            for round in 0..250 {
                let guard = pool.checkout().without_timeout().await.unwrap();
                match (caller + round) % 3 {
                    0 => Pooled::discard(guard),
                    _ => drop(guard),
                }
            }
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap();
    }
    let peer = pool.manager().peer().clone();
    assert!(peer.dialled() > 600);
    assert_eq!(peer.most_open(), 1);
}

#[tokio::test(start_paused = true)]
async fn connections_kept_for_the_minimum_are_not_reaped_and_dialled_again() {
    let pool = builder()
        .min_idle(2)
        .idle_timeout(50 * MILLISECOND)
        .build()
        .unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(
        (pool.status().idle, pool.manager().peer().dialled()),
        (2, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_checkout_polled_for_nothing_asks_for_no_further_dial() {
    let pool = Pool::builder(Scripted::connecting([Gate::Slow]))
        .build()
        .unwrap();
    let (mut first, mut second) = (Box::pin(pool.checkout()), Box::pin(pool.checkout()));
    for _ in 0..100 {
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(first.await.is_ok() && second.await.is_ok());
    settle().await;
    assert_eq!(pool.manager().peer().dialled(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pool_grows_to_its_limit_while_every_connection_is_held() {
    let pool = builder().max_size(10).build().unwrap();
    let mut held = Vec::new();
    for size in 1..=10 {
        held.push(pool.checkout().timeout(SECOND).await.unwrap());
        assert_eq!(pool.status().size(), size);
    }
    assert!(pool.checkout().timeout(SECOND).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_a_burst_has_dialled_is_there_for_the_next() {
    let pool = builder().max_size(10).build().unwrap();
    for _ in 0..5 {
        fill(&pool, 10).await;
        tokio::time::sleep(60 * SECOND).await;
    }
    assert_eq!(pool.manager().peer().dialled(), 10);
}

#[tokio::test(start_paused = true)]
async fn under_steady_traffic_the_surplus_of_a_stack_is_reaped_and_that_of_a_queue_is_kept() {
    for (order, left) in [(Order::Lifo, 1), (Order::Fifo, 10)] {
        let pool = builder()
            .max_size(10)
            .order(order)
            .idle_timeout(10 * SECOND)
            .build()
            .unwrap();
        fill(&pool, 10).await;
        for _ in 0..30 {
            drop(pool.checkout().await.unwrap());
            tokio::time::sleep(SECOND / 2).await;
        }
        assert_eq!(pool.status().idle, left, "{order:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_made_smaller_while_it_is_empty_never_exceeds_the_new_size() {
    let pool = builder().max_size(16).max_connecting(16).build().unwrap();
    pool.resize(2);
    let mut waiting: Vec<_> = (0..16).map(|_| Box::pin(pool.checkout())).collect();
    let mut held = Vec::new();
    for checkout in &mut waiting {
        assert!(poll(checkout).is_pending());
    }
    settle().await;
    for checkout in &mut waiting {
        if let std::task::Poll::Ready(guard) = poll(checkout) {
            held.push(guard.unwrap());
        }
    }
    assert_eq!((held.len(), pool.manager().peer().open()), (2, 2));
    let status = pool.status();
    assert_eq!((status.max_size, status.size()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_checkout_cancelled_after_the_size_became_zero_leaves_no_room_behind() {
    let pool = Pool::builder(Scripted::connecting([Gate::Slow]))
        .max_size(1)
        .build()
        .unwrap();
    let mut connecting = Box::pin(pool.checkout());
    assert!(poll(&mut connecting).is_pending());
    settle().await;
    pool.resize(0);
    drop(connecting);
    let outcome = pool.checkout().timeout(10 * SECOND).await;
    assert!(outcome.is_err(), "the pool may have none");
    assert_eq!((pool.status().size(), pool.manager().peer().open()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_smaller_size_holds_at_once_and_as_connections_come_home() {
    let pool = builder().max_size(5).build().unwrap();
    fill(&pool, 5).await;
    pool.resize(4);
    assert_eq!(pool.manager().peer().open(), 4, "one is idle and too many");
    let held = pool.checkout_many(4).await.unwrap();
    pool.resize(1);
    let (mut first, mut second) = (Box::pin(pool.checkout()), Box::pin(pool.checkout()));
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    drop(held);
    let served = poll(&mut first);
    assert!(served.is_ready() && poll(&mut second).is_pending());
    assert_eq!(pool.status().size(), 1);
}

#[tokio::test(start_paused = true)]
async fn however_the_size_goes_up_and_down_the_count_stays_right() {
    let pool = builder().max_size(8).build().unwrap();
    for (round, size) in [3, 0, 7, 1, 8, 2, 5, 0, 6]
        .into_iter()
        .cycle()
        .take(90)
        .enumerate()
    {
        let mut held = Vec::new();
        for _ in 0..round % 9 {
            held.extend(pool.checkout().timeout(SECOND).await);
        }
        pool.resize(size);
        // Some come home to a pool that is smaller than they are many.
        held.truncate(held.len() / 2);
        settle().await;
        drop(held);
        assert!(pool.status().size() <= size, "{}", pool.status());
    }
    pool.resize(8);
    let held = pool.checkout_many(8).await.unwrap();
    assert!(pool.checkout().timeout(SECOND).await.is_err());
    assert_eq!((held.len(), pool.manager().peer().open()), (8, 8));
}

#[tokio::test(start_paused = true)]
async fn what_is_worn_out_is_replaced_up_to_the_minimum() {
    let pool = builder()
        .max_size(2)
        .min_idle(2)
        .max_uses(3)
        .build()
        .unwrap();
    settle().await;
    for _ in 0..30 {
        drop(pool.checkout().await.unwrap());
        settle().await;
        assert_eq!(pool.status().idle, 2);
    }
    assert_eq!(pool.manager().peer().dialled(), 12);
}
