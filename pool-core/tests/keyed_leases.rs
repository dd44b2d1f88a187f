//! Shared connections by key, under one total.

mod support;

use std::pin::pin;

use pool_core::doc::Multiplexed;
use pool_core::{CheckoutError, KeyedPool, Leased};
use support::{poll, settle};

type Lines = KeyedPool<&'static str, Multiplexed>;

fn lines(carrying: usize, max_size: usize, max_total: usize) -> Lines {
    KeyedPool::builder(move |_host: &&str| Multiplexed::carrying(carrying))
        .max_size(max_size)
        .max_total(max_total)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn users_of_one_key_share_and_those_of_another_do_not() {
    let pool = lines(100, 2, 4);
    let _here = (
        pool.lease(&"here").await.unwrap(),
        pool.lease(&"here").await.unwrap(),
    );
    let _there = pool.lease(&"there").await.unwrap();
    let in_use = |key| pool.status_of(&key).unwrap().in_use;
    assert_eq!((in_use("here"), in_use("there")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_is_opened_when_the_first_is_full_and_no_third() {
    let pool = lines(2, 2, 4);
    let mut leases = Vec::new();
    for _ in 0..4 {
        leases.push(pool.lease(&"here").await.unwrap());
    }
    let mut fifth = pin!(pool.lease(&"here"));
    assert!(poll(&mut fifth).is_pending());
    settle().await;
    assert!(poll(&mut fifth).is_pending());
    assert_eq!(pool.status().in_use, 2);
    drop(leases.pop());
    fifth.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_lies_idle_gives_way_to_a_lease_of_another_key() {
    let pool = lines(10, 1, 1);
    drop(pool.lease(&"here").await.unwrap());
    assert_eq!(pool.status().idle, 1);
    let _there = pool.lease(&"there").await.unwrap();
    settle().await;
    assert_eq!(pool.keys(), ["there"]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_waits_for_the_total_gets_what_another_key_gives_back() {
    let pool = lines(10, 1, 1);
    let here = pool.lease(&"here").await.unwrap();
    let there = pool.lease(&"there");
    let mut there = pin!(there);
    assert!(poll(&mut there).is_pending());
    settle().await;
    drop(here);
    there.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_key_of_which_nothing_is_left_is_forgotten_and_comes_anew() {
    let pool = lines(10, 1, 2);
    let lease = pool.lease(&"here").await.unwrap();
    Leased::retire(&lease);
    drop(lease);
    settle().await;
    assert_eq!(pool.status().keys, 0);
    let lease = pool.lease(&"here").await.unwrap();
    assert_eq!(pool.status().in_use, 1);
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn a_lease_and_a_checkout_of_a_key_draw_on_the_same_connections() {
    let pool = lines(10, 1, 2);
    let own = pool.checkout_owned(&"here").await.unwrap();
    let mut lease = pin!(pool.lease(&"here"));
    assert!(poll(&mut lease).is_pending());
    drop(own);
    drop(lease.await.unwrap());
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_lease_is_counted_once_beside_who_waits_for_a_connection() {
    let pool = lines(2, 1, 2);
    let waiting = |expected: usize| {
        assert_eq!(pool.status().waiting, expected);
        assert_eq!(pool.status_of(&"here").unwrap().waiting, expected);
    };
    let held = (
        pool.lease(&"here").await.unwrap(),
        pool.lease(&"here").await.unwrap(),
    );
    let mut leases = Vec::new();
    for count in 1..=3 {
        let mut lease = Box::pin(pool.lease(&"here"));
        assert!(poll(&mut lease).is_pending());
        leases.push(lease);
        settle().await;
        waiting(count);
    }
    let mut own = Box::pin(pool.checkout(&"here"));
    assert!(poll(&mut own).is_pending());
    waiting(4);
    drop(leases);
    settle().await;
    waiting(1);
    drop(own);
    drop(held);
    settle().await;
    waiting(0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_given_up_leaves_nothing_and_a_closed_pool_gives_none() {
    let pool = lines(1, 1, 1);
    let held = pool.lease(&"here").await.unwrap();
    let mut waiting = Box::pin(pool.lease(&"here"));
    assert!(poll(&mut waiting).is_pending());
    drop(waiting);
    drop(held);
    settle().await;
    assert_eq!((pool.status().idle, pool.status().waiting), (1, 0));
    pool.close();
    assert!(matches!(
        pool.lease(&"here").await,
        Err(CheckoutError::Closed)
    ));
    settle().await;
    assert_eq!(pool.status().keys, 0);
}
