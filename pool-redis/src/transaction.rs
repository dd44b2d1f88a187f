//! Optimistic transactions: look, decide, and change only if nobody else has.

use redis::{FromRedisValue, Pipeline, RedisResult, ToRedisArgs};

use crate::connection::RedisConnection;

impl RedisConnection {
    /// Watches `keys`, lets `body` look at them and fill the pipeline, and does it again until nobody has changed them
    /// in between (`WATCH`, `MULTI`, `EXEC`).
    ///
    /// `body` reads what it needs from the connection, adds commands to the pipeline, which is atomic already, and ends with
    /// `pipeline.query_async(connection)`: `None` means that a key was changed, and `body` is called again.
    ///
    /// # Errors
    ///
    /// The first of `body`, after which nothing is watched any more.
    ///
    /// # Cancellation
    ///
    /// May be dropped at any time. A command that was on its way may still run, `EXEC` included, and the connection is not
    /// kept; between two commands nothing was changed, and what is watched is forgotten when it comes home.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::RedisConnection;
    /// use redis::AsyncCommands;
    ///
    /// # async fn example(connection: &mut RedisConnection) -> redis::RedisResult<()> {
    /// let (now,): (i64,) = connection
    ///     .transaction(&["stock"], async |connection, pipeline| {
    ///         let stock: i64 = connection.get("stock").await?;
    ///         pipeline.set("stock", stock - 1).ignore().get("stock");
    ///         pipeline.query_async(connection).await
    ///     })
    ///     .await?;
    /// assert!(now >= 0);
    /// # Ok(()) }
    /// ```
    pub async fn transaction<T: FromRedisValue>(
        &mut self,
        keys: impl ToRedisArgs,
        mut body: impl AsyncFnMut(&mut Self, &mut Pipeline) -> RedisResult<Option<T>>,
    ) -> RedisResult<T> {
        loop {
            redis::cmd("WATCH").arg(&keys).exec_async(self).await?;
            let mut pipeline = redis::pipe();
            pipeline.atomic();
            let done = body(self, &mut pipeline).await;
            // A body that did not come to `EXEC` leaves its keys watched.
            if self.is_watching() {
                let forgotten = redis::cmd("UNWATCH").exec_async(self).await;
                if done.is_ok() {
                    forgotten?;
                }
            }
            if let Some(value) = done? {
                return Ok(value);
            }
        }
    }
}
