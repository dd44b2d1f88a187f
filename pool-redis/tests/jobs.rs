//! A job that nobody waits for any more stays in its queue.
//!
//! Somebody waits for a job, gives up and drops his connection; then the job comes. Where that connection goes back into
//! a pool as it is, it is still the first in the server's queue of waiting clients: the job is sent to it, and is gone.
//! Through bb8-redis and deadpool-redis it is lost in just this way.

#![cfg(target_os = "linux")]

mod support;

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use pool_redis::{PooledConnection, RedisPool};
use redis::Value;
use support::pool::{ask, assert_whole, checkout, command, pool};
use support::sockets::ESTABLISHED;
use support::{RedisServer, Reply, arrives, eventually};

/// A way to wait for a job.
struct Queue {
    /// What a user says who waits.
    waits: &'static str,
    /// How a job is put in, by somebody else.
    push: &'static str,
    /// How many are in the queue.
    count: &'static str,
}

const QUEUES: [Queue; 8] = [
    list("BLPOP q 0"),
    list("BRPOP other q 0"),
    list("BLMOVE q taken LEFT RIGHT 0"),
    list("BRPOPLPUSH q taken 0"),
    list("BLMPOP 0 1 q LEFT"),
    sorted("BZPOPMIN z 0"),
    sorted("BZMPOP 0 1 z MAX"),
    Queue {
        waits: "XREADGROUP GROUP workers one BLOCK 0 STREAMS s >",
        push: "XADD s * job 1",
        // Of all entries, those that the group was not given yet.
        count: "EVAL \"return redis.call('XLEN', 's') - redis.call('XPENDING', 's', 'workers')[1]\" 0",
    },
];

const fn list(waits: &'static str) -> Queue {
    Queue {
        waits,
        push: "RPUSH q job",
        count: "LLEN q",
    }
}

const fn sorted(waits: &'static str) -> Queue {
    Queue {
        waits,
        push: "ZADD z 1 job",
        count: "ZCARD z",
    }
}

/// A server whose queues are empty.
fn start() -> Option<RedisServer> {
    let server = RedisServer::start()?;
    empty(&server);
    Some(server)
}

fn empty(server: &RedisServer) {
    server.command("FLUSHALL");
    server.command("XGROUP CREATE s workers $ MKSTREAM");
}

impl Queue {
    /// Nobody waits any more; a job comes, and stays. Then somebody comes for it.
    async fn keeps_its_job(&self, server: &RedisServer, pool: &RedisPool) {
        // The connection was closed as it was dropped: no task of ours has run since.
        assert!(!server.sockets().contains(&ESTABLISHED), "{}", self.waits);
        // A server that hears of the end and of a job in one breath still sends the job to whoever has gone.
        arrives(|| server.info("blocked_clients") == 0);
        assert!(matches!(
            server.ask(self.push),
            Reply::Integer(_) | Reply::Text(_)
        ));
        assert_eq!(server.ask(self.count), Reply::Integer(1), "{}", self.waits);
        let mut connection = checkout(pool).await;
        let job: Value = ask(&mut connection, self.waits).await.unwrap();
        assert_ne!(job, Value::Nil, "{}", self.waits);
        assert_eq!(server.ask(self.count), Reply::Integer(0), "{}", self.waits);
        empty(server);
    }
}

/// Whether the server has somebody waiting.
fn is_waiting(server: &RedisServer) -> bool {
    server.info("blocked_clients") == 1
}

async fn wait(connection: &mut PooledConnection, queue: &Queue) -> Value {
    command(queue.waits).query_async(connection).await.unwrap()
}

#[tokio::test]
async fn a_job_outlives_whoever_gave_up_waiting_for_it() {
    let Some(server) = start() else {
        return;
    };
    let pool = pool(&server, 1);
    for queue in &QUEUES {
        let mut connection = checkout(&pool).await;
        {
            let mut waiting = Box::pin(wait(&mut connection, queue));
            poll_fn(|cx| {
                assert!(waiting.as_mut().poll(cx).is_pending());
                cx.waker().wake_by_ref();
                match is_waiting(&server) {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
        }
        drop(connection);
        queue.keeps_its_job(&server, &pool).await;
    }
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_job_outlives_whoever_left_before_his_command_was_sent() {
    let Some(server) = start() else {
        return;
    };
    let pool = pool(&server, 1);
    for queue in &QUEUES {
        let mut connection = checkout(&pool).await;
        {
            let mut waiting = Box::pin(wait(&mut connection, queue));
            poll_fn(|cx| {
                assert!(waiting.as_mut().poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        drop(connection);
        queue.keeps_its_job(&server, &pool).await;
    }
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_job_outlives_a_timeout_around_the_wait_and_one_of_the_call() {
    let Some(server) = start() else {
        return;
    };
    let short = Duration::from_millis(20);
    let pool = pool(&server, 1);
    for queue in &QUEUES {
        let mut connection = checkout(&pool).await;
        let timed_out = tokio::time::timeout(short, wait(&mut connection, queue)).await;
        timed_out.unwrap_err();
        drop(connection);
        queue.keeps_its_job(&server, &pool).await;

        let mut connection = checkout(&pool).await;
        let waits = command(queue.waits);
        let limited = waits
            .query_async::<Value>(&mut connection.limit(short))
            .await;
        assert!(limited.unwrap_err().is_timeout());
        drop(connection);
        queue.keeps_its_job(&server, &pool).await;
    }
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_job_outlives_the_loser_of_a_race() {
    let Some(server) = start() else {
        return;
    };
    let pool = pool(&server, 1);
    for queue in &QUEUES {
        let mut connection = checkout(&pool).await;
        tokio::select! {
            job = wait(&mut connection, queue) => panic!("{job:?}"),
            () = eventually(|| is_waiting(&server)) => {}
        }
        drop(connection);
        queue.keeps_its_job(&server, &pool).await;
    }
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_job_outlives_the_task_that_waited_for_it() {
    let Some(server) = start() else {
        return;
    };
    let pool = pool(&server, 1);
    for queue in &QUEUES {
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move {
                let mut connection = checkout(&pool).await;
                wait(&mut connection, queue).await
            }
        });
        eventually(|| is_waiting(&server)).await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        queue.keeps_its_job(&server, &pool).await;
    }
    assert_whole(&server, &pool).await;
}

#[tokio::test]
async fn a_job_outlives_a_pipeline_that_was_given_up() {
    let Some(server) = start() else {
        return;
    };
    let pool = pool(&server, 1);
    for queue in &QUEUES {
        let mut connection = checkout(&pool).await;
        let mut pipeline = redis::pipe();
        pipeline.add_command(command("GET k"));
        pipeline.add_command(command(queue.waits));
        tokio::select! {
            answer = pipeline.query_async::<Value>(&mut connection) => panic!("{answer:?}"),
            () = eventually(|| is_waiting(&server)) => {}
        }
        drop(connection);
        queue.keeps_its_job(&server, &pool).await;
    }
    assert_whole(&server, &pool).await;
}

#[test]
fn a_job_outlives_the_runtime_of_whoever_waited_for_it() {
    let Some(server) = start() else {
        return;
    };
    let queue = &QUEUES[0];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pool = runtime.block_on(async { pool(&server, 1) });
    runtime.spawn(async move {
        let mut connection = checkout(&pool).await;
        wait(&mut connection, queue).await
    });
    arrives(|| is_waiting(&server));
    drop(runtime);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let pool = support::pool::pool(&server, 1);
        queue.keeps_its_job(&server, &pool).await;
    });
}
