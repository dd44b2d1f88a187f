//! A cache before something slow. Run it with the URL of a Redis: `cargo run --example cache -- redis://localhost`.

use std::error::Error;
use std::time::Duration;

use pool_core::Pool;
use pool_redis::{RedisManager, RedisPool};
use redis::AsyncCommands;

/// Values by key, each for a while.
struct Cache {
    pool: RedisPool,
    lifetime: Duration,
}

impl Cache {
    /// The cached value, else the one that `make` makes, which is cached from then on.
    async fn fetch<E: Error + 'static>(
        &self,
        key: &str,
        make: impl AsyncFnOnce() -> Result<String, E>,
    ) -> Result<String, Box<dyn Error>> {
        // The guard goes home at the end of the line: nobody holds a connection while something slow is made.
        let cached: Option<String> = self.pool.checkout().await?.get(key).await?;
        if let Some(value) = cached {
            return Ok(value);
        }
        let value = make().await?;
        let mut connection = self.pool.checkout().await?;
        let () = connection
            .set_ex(key, &value, self.lifetime.as_secs())
            .await?;
        Ok(value)
    }
}

/// Asks twice and answers with what was made and what was found.
pub(crate) async fn run(url: &str) -> Result<(String, String), Box<dyn Error>> {
    let manager = RedisManager::new(url)?.command_timeout(Duration::from_secs(1));
    let cache = Cache {
        pool: RedisPool::new(Pool::builder(manager).max_size(4).build()?),
        lifetime: Duration::from_secs(60),
    };
    let key = format!("example:page:{}", std::process::id());
    let made = cache
        .fetch::<std::io::Error>(&key, async || Ok("made".to_owned()))
        .await?;
    let found = cache
        .fetch::<std::io::Error>(&key, async || Ok("made again".to_owned()))
        .await?;
    let () = cache.pool.checkout().await?.del(&key).await?;
    Ok((made, found))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1);
    let (made, found) = run(url.as_deref().unwrap_or("redis://localhost")).await?;
    println!("first: {made}, then: {found}");
    Ok(())
}
