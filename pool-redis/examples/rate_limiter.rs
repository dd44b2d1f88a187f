//! At most so many requests in a while, by a script that Redis runs as one. Run it with the URL of a Redis:
//! `cargo run --example rate_limiter -- redis://localhost`.

use std::error::Error;
use std::time::Duration;

use pool_core::Pool;
use pool_redis::{RedisManager, RedisSharedPool};
use redis::Script;

/// Counts requests in a window that begins with the first of them.
struct RateLimiter {
    /// Nobody needs a connection of his own for this, so a few serve everybody.
    pool: RedisSharedPool,
    script: Script,
    limit: usize,
    window: Duration,
}

impl RateLimiter {
    fn new(pool: RedisSharedPool, limit: usize, window: Duration) -> Self {
        let script = Script::new(
            "local count = redis.call('INCR', KEYS[1])
             if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
             return count",
        );
        Self {
            pool,
            script,
            limit,
            window,
        }
    }

    /// Whether `who` may make another request now.
    async fn admits(&self, who: &str) -> Result<bool, Box<dyn Error + Send + Sync>> {
        let mut connection = self.pool.lease().await?;
        let count: usize = self
            .script
            .key(who)
            .arg(self.window.as_millis())
            .invoke_async(&mut connection)
            .await?;
        Ok(count <= self.limit)
    }
}

/// Makes eight requests at once where five are allowed, and tells how many were admitted.
pub(crate) async fn run(url: &str) -> Result<usize, Box<dyn Error + Send + Sync>> {
    let pool = Pool::builder(RedisManager::new(url)?).max_size(2).build()?;
    let limiter = RateLimiter::new(RedisSharedPool::new(pool), 5, Duration::from_secs(10));
    let who = format!("example:client:{}", std::process::id());
    let admitted = futures::future::try_join_all((0..8).map(|_| limiter.admits(&who))).await?;
    Ok(admitted.into_iter().filter(|admitted| *admitted).count())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let url = std::env::args().nth(1);
    let admitted = run(url.as_deref().unwrap_or("redis://localhost")).await?;
    println!("{admitted} of 8 requests admitted");
    Ok(())
}
