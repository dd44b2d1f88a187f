//! *Several backends*: how evenly they are used behind one name.

use std::io;
use std::time::Duration;

use pool_core::{Order, Pool};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::{Backends, Policy, ask, fill, order_name};
use super::{Answer, Effort, client_runtime, millis, percentile};
use crate::clock::now;
use crate::findings::Table;
use crate::suites::backend::{Backend, Habits};

/// Connections of the pool: ten to each of three backends.
const SIZE: usize = 30;

/// What the slow one among the backends takes to answer.
const SLOW: Duration = Duration::from_millis(5);

/// How many ask at once, and whether one of the backends is slow.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    users: usize,
    one_is_slow: bool,
}

impl Load {
    /// So many users, who wait for a millisecond between two requests if there are several.
    pub fn of(users: usize) -> Self {
        Self {
            users,
            one_is_slow: false,
        }
    }

    /// The same, while the third backend is slow.
    #[must_use]
    pub fn on_a_slow_backend(self) -> Self {
        Self {
            one_is_slow: true,
            ..self
        }
    }

    fn in_words(self) -> &'static str {
        match self {
            Self { users: 1, .. } => "one request at a time",
            Self {
                one_is_slow: false, ..
            } => "8 users",
            Self {
                one_is_slow: true, ..
            } => "8 users, the third backend is slow",
        }
    }
}

/// What became of some requests.
#[derive(Clone, Debug)]
pub struct Shares {
    /// How many each of the three backends got.
    pub requests: [usize; 3],
    /// How long each took from the checkout on, the shortest first.
    pub took: Vec<Duration>,
}

/// Three backends behind one name whose addresses are dialled in turn.
pub(super) fn balance(effort: &Effort) -> io::Result<Answer> {
    let requests = effort.pick(1200, 6000);
    let several = Load::of(8);
    let mut table = Table::new(
        "Several backends",
        &["order, load", "requests to each, %", "p50, ms", "p99, ms"],
    );
    for load in [Load::of(1), several, several.on_a_slow_backend()] {
        for order in [Order::Lifo, Order::Fifo] {
            let shares = shares(order, load, requests)?;
            let percent = |share: usize| format!("{:.0}", share as f64 * 100.0 / requests as f64);
            table.row([
                format!("{}, {}", order_name(order), load.in_words()),
                shares.requests.map(percent).join(" / "),
                millis(percentile(&shares.took, 0.5)),
                millis(percentile(&shares.took, 0.99)),
            ]);
        }
    }
    Ok(Answer {
        method: format!(
            "Several backends: three behind one name, dialled in turn, ten idle connections to each; {requests} requests, timed \
             from the checkout to the answer; several users pause for a millisecond after each. The slow backend takes {} ms to \
             answer.",
            SLOW.as_millis()
        ),
        table,
        seen: "While few requests run at once a stack uses few backends, and a queue all of them evenly; a slow backend gets \
               fewer requests from a stack, because its connections are longer away from the top."
            .into(),
    })
}

/// What each backend gets of so many requests.
///
/// # Errors
///
/// When a socket cannot be had.
///
/// # Examples
///
/// ```
/// use pool_core::Order;
/// use yardstick::suites::order::{Load, shares};
///
/// # fn main() -> std::io::Result<()> {
/// let shares = shares(Order::Fifo, Load::of(1), 30)?;
/// assert_eq!(shares.requests, [10, 10, 10]);
/// # Ok(()) }
/// ```
pub fn shares(order: Order, load: Load, requests: usize) -> io::Result<Shares> {
    let slow = Habits {
        answer: SLOW,
        ..Habits::default()
    };
    let third = match load.one_is_slow {
        true => slow,
        false => Habits::default(),
    };
    let backends = [Habits::default(), Habits::default(), third].map(Backend::start);
    let backends = backends.into_iter().collect::<io::Result<Vec<_>>>()?;
    let policy = Policy {
        order,
        idle_timeout: None,
    };
    let mut took = client_runtime()?.block_on(async {
        let pool = policy.pool(Backends::of(&backends), SIZE);
        fill(&pool, SIZE).await;
        let mut users = JoinSet::new();
        for _ in 0..load.users {
            users.spawn(user(pool.clone(), load, requests / load.users));
        }
        users.join_all().await.concat()
    });
    took.sort_unstable();
    let mut requests = [0; 3];
    for (requests, backend) in requests.iter_mut().zip(&backends) {
        *requests = backend.requests();
    }
    Ok(Shares { requests, took })
}

async fn user(pool: Pool<Backends>, load: Load, requests: usize) -> Vec<Duration> {
    let mut took = Vec::with_capacity(requests);
    for _ in 0..requests {
        let start = now();
        assert!(ask(&pool).await, "no backend closes");
        took.push(start.elapsed());
        if load.users > 1 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    took
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_at_a_time_goes_to_all_backends_from_a_queue_and_to_one_from_a_stack() {
        let queue = shares(Order::Fifo, Load::of(1), 60).expect("loopback");
        assert_eq!(queue.requests, [20, 20, 20]);
        let stack = shares(Order::Lifo, Load::of(1), 60).expect("loopback");
        assert_eq!(stack.requests.iter().max(), Some(&60));
        assert_eq!(stack.took.len(), 60);
    }
}
