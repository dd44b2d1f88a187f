//! One sentinel, and what it is asked.

use std::collections::HashMap;
use std::time::Duration;

use pool_tcp::TcpManager;
use redis::aio::PubSub;
use redis::{ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Value};
use tokio::time::timeout;

use crate::dial::Dialer;
use crate::error::RedisConnectError;
use crate::opening::Opening;
use crate::sentinel::node::Node;
use crate::sentinel::sight::Answer;

/// How to reach a sentinel, and who we are to it.
#[derive(Clone, Debug)]
pub(crate) struct Sentinel {
    pub(crate) dialer: Dialer,
    pub(crate) opening: Opening,
    /// For a question, dialling included.
    pub(crate) timeout: Duration,
}

/// A server, as a sentinel describes it.
type Fields = HashMap<String, String>;

impl Sentinel {
    /// Who is the master, and since which failover.
    ///
    /// Two commands, as one alone would not do: in the middle of a failover `SENTINEL MASTER` has the new epoch already
    /// and still the old address.
    pub(crate) async fn master(&self, name: &str) -> Result<Answer, RedisConnectError> {
        let mut questions = redis::pipe();
        for question in ["GET-MASTER-ADDR-BY-NAME", "MASTER"] {
            questions.cmd("SENTINEL").arg(question).arg(name);
        }
        let answers = self.ask(&questions).await?;
        let [address, master] = answers.as_slice() else {
            return Err(self.nonsense(unexpected("two answers", "others")));
        };
        if *address == Value::Nil {
            return Err(RedisConnectError::UnknownMaster {
                target: self.dialer.target().to_owned(),
                master: name.to_owned(),
            });
        }
        let answer = read(address).and_then(|(host, port)| {
            Ok(Answer {
                master: node(host, port)?,
                epoch: number(&read::<Fields>(master)?, "config-epoch")?,
            })
        });
        answer.map_err(|error| self.nonsense(error))
    }

    /// The replicas that are there and in step.
    pub(crate) async fn replicas(&self, name: &str) -> Result<Vec<Node>, RedisConnectError> {
        let mut question = redis::pipe();
        question.cmd("SENTINEL").arg("REPLICAS").arg(name);
        let answers = self.ask(&question).await?;
        let replicas = answers.first().ok_or_else(|| unexpected("replicas", ""));
        let replicas = replicas.and_then(read::<Vec<Fields>>).and_then(|replicas| {
            let fit = replicas.into_iter().filter(is_fit);
            fit.map(|replica| {
                let field = |name| replica.get(name).cloned().unwrap_or_default();
                node(field("ip"), field("port"))
            })
            .collect()
        });
        replicas.map_err(|error| self.nonsense(error))
    }

    /// A subscription to the news of failovers. The sentinel that leads one knows the new master some time before it says
    /// that it has switched.
    pub(crate) async fn news(&self) -> Result<PubSub, RedisConnectError> {
        let subscribed = async {
            let (stream, _probe) = self.dialer.dial(self.opening.protocol()).await?;
            let target = self.dialer.target();
            let mut news = self.opening.subscriber(target, stream).await?;
            let channels = ["+promoted-slave", "+switch-master"];
            let subscribed = news.subscribe(&channels).await;
            subscribed.map_err(|error| self.nonsense(error))?;
            Ok(news)
        };
        self.in_time(subscribed).await
    }

    /// On a connection of its own: one that was kept might be dead, which takes longer to find out.
    async fn ask(&self, questions: &Pipeline) -> Result<Vec<Value>, RedisConnectError> {
        let answered = async {
            let (stream, probe) = self.dialer.dial(self.opening.protocol()).await?;
            let target = self.dialer.target();
            let mut connection = self.opening.open(target, stream, probe).await?;
            let answers = connection.converse(questions).await;
            answers.map_err(|error| self.nonsense(error))
        };
        self.in_time(answered).await
    }

    async fn in_time<T>(
        &self,
        answered: impl Future<Output = Result<T, RedisConnectError>>,
    ) -> Result<T, RedisConnectError> {
        timeout(self.timeout, answered).await.unwrap_or_else(|_| {
            Err(RedisConnectError::TimedOut {
                target: self.dialer.target().to_owned(),
                limit: self.timeout,
            })
        })
    }

    /// It answered, but that is of no use.
    fn nonsense(&self, source: RedisError) -> RedisConnectError {
        let target = self.dialer.target().to_owned();
        if source.code() == Some("NOAUTH") {
            return RedisConnectError::NoPassword { target };
        }
        RedisConnectError::Refused {
            target,
            command: "SENTINEL",
            source,
        }
    }
}

/// Whether it is worth dialling, as far as the sentinel knows.
fn is_fit(replica: &Fields) -> bool {
    let field = |name: &str| replica.get(name).map_or("", String::as_str);
    let is_down = |flag: &str| matches!(flag, "s_down" | "o_down" | "disconnected");
    field("master-link-status") == "ok" && !field("flags").split(',').any(is_down)
}

/// One that can be dialled.
fn node(host: String, port: String) -> RedisResult<Node> {
    let node = port.parse().ok().map(|port| Node { host, port });
    node.filter(|node| TcpManager::new(&node.to_string()).is_ok())
        .ok_or_else(|| unexpected("an address", &port))
}

fn number(fields: &Fields, name: &str) -> RedisResult<u64> {
    let value = fields.get(name).map_or("", String::as_str);
    value.parse().map_err(|_| unexpected(name, value))
}

fn read<T: FromRedisValue>(answer: &Value) -> RedisResult<T> {
    Ok(T::from_redis_value(answer.clone().extract_error()?)?)
}

fn unexpected(wanted: &str, found: &str) -> RedisError {
    let detail = format!("wanted {wanted}, found {found:?}");
    (
        ErrorKind::UnexpectedReturnType,
        "no sentinel's answer",
        detail,
    )
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(flags: &str, link: &str) -> Fields {
        [("flags", flags), ("master-link-status", link)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn only_a_replica_that_is_there_and_in_step_is_dialled() {
        assert!(is_fit(&replica("slave", "ok")));
        assert!(!is_fit(&replica("slave", "err")));
        assert!(!is_fit(&replica("s_down,slave", "ok")));
        assert!(!is_fit(&replica("slave,disconnected", "ok")));
        assert!(!is_fit(&Fields::new()));
    }

    #[test]
    fn an_address_that_cannot_be_dialled_is_no_address() {
        let parsed = |host: &str, port: &str| node(host.to_owned(), port.to_owned());
        assert_eq!(
            parsed("10.0.0.1", "6379").unwrap().to_string(),
            "10.0.0.1:6379"
        );
        assert!(parsed("10.0.0.1", "0").is_err());
        assert!(parsed("", "6379").is_err());
        assert!(parsed("http://host", "6379").is_err());
        assert!(parsed("?", "-1").unwrap_err().to_string().contains("-1"));
    }
}
