//! One connection: redis-rs over our stream, what drives it, and what its users have left behind.

use std::fmt;
use std::time::Duration;

use pool_core::{Capacity, Recycle};
use pool_tcp::Driver;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};

use crate::blame::Blame;
use crate::blocking::Blocks;
use crate::bounded::bounded;
use crate::driver::Driven;
use crate::end::End;
use crate::era::Era;
use crate::fate;
use crate::limit::{Limit, Limited};
use crate::traces::Traces;

/// A connection to Redis that knows whether the next user can have it.
///
/// It is a connection of redis-rs: commands, pipelines, scripts and scans work on it as they do on any other. Between
/// two users nothing is sent; what the last one has left behind is known from his commands, see
/// [what is kept](crate#what-is-kept-and-what-is-not).
///
/// # Cancellation
///
/// A command whose future is dropped before its answer came may still run, and the connection is not kept: its answer
/// would reach the next user, and a job popped for nobody would be lost. While the same user holds it, it can be used
/// on.
///
/// # Examples
///
/// ```no_run
/// use pool_core::Pool;
/// use pool_redis::{RedisManager, RedisPool};
/// use redis::AsyncCommands;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let pool = RedisPool::new(Pool::builder(RedisManager::new("redis://localhost")?).build()?);
/// let mut connection = pool.checkout().await?;
///
/// let () = connection.set("visits", 41).await?;
/// let (before, now): (i64, i64) = redis::pipe()
///     .get("visits")
///     .incr("visits", 1)
///     .query_async(&mut connection)
///     .await?;
/// assert_eq!((before, now), (41, 42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct RedisConnection {
    redis: MultiplexedConnection,
    driven: Driven,
    /// The database it was made for.
    home: i64,
    /// In which it was made.
    era: Era,
    command_timeout: Option<Duration>,
    state: State,
}

/// Whether the next user can have it.
#[derive(Debug, Default)]
struct State {
    traces: Traces,
    /// A command was sent whose answer has not come.
    is_waiting: bool,
    /// Such a command was given up: its answer may still come.
    is_abandoned: bool,
    /// The worst that an answer, or the lack of one, has said about it.
    blame: Blame,
}

impl RedisConnection {
    pub(crate) fn new(
        redis: MultiplexedConnection,
        driven: Driven,
        home: i64,
        era: Era,
        command_timeout: Option<Duration>,
    ) -> Self {
        Self {
            redis,
            driven,
            home,
            era,
            command_timeout,
            state: State::default(),
        }
    }

