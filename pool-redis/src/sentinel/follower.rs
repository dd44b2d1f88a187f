//! Listens to all sentinels, as long as there are connections that a failover would concern.
//!
//! All of them, as the one that tells of a failover last does so seconds after the first, and one may be cut off without
//! knowing.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use redis::Msg;
use redis::aio::PubSub;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::sentinel::ask::Sentinel;
use crate::sentinel::sight::Sight;

/// Before a sentinel that does not answer is dialled again; doubled each time.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MOST: Duration = Duration::from_secs(10);

/// Dropped, it stops to listen.
#[derive(Debug)]
pub(crate) struct Follower {
    _tasks: JoinSet<()>,
}

impl Follower {
    /// Listens from now on, in tasks of the present runtime.
    pub(crate) fn start(sentinels: &[Sentinel], master: &Arc<str>, sight: &Arc<Sight>) -> Self {
        let mut tasks = JoinSet::new();
        for (number, sentinel) in sentinels.iter().enumerate() {
            let ear = Ear {
                number,
                sentinel: sentinel.clone(),
                master: Arc::clone(master),
                sight: Arc::clone(sight),
            };
            tasks.spawn(ear.follow());
        }
        Self { _tasks: tasks }
    }
}

/// Listens to one of them.
struct Ear {
    number: usize,
    sentinel: Sentinel,
    master: Arc<str>,
    sight: Arc<Sight>,
}

impl Ear {
    async fn follow(self) {
        let mut pause = PAUSE_FIRST;
        loop {
            if self.listen().await {
                pause = PAUSE_FIRST;
            }
            self.sight.forget(self.number);
            sleep(pause).await;
            pause = PAUSE_MOST.min(pause * 2);
        }
    }

    /// Until it ends; answers whether it was there at all.
    async fn listen(&self) -> bool {
        let Ok(mut news) = self.sentinel.news().await else {
            return false;
        };
        let mut was_there = false;
        loop {
            // Asked after the subscription, so that no failover is missed between the two; and asked after each of the
            // news, which do not tell the epoch.
            let Ok(answer) = self.sentinel.master(&self.master).await else {
                return was_there;
            };
            self.sight.hear(self.number, answer);
            was_there = true;
            if !self.is_told(&mut news).await {
                return was_there;
            }
        }
    }

    /// Waits for news of our master; false if there will be none.
    async fn is_told(&self, news: &mut PubSub) -> bool {
        let mut news = news.on_message();
        loop {
            let message = poll_fn(|cx| Pin::new(&mut news).poll_next(cx)).await;
            let Some(message) = message else {
                return false;
            };
            if is_about(&message, &self.master) {
                return true;
            }
        }
    }
}

/// Whatever is told, the name is one of its words.
fn is_about(message: &Msg, master: &str) -> bool {
    let mut words = message.get_payload_bytes().split(|byte| *byte == b' ');
    words.any(|word| word == master.as_bytes())
}
