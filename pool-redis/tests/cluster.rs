//! Redis Cluster, with three real masters.

#![cfg(all(target_os = "linux", feature = "cluster"))]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use pool_core::{Manager, Pool, SharedPool};
use pool_redis::{Fate, RedisClusterManager, RedisPool, fate};
use redis::{AsyncCommands, ErrorKind, RedisResult, ServerErrorKind};
use support::cluster::Cluster;
use support::{LIMIT, RedisServer, Setup, becomes, eventually, in_time};
use tokio::task::JoinSet;

const SIZE: usize = 3;

fn manager(cluster: &Cluster) -> RedisClusterManager {
    RedisClusterManager::new(cluster.urls()).unwrap()
}

fn pool(manager: RedisClusterManager) -> RedisPool<RedisClusterManager> {
    let pool = Pool::builder(manager)
        .max_size(SIZE)
        .checkout_timeout(LIMIT)
        .build();
    RedisPool::new(pool.unwrap())
}

/// Clients that wait for something, at any node.
fn blocked(cluster: &Cluster) -> usize {
    let clients = cluster.nodes().iter().flat_map(RedisServer::clients);
    clients
        .filter(|client| client.field("cmd") == Some("blpop"))
        .count()
}

#[tokio::test]
async fn a_command_goes_to_the_node_that_has_its_key() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let pool = pool(manager(&cluster));
    let mut connection = pool.checkout().await.unwrap();
    let keys = [0, 1, 2].map(|node| cluster.key_of(node));
    for (node, key) in keys.iter().enumerate() {
        let () = connection.set(key, node).await.unwrap();
        let value = cluster.nodes()[node].ask(&format!("GET {key}"));
        assert_eq!(value.text(), node.to_string());
    }
    let all: Vec<usize> = connection.mget(&keys).await.unwrap();
    assert_eq!(all, [0, 1, 2]);
    let both: (i64, i64) = redis::pipe()
        .atomic()
        .incr(&keys[1], 1)
        .incr(&keys[1], 1)
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(both, (2, 3));
    drop(connection);
    assert_eq!(pool.status().idle, 1);
    for node in cluster.nodes() {
        assert_eq!(node.sockets().len(), 1);
    }
}

#[tokio::test]
async fn every_increment_is_done_once_while_its_slot_moves() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let pool = pool(manager(&cluster));
    let key = cluster.key_of(0);
    let done = Arc::new(AtomicI64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let mut users = JoinSet::new();
    for _ in 0..2 * SIZE {
        let (pool, key) = (pool.clone(), key.clone());
        let (done, is_over) = (Arc::clone(&done), Arc::clone(&is_over));
        users.spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                let mut connection = pool.checkout().await.unwrap();
                let _: i64 = connection.incr(&key, 1).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let slot = cluster.slot(&key);
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let before = done.load(Ordering::Relaxed);
        eventually(|| done.load(Ordering::Relaxed) > before + 10).await;
        cluster.begin_to_move(slot, from, to);
        // Whoever comes now is told to ask the new node once the key is there.
        cluster.move_keys(slot, from, to);
        let before = done.load(Ordering::Relaxed);
        eventually(|| done.load(Ordering::Relaxed) > before + 10).await;
        cluster.move_slot(slot, from, to);
    }
    is_over.store(true, Ordering::Relaxed);
    while let Some(user) = users.join_next().await {
        user.unwrap();
    }
    let value = cluster.nodes()[0].ask(&format!("GET {key}"));
    assert_eq!(value.text(), done.load(Ordering::Relaxed).to_string());
    // Nobody was let go of for it.
    assert_eq!(pool.metrics().connected, SIZE as u64);
}

