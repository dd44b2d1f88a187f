//! How many connections a pool dials when many want one at once, and when one after the other does.

use std::sync::Arc;
use std::time::Duration;

use pool_tcp::TcpConnection;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::backend::{Backend, Habits};
use super::dialled::Dialled;
use super::{Effort, Suite};
use crate::clock::now;
use crate::contenders::{Contender, Question, everybody};
use crate::findings::{Finding, Table};
use crate::rounds::median;

/// Registered in [`SUITES`](super::SUITES).
pub const SUITE: Suite = Suite {
    name: "spike",
    question: "How many connections are dialled when many want one at once?",
    measure,
};

/// Connections that each pool may have.
const SIZE: usize = 50;

/// What a new connection costs before it can be used.
const HANDSHAKE: Duration = Duration::from_millis(20);

/// How long a task keeps its connection.
const HOLD: Duration = Duration::from_millis(1);

/// So long and a task is believed to hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who comes.
#[derive(Clone, Copy, Debug)]
enum Crowd {
    AtOnce(usize),
    InTurn(usize),
}

impl Crowd {
    fn in_words(self) -> String {
        match self {
            Self::AtOnce(tasks) => format!("{tasks} tasks at once"),
            Self::InTurn(tasks) => format!("{tasks} tasks, one after the other"),
        }
    }
}

/// What came of it.
struct Answer {
    name: &'static str,
    dials: usize,
    /// From the coming of the first task to the going of the last.
    took: Duration,
    hung: usize,
}

/// One crowd that meets an empty pool.
struct Spike<'a> {
    runtime: &'a Runtime,
    dialled: Dialled,
    crowd: Crowd,
}

impl Question<TcpConnection> for Spike<'_> {
    type Answer = Answer;

    fn ask<C: Contender<Connection = TcpConnection>>(
        &self,
        name: &'static str,
        contender: C,
    ) -> Answer {
        let before = self.dialled.dials();
        let contender = Arc::new(contender);
        let start = now();
        let hung = self.runtime.block_on(async {
            match self.crowd {
                Crowd::AtOnce(tasks) => {
                    let mut crowd = JoinSet::new();
                    for _ in 0..tasks {
                        let contender = Arc::clone(&contender);
                        crowd.spawn(async move { hangs(&*contender).await });
                    }
                    crowd
                        .join_all()
                        .await
                        .into_iter()
                        .filter(|hangs| *hangs)
                        .count()
                }
                Crowd::InTurn(tasks) => {
                    let mut hung = 0;
                    for _ in 0..tasks {
                        hung += usize::from(hangs(&*contender).await);
                    }
                    hung
                }
            }
        });
        Answer {
            name,
            dials: self.dialled.dials() - before,
            took: start.elapsed(),
            hung,
        }
    }
}

/// Uses a connection for a moment; whether none was to be had.
async fn hangs(contender: &impl Contender) -> bool {
    match timeout(PATIENCE, contender.checkout()).await {
        Ok(Ok(connection)) => {
            sleep(HOLD).await;
            drop(connection);
            false
        }
        _ => true,
    }
}

fn measure(effort: &Effort) -> Finding {
    let habits = Habits {
        handshake: HANDSHAKE,
        ..Habits::default()
    };
    let backend = Backend::start(habits);
    let runtime = Builder::new_current_thread().enable_all().build();
    let (backend, runtime) = match (backend, runtime) {
        (Ok(backend), Ok(runtime)) => (backend, runtime),
        (Err(error), _) | (_, Err(error)) => return Finding::not_measured(error),
    };
    let rounds = effort.pick(1, 5);
    let mut finding = Finding {
        method: vec![
            format!(
                "Pools of at most {SIZE} connections over loopback TCP that have dialled nothing yet; a new connection takes {} ms \
                 to greet; each task keeps its own for {} ms.",
                HANDSHAKE.as_millis(),
                HOLD.as_millis()
            ),
            format!("Dials are counted by who dials; medians of {rounds} rounds."),
        ],
        seen: "This pool dials for those who still wait when a dial ends, three at a time unless `max_connecting` says more: fewer \
               connections, and all served later. Others dial one for each who comes, as far as they may; fast_pool does so even for \
               one after the other."
            .into(),
        ..Finding::default()
    };
    for crowd in [Crowd::AtOnce(10), Crowd::AtOnce(200), Crowd::InTurn(50)] {
        effort.say(&crowd.in_words());
        let spike = Spike {
            runtime: &runtime,
            dialled: Dialled::to(backend.address),
            crowd,
        };
        let rounds: Vec<Vec<Answer>> = (0..rounds)
            .map(|_| everybody(&runtime, &spike.dialled, SIZE, &spike))
            .collect();
        finding.tables.push(table(crowd, &rounds));
    }
    finding
}

fn table(crowd: Crowd, rounds: &[Vec<Answer>]) -> Table {
    let mut table = Table::new(
        crowd.in_words(),
        &["pool", "dials", "all served, ms", "hung"],
    );
    for (place, first) in rounds[0].iter().enumerate() {
        let middle = |of: &dyn Fn(&Answer) -> f64| {
            median(rounds.iter().map(|round| of(&round[place])).collect())
        };
        table.row([
            first.name.into(),
            middle(&|answer| answer.dials as f64).to_string(),
            format!("{:.1}", middle(&|answer| answer.took.as_secs_f64() * 1e3)),
            middle(&|answer| answer.hung as f64).to_string(),
        ]);
    }
    table
}
