//! From a stream to a connection: what is said on it first, and how long that may take.

use std::future::Future;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, ProtocolVersion};
use tokio::time::timeout;

use crate::connection::RedisConnection;
use crate::dial::Stream;
use crate::driver::{Driven, Probe};
use crate::era::Eras;
use crate::error::RedisConnectError;
use crate::handshake::{Handshake, Script};

/// What the connections of one manager have in common, whichever server they go to.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) handshake: Handshake,
    pub(crate) handshake_timeout: Option<Duration>,
    pub(crate) command_timeout: Option<Duration>,
    eras: Eras,
}

impl Opening {
    /// With the defaults for whoever this is.
    pub(crate) fn new(info: redis::RedisConnectionInfo) -> Self {
        Self {
            handshake: Handshake {
                info,
                client_name: None,
            },
            handshake_timeout: Some(Duration::from_secs(5)),
            command_timeout: Some(Duration::from_secs(10)),
            eras: Eras::default(),
        }
    }

    pub(crate) fn protocol(&self) -> ProtocolVersion {
        self.handshake.info.protocol()
    }

    /// A connection over a new stream to `target`, introduced.
    pub(crate) async fn open(
        &self,
        target: &str,
        stream: Box<dyn Stream>,
        probe: Probe,
    ) -> Result<RedisConnection, RedisConnectError> {
        let opened = async {
            let config = AsyncConnectionConfig::new().set_response_timeout(None);
            let silence = self.handshake.silence();
            let (redis, driver) = MultiplexedConnection::new_with_config(&silence, stream, config)
                .await
                .map_err(|source| ended(target, source))?;
            let driven = Driven::spawn(driver, probe);
            let home = self.handshake.info.db();
            let era = self.eras.now();
            let mut connection =
                RedisConnection::new(redis, driven, home, era, self.command_timeout);
            converse(&mut connection, target, &self.handshake.greeting()).await?;
            Ok(connection)
        };
        self.in_time(target, opened).await
    }

    /// A connection for subscriptions. redis-rs introduces it.
    pub(crate) async fn subscriber(
        &self,
        target: &str,
        stream: Box<dyn Stream>,
    ) -> Result<PubSub, RedisConnectError> {
        let opened = async {
            let pubsub = PubSub::new(&self.handshake.info, stream).await;
            pubsub.map_err(|source| ended(target, source))
        };
        self.in_time(target, opened).await
    }

    /// Begins anew on a connection that somebody has used.
    pub(crate) async fn reopen(
        &self,
        target: &str,
        connection: &mut RedisConnection,
    ) -> Result<(), RedisConnectError> {
        converse(connection, target, &self.handshake.anew()).await?;
        connection.forget();
        Ok(())
    }

    /// What must be over when the handshake has to be.
    pub(crate) async fn in_time<T>(
        &self,
        target: &str,
        opened: impl Future<Output = Result<T, RedisConnectError>>,
    ) -> Result<T, RedisConnectError> {
        let Some(limit) = self.handshake_timeout else {
            return opened.await;
        };
        timeout(limit, opened).await.unwrap_or_else(|_| {
            Err(RedisConnectError::TimedOut {
                target: target.to_owned(),
                limit,
            })
        })
    }
}

/// Says `script`, and looks at the answers.
async fn converse(
    connection: &mut RedisConnection,
    target: &str,
    script: &Script,
) -> Result<(), RedisConnectError> {
    let answers = connection.converse(&script.pipeline).await;
    script.judge(target, answers.map_err(|source| ended(target, source))?)
}

pub(crate) fn ended(target: &str, source: redis::RedisError) -> RedisConnectError {
    RedisConnectError::Handshake {
        target: target.to_owned(),
        source,
    }
}
