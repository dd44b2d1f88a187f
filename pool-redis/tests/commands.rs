//! What redis-rs offers works on a guard as on any connection, and what a pool adds to it.

#![cfg(unix)]

mod support;

use futures::StreamExt;
use redis::{AsyncCommands, RedisResult, Script, cmd, pipe};
use support::RedisServer;
use support::pool::{checkout, id, pool};

#[tokio::test]
async fn a_guard_goes_wherever_a_connection_goes() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, 1);
    let mut connection = checkout(&pool).await;

    let () = connection.set("key", 41).await.unwrap();
    let (before, now): (i64, i64) = pipe()
        .get("key")
        .incr("key", 1)
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!((before, now), (41, 42));

    let script = Script::new("return redis.call('GET', KEYS[1]) + ARGV[1]");
    let sum: i64 = script
        .key("key")
        .arg(8)
        .invoke_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(sum, 50);

    let mut found: Vec<String> = Vec::new();
    let mut keys = connection.scan::<String>().await.unwrap();
    while let Some(key) = keys.next_item().await {
        found.push(key.unwrap());
    }
    drop(keys);
    assert_eq!(found, ["key"]);

    // Through a reference that is not the guard itself, and in a task of its own.
    let task = tokio::spawn(async move { connection.get::<_, i64>("key").await });
    assert_eq!(task.await.unwrap().unwrap(), 42);
    assert_eq!(server.clients().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_meet_are_tried_again_until_each_has_counted() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, 4);
    let mut counters = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let pool = pool.clone();
        counters.spawn(async move {
            for _ in 0..25 {
                let mut connection = checkout(&pool).await;
                let (_,): (i64,) = connection
                    .transaction(&["count"], async |connection, pipeline| {
                        let count: Option<i64> = connection.get("count").await?;
                        pipeline.set("count", count.unwrap_or(0) + 1).ignore();
                        pipeline.get("count").query_async(connection).await
                    })
                    .await
                    .unwrap();
            }
        });
    }
    counters.join_all().await;
    assert_eq!(server.ask("GET count").text(), "100");
    // Nothing was left to undo, and nothing cost a connection.
    assert_eq!(pool.metrics().closed(), 0);
}

#[tokio::test]
async fn a_transaction_that_fails_watches_nothing_any_more() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, 1);
    let mut connection = checkout(&pool).await;
    let failed: RedisResult<()> = connection
        .transaction("key", async |connection, _pipeline| {
            connection.get::<_, i64>("no number").await.map(|_| None)
        })
        .await;
    assert!(failed.is_err());
    server.command("SET key changed");
    // Were it watched, this would answer with nothing.
    let changed: Option<(String,)> = pipe()
        .atomic()
        .get("key")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(changed.unwrap().0, "changed");
}

#[tokio::test]
async fn a_transaction_given_up_between_two_commands_costs_one_round_trip_and_no_connection() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, 1);
    let mut connection = checkout(&pool).await;
    let first = id(&mut connection).await;
    {
        let (entered, has_entered) = tokio::sync::oneshot::channel();
        let mut entered = Some(entered);
        let transaction = connection.transaction("key", async |_connection, _pipeline| {
            entered.take().unwrap().send(()).unwrap();
            futures::future::pending::<RedisResult<Option<()>>>().await
        });
        tokio::select! {
            _ = transaction => unreachable!("its body never ends"),
            entered = has_entered => entered.unwrap(),
        }
    }
    drop(connection);
    let mut next = checkout(&pool).await;
    assert_eq!(id(&mut next).await, first);
    server.command("SET key changed");
    let kept: Option<(String,)> = pipe()
        .atomic()
        .get("key")
        .query_async(&mut next)
        .await
        .unwrap();
    assert!(kept.is_some());
}

#[tokio::test]
async fn a_subscription_is_a_connection_of_its_own() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let pool = pool(&server, 1);
    let mut news = pool.pubsub().await.unwrap();
    news.subscribe("news").await.unwrap();
    let mut connection = checkout(&pool).await;
    let heard: i64 = connection.publish("news", "hello").await.unwrap();
    assert_eq!(heard, 1);
    let message = support::in_time(news.on_message().next()).await.unwrap();
    assert_eq!(message.get_payload::<String>().unwrap(), "hello");
    assert_eq!((pool.status().size(), server.clients().len()), (1, 2));
    drop(news);
    support::becomes(|| server.clients().len(), 1).await;
}

#[test]
fn callers_may_sit_on_another_executor() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let pool = runtime.block_on(async { pool(&server, 1) });
    futures::executor::block_on(async {
        let mut connection = pool.checkout().await.unwrap();
        let () = connection.set("key", 1).await.unwrap();
        // Made to wait, so that a timer is.
        let nothing: Option<(String, String)> = connection.blpop("queue", 0.01).await.unwrap();
        assert_eq!(nothing, None);
        let pong: String = cmd("PING").query_async(&mut connection).await.unwrap();
        assert_eq!(pong, "PONG");
    });
}