#[tokio::test]
async fn an_atomic_pipeline_follows_its_slot_and_one_that_is_not_says_that_it_moved() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let pool = pool(manager(&cluster));
    let key = cluster.key_of(0);
    let mut pipeline = redis::pipe();
    pipeline.incr(&key, 1).incr(&key, 1);

    let mut connection = pool.checkout().await.unwrap();
    let first: (i64, i64) = pipeline.query_async(&mut connection).await.unwrap();
    assert_eq!(first, (1, 2));
    cluster.move_slot(cluster.slot(&key), 0, 1);
    let refused: RedisResult<(i64, i64)> = pipeline.query_async(&mut connection).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Server(ServerErrorKind::Moved));
    assert_eq!(fate(&refused), Fate::Answered);
    // The slots are known now.
    let second: (i64, i64) = pipeline.query_async(&mut connection).await.unwrap();
    assert_eq!(second, (3, 4));

    cluster.move_slot(cluster.slot(&key), 1, 2);
    let third: (i64, i64) = pipeline
        .atomic()
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(third, (5, 6));
    // redis-rs would send the next one to the wrong node again.
    drop(connection);
    assert_eq!(pool.status().idle, 0);
    let mut connection = pool.checkout().await.unwrap();
    let fourth: (i64, i64) = pipeline.query_async(&mut connection).await.unwrap();
    assert_eq!(fourth, (7, 8));
    drop(connection);
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test]
async fn an_idle_connection_whose_node_was_killed_leaves_the_pool() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let pool = pool(manager(&cluster));
    pool.warm_up(SIZE).await.unwrap();
    let killed = &cluster.nodes()[1];
    killed.kill();
    becomes(|| pool.status().size(), 0).await;
    for node in cluster.nodes() {
        becomes(|| node.sockets(), vec![]).await;
    }

    // The others serve.
    let mut connection = pool.checkout().await.unwrap();
    let () = connection.set(cluster.key_of(0), "value").await.unwrap();
    let key = cluster.key_of(1);
    let lost: RedisResult<i64> = connection.incr(&key, 1).await;
    let lost = lost.unwrap_err();
    assert_eq!(fate(&lost), Fate::NotSent, "{lost}");
    let name = format!("127.0.0.1:{}", killed.port());
    assert!(lost.to_string().contains(&name), "{lost}");
    drop(connection);
    assert_eq!(pool.status().idle, 1);

    killed.restart();
    cluster.settles();
    let mut all = Vec::new();
    for _ in 0..SIZE {
        let mut connection = pool.checkout().await.unwrap();
        let _: i64 = connection.incr(&key, 1).await.unwrap();
        all.push(connection);
    }
    assert_eq!(killed.ask(&format!("GET {key}")).text(), SIZE.to_string());
}

#[tokio::test]
async fn a_connection_in_use_whose_node_was_killed_is_not_kept() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let pool = pool(manager(&cluster));
    let mut connection = pool.checkout().await.unwrap();
    cluster.nodes()[1].kill();
    becomes(|| cluster.nodes()[1].sockets(), vec![]).await;
    let () = connection.set(cluster.key_of(2), "value").await.unwrap();
    drop(connection);
    becomes(|| pool.status().size(), 0).await;
}

#[tokio::test]
async fn a_cancelled_command_costs_the_connection_and_no_job() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let pool = pool(manager(&cluster));
    let queue = cluster.key_of(2);
    for _ in 0..3 {
        let mut connection = pool.checkout().await.unwrap();
        let popped = connection.blpop::<_, (String, String)>(&queue, 0.0);
        tokio::select! {
            popped = popped => panic!("{popped:?}"),
            () = eventually(|| blocked(&cluster) == 1) => {}
        }
        // Another command on it, which is answered, makes it no better.
        let _: Option<String> = connection.get(cluster.key_of(0)).await.unwrap();
        drop(connection);
        assert_eq!(pool.status().idle, 0);
        becomes(|| blocked(&cluster), 0).await;
    }
    cluster.nodes()[2].ask(&format!("RPUSH {queue} job"));
    let jobs = cluster.nodes()[2].ask(&format!("LLEN {queue}"));
    assert_eq!(jobs.integer(), 1);
    becomes(|| pool.status().size(), 0).await;
}

#[tokio::test]
async fn a_command_that_a_stopped_node_does_not_answer_costs_the_connection() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let pool = pool(manager(&cluster));
    let mut connection = pool.checkout().await.unwrap();
    let (key, stopped) = (cluster.key_of(0), &cluster.nodes()[0]);
    stopped.stop();
    let mut hurried = connection.limit(Duration::from_secs(1));
    let lost: RedisResult<i64> = hurried.incr(&key, 1).await;
    let lost = lost.unwrap_err();
    assert!(lost.is_timeout(), "{lost}");
    assert_eq!(fate(&lost), Fate::Unknown);
    drop(connection);
    becomes(|| pool.status().size(), 0).await;
    stopped.go_on();
    let mut connection = pool.checkout().await.unwrap();
    let _: i64 = connection.incr(&key, 1).await.unwrap();
}

