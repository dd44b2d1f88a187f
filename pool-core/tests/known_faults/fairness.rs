//! Fairness: callers who are overtaken, forgotten, or kept busy while they wait.

use std::cell::Cell;
use std::future::Future;
use std::task::Context;

use crate::Woken;
use crate::support::{builder, poll, settle};

#[tokio::test(start_paused = true)]
async fn one_who_gives_back_and_asks_again_is_served_after_who_waited() {
    let pool = builder().max_size(1).build().unwrap();
    let turns = Cell::new(0);
    let greedy = async {
        loop {
            let guard = pool.checkout().await.unwrap();
            tokio::task::yield_now().await;
            turns.set(turns.get() + 1);
            drop(guard);
        }
    };
    let patient = async {
        for _ in 0..1_000 {
            let before = turns.get();
            let guard = pool.checkout().await.unwrap();
            assert!(turns.get() - before <= 1, "overtaken");
            drop(guard);
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = greedy => {}
        () = patient => {}
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_four_tasks_on_two_connections_are_served_alike() {
    let pool = builder().max_size(2).build().unwrap();
    let served: [Cell<usize>; 64] = std::array::from_fn(|_| Cell::new(0));
    let most_apart = Cell::new(0);
    let tasks = served.iter().map(|mine| {
        let (pool, served, most_apart) = (&pool, &served, &most_apart);
        async move {
            for _ in 0..100 {
                let _guard = pool.checkout().await.unwrap();
                mine.set(mine.get() + 1);
                let counts = || served.iter().map(Cell::get);
                let apart = counts().max().unwrap() - counts().min().unwrap();
                most_apart.set(most_apart.get().max(apart));
                tokio::task::yield_now().await;
            }
        }
    });
    futures::future::join_all(tasks).await;
    assert!(most_apart.get() <= 2, "{} turns apart", most_apart.get());
}

#[tokio::test(start_paused = true)]
async fn waiting_costs_no_wake_up() {
    let pool = builder().max_size(1).build().unwrap();
    let held = pool.checkout().await.unwrap();
    let mut waiting: Vec<_> = (0..100)
        .map(|_| {
            let (woken, waker) = Woken::new();
            let mut checkout = Box::pin(pool.checkout());
            let mut cx = Context::from_waker(&waker);
            assert!(checkout.as_mut().poll(&mut cx).is_pending());
            (checkout, woken)
        })
        .collect();
    drop(held);
    for turn in 0..100 {
        settle().await;
        let woken: Vec<_> = waiting.iter().map(|(_, woken)| woken.times()).collect();
        let expected: Vec<_> = (turn..100).map(|who| usize::from(who == turn)).collect();
        assert_eq!(woken, expected);
        let (mut checkout, _) = waiting.remove(0);
        assert!(poll(&mut checkout).is_ready());
    }
}