    /// Sends commands with another limit than the manager's [`command_timeout`](crate::RedisManager::command_timeout).
    ///
    /// It is the whole time of each command, the blocking of a blocking one included; `None` waits for ever. A command
    /// that takes longer fails with an error for which [`is_timeout`](redis::RedisError::is_timeout) is true, and costs the connection.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::RedisConnection;
    /// use redis::AsyncCommands;
    /// use std::time::Duration;
    ///
    /// # async fn example(connection: &mut RedisConnection) -> redis::RedisResult<()> {
    /// let value: Option<String> = connection.limit(Duration::from_millis(50)).get("key").await?;
    /// // Gives up after a minute, although Redis would wait for ever.
    /// let job: Result<(String, String), _> =
    ///     connection.limit(Duration::from_secs(60)).blpop("queue", 0.0).await;
    /// assert!(job.is_err_and(|error| error.is_timeout()));
    /// # Ok(()) }
    /// ```
    pub fn limit(&mut self, limit: impl Into<Option<Duration>>) -> Limited<'_> {
        Limited::new(self, limit.into())
    }

    /// The connection of redis-rs inside, whose driver lives on by itself until the last clone of it is dropped.
    ///
    /// For connections that were [detached](crate::PooledConnection::detach). It has no timeout, and takes itself for
    /// one in RESP2, whatever the server speaks.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use pool_redis::{PooledConnection, RedisPool};
    /// # async fn example(pool: RedisPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut connection = PooledConnection::detach(pool.checkout().await?).into_multiplexed();
    /// redis::cmd("PING").exec_async(&mut connection).await?;
    /// assert_eq!(pool.status().in_use, 0);
    /// # Ok(()) }
    /// ```
    pub fn into_multiplexed(self) -> MultiplexedConnection {
        self.driven.driver.release();
        self.redis
    }

    pub(crate) fn driver(&self) -> &Driver {
        &self.driven.driver
    }

    pub(crate) fn end_of_driver(&self) -> &End {
        &self.driven.end
    }

    pub(crate) fn driver_mut(&mut self) -> &mut Driver {
        &mut self.driven.driver
    }

    /// Whether it is of no more use to anybody, as far as can be known without a round trip.
    #[inline]
    pub(crate) fn is_dropped(&self) -> bool {
        self.era.is_over() || self.driver().is_dropped()
    }

    pub(crate) fn into_driver(self) -> Driver {
        self.driven.driver
    }

    pub(crate) fn capacity(&self) -> &Capacity {
        &self.driven.capacity
    }

    pub(crate) fn command_timeout(&self) -> Option<Duration> {
        self.command_timeout
    }

    pub(crate) fn redis(&self) -> &MultiplexedConnection {
        &self.redis
    }

    pub(crate) fn is_watching(&self) -> bool {
        self.state.traces.is_watching
    }

    /// What is to become of it, now that its user has gone.
    pub(crate) fn verdict(&self, is_strict: bool) -> Recycle {
        let state = &self.state;
        let is_owed = state.is_waiting || state.is_abandoned;
        match state.blame {
            Blame::ConnectionAndOlder => Recycle::DiscardWithOlder,
            Blame::Connection => Recycle::Discard,
            Blame::None if is_owed || state.traces.is_spoilt => Recycle::Discard,
            Blame::None if is_strict || !state.traces.are_none() => Recycle::Reset,
            Blame::None => Recycle::Keep,
        }
    }

    /// Undoes what the last user has done, as far as it can be undone.
    pub(crate) async fn undo(&mut self) -> RedisResult<()> {
        let traces = self.state.traces;
        let mut pipeline = redis::pipe();
        if traces.is_queueing {
            pipeline.cmd("DISCARD");
        } else if traces.is_watching {
            pipeline.cmd("UNWATCH");
        }
        if traces.is_elsewhere {
            pipeline.cmd("SELECT").arg(self.home);
        }
        for answer in self.converse(&pipeline).await? {
            if let Value::ServerError(error) = answer {
                return Err(error.into());
            }
        }
        self.state.traces = Traces::default();
        Ok(())
    }

    /// Sends commands of ours and takes the answers as they come.
    pub(crate) async fn converse(&mut self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        self.redis
            .send_packed_commands(pipeline, 0, pipeline.len())
            .await
    }

    /// Nothing is left of what was known of the last user.
    pub(crate) fn forget(&mut self) {
        self.state = State::default();
    }

    pub(crate) async fn command(&mut self, command: &Cmd, limit: Limit) -> RedisResult<Value> {
        let limit = limit.of(self.command_timeout, || Blocks::of(command));
        self.begin()?;
        self.state.traces.follow(command, self.home);
        let sent = self.redis.send_packed_command(command);
        let ended = bounded(self.driven.driver.runtime(), &self.driven.end, limit, sent).await;
        if let Ok(answer) = &ended {
            self.state.traces.heed(command, self.home, answer);
        }
        self.end(Blame::judge(ended, Blame::of_value))
    }

    pub(crate) async fn commands(
        &mut self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
        limit: Limit,
    ) -> RedisResult<Vec<Value>> {
        let limit = limit.of(self.command_timeout, || Blocks::of_all(pipeline));
        self.begin()?;
        self.state.traces.follow_all(pipeline, self.home);
        let sent = self.redis.send_packed_commands(pipeline, offset, count);
        let ended = bounded(self.driven.driver.runtime(), &self.driven.end, limit, sent).await;
        if let Ok(answers) = &ended {
            self.state.traces.heed_all(pipeline, self.home, answers);
        }
        self.end(Blame::judge(ended, |answers| Blame::of_values(answers)))
    }

    /// From here on the connection is unusable for others, until the answer has come.
    fn begin(&mut self) -> RedisResult<()> {
        if self.driver().is_finished() {
            self.state.blame = self.state.blame.max(Blame::Connection);
            return Err(fate::not_sent());
        }
        self.state.is_abandoned |= self.state.is_waiting;
        self.state.is_waiting = true;
        Ok(())
    }

    fn end<T>(&mut self, (blame, ended): (Blame, RedisResult<T>)) -> RedisResult<T> {
        self.state.is_waiting = false;
        self.state.blame = self.state.blame.max(blame);
        if blame == Blame::ConnectionAndOlder {
            // Those who come now need not learn it for themselves.
            self.era.end();
        }
        ended
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.command(command, Limit::Default))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(self.commands(pipeline, offset, count, Limit::Default))
    }

    /// The pool's database; the one a user has selected since is not known here.
    fn get_db(&self) -> i64 {
        self.home
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection")
            .field("home", &self.home)
            .field("command_timeout", &self.command_timeout)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