#[tokio::test]
async fn no_socket_is_left_when_the_pool_is_drained() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let pool = pool(manager(&cluster));
    let held = pool.checkout().await.unwrap();
    pool.warm_up(SIZE).await.unwrap();
    let draining = pool.clone();
    let drained = tokio::spawn(async move { draining.drain(LIMIT).await });
    becomes(|| pool.status().size(), 1).await;
    drop(held);
    in_time(drained).await.unwrap().unwrap();
    for node in cluster.nodes() {
        assert_eq!(node.sockets(), []);
    }
}

#[tokio::test]
async fn what_would_change_one_connection_of_many_is_refused_and_never_sent() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let pool = pool(manager(&cluster));
    let mut connection = pool.checkout().await.unwrap();
    for command in ["MULTI", "WATCH", "SELECT", "SUBSCRIBE", "READONLY"] {
        let refused = redis::cmd(command).exec_async(&mut connection).await;
        let refused = refused.unwrap_err();
        assert_eq!(fate(&refused), Fate::NotSent, "{command}: {refused}");
    }
    drop(connection);
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test]
async fn many_users_share_one_connection_and_one_that_leaves_harms_nobody() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let pool = Pool::builder(manager(&cluster)).build().unwrap();
    let pool = SharedPool::new(pool);
    let key = cluster.key_of(1);
    let mut users = JoinSet::new();
    for number in 0..20 {
        let (pool, key) = (pool.clone(), key.clone());
        users.spawn(async move {
            let mut lease = pool.lease().await.unwrap();
            let incremented = lease.incr::<_, _, i64>(&key, 1);
            if number % 2 == 0 {
                let _ = tokio::time::timeout(Duration::ZERO, incremented).await;
            } else {
                incremented.await.unwrap();
            }
        });
    }
    while let Some(user) = users.join_next().await {
        user.unwrap();
    }
    assert_eq!(pool.status().connections.size(), 1);

    let mut lease = pool.lease().await.unwrap();
    let refused: RedisResult<(String, String)> = lease.blpop("queue", 0.0).await;
    assert_eq!(fate(&refused.unwrap_err()), Fate::NotSent);
    // Whoever has it goes on; nobody new gets a place on it.
    cluster.nodes()[0].kill();
    eventually(|| pool.status().capacity == 0).await;
    let _: i64 = lease.incr(&key, 1).await.unwrap();
    drop(lease);
    becomes(|| pool.status().connections.size(), 0).await;
}

#[tokio::test]
async fn an_error_says_why_there_is_no_cluster() {
    let Some(server) = RedisServer::start() else {
        return;
    };
    let manager = RedisClusterManager::new([server.url()]).unwrap();
    let error = manager.connect().await.unwrap_err();
    assert!(
        error.to_string().contains("cluster support disabled"),
        "{error}"
    );
    assert!(manager.is_permanent(&error));

    let port = server.port();
    drop(server);
    let error = manager.connect().await.unwrap_err();
    assert!(
        error.to_string().contains(&format!("127.0.0.1:{port}")),
        "{error}"
    );
    assert!(!manager.is_permanent(&error));

    let Some(server) = Setup::default().line("requirepass secret").start() else {
        return;
    };
    let manager = RedisClusterManager::new([server.url()]).unwrap();
    let error = manager.connect().await.unwrap_err();
    assert!(manager.is_permanent(&error), "{error}");
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_cluster_is_spoken_to_by_tls_with_the_settings_of_redis_rs() {
    use redis::cluster::{ClusterClient, NodeAddress};

    let Some(cluster) = Cluster::start_with(Setup::default().tls()) else {
        return;
    };
    let nodes = cluster.nodes().iter();
    // The nodes tell each other their plain ports.
    let address = |port| NodeAddress::new("127.0.0.1", port);
    let map = nodes
        .clone()
        .map(|node| (address(node.port()), address(node.tls_port())));
    let builder = ClusterClient::builder(nodes.clone().map(RedisServer::tls_url))
        .node_address_map(map.collect())
        .certs(redis::TlsCertificates {
            client_tls: None,
            root_cert: Some(nodes.flat_map(RedisServer::certificate_pem).collect()),
        });
    let manager = RedisClusterManager::with_builder("the cluster", builder).unwrap();
    let pool = pool(manager);
    let mut connection = pool.checkout().await.unwrap();
    for node in 0..3 {
        let () = connection.set(cluster.key_of(node), "value").await.unwrap();
    }
}
