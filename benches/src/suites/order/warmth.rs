//! *Warm or cold*: what a request costs on the connection that was used last, on the one that has been idle longest, and
//! on one that is dialled for it.

use std::io;
use std::time::Duration;

use pool_core::{Order, Pool, Pooled};

use super::client::{Backends, Policy, exchange, fill};
use super::{Answer, Effort, client_runtime, micros, percentile};
use crate::clock::now;
use crate::findings::Table;
use crate::rounds::median;
use crate::suites::backend::{Backend, Habits};

/// Requests of one contender in a round.
const REQUESTS: usize = 50;

/// Connections of a large pool.
const MANY: usize = 1000;

/// One way to come by a connection.
struct Contender {
    name: String,
    pool: Pool<Backends>,
    /// Closed after its request, so that the next one is dialled.
    discards: bool,
    took: Vec<Duration>,
    /// The median of each round.
    rounds: Vec<f64>,
}

impl Contender {
    async fn new(backend: &Backend, order: Order, size: usize, discards: bool) -> Self {
        let name = match (discards, order) {
            (true, _) => "dialled for this request".to_owned(),
            (false, Order::Lifo) => format!("LIFO: the one used last, of {size}"),
            (false, Order::Fifo) => format!("FIFO: the one idle longest, of {size}"),
        };
        let policy = Policy {
            order,
            idle_timeout: None,
        };
        let backends = Backends::of(std::slice::from_ref(backend));
        let pool = policy.pool(backends, size);
        fill(&pool, size).await;
        Self {
            name,
            pool,
            discards,
            took: Vec::new(),
            rounds: Vec::new(),
        }
    }

    async fn round(&mut self) -> io::Result<()> {
        let mut round = Vec::with_capacity(REQUESTS);
        for _ in 0..REQUESTS {
            let start = now();
            let mut connection = self.pool.checkout().await.map_err(io::Error::other)?;
            exchange(&mut connection).await?;
            match self.discards {
                true => Pooled::discard(connection),
                false => drop(connection),
            }
            round.push(start.elapsed());
        }
        round.sort_unstable();
        self.rounds.push(percentile(&round, 0.5).as_secs_f64());
        self.took.extend(round);
        Ok(())
    }

    /// The median of what this one takes over what the other takes, in the same round each.
    fn ratio(&self, other: &Self) -> f64 {
        let rounds = self.rounds.iter().zip(&other.rounds);
        median(rounds.map(|(this, other)| this / other).collect())
    }
}

/// Interleaved rounds of one request after the other.
pub(super) fn warmth(effort: &Effort) -> io::Result<Answer> {
    let rounds = effort.pick(31, 201);
    let backend = Backend::start(Habits::default())?;
    client_runtime()?.block_on(async {
        let mut contenders = [
            Contender::new(&backend, Order::Lifo, MANY, false).await,
            Contender::new(&backend, Order::Fifo, 50, false).await,
            Contender::new(&backend, Order::Fifo, MANY, false).await,
            Contender::new(&backend, Order::Lifo, 1, true).await,
        ];
        for round in 0..rounds {
            // Nobody always comes after the same one.
            for place in 0..contenders.len() {
                let turn = (place + round) % contenders.len();
                contenders[turn].round().await?;
            }
        }
        Ok(answer(&mut contenders, rounds))
    })
}

fn answer(contenders: &mut [Contender; 4], rounds: usize) -> Answer {
    for contender in contenders.iter_mut() {
        contender.took.sort_unstable();
    }
    let mut table = Table::new(
        "Warm and cold connections",
        &[
            "connection",
            "p50, \u{b5}s",
            "p99, \u{b5}s",
            "of the warm one's",
        ],
    );
    for contender in contenders.iter() {
        table.row([
            contender.name.clone(),
            micros(percentile(&contender.took, 0.5)),
            micros(percentile(&contender.took, 0.99)),
            format!("{:.2}", contender.ratio(&contenders[0])),
        ]);
    }
    let [warm, _, cold, dialled] = contenders;
    Answer {
        method: format!(
            "Warm and cold: checkout, 16 bytes there and 16 back over loopback TCP, check-in; one request after the other, \
             {rounds} interleaved rounds of {REQUESTS}; the last column is the median of the ratios of the rounds' medians."
        ),
        table,
        seen: format!(
            "On the loopback interface a request on the longest idle of {MANY} connections takes {:.2} of the time of one on \
             the connection used last, and one for which is dialled {:.1}.",
            cold.ratio(warm),
            dialled.ratio(warm),
        ),
    }
}
