//! What the pools of a client tell of themselves: to be put beside what the server and the kernel saw.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pool_core::observers::{Histograms, Times};
use pool_core::{Event, Observer};
use serde::Serialize;

use crate::clock::millis;
use crate::report::{Summary, milliseconds};

/// Listens to all pools of one client.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    times: Histograms,
    closed: Mutex<BTreeMap<&'static str, usize>>,
    lags: Mutex<Vec<Duration>>,
}

/// What was heard.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Told {
    /// Connections closed, by reason.
    pub(crate) closed: BTreeMap<&'static str, usize>,
    pub(crate) evicted: usize,
    /// From the moment in which the reactor told of the peer's move until the pool acted on it.
    pub(crate) eviction_lag_ms: Option<Summary>,
    /// From the first poll of a checkout to its end.
    pub(crate) wait_ms: Option<Summary>,
}

impl Observer for Heard {
    fn observe(&self, pool: &str, event: &Event) {
        self.times.observe(pool, event);
        match event {
            Event::Closed { reason, .. } => {
                let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
                *closed.entry(reason.as_str()).or_default() += 1;
            }
            Event::Evicted { lag, .. } => {
                let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
                lags.push(*lag);
            }
            _ => {}
        }
    }
}

impl Heard {
    pub(crate) fn told(&self) -> Told {
        let lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        Told {
            closed: closed.clone(),
            evicted: lags.len(),
            eviction_lag_ms: Summary::of(&lags),
            wait_ms: summary(&self.times.snapshot().wait),
        }
    }
}

impl Told {
    /// `48 dropped, 1 idle_timeout`, the most frequent first.
    pub(crate) fn closed_in_words(&self) -> String {
        let mut closed: Vec<_> = self.closed.iter().collect();
        closed.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let words: Vec<_> = closed
            .into_iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        match &words[..] {
            [] => "none".into(),
            words => words.join(", "),
        }
    }

    /// All of it as one sentence.
    pub(crate) fn in_words(&self) -> String {
        let mut text = format!("closed {}", self.closed_in_words());
        if let Some(lag) = self.eviction_lag_ms {
            let slowest = milliseconds(lag.max);
            text += &format!(
                "; {} evicted, the slowest {slowest} after the reactor told",
                self.evicted
            );
        }
        if let Some(wait) = self.wait_ms {
            let [p50, p99, max] = [wait.p50, wait.p99, wait.max].map(milliseconds);
            text += &format!("; waits p50 {p50}, p99 {p99}, max {max}");
        }
        text
    }
}

fn summary(times: &Times) -> Option<Summary> {
    (times.count > 0).then(|| Summary {
        p50: millis(times.p50),
        p99: millis(times.p99),
        max: millis(times.max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pool_core::CloseReason;

    #[test]
    fn what_was_heard_is_told_in_one_sentence() {
        let heard = Heard::default();
        assert_eq!(heard.told().in_words(), "closed none");
        let milli = Duration::from_millis(1);
        for reason in [
            CloseReason::IdleTimeout,
            CloseReason::Dropped,
            CloseReason::Dropped,
        ] {
            let closed = Event::Closed {
                id: 1,
                reason,
                age: milli,
                uses: 1,
            };
            heard.observe("pool", &closed);
        }
        for lag in [milli, 3 * milli] {
            heard.observe("pool", &Event::Evicted { id: 1, lag });
        }
        let checked_out = Event::CheckedOut {
            id: 1,
            wait: 20 * milli,
            uses: 1,
            idle_for: milli,
        };
        heard.observe("pool", &checked_out);
        assert_eq!(
            heard.told().in_words(),
            "closed 2 dropped, 1 idle_timeout; 2 evicted, the slowest 3.0 ms after the reactor told; \
             waits p50 20 ms, p99 20 ms, max 20 ms"
        );
    }
}
