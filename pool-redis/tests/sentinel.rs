//! Redis Sentinel, with real sentinels: wherever the master goes, the pool follows.

#![cfg(target_os = "linux")]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pool_core::{CheckoutError, ConnectError, Manager, OnConnectError, Pool};
use pool_redis::{
    Fate, PooledConnection, RedisConnectError, RedisManager, RedisPool, RedisSharedPool, Sentinels,
    fate,
};
use redis::aio::ConnectionLike;
use redis::{AsyncCommands, RedisConnectionInfo};
use support::sentinel::{MASTER, Passwords, SentinelSet};
use support::{LIMIT, RedisServer, Setup, becomes, eventually, in_time};
use tokio::task::JoinSet;
use tokio::time::sleep;

const SIZE: usize = 8;

fn sentinels(set: &SentinelSet) -> Sentinels {
    // Slow machines are no reason to pass a sentinel over.
    Sentinels::new(MASTER, set.urls())
        .unwrap()
        .timeout(Duration::from_secs(5))
}

fn pool(sentinels: Sentinels) -> RedisPool {
    let manager = RedisManager::with_sentinels(sentinels);
    let pool = Pool::builder(manager)
        .max_size(SIZE)
        .checkout_timeout(LIMIT)
        .build();
    RedisPool::new(pool.unwrap())
}

/// The port of the server at the other end, as it says itself.
async fn port(connection: &mut impl ConnectionLike) -> u16 {
    let mut answer = redis::cmd("CONFIG");
    let (_, port): (String, u16) = answer
        .arg("GET")
        .arg("port")
        .query_async(connection)
        .await
        .unwrap();
    port
}

async fn role(connection: &mut PooledConnection) -> redis::Role {
    redis::cmd("ROLE").query_async(connection).await.unwrap()
}

