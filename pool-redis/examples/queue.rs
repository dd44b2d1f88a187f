//! A queue of jobs that loses none when a worker is told to stop. Run it with the URL of a Redis:
//! `cargo run --example queue -- redis://localhost`.

use std::error::Error;

use pool_core::Pool;
use pool_redis::{RedisManager, RedisPool};
use redis::AsyncCommands;
use tokio::sync::{mpsc, watch};

/// Takes jobs from `queue` until it is told to stop.
async fn work(
    pool: RedisPool,
    queue: String,
    done: mpsc::Sender<String>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    loop {
        let mut connection = pool.checkout().await?;
        let job: Option<(String, String)> = tokio::select! {
            // The command blocks at the server for as long as it takes: no limit of ours cuts it short.
            job = connection.blpop(&queue, 0.0) => job?,
            // Given up in the middle of it, the connection is closed, so that no job is popped for a worker who has gone.
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        // Not held while the job is done.
        drop(connection);
        if let Some((_, job)) = job {
            done.send(job).await?;
        }
    }
}

/// Has three workers do ten jobs, stops them, and tells how many jobs were done and how many of two more are waiting.
pub(crate) async fn run(url: &str) -> Result<(usize, usize), Box<dyn Error + Send + Sync>> {
    let pool = RedisPool::new(Pool::builder(RedisManager::new(url)?).max_size(8).build()?);
    let queue = format!("example:jobs:{}", std::process::id());
    let (done, mut finished) = mpsc::channel(16);
    let (stop, stopped) = watch::channel(false);
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (pool, queue) = (pool.clone(), queue.clone());
        workers.spawn(work(pool, queue, done.clone(), stopped.clone()));
    }

    let mut connection = pool.checkout().await?;
    for job in 0..10 {
        let () = connection.rpush(&queue, format!("job {job}")).await?;
    }
    let mut jobs = 0;
    while jobs < 10 && finished.recv().await.is_some() {
        jobs += 1;
    }
    stop.send(true)?;
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    // None of the workers gets them: their connections ended before these were sent.
    let tomorrow = ["one for tomorrow", "another"];
    let waiting: usize = connection.rpush(&queue, &tomorrow).await?;
    let () = connection.del(&queue).await?;
    Ok((jobs, waiting))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let url = std::env::args().nth(1);
    let (done, waiting) = run(url.as_deref().unwrap_or("redis://localhost")).await?;
    println!("{done} jobs done, {waiting} waiting for the next worker");
    Ok(())
}
