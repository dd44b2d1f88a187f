//! What a user of a cluster and a user of a shared connection to it have in common: commands go out, and are answered.

use std::time::Duration;

use redis::cluster_async::ClusterConnection;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Value};
use tokio::runtime::Handle;

use crate::blame::Blame;
use crate::bounded::bounded;
use crate::cluster::redirect;
use crate::end::End;
use crate::fate;

/// redis-rs's connections to all nodes, and where the timers of commands run, whoever polls them.
#[derive(Clone)]
pub(crate) struct Line {
    redis: ClusterConnection,
    runtime: Handle,
    /// Never comes: redis-rs's task ends with this, or not at all.
    end: End,
}

impl Line {
    pub(crate) fn new(redis: ClusterConnection) -> Self {
        Self {
            redis,
            runtime: Handle::current(),
            end: End::default(),
        }
    }

    pub(crate) async fn command(
        &mut self,
        command: &Cmd,
        limit: Option<Duration>,
    ) -> (Blame, RedisResult<Value>) {
        let sent = redirect::send(&mut self.redis, &self.runtime, command);
        let ended = bounded(&self.runtime, &self.end, limit, sent).await;
        Blame::judge(ended.map_err(doubt), Blame::of_value)
    }

    pub(crate) async fn commands(
        &mut self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
        limit: Option<Duration>,
    ) -> (Blame, RedisResult<Vec<Value>>) {
        let mut is_misled = false;
        let sent = async {
            let sent = redirect::send_all(&mut self.redis, pipeline, offset, count);
            let (misled, sent) = sent.await;
            is_misled = misled;
            sent
        };
        let ended = bounded(&self.runtime, &self.end, limit, sent).await;
        let ended = ended.map_err(doubt);
        let (blame, ended) = Blame::judge(ended, |answers| Blame::of_values(answers));
        match is_misled {
            true => (blame.max(Blame::Connection), ended),
            false => (blame, ended),
        }
    }

    pub(crate) fn into_redis(self) -> ClusterConnection {
        self.redis
    }
}

/// redis-rs's word for a request that it has lost, wherever that was.
fn doubt(error: RedisError) -> RedisError {
    match error.kind() {
        ErrorKind::Client => fate::unknown(error),
        _ => error,
    }
}