/// Those who write all the time, whatever happens.
struct Writers {
    pool: RedisPool,
    written: Arc<AtomicU64>,
    are_done: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Writers {
    /// Twice as many as there are connections.
    fn start(pool: &RedisPool) -> Self {
        let mut writers = Self {
            pool: pool.clone(),
            written: Arc::default(),
            are_done: Arc::default(),
            tasks: JoinSet::new(),
        };
        for _ in 0..2 * SIZE {
            let (pool, written) = (writers.pool.clone(), Arc::clone(&writers.written));
            let are_done = Arc::clone(&writers.are_done);
            writers.tasks.spawn(async move {
                while !are_done.load(Ordering::Relaxed) {
                    let mut connection = pool.checkout().await.expect("within the limit");
                    let answer: redis::RedisResult<u64> = connection.incr("count", 1).await;
                    match answer {
                        Ok(_) => written.fetch_add(1, Ordering::Relaxed),
                        Err(_) => 0,
                    };
                    drop(connection);
                    sleep(Duration::from_millis(1)).await;
                }
            });
        }
        writers
    }

    /// Waits until they have written on.
    async fn write_on(&self) {
        let before = self.written.load(Ordering::Relaxed);
        eventually(|| self.written.load(Ordering::Relaxed) > before + 10 * SIZE as u64).await;
    }

    async fn finish(mut self) {
        self.are_done.store(true, Ordering::Relaxed);
        while let Some(done) = in_time(self.tasks.join_next()).await {
            done.unwrap();
        }
    }
}

/// All connections can be had, none of them goes to the old master, and none of ours to it is left half closed.
async fn is_whole_without(pool: &RedisPool, old: &RedisServer) {
    let mut all = Vec::new();
    for _ in 0..SIZE {
        let mut connection = pool.checkout().await.unwrap();
        assert_ne!(port(&mut connection).await, old.port());
        assert!(matches!(
            role(&mut connection).await,
            redis::Role::Primary { .. }
        ));
        all.push(connection);
    }
    assert_eq!(pool.status().in_use, SIZE);
    becomes(|| old.sockets(), vec![]).await;
}

#[tokio::test]
async fn a_connection_is_to_the_master_and_passwords_are_said_to_whom_they_are_for() {
    let passwords = Passwords {
        servers: Some("of-the-servers"),
        sentinels: Some("of-the-sentinels"),
    };
    let Some(set) = SentinelSet::start_with(passwords) else {
        return;
    };
    let urls = set.sentinels().iter().map(|sentinel| {
        let port = sentinel.port();
        format!("redis://:of-the-sentinels@127.0.0.1:{port}?protocol=resp3")
    });
    let sentinels = Sentinels::new(MASTER, urls).unwrap();
    let info = RedisConnectionInfo::default()
        .set_password("of-the-servers")
        .set_db(3);
    let pool = pool(sentinels.servers(info.clone()));
    let mut connection = pool.checkout().await.unwrap();
    assert_eq!(port(&mut connection).await, set.master_by(0));
    let () = connection.set("key", "value").await.unwrap();
    let size = set.server(set.master_by(0)).ask("INFO keyspace");
    assert!(size.text().contains("db3:keys=1"), "{size:?}");

    // Whoever has the wrong one is told so at once.
    let stranger = RedisManager::with_sentinels(self::sentinels(&set).servers(info));
    let error = stranger.connect().await.unwrap_err();
    assert!(stranger.is_permanent(&error), "{error}");
    assert_eq!(error.to_string().matches("wants a password").count(), 3);
}

#[tokio::test]
async fn replicas_are_dialled_in_turn_and_the_master_never() {
    let Some(set) = SentinelSet::start() else {
        return;
    };
    let pool = pool(sentinels(&set).replicas());
    let mut all = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..4 {
        let mut connection = pool.checkout().await.unwrap();
        assert!(matches!(
            role(&mut connection).await,
            redis::Role::Replica { .. }
        ));
        ports.push(port(&mut connection).await);
        all.push(connection);
    }
    for replica in &set.servers()[1..] {
        let times = ports.iter().filter(|port| **port == replica.port());
        assert_eq!(times.count(), 2, "{ports:?}");
    }

    // The one that takes over is let go of, whoever holds it.
    let old = set.master_by(0);
    set.fail_over(0);
    eventually(|| set.has_left(old)).await;
    let new = set.server(set.master_by(0));
    becomes(|| new.sockets(), vec![]).await;
}

#[tokio::test]
async fn an_old_master_that_does_not_know_yet_is_not_written_to() {
    let Some(set) = SentinelSet::start() else {
        return;
    };
    let pool = pool(sentinels(&set));
    let old = set.server(set.master_by(0));
    let writers = Writers::start(&pool);
    writers.write_on().await;

    set.fail_over(1);
    eventually(|| set.has_left(old.port())).await;
    becomes(|| old.sockets(), vec![]).await;
    // It takes writes for some seconds more, until the sentinels tell it.
    let count = old.ask("GET count");
    writers.write_on().await;
    assert_eq!(old.ask("GET count"), count);
    writers.finish().await;
    is_whole_without(&pool, old).await;
}

#[tokio::test]
async fn writes_go_on_after_the_master_was_killed() {
    let Some(set) = SentinelSet::start() else {
        return;
    };
    let pool = pool(sentinels(&set));
    let old = set.server(set.master_by(0));
    let writers = Writers::start(&pool);
    writers.write_on().await;

    old.kill();
    writers.write_on().await;
    writers.finish().await;
    is_whole_without(&pool, old).await;
}

#[tokio::test]
async fn writes_go_on_after_the_master_was_stopped_and_who_waits_for_it_is_told() {
    let Some(set) = SentinelSet::start() else {
        return;
    };
    let pool = pool(sentinels(&set));
    let old = set.server(set.master_by(0));
    let mut waiting = pool.checkout().await.unwrap();
    let popped = tokio::spawn(async move {
        let popped: redis::RedisResult<(String, String)> = waiting.blpop("nothing", 0.0).await;
        popped
    });
    eventually(|| {
        let blocked = |client: &support::client_list::Client| client.field("cmd") == Some("blpop");
        old.clients().iter().any(blocked)
    })
    .await;
    let writers = Writers::start(&pool);
    writers.write_on().await;

    // No FIN: the kernel acknowledges whatever is sent.
    old.stop();
    eventually(|| set.has_left(old.port())).await;
    writers.write_on().await;
    let lost = in_time(popped).await.unwrap().unwrap_err();
    assert_eq!(fate(&lost), Fate::Unknown, "{lost}");
    writers.finish().await;
    is_whole_without(&pool, old).await;

    // It takes itself for the master still.
    old.go_on();
    is_whole_without(&pool, old).await;
}

#[tokio::test]
async fn a_dial_that_a_stopped_master_does_not_answer_goes_on_at_the_new_one() {
    let Some(set) = SentinelSet::start() else {
        return;
    };
    let manager = RedisManager::with_sentinels(sentinels(&set)).handshake_timeout(None);
    let old = set.server(set.master_by(0));
    old.stop();
    let mut connection = in_time(manager.connect()).await.unwrap();
    let () = connection.set("key", "value").await.unwrap();
    becomes(|| old.sockets(), vec![]).await;
    eventually(|| set.has_left(old.port())).await;
    let new = set.server(set.master_by(0));
    assert_eq!(new.ask("GET key").text(), "value");
}

#[tokio::test]
async fn a_dial_that_not_even_the_kernel_answers_goes_on_at_the_new_master() {
    let Some(set) = SentinelSet::start() else {
        return;
    };
    let manager = RedisManager::with_sentinels(sentinels(&set))
        .handshake_timeout(None)
        .tcp(|tcp| tcp.attempt_timeout(None));
    let old = set.server(set.master_by(0));
    old.stop();
    // As many as the kernel takes in for a server that does not accept any: from then on it is silent.
    let address = SocketAddr::from(([127, 0, 0, 1], old.port()));
    let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(1));
    let _queue: Vec<_> = std::iter::repeat_with(connect)
        .map_while(Result::ok)
        .collect();
    in_time(manager.connect()).await.unwrap();
}

#[tokio::test]
async fn a_sentinel_that_has_gone_for_good_upholds_nothing() {
    let (Some(old), Some(new)) = (RedisServer::start(), RedisServer::start()) else {
        return;
    };
    let sentinel = || Setup::default().sentinel().start();
    let (Some(stays), Some(goes)) = (sentinel(), sentinel()) else {
        return;
    };
    let watch =
        |server: &RedisServer| format!("sentinel monitor {MASTER} 127.0.0.1 {} 1", server.port());
    for sentinel in [&stays, &goes] {
        sentinel.kill();
        let epoch = format!("sentinel config-epoch {MASTER} 5");
        sentinel.restart_with(&[&watch(&old), &epoch]);
    }
    let manager = RedisManager::sentinel(MASTER, [stays.url(), goes.url()]).unwrap();
    let mut connection = manager.connect().await.unwrap();
    assert_eq!(port(&mut connection).await, old.port());
    // Both are listened to.
    eventually(|| [&stays, &goes].iter().all(|it| it.sockets().len() == 1)).await;

    // One is set up anew, and counts from zero; the other is no more.
    goes.kill();
    stays.kill();
    stays.restart_with(&[&watch(&new)]);
    let arrived = async {
        while port(&mut manager.connect().await.unwrap()).await != new.port() {
            tokio::task::yield_now().await;
        }
    };
    in_time(arrived).await;
    becomes(|| old.sockets(), vec![]).await;
}

#[tokio::test]
async fn a_sentinel_that_was_stopped_is_passed_over() {
    let Some(set) = SentinelSet::start() else {
        return;
    };
    let pool = pool(sentinels(&set).timeout(Duration::from_millis(500)));
    set.sentinels()[0].stop();
    let mut connection = pool.checkout().await.unwrap();
    let old = set.master_by(1);
    assert_eq!(port(&mut connection).await, old);
    drop(connection);

    set.fail_over(1);
    eventually(|| set.master_by(2) != old).await;
    becomes(|| set.server(old).sockets(), vec![]).await;
    let mut connection = pool.checkout().await.unwrap();
    assert_ne!(port(&mut connection).await, old);
    set.sentinels()[0].go_on();
}

#[tokio::test]
async fn a_subscription_ends_when_the_master_moves() {
    let Some(set) = SentinelSet::start() else {
        return;
    };
    let pool = pool(sentinels(&set));
    let mut news = pool.pubsub().await.unwrap();
    news.subscribe("news").await.unwrap();
    let old = set.master_by(0);
    set.fail_over(0);
    let mut news = news.into_on_message();
    let ended = std::future::poll_fn(|cx| {
        futures_core::Stream::poll_next(std::pin::Pin::new(&mut news), cx)
    });
    assert!(in_time(ended).await.is_none());
    drop(news);
    becomes(|| set.server(old).sockets(), vec![]).await;
}

#[tokio::test]
async fn those_who_share_a_connection_follow_the_master_too() {
    let Some(set) = SentinelSet::start() else {
        return;
    };
    let manager = RedisManager::with_sentinels(sentinels(&set));
    let pool = RedisSharedPool::new(Pool::builder(manager).max_size(2).build().unwrap());
    let (mut one, _other) = (pool.lease().await.unwrap(), pool.lease().await.unwrap());
    let old = set.master_by(0);
    assert_eq!(port(&mut one).await, old);
    set.fail_over(0);
    eventually(|| set.has_left(old)).await;
    becomes(|| set.server(old).sockets(), vec![]).await;
    for _ in 0..4 {
        let mut lease = pool.lease().await.unwrap();
        assert_ne!(port(&mut lease).await, old);
    }
}

#[tokio::test]
async fn nobody_listens_to_the_sentinels_for_a_pool_without_connections() {
    let Some(set) = SentinelSet::start() else {
        return;
    };
    let pool = pool(sentinels(&set));
    let connection = pool.checkout().await.unwrap();
    for sentinel in set.sentinels() {
        // One listens; whoever asked has gone.
        eventually(|| sentinel.sockets().len() == 1).await;
    }
    drop(connection);
    pool.drain(LIMIT).await.unwrap();
    for server in set.servers().iter().chain(set.sentinels()) {
        becomes(|| server.sockets(), vec![]).await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_what_the_sentinels_take_it_for_is_not_used() {
    // A replica of nobody, whom a lonely sentinel takes for a master.
    let Some(server) = Setup::default().line("replicaof 127.0.0.1 1").start() else {
        return;
    };
    let port = server.port();
    let watch = format!("sentinel monitor {MASTER} 127.0.0.1 {port} 1");
    let Some(sentinel) = Setup::default().sentinel().line(watch).start() else {
        return;
    };
    let manager = RedisManager::sentinel(MASTER, [sentinel.url()]).unwrap();
    let error = manager.connect().await.unwrap_err();
    assert!(!manager.is_permanent(&error));
    assert_eq!(
        error.to_string(),
        format!(
            "the sentinels take 127.0.0.1:{port} for the master, and it says that it is a replica: a failover may be \
             under way"
        )
    );

    let replicas = Sentinels::new(MASTER, [sentinel.url()]).unwrap().replicas();
    let error = RedisManager::with_sentinels(replicas).connect().await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("knows no replica of orders"), "{error}");

    let stranger = RedisManager::sentinel("invoices", [sentinel.url()]).unwrap();
    let error = stranger.connect().await.unwrap_err();
    assert!(stranger.is_permanent(&error));
    assert!(
        error
            .to_string()
            .contains("knows no master called invoices"),
        "{error}"
    );
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn sentinels_and_servers_are_spoken_to_by_tls() {
    use pool_tcp::rustls::{ClientConfig, RootCertStore};

    let Some(server) = Setup::default().tls().start() else {
        return;
    };
    // It cannot speak to the server itself, as it speaks no TLS to it, and so it never learns who else is there.
    let port = server.tls_port();
    let watch = format!("sentinel monitor {MASTER} 127.0.0.1 {port} 1");
    let Some(sentinel) = Setup::default().sentinel().tls().line(watch).start() else {
        return;
    };
    let mut roots = RootCertStore::empty();
    for certified in [&server, &sentinel] {
        roots.add(certified.certificate().to_vec().into()).unwrap();
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let sentinels = Sentinels::with_tls(MASTER, [sentinel.tls_url()], config.clone())
        .unwrap()
        .servers_tls(config);
    let pool = pool(sentinels);
    let mut connection = pool.checkout().await.unwrap();
    let () = connection.set("key", "value").await.unwrap();
    assert_eq!(server.ask("GET key").text(), "value");
}

#[tokio::test]
async fn an_error_says_what_became_of_each_sentinel() {
    let free = [1, 2].map(|_| support::ports::free_port());
    let urls = free.map(|port| format!("redis://127.0.0.1:{port}"));
    let manager = RedisManager::sentinel(MASTER, urls).unwrap();
    let pool = Pool::builder(manager)
        .on_connect_error(OnConnectError::Fail)
        .build()
        .unwrap();
    let error = pool.checkout().await.unwrap_err();
    let CheckoutError::Connect(error) = error else {
        panic!("{error}");
    };
    assert!(matches!(
        *error.error,
        ConnectError::Manager(RedisConnectError::NoSentinel { .. })
    ));
    let error = error.to_string();
    assert!(
        error.contains("no sentinel could say where orders is"),
        "{error}"
    );
    for port in free {
        assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    }
}
